# ruff: noqa: E501 - an answer a line
"""Answers that no server should give: the file, or one line that says what is wrong; never a bug."""

from __future__ import annotations

import pytest

from bddzoo.artifacts import NetworkPolicy
from bddzoo.artifacts.probe import Prober
from bddzoo.errors import BddzooError
from tests.artifacts.zoo import make_bytes, make_fetcher, make_model
from tests.support.raw import RawServer

DATA = make_bytes(3000)
OK = b"HTTP/1.1 200 OK\r\n"
FOUND = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: "
LENGTH = b"Content-Length: 3000\r\n\r\n" + DATA
NINES = b"9" * 5000
ANSWERS = {
    "length-negative": OK + b"Content-Length: -5\r\n\r\n" + DATA,
    "length-twice": OK + b"Content-Length: 10\r\n" + LENGTH,
    "length-of-5000-digits": OK + b"Content-Length: " + NINES + b"\r\n\r\n" + DATA,
    "length-superscript": OK + b"Content-Length: \xb2\r\n\r\n" + DATA,
    "length-of-a-petabyte": OK + b"Content-Length: 1000000000000000\r\n\r\n" + DATA,
    "range-of-5000-digits": b"HTTP/1.1 206 P\r\nContent-Range: bytes 0-"
    + NINES
    + b"/"
    + NINES
    + b"\r\n"
    + LENGTH,
    "range-superscript": b"HTTP/1.1 206 P\r\nContent-Range: bytes 0-1/\xb2\r\n" + LENGTH,
    "status-999": b"HTTP/1.1 999 ?\r\nContent-Length: 0\r\n\r\n",
    "status-099": b"HTTP/1.1 099 ?\r\nContent-Length: 0\r\n\r\n",
    "status-coloured": b"HTTP/1.1 5\x1b[31m00 red\x07\r\n\r\n",
    "no-http": DATA,
    "http-2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "nothing": b"",
    "200-headers": OK + b"".join(b"X-%d: y\r\n" % n for n in range(200)) + LENGTH,
    "long-header": OK + b"X: " + b"y" * 70_000 + b"\r\n" + LENGTH,
    "header-in-latin": OK
    + b'ETag: "\xff\x1b[31m"\r\nContent-Type: \xff\x1b\r\nSet-Cookie: \xff=\x00\r\n'
    + LENGTH,
    "100-for-ever": b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000,
    "to-a-file": FOUND + b"file:///etc/passwd\r\n\r\n",
    "to-a-bucket": FOUND + b"s3://bucket/x\r\n\r\n",
    "to-no-address": FOUND + b"http://[::1/x\r\n\r\n",
    "to-no-port": FOUND + b"http://127.0.0.1:99999/x\r\n\r\n",
    "to-no-utf8": FOUND + b"http://127.0.0.1:1/\xff\xfe\r\n\r\n",
    "to-nowhere": FOUND + b"\r\n\r\n",
    "back-of-5000-digits": b"HTTP/1.1 503 No\r\nContent-Length: 0\r\nRetry-After: " + NINES + b"\r\n\r\n",
    "back-in-nan": b"HTTP/1.1 503 No\r\nContent-Length: 0\r\nRetry-After: nan\r\n\r\n",
    "chunk-negative": OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n" + DATA,
    "chunk-huge": OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 30 + b"\r\n" + DATA,
    "chunk-of-no-end": OK + b"Transfer-Encoding: chunked\r\n\r\n0;" + b"x" * 100_000,
    "two-codings": OK + b"Content-Encoding: gzip, br\r\n" + LENGTH,
    "no-gzip": OK + b"Content-Encoding: gzip\r\n" + LENGTH,
    "length-with-a-fraction": OK + b"Content-Length: 3000.0\r\n\r\n" + DATA,
    "length-twice-alike": OK + b"Content-Length: 3000\r\n" + LENGTH,
    "length-and-chunks": OK + b"Transfer-Encoding: chunked\r\nContent-Length: 10\r\n\r\nbb8\r\n" + DATA + b"\r\n0\r\n\r\n",
    "length-of-nothing": OK + b"Content-Length: 0\r\n\r\n" + DATA,
    "chunks-in-capitals": OK + b"TRANSFER-ENCODING: CHUNKED\r\n\r\nBB8;a=b\r\n" + DATA + b"\r\n0\r\nX: y\r\n\r\n",
    "chunks-cut": OK + b"Transfer-Encoding: chunked\r\n\r\nbb8\r\n" + DATA,
    "chunks-of-chunks": OK + b"Transfer-Encoding: chunked, chunked\r\n\r\nbb8\r\n" + DATA + b"\r\n0\r\n\r\n",
    "chunks-in-gzip": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\nbb8\r\n" + DATA + b"\r\n0\r\n\r\n",
    "range-of-all": b"HTTP/1.1 206 P\r\nContent-Range: bytes 0-2999/3000\r\n" + LENGTH,
    "range-of-the-middle": b"HTTP/1.1 206 P\r\nContent-Range: bytes 5-2999/3000\r\n" + LENGTH,
    "ranges-in-parts": b"HTTP/1.1 206 P\r\nContent-Type: multipart/byteranges; boundary=x\r\n" + LENGTH,
    "lines-of-unix": OK.replace(b"\r", b"") + b"Content-Length: 3000\n\n" + DATA,
    "folded-header": OK + b"X: a\r\n b\r\n\tc\r\n" + LENGTH,
    "http-1.0": b"HTTP/1.0 200 OK\r\n\r\n" + DATA,
    "http-0.9": DATA[:40],
    "202": b"HTTP/1.1 202 Accepted\r\nRetry-After: 1\r\n" + LENGTH,
    "226": b"HTTP/1.1 226 IM Used\r\n" + LENGTH,
    "coding-empty": OK + b"Content-Encoding: ,, ,\r\n" + LENGTH,
    "coding-twice": OK + b"Content-Encoding: identity\r\nContent-Encoding: aws-chunked\r\n" + LENGTH,
    "coding-zstd": OK + b"Content-Encoding: zstd\r\n" + LENGTH,
    "type-of-a-page": OK + b"Content-Type: text/html\r\n" + LENGTH,
}  # fmt: skip
ONCE = NetworkPolicy(connect_s=5, read_s=5, header_s=5, stall_s=5, attempts=1, connect_attempts=2)


