"""Files over HTTP, with ranges; every fault ends as a `SourceError` that says what happened."""

from __future__ import annotations

import re
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from email.utils import parsedate_to_datetime
from http.client import responses
from typing import Any
from urllib.parse import urlsplit

import requests

from bddzoo.artifacts.digests import CHUNK_BYTES
from bddzoo.artifacts.failures import SourceError, Stopped
from bddzoo.artifacts.http_faults import explain_fault
from bddzoo.artifacts.manners import Hosts, Manners
from bddzoo.artifacts.origin import Origin
from bddzoo.artifacts.sessions import NUMBER, Sessions
from bddzoo.artifacts.streams import Stream
from bddzoo.artifacts.watchdog import Watch

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
