"""Files over HTTP, with ranges; every fault ends as a `SourceError` that says what happened."""

from __future__ import annotations

import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from email.utils import parsedate_to_datetime
from functools import partial
from http.client import HTTPException, responses
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from bddzoo.artifacts.streams import Hosts, NetworkPolicy, Origin, SourceError, Stopped, Stream
from bddzoo.version import __version__

MAX_REDIRECTS = 10
MAX_WORDS = 200
# A size as a header gives it, in a regular expression: no other digits, and no more than a disk could hold.
NUMBER = "[0-9]{1,18}"
# Fits into a processor's second cache, where it is hashed and written from.
RECEIVE_BYTES = 256 << 10
# How exactly the end of a wait, or the user's wish to stop, is noticed.
TICK_S = 0.1
DAY_S = 86_400.0
_GIVEN = (200, 203, 206)
_RETRIED = {408, 425, 429, 500, 502, 503, 504, 507, 509, 520, 521, 522, 523, 524}
# Content codings (RFC 9110, 8.4.1, and its registry). What else servers write there, `aws-chunked`, `UTF-8`,
# `none`, says nothing about the bytes.
_CODINGS = {"gzip", "x-gzip", "deflate", "br", "zstd", "compress", "x-compress", "dcb", "dcz"}


class SlowHeader(TimeoutError):
    """A server took too long to say what it answers."""


class Deadline:
    """Shuts a socket down when a wait takes too long or the user wants to stop; a context manager.

    A socket's own timeout starts anew with each byte, so a server that drips a header, or the framing of a
    chunked body, could be waited for without end. Only another thread can end such a wait.

    Args:
        shut_down: Wakes whoever waits for the socket.
        stop: The user wants to stop.

    Attributes:
        passed: The wait was ended: whatever the connection seems to have said is not an answer.
    """

    def __init__(self, shut_down: Callable[[], object], stop: threading.Event) -> None:
        self.passed = False
        self._shut_down = shut_down
        self._stop = stop
        self._due: float | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="deadline", daemon=True)

    def start(self, limit_s: float) -> None:
        """A wait begins that may take `limit_s` seconds."""
        self._due = time.monotonic() + limit_s

    def end(self) -> None:
        """The wait is over; nobody waits for the socket now."""
        self._due = None

    def _watch(self) -> None:
        while not self._over.wait(TICK_S):
            due = self._due
            if due is not None and (time.monotonic() > due or self._stop.is_set()):
                self.passed = True
                with suppress(Exception):
                    self._shut_down()
                return

    def __enter__(self) -> Deadline:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()


class _Adapter(HTTPAdapter):
    """An adapter whose connections wait for a header no longer than they should, behind proxies too."""

    def __init__(self, header_s: float, stop: threading.Event) -> None:
        self._header_s, self._stop = header_s, stop
        super().__init__(pool_connections=4, pool_maxsize=4, max_retries=0)

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **options)
        if not hasattr(pool.ConnectionCls, "within"):
            pool.ConnectionCls = _bounded(pool.ConnectionCls, self._header_s, self._stop)
        return pool

    def send(self, *args: Any, **options: Any) -> requests.Response:
        response = super().send(*args, **options)
        if response.is_redirect and response.headers.get("Content-Length") != "0":
            # The page behind a redirect would be read, however long it is and takes.
            response.raw.close()
        return response


def _bounded(base: Any, header_s: float, stop: threading.Event) -> Any:
    """A class of connections whose wait for a header, or for a proxy's answer, has a deadline."""

    class Bounded(base):  # type: ignore[misc]
        def getresponse(self) -> Any:
            return self.within(super().getresponse, "its header")

        def _tunnel(self) -> None:
            self.within(super()._tunnel, "the proxy's answer")

        def within(self, wait: Callable[[], Any], what: str) -> Any:
            with Deadline(partial(_shut_down, self.sock), stop) as deadline:
                deadline.start(header_s)
                try:
                    answer = wait()
                except Exception:
                    if not deadline.passed:
                        raise
                if deadline.passed:
                    # Also without an exception: a header that is cut short looks like one that has ended.
                    raise SlowHeader(f"{what} was not complete after {header_s:g} s")
                return answer

    return Bounded


def _shut_down(sock: Any) -> None:
    """Wake whoever waits for a socket, or for the one below it where TLS is spoken inside of TLS."""
    sock = sock if hasattr(sock, "shutdown") else sock.socket
    sock.shutdown(socket.SHUT_RDWR)


