"""A real HTTP server on loopback that serves a few files: the mirror of `bddzoo demo`."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit


class FileHandler(BaseHTTPRequestHandler):
    """Answers GET and HEAD for the files of its server, single byte ranges included (RFC 9110, 14)."""

    protocol_version = "HTTP/1.1"
    server: FileServer

    def do_GET(self) -> None:
        """Send a file or a part of it."""
        self._answer(body=True)

    def do_HEAD(self) -> None:
        """Send the headers only."""
        self._answer(body=False)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the demo prints what the commands print."""

    def _answer(self, *, body: bool) -> None:
        path = self.server.files.get(unquote(urlsplit(self.path).path).lstrip("/"))
        if path is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        size = path.stat().st_size
        start, stop = 0, size
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted:
            start, stop = int(wanted[1]), min(size, int(wanted[2] or size - 1) + 1)
            if start >= stop:
                self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
                self.send_header("Content-Range", f"bytes */{size}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(HTTPStatus.PARTIAL_CONTENT)
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        else:
            self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        if not body:
            return
        with path.open("rb") as file:
            file.seek(start)
            if stop == size:
                shutil.copyfileobj(file, self.wfile)
            else:
                self.wfile.write(file.read(stop - start))


class FileServer(ThreadingHTTPServer):
    """Serves files by name.

    Args:
        files: Path of the URL without the leading slash -> file.
    """

    daemon_threads = True

    def __init__(self, files: Mapping[str, Path]) -> None:
        super().__init__(("127.0.0.1", 0), FileHandler)
        self.files = dict(files)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is its own business."""

    @property
    def url(self) -> str:
        """Base URL, with a slash at the end."""
        return f"http://127.0.0.1:{self.server_address[1]}/"


@contextmanager
def serve(files: Mapping[str, Path]) -> Iterator[FileServer]:
    """Serve files on a free port of the loopback interface until the block ends."""
    with FileServer(files) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
