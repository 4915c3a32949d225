"""Fetching over real HTTP: what is accepted, from where, and in which words it fails."""

from __future__ import annotations

import hashlib
import os

import pytest

from bddzoo.artifacts import NetworkPolicy
from bddzoo.errors import IntegrityError, MissingError, NetworkError
from tests.artifacts.zoo import change, leftovers, make_bytes, make_fetcher, make_model
from tests.support.server import Fault

DATA = make_bytes(300_000)
JSON = b"[" + b"1234567, " * 33_000 + b"0]"
MD5 = hashlib.md5(DATA).hexdigest()


def test_fetches_and_verifies_by_the_registry(server, tmp_path):
    url = server.put("models/net_a.pth", DATA)
    fetcher = make_fetcher(tmp_path)
    result = fetcher.fetch(make_model(DATA, "md5 sha256 size", sources=(url,)), verify=True)
    assert result.path.read_bytes() == DATA
    assert result.path.name == "net_a.pth"
    assert (result.digest_state, result.md5, result.size_bytes) == ("verified", MD5, len(DATA))
    assert result.source == url
    assert not leftovers(fetcher.cache)
    assert (
        (fetcher.cache.root / "CACHEDIR.TAG")
        .read_bytes()
        .startswith(b"Signature: 8a477f597d28d172789f06886806bc55")
    )


def test_second_fetch_asks_nobody(server, tmp_path):
    model = make_model(DATA, sources=(server.put("net_a.pth", DATA),))
    first = make_fetcher(tmp_path).fetch(model, verify=True)
    server.requests.clear()
    again = make_fetcher(tmp_path, offline=True).fetch(model, verify=True)
    assert again.path == first.path
    assert again.cached
    assert not server.requests


@pytest.mark.parametrize(
    "text",
    [
        f"{MD5}  net_a.pth\n",
        f"{MD5} *net_a.pth\n",
        MD5,
        MD5.upper() + "\r\n",
        f"MD5 (net_a.pth) = {MD5}\n",
        f"{'0' * 32}  other.pth\n{MD5}  ./sub/net_a.pth\n",
        f"{MD5}  /home/someone/best.pth\n",
    ],
)
def test_verifies_by_the_published_digest(server, tmp_path, text):
    url = server.put("models/net_a.pth", DATA)
    server.put("models/net_a.md5", text.encode())
    model = make_model(None, sources=(url,), digest_url=f"{server.url}/models/net_a.md5")
    result = make_fetcher(tmp_path).fetch(model, verify=True)
    assert result.digest_state == "verified"
    assert result.evidence == f"md5 published at {server.url}/models/net_a.md5"
    assert make_fetcher(tmp_path, offline=True).fetch(model, verify=True).digest_state == "verified"


def test_finds_the_digest_beside_the_file_of_a_mirror(server, tmp_path):
    server.put("mirror/net_a.pth", DATA)
    server.put("mirror/net_a.pth.md5", MD5.encode())
    fetcher = make_fetcher(tmp_path, extra_sources=[f"{server.url}/mirror"])
    assert fetcher.fetch(make_model(None), verify=True).digest_state == "verified"


def test_published_digest_that_appears_later_verifies_the_cached_file(server, tmp_path):
    model = make_model(None, sources=(server.put("net_a.pth", DATA),), digest_url=f"{server.url}/net_a.md5")
    assert make_fetcher(tmp_path).fetch(model).digest_state == "observed"
    server.put("net_a.md5", MD5.encode())
    assert make_fetcher(tmp_path).fetch(model, verify=True).digest_state == "verified"


def test_wrong_bytes_are_kept_aside_and_named(server, tmp_path):
    model = make_model(DATA, sources=(server.put("net_a.pth", DATA[::-1]),))
    fetcher = make_fetcher(tmp_path)
    with pytest.raises(IntegrityError, match=MD5):
        fetcher.fetch(model)
    rejected = fetcher.cache.root / "rejected" / "net_a" / "net_a.pth.rejected"
    assert rejected.read_bytes() == DATA[::-1]
    assert f"expected md5:{MD5}" in rejected.with_name("net_a.pth.rejected.txt").read_text()
    assert fetcher.cached(model) is None
    assert not leftovers(fetcher.cache)


def test_next_source_after_wrong_bytes(server, tmp_path):
    bad, good = server.put("bad/net_a.pth", DATA[::-1]), server.put("good/net_a.pth", DATA)
    result = make_fetcher(tmp_path).fetch(make_model(DATA, sources=(bad, good)), verify=True)
    assert result.source == good


