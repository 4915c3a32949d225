"""A real HTTP server on loopback, with ranges, validators, and faults that can be switched on.

Files are held in memory by path. A fault applies to paths that match its pattern, for a number of
requests or for ever.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import threading
import time
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import unquote, urlsplit

# Every switch by name; see `Fault` for its numbers.
FAULTS = (
    "cut",  # close the connection after `after` bytes of the body
    "drip",  # send `chunk` bytes every `delay` seconds
    "stall",  # stop after `after` bytes and hold the connection for `delay` seconds
    "length-long",  # Content-Length is more than what comes
    "length-short",  # Content-Length is less than the file
    "wrong-bytes",  # flip a byte at `after`
    "ignore-range",  # always the whole file with 200
    "200-for-206",  # the part that was asked for, under status 200
    "new-etag",  # another entity tag on every answer, and another file with it
    "404",
    "429",  # with Retry-After: `delay`
    "500",  # with status 500
    "redirect",  # to the same file under /redirected
    "redirect-loop",
    "gzip",  # gzip-encoded though identity was asked for
    "html",  # an HTML page with status 200
    "no-length",  # no Content-Length: the end of the connection is the end of the file
    "chunked",  # chunked transfer
    "reset",  # close before any answer
    "empty",  # status 200 and no bytes
    "lfs",  # a Git LFS pointer
    "no-validators",  # neither ETag nor Last-Modified
    "bad-range",  # a Content-Range that is not what was asked for
)

HTML = b"<!DOCTYPE html><html><head><title>Sign in to Airport WiFi</title></head><body>...</body></html>"


@dataclass
class Fault:
    """One fault.

    Attributes:
        name: One of `FAULTS`.
        after: A byte position, counted in the body that is sent.
        delay: Seconds.
        chunk: Bytes.
        times: How many requests it hits; None for all.
        pattern: Which paths, as a regular expression to search for.
    """

    name: str
    after: int = 1000
    delay: float = 0.05
    chunk: int = 512
    times: int | None = None
    pattern: str = ""


@dataclass
class Request:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass
class Server:
    """The server; a context manager."""

    files: dict[str, bytes] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._version = 0
        self.open_now = 0
        self.open_most = 0
        self.closing = threading.Event()
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = _Quiet(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Base URL."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def port(self) -> int:
        """Port."""
        return int(self._server.server_address[1])

    def put(self, path: str, data: bytes) -> str:
        """Serve bytes; returns their URL."""
        self.files["/" + path.lstrip("/")] = data
        return f"{self.url}/{path.lstrip('/')}"

    def paths(self) -> list[str]:
        """Paths asked for so far."""
        return [r.path for r in self.requests]

    def close(self) -> None:
        """Stop at once, held connections included."""
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def take(self, path: str) -> dict[str, Fault]:
        """Faults that hit a request to that path; counts them."""
        with self._lock:
            hit: dict[str, Fault] = {}
            for fault in self.faults:
                if re.search(fault.pattern, path) and fault.times != 0:
                    if fault.times is not None:
                        fault.times -= 1
                    hit.setdefault(fault.name, fault)
            return hit

    def next_version(self) -> int:
        """A number that grows."""
        with self._lock:
            self._version += 1
            return self._version

    def opened(self, change: int) -> None:
        """Count bodies being sent at the same time."""
        with self._lock:
            self.open_now += change
            self.open_most = max(self.open_most, self.open_now)


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is part of the game."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: Server

    def log_message(self, format: str, *args: object) -> None:
        """Be quiet."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.owner.requests.append(Request(self.command, path, dict(self.headers.items())))
        faults = self.owner.take(path)
        if "reset" in faults:
            self.close_connection = True
            return
        if "redirect-loop" in faults:
            self._short(302, b"", {"Location": self.path})
            return
        if "redirect" in faults and not path.startswith("/redirected"):
            self._short(302, b"", {"Location": "/redirected" + self.path})
            return
        path = path.removeprefix("/redirected")
        if "404" in faults or path not in self.owner.files:
            self._short(404, b"nothing here\n")
            return
        if "429" in faults:
            self._short(429, b"", {"Retry-After": f"{faults['429'].delay:g}"})
            return
        if "500" in faults:
            self._short(500, b"oops\n")
            return
        if "html" in faults:
            self._short(200, HTML, {"Content-Type": "text/html; charset=utf-8"})
            return
        if "empty" in faults:
            self._short(200, b"")
            return
        if "lfs" in faults:
            pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 123\n"
            self._short(200, pointer)
            return
        self._file(self.owner.files[path], faults, body)

    def _short(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _file(self, data: bytes, faults: dict[str, Fault], body: bool) -> None:
        etag = f'"{hashlib.md5(data).hexdigest()}"'
        modified = formatdate(1_600_000_000, usegmt=True)
        if "new-etag" in faults:
            version = self.owner.next_version()
            etag = f'"{version}"'
            data = data if faults["new-etag"].times == 0 else bytes([version % 256]) + data[1:]
        if "wrong-bytes" in faults and data:
            at = min(faults["wrong-bytes"].after, len(data) - 1)
            data = data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]
        start, status = 0, 200
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        condition = self.headers.get("If-Range")
        if asked and "ignore-range" not in faults and condition in (None, etag, modified):
            start = int(asked[1])
            if start >= len(data):
                self._short(416, b"", {"Content-Range": f"bytes */{len(data)}"})
                return
            status = 206
        stop = min(len(data), int(asked[2]) + 1) if asked and asked[2] and status == 206 else len(data)
        sent = data[start:stop]
        headers = {"Accept-Ranges": "bytes", "ETag": etag, "Last-Modified": modified}
        if "no-validators" in faults:
            del headers["ETag"], headers["Last-Modified"]
        if status == 206:
            first = start + 7 if "bad-range" in faults else start
            headers["Content-Range"] = f"bytes {first}-{stop - 1}/{len(data)}"
        if "200-for-206" in faults and status == 206:
            status = 200
            del headers["Content-Range"]
        if "gzip" in faults:
            sent = gzip.compress(sent, 1)
            headers["Content-Encoding"] = "gzip"
        length = len(sent) + (5000 if "length-long" in faults else 0)
        if "length-short" in faults:
            length = max(1, len(sent) // 2)
        self._send(status, headers, sent, length, faults, body)

    def _send(
        self,
        status: int,
        headers: dict[str, str],
        sent: bytes,
        length: int,
        faults: dict[str, Fault],
        body: bool,
    ) -> None:
        chunked = "chunked" in faults
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif "no-length" not in faults:
            self.send_header("Content-Length", str(length))
        if "no-length" in faults or "length-long" in faults:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        if not body:
            return
        self.owner.opened(1)
        self._counted = True
        try:
            self._body(sent[:length], chunked, faults)
        except OSError:
            self.close_connection = True
        finally:
            self._uncount()

    def _uncount(self) -> None:
        if self._counted:
            self._counted = False
            self.owner.opened(-1)

    def _body(self, sent: bytes, chunked: bool, faults: dict[str, Fault]) -> None:
        drip = faults.get("drip")
        cut = min((faults[n].after for n in ("cut", "stall") if n in faults), default=None)
        size = drip.chunk if drip else 1 << 16
        done = 0
        while done < len(sent):
            piece = sent[done : done + size]
            if cut is not None and done + len(piece) > cut:
                piece = piece[: cut - done]
            if done + len(piece) >= len(sent):
                # Once the last bytes are sent, the client may ask for the next file at any moment.
                self._uncount()
            if piece:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
                done += len(piece)
            if cut is not None and done >= cut and done < len(sent):
                if "stall" in faults:
                    self.owner.closing.wait(faults["stall"].delay)
                self.close_connection = True
                return
            if drip and done < len(sent):
                time.sleep(drip.delay)
        if chunked:
            self.wfile.write(b"0\r\n\r\n")
