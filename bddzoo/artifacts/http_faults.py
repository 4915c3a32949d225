"""The faults of a request in words: what happened, and whether asking again may help."""

from __future__ import annotations

import re
import ssl
import threading
from http.client import HTTPException

import requests
import urllib3

from bddzoo.artifacts.failures import SourceError, Stopped
from bddzoo.artifacts.sessions import MAX_REDIRECTS, slow_header

MAX_WORDS = 200


def explain_fault(error: Exception, stop: threading.Event, *, reading: bool = False) -> SourceError | Stopped:
    """Name a fault of the libraries below in a few words.

    Args:
        error: What they raised.
        stop: Set where the user wants to stop, which looks like a fault down there.
        reading: The answer had begun.

    Raises:
        Exception: The error itself, where it is none of theirs.
    """
    if stop.is_set():
        return Stopped()
    slow = slow_header(error)
    if slow is not None:
        return SourceError(f"stalled: {slow}", retry=True, stalled=True)
    if isinstance(error, requests.TooManyRedirects):
        return SourceError(f"redirects in a circle or more than {MAX_REDIRECTS} times")
    if isinstance(error, requests.exceptions.SSLError | ssl.SSLError | urllib3.exceptions.SSLError):
        return SourceError(f"TLS failed: {_last_words(error)}", unreachable=not reading)
    if isinstance(error, requests.exceptions.ProxyError):
        return SourceError(f"the proxy failed: {_last_words(error)}", retry=True, unreachable=True)
    if isinstance(error, requests.ConnectTimeout):
        return SourceError("no connection: timed out", retry=True, unreachable=True)
    if isinstance(error, requests.ReadTimeout | urllib3.exceptions.ReadTimeoutError | TimeoutError):
        return SourceError("no answer: timed out", retry=True, stalled=True)
    bad_url = requests.exceptions
    if isinstance(error, bad_url.InvalidURL | bad_url.InvalidSchema | bad_url.MissingSchema):
        return SourceError(f"not a URL that can be asked: {_cut(error)}")
    if isinstance(error, requests.ConnectionError) and not reading:
        if _never_connected(error):
            return SourceError(f"no connection: {_last_words(error)}", retry=True, unreachable=True)
        return SourceError(f"no usable answer: {_last_words(error)}", retry=True)
    short = re.search(r"IncompleteRead\((\d+) bytes read, (\d+) more expected\)", str(error))
    if short is not None:
        text = f"connection closed after {short[1]} of {int(short[1]) + int(short[2])} bytes"
        return SourceError(text, retry=True)
    if isinstance(error, requests.RequestException | urllib3.exceptions.HTTPError | HTTPException | OSError):
        return SourceError(f"connection broke: {_last_words(error)}", retry=True)
    if isinstance(error, ValueError | AttributeError):
        # urllib3 and http.client let some of these through when a server talks nonsense.
        return SourceError(f"unreadable answer: {_cut(error)}", retry=True)
    raise error


def _never_connected(error: BaseException) -> bool:
    """Whether a failed request did not even get a connection."""
    inner = error.args[0] if error.args else None
    reason = getattr(inner, "reason", inner)
    return isinstance(reason, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError)


def _last_words(error: BaseException) -> str:
    """The innermost reason of a wrapped error, without object addresses."""
    for _ in range(8):
        reason = getattr(error, "reason", None)
        inner = reason if isinstance(reason, BaseException) else (error.__cause__ or error.__context__)
        inner = inner or next((a for a in error.args if isinstance(a, BaseException)), None)
        if inner is None or inner is error:
            break
        error = inner
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    text = re.sub(r"<[^>]*>:?\s*", "", str(text))
    return _cut(re.sub(r"\[Errno -?\d+\]\s*", "", text).strip())


def _cut(words: object) -> str:
    """Words that may be a server's own, no longer than a line."""
    text = str(words)
    return text if len(text) <= MAX_WORDS else f"{text[:MAX_WORDS]}..."