class Sessions:
    """A session for each thread; proxies, netrc and certificate bundles are those of the environment.

    Args:
        header_s: Seconds from a request to the end of the answer's header, bytes arriving or not. Each
            redirect, and what a proxy says before, has as much again.
        stop: The user wants to stop.
    """

    def __init__(self, header_s: float, stop: threading.Event) -> None:
        self._header_s, self._stop = header_s, stop
        self._local = threading.local()

    def get(self) -> requests.Session:
        """The session of this thread."""
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            session.headers.update({"User-Agent": f"bddzoo/{__version__}", "Accept-Encoding": "identity"})
            session.max_redirects = MAX_REDIRECTS
            for scheme in ("http://", "https://"):
                session.mount(scheme, _Adapter(self._header_s, self._stop))
            self._local.session = session
        return session


class HttpClient:
    """Opens files over HTTP; safe to use from several threads."""

    def __init__(self, policy: NetworkPolicy, stop: threading.Event) -> None:
        self.policy = policy
        self.hosts = Hosts(policy, stop)
        self._stop = stop
        self._sessions = Sessions(policy.header_s, stop)

    def open(self, url: str, offset: int, known: Origin) -> Stream:
        """Ask for a file from `offset` on.

        Args:
            url: The file.
            offset: First byte wanted.
            known: What the source of the bytes before `offset` said about the file.

        Returns:
            The stream, of the bytes as they are sent, compressed or not; its `offset` is 0 if the file
            changed or the server gives no ranges.

        Raises:
            SourceError: Anything else.
        """
        host = urlsplit(url).netloc.rpartition("@")[2]
        with ExitStack() as stack:
            stack.enter_context(self.hosts.slot(host))
            response = self._get(url, host, offset, known if known.is_of(url) else Origin())
            stack.callback(response.close)
            if offset and not _continues(response, url, offset, known):
                # The answer is the whole file, another version of it, a part that claims to be whole, or
                # an error that may mean the range only. A plain request leaves no doubt which.
                response.close()
                offset = 0
                response = self._get(url, host, 0, Origin())
                stack.callback(response.close)
            self._need_file(response)
            if offset == 0 and response.status_code == 206 and not _is_whole(response):
                raise SourceError("sent a part of the file when asked for all of it", retry=True)
            raw = response.raw
            deadline = Deadline(getattr(raw, "shutdown", raw.close), self._stop)
            stack.enter_context(deadline)
            origin = Origin(
                url=url,
                etag=_strong_etag(response),
                last_modified=response.headers.get("Last-Modified"),
                total=_total(response),
                coding=coding_of(response),
            )
            if origin.coding is not None:
                # Which form of the file a range would be of is not certain: such bytes are not continued.
                origin.etag = origin.last_modified = None
            kind = response.headers.get("Content-Type")
            return Stream(origin, offset, self._read(raw, deadline), stack.pop_all().close, kind)

    def _get(self, url: str, host: str, offset: int, known: Origin) -> requests.Response:
        self.hosts.need_alive(host)
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        if offset and known.validator:
            headers["If-Range"] = known.validator
        try:
            response = self._sessions.get().get(
                url, headers=headers, stream=True, timeout=(self.policy.connect_s, self.policy.read_s)
            )
        except Exception as error:
            fault = explain_fault(error, self._stop)
            if isinstance(fault, SourceError) and fault.unreachable:
                self.hosts.count_failure(host, fault.text)
            raise fault from None
        self.hosts.count_success(host)
        return response

    def _need_file(self, response: requests.Response) -> None:
        """Refuse an answer that does not bring the file.

        Raises:
            SourceError: Its status says so.
        """
        status = response.status_code
        framing = response.headers.get("Transfer-Encoding", "chunked").strip()
        if framing.lower() not in ("chunked", "identity"):
            # Nothing below us takes it off: the body would be taken as it is framed.
            raise SourceError(f"sent transfer coding '{_cut(framing)}', which was not asked for")
        if status in _GIVEN:
            return
        wait_s = retry_after_s(response.headers.get("Retry-After"))
        text = f"{status} {responses.get(status, '')}".strip()
        if status in (404, 410):
            raise SourceError(text, kind="missing", status=status)
        if status in (401, 403):
            text += " (needs credentials? they are read from netrc)" if status == 401 else ""
            raise SourceError(text, status=status)
        if wait_s is not None and wait_s > self.policy.retry_after_max_s:
            when = f"{wait_s:.0f} s" if wait_s < DAY_S else "more than a day"
            raise SourceError(f"{text}, asks to come back in {when}")
        raise SourceError(text, retry=status in _RETRIED, retry_after_s=wait_s, status=status)

    def _read(self, raw: Any, deadline: Deadline) -> Iterator[bytes]:
        """Bytes as they arrive; a window without enough of them is a stall."""
        read = getattr(raw, "read1", None) or (lambda amount, **kw: raw.read(min(amount, 1 << 16), **kw))
        since, seen = time.monotonic(), 0
        while True:
            # What frames the bytes of the file may drip as well, without a single one of them.
            deadline.start(self.policy.stall_s)
            try:
                data = read(RECEIVE_BYTES, decode_content=False)
            except Exception as error:
                if not deadline.passed:
                    raise explain_fault(error, self._stop, reading=True) from None
                data = b""
            deadline.end()
            if deadline.passed:
                # A connection that was shut down looks like one that has ended.
                if self._stop.is_set():
                    raise Stopped
                text = f"stalled: no bytes in {self.policy.stall_s:g} s"
                raise SourceError(text, retry=True, stalled=True)
            if not data:
                return
            seen += len(data)
            yield data
            del data  # so that the next bytes come to the same place, which is in the near caches
            now = time.monotonic()
            if now - since >= self.policy.stall_s:
                if seen < self.policy.stall_bytes:
                    text = f"stalled: {seen} bytes in {now - since:.0f} s"
                    raise SourceError(text, retry=True, stalled=True)
                since, seen = now, 0


