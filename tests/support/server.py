"""A real HTTP server on loopback, with ranges, validators, and faults that can be switched on.

Files are held in memory by path. A fault applies to paths that match its pattern, for a number of
requests or for ever.
"""

from __future__ import annotations

import re
import ssl
import threading
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import TracebackType

from tests.support.answers import Handler, Request

# Every switch by name; see `Fault` for its numbers.
FAULTS = (
    "cut",  # close the connection after `after` bytes of the body
    "drip",  # send `chunk` bytes every `delay` seconds
    "drip-header",  # send the status line and the header one byte every `delay` seconds
    "drip-framing",  # chunked, and after `after` bytes a chunk's size one digit every `delay` seconds
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
    "redirect-page",  # to the same file, with a page behind it that does not end
    "gzip",  # gzip-encoded though identity was asked for
    "html",  # an HTML page with status 200
    "no-length",  # no Content-Length: the end of the connection is the end of the file
    "chunked",  # chunked transfer
    "reset",  # close before any answer
    "empty",  # status 200 and no bytes
    "lfs",  # a Git LFS pointer
    "no-validators",  # neither ETag nor Last-Modified
    "bad-range",  # a Content-Range that is not what was asked for
    "range-refused",  # 403 to whoever asks for a part
    "retry-never",  # 503, with a Retry-After of 400 digits
    "odd-coding",  # a Content-Encoding that is none
    "gzip-members",  # gzip-encoded in two members
    "gzip-tail",  # bytes behind the end of the gzip coding
    "203",  # the file, with status 203
)


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
class Server:
    """The server; a context manager.

    Attributes:
        files: Content by path.
        faults: What goes wrong.
        requests: What was asked, in order.
        certificate: Speak TLS with this certificate; the file holds its key too.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    certificate: Path | None = None

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._version = 0
        self.open_now = 0
        self.open_most = 0
        self.closing = threading.Event()
        handler = type("Handler", (Handler,), {"owner": self})
        self._server = _Quiet(("127.0.0.1", 0), handler)
        if self.certificate is not None:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(self.certificate)
            # The handshake is for the thread of each connection, not for the one that takes them all.
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Base URL."""
        scheme = "http" if self.certificate is None else "https"
        return f"{scheme}://127.0.0.1:{self._server.server_address[1]}"

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
