"""How the loopback server answers: files with ranges and validators, and every fault."""

from __future__ import annotations

import gzip
import hashlib
import re
import time
from dataclasses import dataclass
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from tests.support.server import Fault, Server

HTML = b"<!DOCTYPE html><html><head><title>Sign in to Airport WiFi</title></head><body>...</body></html>"


@dataclass
class Request:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]


class Handler(BaseHTTPRequestHandler):
    """Gives files of its owner, or what a fault makes of them."""

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
        self._header_delay = faults["drip-header"].delay if "drip-header" in faults else None
        if "reset" in faults:
            self.close_connection = True
            return
        if "redirect-loop" in faults:
            self._short(302, b"", {"Location": self.path})
            return
        if "redirect" in faults and not path.startswith("/redirected"):
            self._short(302, b"", {"Location": "/redirected" + self.path})
            return
        if "redirect-page" in faults and not path.startswith("/redirected"):
            self.send_response(302)
            self.send_header("Location", "/redirected" + self.path)
            self.end_headers()
            self._drip(b"moved\n" * 1000, 0.05)
            return
        path = path.removeprefix("/redirected")
        if "404" in faults or path not in self.owner.files:
            self._short(404, b"nothing here\n")
            return
        if "429" in faults:
            self._short(429, b"", {"Retry-After": f"{faults['429'].delay:g}"})
            return
        if "range-refused" in faults and "Range" in self.headers:
            self._short(403, b"no parts\n")
            return
        if "retry-never" in faults:
            self._short(503, b"", {"Retry-After": "9" * 400})
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
        if "odd-coding" in faults:
            headers["Content-Encoding"] = "aws-chunked"
        if "gzip" in faults or "gzip-tail" in faults:
            sent = gzip.compress(sent, 1) + b"x" * (5000 if "gzip-tail" in faults else 0)
            headers["Content-Encoding"] = "gzip"
        elif "gzip-members" in faults:
            half = len(sent) // 2
            sent = gzip.compress(sent[:half], 1) + gzip.compress(sent[half:], 1)
            headers["Content-Encoding"] = "gzip"
        if "203" in faults and status == 200:
            status = 203
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
        chunked = "chunked" in faults or "drip-framing" in faults
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

    def flush_headers(self) -> None:
        """Send what was said of the answer so far; slowly, if so asked."""
        if self._header_delay is None or not hasattr(self, "_headers_buffer"):
            super().flush_headers()
            return
        data, self._headers_buffer = b"".join(self._headers_buffer), []
        self._drip(data, self._header_delay)

    def _drip(self, data: bytes, delay: float) -> None:
        """Send bytes one at a time, until the client or the server has had enough."""
        for byte in data:
            if self.owner.closing.wait(delay):
                break
            try:
                self.wfile.write(bytes([byte]))
            except OSError:
                self.close_connection = True
                break

    def _uncount(self) -> None:
        if self._counted:
            self._counted = False
            self.owner.opened(-1)

    def _body(self, sent: bytes, chunked: bool, faults: dict[str, Fault]) -> None:
        drip = faults.get("drip")
        cut = min((faults[n].after for n in ("cut", "stall", "drip-framing") if n in faults), default=None)
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
                elif "drip-framing" in faults:
                    self._drip(b"1" * 1000, faults["drip-framing"].delay)
                self.close_connection = True
                return
            if drip and done < len(sent):
                time.sleep(drip.delay)
        if chunked:
            self.wfile.write(b"0\r\n\r\n")
