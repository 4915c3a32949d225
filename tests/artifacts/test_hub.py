"""hf:// through huggingface_hub, against a server on loopback that answers as the hub does."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import unquote

import pytest

from tests.artifacts.registry import weights, write_registry
from tests.artifacts.zoo import make_bytes
from tests.cli.command import assert_one_line

DATA = make_bytes(300_000)
PATH = "testzoo/sem_seg/net_a.pth"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class _Hub(BaseHTTPRequestHandler):
    """One model repository, `me/zoo`, with one file."""

    protocol_version = "HTTP/1.1"
    asked: ClassVar[list[str]] = []

    def log_message(self, format: str, *args: object) -> None:
        """Be quiet."""

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", "0"))
        body = self.rfile.read(length).decode()
        self.asked.append(f"POST {self.path}")
        if "/paths-info/" not in self.path or not self.path.startswith("/api/models/me/zoo/"):
            self._json({"error": "Not found"}, 404)
            return
        self._json([self._file()] if PATH in re.sub("%2F", "/", body) else [])

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.asked.append(f"{self.command} {self.path}")
        path = unquote(self.path.partition("?")[0])
        if path.startswith("/api/models/me/zoo/tree/"):
            self._json([self._file()] if path.endswith(PATH.rpartition("/")[0]) else [])
        elif path.startswith("/api/models/me/zoo"):
            self._json({"id": "me/zoo", "modelId": "me/zoo", "sha": COMMIT, "siblings": []})
        elif path.startswith("/me/zoo/resolve/") and path.endswith(PATH):
            self._content()
        else:
            self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})

    def _file(self) -> dict[str, object]:
        oid = hashlib.sha1(DATA).hexdigest()
        return {"type": "file", "path": PATH, "size": len(DATA), "oid": oid}

    def _json(self, value: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(
            status, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})}
        )

    def _content(self) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        etag = {"ETag": f'"{hashlib.sha1(DATA).hexdigest()}"', "X-Repo-Commit": COMMIT}
        if asked is None:
            self._send(200, DATA, etag)
            return
        first, last = int(asked[1]), min(int(asked[2] or len(DATA)), len(DATA) - 1)
        span = {"Content-Range": f"bytes {first}-{last}/{len(DATA)}"}
        self._send(206, DATA[first : last + 1], etag | span)

    def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


@pytest.fixture
def hub() -> Iterator[str]:
    pytest.importorskip("huggingface_hub")
    _Hub.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def fetch(hub, run, tmp_path):
    """Fetch with the hub's address and nobody's token."""
    write_registry(tmp_path / "registry.yaml", {"net_a": weights("net_a.pth", data=DATA)})
    environment = {"HF_ENDPOINT": hub, "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": ""}
    return partial(run, "fetch", "net_a", env=environment)


def test_fetches_from_a_model_repository(fetch):
    done = fetch("--verify", "--from", "hf://me/zoo", "--format", "json", "--retries", "0")
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)[0]
    assert row["source"] == f"hf://me/zoo/{PATH}"
    assert row["md5"] == hashlib.md5(DATA).hexdigest()


def test_the_registry_may_name_a_repository(fetch, tmp_path):
    source = f"hf://me/zoo/{PATH}"
    write_registry(tmp_path / "registry.yaml", {"net_a": weights("net_a.pth", source, data=DATA)})
    done = fetch("--verify", "--format", "json", "--retries", "0")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["source"] == source


def test_repository_without_the_file_is_named(fetch):
    done = fetch("--from", "hf://me/other", "--retries", "0")
    assert_one_line(done, 5, "hf://me/other: has no net_a.pth")


def test_offline_asks_no_hub(fetch):
    assert_one_line(fetch("--from", "hf://me/zoo", "--offline"), 5, "--offline allows no connection")
    assert not _Hub.asked