def _continues(response: requests.Response, url: str, offset: int, known: Origin) -> bool:
    """Whether the answer to a range request is the rest of the very same file."""
    match = re.fullmatch(
        rf"bytes ({NUMBER})-({NUMBER})/({NUMBER}|\*)", response.headers.get("Content-Range", "").strip()
    )
    if response.status_code != 206 or match is None or coding_of(response) is not None:
        return False
    start, end, total = match[1], match[2], match[3]
    if int(start) != offset:
        return False
    if total != "*" and (known.total not in (None, int(total)) or int(end) != int(total) - 1):
        return False
    etag = response.headers.get("ETag")
    return not (known.is_of(url) and known.etag and etag and etag != known.etag)


def _is_whole(response: requests.Response) -> bool:
    match = re.fullmatch(rf"bytes 0-({NUMBER})/({NUMBER})", response.headers.get("Content-Range", "").strip())
    return match is not None and int(match[1]) + 1 == int(match[2])


def _total(response: requests.Response) -> int | None:
    """Number of bytes that the server sends for the whole file, if the answer says it."""
    match = re.fullmatch(
        rf"bytes {NUMBER}-{NUMBER}/({NUMBER})", response.headers.get("Content-Range", "").strip()
    )
    if response.status_code == 206 and match is not None:
        return int(match[1])
    # Chunks outrank a length (RFC 9112, 6.3).
    chunked = response.headers.get("Transfer-Encoding", "").strip().lower() == "chunked"
    length = "" if chunked else response.headers.get("Content-Length", "").strip()
    return int(length) if response.status_code in (200, 203) and re.fullmatch(NUMBER, length) else None


def coding_of(response: requests.Response) -> str | None:
    """The content coding that an answer claims to have, though it was asked for none."""
    words = response.headers.get("Content-Encoding", "").lower().split(",")
    codings = [word.strip() for word in words if word.strip() in _CODINGS]
    return ", ".join(codings).replace("x-gzip", "gzip") or None


def _strong_etag(response: requests.Response) -> str | None:
    """The entity tag, unless it is weak: weak tags do not promise equal bytes (RFC 9110, 8.8.1)."""
    etag = response.headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else None


def retry_after_s(value: str | None) -> float | None:
    """Seconds that a server asks to wait, a number or a date (RFC 9110, 10.2.3); None for what is neither."""
    if value is None:
        return None
    value = value.strip()
    if re.fullmatch("[+-]?[0-9]+", value):
        # Longer numbers are more than any limit, and may be more than a float holds.
        return max(0.0, float(value)) if len(value) <= 18 else 1e18 * (value[0] != "-")
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError, OSError, LookupError):
        return None


def explain_fault(error: Exception, stop: threading.Event, *, reading: bool = False) -> SourceError | Stopped:
    """Name a fault of the libraries below in a few words.

    Args:
        error: What they raised.
        stop: Set where the user wants to stop, which looks like a fault down there.
        reading: The answer had begun.
    """
    if stop.is_set():
        return Stopped()
    slow = _slow_header(error)
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
    # The libraries let all kinds of errors through when a server talks nonsense.
    return SourceError(f"unreadable answer: {_cut(error)}", retry=True)


def _slow_header(error: BaseException | None) -> str | None:
    for _ in range(8):
        if isinstance(error, SlowHeader):
            return str(error)
        error = error and (error.__cause__ or error.__context__)
    return None


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