@pytest.mark.parametrize("verify", [False, True])
def test_size_is_checked_before_the_bytes(server, tmp_path, verify):
    model = make_model(None, sources=(server.put("net_a.pth", DATA),), size_bytes=12)
    with pytest.raises(IntegrityError, match="has 300000 bytes, the registry knows 12"):
        make_fetcher(tmp_path).fetch(model, verify=verify)


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        ("html", NetworkError, 'an HTML page titled "Sign in to Airport WiFi"'),
        ("lfs", IntegrityError, "a Git LFS pointer for a file of 123 bytes"),
        ("empty", IntegrityError, "an empty file"),
        ("404", MissingError, "404 Not Found"),
        ("500", NetworkError, "500 Internal Server Error"),
        ("redirect-loop", NetworkError, "redirects in a circle"),
        ("reset", NetworkError, "closed connection without response"),
        ("stall", NetworkError, "timed out"),
        ("wrong-bytes", IntegrityError, "gave other bytes"),
    ],
)
def test_fault_is_named(server, tmp_path, fault, error, words):
    server.faults = [Fault(fault, after=5, delay=5)]
    fetcher = make_fetcher(tmp_path)
    with pytest.raises(error, match=words) as caught:
        fetcher.fetch(make_model(DATA, sources=(server.put("net_a.pth", DATA),)))
    assert f"{server.url}/net_a.pth" in caught.value.message
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "faults",
    [
        [Fault("cut", after=100_000)],
        [Fault("cut", after=100_000, times=2), Fault("no-validators")],
        [Fault("cut", after=100_000, times=2), Fault("ignore-range")],
        [Fault("cut", after=100_000, times=2), Fault("200-for-206")],
        [Fault("cut", after=100_000, times=2), Fault("bad-range")],
        [Fault("cut", after=100_000, times=1), Fault("chunked")],
        [Fault("cut", after=100_000, times=1), Fault("no-length")],
        [Fault("stall", after=100_000, delay=3)],
        [Fault("500", times=2)],
        [Fault("429", times=1, delay=1)],
        [Fault("gzip")],
        [Fault("gzip"), Fault("cut", after=5000, times=1)],
        [Fault("redirect")],
        [Fault("no-length")],
        [Fault("length-long", times=1)],
        [Fault("new-etag", times=2), Fault("cut", after=100_000, times=2)],
    ],
    ids=lambda faults: "+".join(f.name for f in faults),
)
@pytest.mark.parametrize("known", ["md5", ""])
def test_fault_is_survived(server, tmp_path, faults, known):
    server.faults = faults
    model = make_model(DATA, known, sources=(server.put("net_a.pth", DATA),))
    if not known and {f.name for f in faults} >= {"cut", "no-length"}:
        # Without a length or a digest only the format can tell that the stream was cut.
        model = make_model(None, name="net_a.json", sources=(server.put("net_a.json", JSON),))
        assert make_fetcher(tmp_path).fetch(model).path.read_bytes() == JSON
        return
    result = make_fetcher(tmp_path).fetch(model)
    assert result.path.read_bytes() == DATA


def test_resumes_where_another_fetcher_stopped(server, tmp_path):
    server.faults = [Fault("cut", after=200_000, times=1)]
    model = make_model(DATA, sources=(server.put("net_a.pth", DATA),))
    with pytest.raises(NetworkError, match="closed after 200000 of 300000 bytes"):
        make_fetcher(tmp_path, policy=NetworkPolicy(attempts=1)).fetch(model)
    server.requests.clear()
    result = make_fetcher(tmp_path).fetch(model, verify=True)
    assert result.path.read_bytes() == DATA
    assert [r.headers.get("Range") for r in server.requests] == ["bytes=200000-"]
    assert server.requests[0].headers["If-Range"].strip('"') == MD5


def test_no_source_at_all(tmp_path):
    with pytest.raises(MissingError, match="has no source"):
        make_fetcher(tmp_path).fetch(make_model(None))


def test_folder_laid_out_like_the_host(tmp_path):
    path = tmp_path / "mirror" / "sem_seg" / "models" / "net_a.pth"
    path.parent.mkdir(parents=True)
    path.write_bytes(DATA)
    model = make_model(DATA, sources=("https://127.0.0.1:9/bdd100k/sem_seg/models/net_a.pth",))
    fetcher = make_fetcher(tmp_path, extra_sources=[str(tmp_path / "mirror")], offline=True)
    assert fetcher.fetch(model, verify=True).source == str(path)


@pytest.mark.parametrize("how", [{"verify": True}, {"rehash": True}])
def test_changed_cached_file_is_found_even_with_size_and_time_kept(server, tmp_path, how):
    model = make_model(DATA, sources=(server.put("net_a.pth", DATA),))
    path = make_fetcher(tmp_path).fetch(model).path
    change(path)
    with pytest.raises(IntegrityError, match="was changed since"):
        make_fetcher(tmp_path).fetch(model, **how)
    assert not path.exists()
    assert make_fetcher(tmp_path).fetch(model, verify=True).path.read_bytes() == DATA


def test_changed_cached_file_is_said_to_be_changed(server, tmp_path):
    from tests.artifacts.test_faults import Notes

    model = make_model(DATA, sources=(server.put("net_a.pth", DATA),))
    path = make_fetcher(tmp_path).fetch(model).path
    path.chmod(0o644)
    path.write_bytes(DATA[:-1])
    notes = Notes()
    with pytest.raises(MissingError, match="not in the cache"):
        make_fetcher(tmp_path, offline=True, progress=notes).fetch(model)
    assert "was changed since it was fetched and has been moved to" in notes.texts[0]


def test_file_of_a_version_that_did_not_wait_for_the_disk_is_hashed_again_once(server, tmp_path):
    from dataclasses import replace

    model = make_model(DATA, sources=(server.put("net_a.pth", DATA),))
    fetcher = make_fetcher(tmp_path)
    path = fetcher.fetch(model).path
    entry = fetcher.cache.entry("net_a", "weights")
    fetcher.cache.write_entry(replace(entry, boot="an earlier one"))
    assert make_fetcher(tmp_path, offline=True).fetch(model).path == path
    assert fetcher.cache.entry("net_a", "weights").boot is None
    # What a power cut leaves: right size and time, zeros inside.
    fetcher.cache.write_entry(replace(entry, boot="an earlier one"))
    path.chmod(0o644)
    path.write_bytes(bytes(len(DATA)))
    os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns))
    assert make_fetcher(tmp_path).fetch(model).path.read_bytes() == DATA


def test_fetch_imports_no_networks():
    import subprocess
    import sys

    code = (
        "import sys, bddzoo.artifacts, bddzoo.artifacts.http; "
        "print([m for m in ('torch', 'numpy', 'cv2') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