@pytest.fixture(scope="module")
def server():
    with RawServer({f"/{name}/x.bin": answer for name, answer in ANSWERS.items()}) as server:
        yield server


@pytest.mark.parametrize("known", ["", "sha256 size"])
@pytest.mark.parametrize("name", ANSWERS)
def test_is_the_file_or_one_line(server, tmp_path, name, known):
    model = make_model(DATA, known, name="x.bin", sources=(f"{server.url}/{name}/x.bin",))
    try:
        found, said = make_fetcher(tmp_path, policy=ONCE).fetch(model).path.read_bytes(), ""
    except BddzooError as error:
        found, said = None, error.message
    assert found in (DATA, None)
    assert said.isprintable()
    assert len(said) < 1000
    assert found or name in said, "the source is named, and not the disk"
    held = [p for p in (tmp_path / "cache" / "objects").rglob("*") if p.is_file()]
    assert len(held) == (found is not None)


def test_the_next_source_is_asked(server, tmp_path):
    good = RawServer({"/x.bin": OK + LENGTH})
    with good:
        for name in ANSWERS:
            sources = (f"{server.url}/{name}/x.bin", f"{good.url}/x.bin")
            model = make_model(DATA, "sha256", model_id=name, name=f"{name}.bin", sources=sources)
            result = make_fetcher(tmp_path / name, policy=ONCE).fetch(model, verify=True)
            assert result.path.read_bytes() == DATA


def test_probes_end_and_ask_the_rest(server):
    urls = [f"{server.url}/{name}/x.bin" for name in ANSWERS]
    found = Prober(jobs=2, policy=ONCE).probe_all(urls)
    assert [p.url for p in found] == urls
    for probe in found:
        assert probe.note.isprintable()
        assert len(probe.note) < 300
        assert "not asked again" not in probe.note, "the host is there, whatever it says of one file"
        assert probe.size_bytes in (None, 0, 10, 3000, 10**15)
