"""Files over HTTP, with ranges; every fault ends as a `SourceError` that says what happened.

A limit on how long one wait for a server may take, however often a byte arrives meanwhile.

HTTP connections for downloads and probes: who asks, and how long a server may take to answer.

The faults of a request in words: what happened, and whether asking again may help.
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from email.utils import parsedate_to_datetime
from functools import partial
from http.client import HTTPException, responses
from math import inf
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from bddzoo import __version__
from bddzoo.artifacts.digests import CHUNK_BYTES
from bddzoo.artifacts.policy import Hosts, Manners
from bddzoo.artifacts.sources import Origin
from bddzoo.artifacts.streams import SourceError, Stopped, Stream

# How long the thread stays that has nothing to look after; the next request needs it again.
LINGER_S = 5.0


class Watch:
    """One connection that somebody waits for.

    Attributes:
        bitten: Whether the wait was ended from outside: it took too long, or the user wants to stop.
            Whatever the connection seems to have said is no answer then.
    """

    def __init__(self, dog: Watchdog, wake: Callable[[], object]) -> None:
        self.bitten = False
        self.due = inf
        self._dog = dog
        self._wake = wake

    def start(self, limit_s: float) -> None:
        """A wait begins that may take `limit_s` seconds."""
        self._dog.expect(self, time.monotonic() + limit_s)

    def rest(self) -> None:
        """The wait is over; nobody waits for the connection now."""
        self.due = inf

    def bite(self) -> None:
        """End the wait."""
        self.bitten = True
        with suppress(Exception):
            self._wake()


class Watchdog:
    """Ends waits that take too long. One thread looks after all of them, while there are any.

    A socket's own timeout starts anew with each byte. Here the whole wait counts: when it is over, the
    connection is shut down, which wakes the thread that waits for it.
    """

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._watches: set[Watch] = set()
        self._thread: threading.Thread | None = None
        self._wakes_at = inf
        self._over = False

    @contextmanager
    def watch(self, wake: Callable[[], object]) -> Iterator[Watch]:
        """Look after a connection.

        Args:
            wake: Shuts the connection down; called from another thread.
        """
        watch = Watch(self, wake)
        with self._lock:
            self._watches.add(watch)
            if self._over:
                watch.bite()
        try:
            yield watch
        finally:
            with self._lock:
                self._watches.discard(watch)

    def expect(self, watch: Watch, due: float) -> None:
        """Let a wait take until `due`, by the monotonic clock."""
        with self._lock:
            watch.due = due
            if self._thread is None or not self._thread.is_alive():
                self._wakes_at = due
                self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
                self._thread.start()
            elif due < self._wakes_at:
                self._lock.notify()

    def end_all(self) -> None:
        """End all waits, and each that begins later."""
        with self._lock:
            self._over = True
            for watch in self._watches:
                watch.bite()

    def _run(self) -> None:
        with self._lock:
            while self._watches:
                now = time.monotonic()
                for watch in self._watches:
                    if watch.due <= now:
                        watch.rest()
                        watch.bite()
                self._wakes_at = min(now + LINGER_S, *(w.due for w in self._watches))
                self._lock.wait(self._wakes_at - now)
            self._thread = None


MAX_REDIRECTS = 10
# A size as a header gives it, in a regular expression: no other digits, and no more than a disk could hold.
NUMBER = "[0-9]{1,18}"


class SlowHeader(TimeoutError):
    """A server took too long to say what it answers."""


class Sessions:
    """A session for each thread; proxies, netrc and certificate bundles are those of the environment.

    Args:
        header_s: Seconds from a request to the end of the answer's header, bytes arriving or not. Each
            redirect, and what a proxy says before, has as much again.
    """

    def __init__(self, header_s: float) -> None:
        self.dog = Watchdog()
        self._header_s = header_s
        self._local = threading.local()

    def get(self) -> requests.Session:
        """The session of this thread."""
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            session.headers.update({"User-Agent": f"bddzoo/{__version__}", "Accept-Encoding": "identity"})
            session.max_redirects = MAX_REDIRECTS
            for scheme in ("http://", "https://"):
                session.mount(scheme, _Adapter(self.dog, self._header_s))
            self._local.session = session
        return session


def slow_header(error: BaseException | None) -> str | None:
    """What to say of a failed request if the header took too long, else None."""
    for _ in range(8):
        if isinstance(error, SlowHeader):
            return str(error)
        error = error and (error.__cause__ or error.__context__)
    return None


class _Adapter(HTTPAdapter):
    """An adapter whose connections are looked after, behind proxies too."""

    def __init__(self, dog: Watchdog, header_s: float) -> None:
        self._dog, self._header_s = dog, header_s
        super().__init__(pool_connections=4, pool_maxsize=4, max_retries=0)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self._look_after(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        new = proxy not in self.proxy_manager
        manager = super().proxy_manager_for(proxy, **options)
        if new:
            self._look_after(manager)
        return manager

    def send(self, *args: Any, **options: Any) -> requests.Response:
        response = super().send(*args, **options)
        if response.is_redirect and response.headers.get("Content-Length") != "0":
            # The page behind a redirect would be read, however long it is and takes.
            response.raw.close()
        return response

    def _look_after(self, manager: Any) -> None:
        """Give a manager pools whose connections have a watchdog."""
        pools = {}
        for scheme, pool in manager.pool_classes_by_scheme.items():
            connection = _watched(pool.ConnectionCls, self._dog, self._header_s)
            pools[scheme] = type(pool.__name__, (pool,), {"ConnectionCls": connection})
        manager.pool_classes_by_scheme = pools


def _watched(base: Any, dog: Watchdog, header_s: float) -> Any:
    """A class of connections that end the wait for a header after `header_s` seconds."""

    class Watched(base):  # type: ignore[misc]
        def getresponse(self) -> Any:
            return self._within(super().getresponse, "its header")

        def _tunnel(self) -> None:
            self._within(super()._tunnel, "the proxy's answer")

        def _within(self, wait: Callable[[], Any], what: str) -> Any:
            with dog.watch(partial(_shut_down, self.sock)) as watch:
                watch.start(header_s)
                try:
                    answer = wait()
                except Exception:
                    if not watch.bitten:
                        raise
                if watch.bitten:
                    # Also without an exception: a header that is cut short looks like one that has ended.
                    raise SlowHeader(f"{what} was not complete after {header_s:g} s")
                return answer

    return Watched


def _shut_down(sock: Any) -> None:
    """Wake whoever waits for a socket, or for the one below it where TLS is spoken inside of TLS."""
    sock = sock if hasattr(sock, "shutdown") else sock.socket
    sock.shutdown(socket.SHUT_RDWR)


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


# Fits into a processor's second cache, where it is hashed and written from.
RECEIVE_BYTES = 256 << 10
_RETRIED = {408, 425, 429, 500, 502, 503, 504, 507, 509, 520, 521, 522, 523, 524}


class HttpClient:
    """Opens files over HTTP; safe to use from several threads.

    Proxies, netrc and certificate bundles come from the environment, as `requests` reads them.
    """

    def __init__(self, manners: Manners, stop: threading.Event) -> None:
        self.manners = manners
        self.hosts = Hosts(manners, stop)
        self._stop = stop
        self._sessions = Sessions(manners.header_s)

    def open(self, url: str, offset: int, known: Origin) -> Stream:
        """Ask for a file from `offset` on.

        Args:
            url: The file.
            offset: First byte wanted.
            known: What the source of the bytes before `offset` said about the file.

        Returns:
            The stream; its `offset` is 0 if the file changed or the server knows no ranges.

        Raises:
            SourceError: Anything else.
        """
        host = urlsplit(url).netloc.rpartition("@")[2]
        with ExitStack() as stack:
            stack.enter_context(self.hosts.slot(host))
            response = self._get(url, host, offset, known if known.is_of(url) else Origin())
            stack.callback(response.close)
            if offset and not _continues(response, url, offset, known):
                # The answer is the whole file, another version of it, or a part that claims to be
                # whole. Only a plain request leaves no doubt which.
                response.close()
                offset = 0
                response = self._get(url, host, 0, Origin())
                stack.callback(response.close)
            if offset == 0 and response.status_code == 206 and not _is_whole(response):
                raise SourceError("sent a part of the file when asked for all of it", retry=True)
            raw = response.raw
            watch = stack.enter_context(self._sessions.dog.watch(getattr(raw, "shutdown", raw.close)))
            encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
            origin = Origin(
                url=url,
                etag=_strong_etag(response),
                last_modified=response.headers.get("Last-Modified"),
                total=_total(response, encoding),
            )
            if encoding not in ("", "identity"):
                # A range of it would be a range of the compressed bytes.
                origin.etag = origin.last_modified = None
            chunks = self._read(raw, watch)
            if encoding not in ("", "identity"):
                chunks = _decode(chunks, encoding)
            kind = response.headers.get("Content-Type")
            return Stream(origin, offset, chunks, stack.pop_all().close, kind)

    def abort(self) -> None:
        """Wake every thread that waits for a server."""
        self._sessions.dog.end_all()

    def _get(self, url: str, host: str, offset: int, known: Origin) -> requests.Response:
        self.hosts.need_alive(host)
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        if offset and known.validator:
            headers["If-Range"] = known.validator
        try:
            response = self._sessions.get().get(
                url, headers=headers, stream=True, timeout=(self.manners.connect_s, self.manners.read_s)
            )
        except Exception as error:
            fault = explain_fault(error, self._stop)
            if isinstance(fault, SourceError) and fault.unreachable:
                self.hosts.count_failure(host, fault.text)
            raise fault from None
        self.hosts.count_success(host)
        status = response.status_code
        if status in (200, 206) or (status == 416 and offset):
            return response
        retry_after = _retry_after_s(response.headers.get("Retry-After"))
        response.close()
        text = f"{status} {responses.get(status, '')}".strip()
        if status in (404, 410):
            raise SourceError(text, kind="missing", status=status)
        if status in (401, 403):
            text += " (needs credentials? they are read from netrc)" if status == 401 else ""
            raise SourceError(text, status=status)
        if retry_after is not None and retry_after > self.manners.retry_after_max_s:
            raise SourceError(f"{text}, asks to come back in {retry_after:.0f} s")
        raise SourceError(text, retry=status in _RETRIED, retry_after_s=retry_after, status=status)

    def _read(self, raw: Any, watch: Watch) -> Iterator[bytes]:
        """Bytes as they arrive; a window without enough of them is a stall."""
        read = getattr(raw, "read1", None) or (lambda amount, **kw: raw.read(min(amount, 1 << 16), **kw))
        since, seen = time.monotonic(), 0
        while True:
            # What frames the bytes of the file may drip as well, without a single one of them.
            watch.start(self.manners.stall_s)
            try:
                data = read(RECEIVE_BYTES, decode_content=False)
            except Exception as error:
                if not watch.bitten:
                    raise explain_fault(error, self._stop, reading=True) from None
                data = b""
            watch.rest()
            if watch.bitten:
                # A connection that was shut down looks like one that has ended.
                if self._stop.is_set():
                    raise Stopped
                text = f"stalled: no bytes in {self.manners.stall_s:g} s"
                raise SourceError(text, retry=True, stalled=True)
            if not data:
                return
            seen += len(data)
            yield data
            del data  # so that the next bytes come to the same place, which is in the near caches
            now = time.monotonic()
            if now - since >= self.manners.stall_s:
                if seen < self.manners.stall_bytes:
                    text = f"stalled: {seen} bytes in {now - since:.0f} s"
                    raise SourceError(text, retry=True, stalled=True)
                since, seen = now, 0


def _continues(response: requests.Response, url: str, offset: int, known: Origin) -> bool:
    """Whether the answer to a range request is the rest of the very same file."""
    match = re.fullmatch(
        rf"bytes (?:({NUMBER})-({NUMBER})|\*)/({NUMBER}|\*)",
        response.headers.get("Content-Range", "").strip(),
    )
    if match is None or response.headers.get("Content-Encoding", "identity").lower() not in ("", "identity"):
        return False
    start, end, total = match[1], match[2], match[3]
    if response.status_code == 416:
        return False
    if response.status_code != 206 or start is None or int(start) != offset:
        return False
    if total != "*" and (known.total not in (None, int(total)) or int(end) != int(total) - 1):
        return False
    etag = response.headers.get("ETag")
    return not (known.is_of(url) and known.etag and etag and etag != known.etag)


def _is_whole(response: requests.Response) -> bool:
    match = re.fullmatch(rf"bytes 0-({NUMBER})/({NUMBER})", response.headers.get("Content-Range", "").strip())
    return match is not None and int(match[1]) + 1 == int(match[2])


def _total(response: requests.Response, encoding: str) -> int | None:
    """Size of the whole file in bytes, if the answer says it."""
    if encoding not in ("", "identity"):
        return None
    match = re.fullmatch(
        rf"bytes {NUMBER}-{NUMBER}/({NUMBER})", response.headers.get("Content-Range", "").strip()
    )
    if response.status_code == 206 and match is not None:
        return int(match[1])
    length = response.headers.get("Content-Length", "")
    return int(length) if response.status_code == 200 and re.fullmatch(NUMBER, length.strip()) else None


def _strong_etag(response: requests.Response) -> str | None:
    """The entity tag, unless it is weak: weak tags do not promise equal bytes (RFC 9110, 8.8.1)."""
    etag = response.headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else None


def _retry_after_s(value: str | None) -> float | None:
    """Seconds that a server asks to wait: a number or a date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    with suppress(ValueError):
        return max(0.0, float(int(value)))
    with suppress(ValueError, TypeError):
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    return None


def _decode(chunks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """Undo a content coding that the server applied though it was asked not to."""
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise SourceError(f"sent content coding '{encoding}', which was not asked for")
    # 47: zlib or gzip, as its header says. The library below would not notice a cut stream.
    decoder = zlib.decompressobj(47)
    try:
        for chunk in chunks:
            # In pieces, so that a small answer cannot unfold into all of the memory.
            rest = chunk
            while rest:
                yield decoder.decompress(rest, CHUNK_BYTES)
                rest = decoder.unconsumed_tail
        yield decoder.flush()
    except zlib.error as error:
        raise SourceError(f"broken {encoding} coding: {error}", retry=True) from None
    if not decoder.eof:
        raise SourceError(f"cut off inside its {encoding} coding", retry=True)
