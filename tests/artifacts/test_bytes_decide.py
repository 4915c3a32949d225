"""Digests, sizes and the bytes themselves decide what a file is, not what a server says of it."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import math
import pickle
import re
import socket
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bddzoo.artifacts.download import SPARE_BYTES
from bddzoo.artifacts.fetcher import FetchJob, fetch_all
from bddzoo.artifacts.http import retry_after_s
from bddzoo.artifacts.verification import CodingError, Inflater, cut_short
from bddzoo.errors import BddzooError, ExitCode, IntegrityError, NetworkError
from bddzoo.registry.model import Digest, Model
from tests.artifacts.conftest import small_disk
from tests.artifacts.registry import weights, write_registry
from tests.artifacts.zoo import leftovers, make_bytes, make_fetcher, make_model
from tests.cli.command import assert_one_line
from tests.support.loopback import Loopback
from tests.support.raw import RawServer

DATA = make_bytes(60_000)
HALF = len(DATA) // 2
FORMS = {
    "as it is": DATA,
    "gzip": gzip.compress(DATA, 1),
    "members": gzip.compress(DATA[:HALF]) + gzip.compress(DATA[HALF:]),
    "padded": gzip.compress(DATA) + bytes(1000),
    "zlib": zlib.compress(DATA),
}
LABELS = [None, "", "identity", "gzip", "x-gzip", "GZIP", "deflate", "aws-chunked", "UTF-8", "none", "binary",
          "identity, aws-chunked", "gzip, aws-chunked", "br", "gzip, br"]  # fmt: skip


def answer(body: bytes, *headers: str, status: str = "200 OK", length: bool = True) -> bytes:
    """An answer of HTTP as it is sent."""
    lines = [f"HTTP/1.1 {status}", *headers]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


@contextmanager
def served(sent: bytes, data: bytes | None = None, known: str = "", name: str = "x.bin") -> Iterator[Model]:
    """A model whose file a server answers with these bytes for; what is known of it is that of `data`."""
    with RawServer({f"/{name}": sent}) as server:
        yield make_model(data, known, name=name, sources=(f"{server.url}/{name}",))


class AnyServer(Loopback):
    """Answers requests for `file` with what a function makes of the first byte that is asked for, or None."""

    def __init__(self, respond) -> None:
        self.respond = respond
        self.ranges: list[int | None] = []
        super().__init__()

    def serve(self, client: socket.socket) -> None:
        with client:
            head = client.recv(1 << 16).decode("latin-1")
            found = re.search(r"^range: bytes=(\d+)-", head, re.IGNORECASE | re.MULTILINE)
            start = int(found[1]) if found else None
            if ".md5" in head.split("\r\n")[0]:
                client.sendall(answer(b"", status="404 Not Found"))
                return
            self.ranges.append(start)
            try:
                for piece in self.respond(start):
                    client.sendall(piece)
                client.shutdown(socket.SHUT_WR)
                client.settimeout(5)
                while client.recv(1 << 16):
                    pass
            except OSError:
                return


@pytest.fixture(scope="module")
def server():
    """Each form of the data under each label."""
    answers = {}
    for number, label in enumerate(LABELS):
        for form, body in FORMS.items():
            headers = [] if label is None else [f"Content-Encoding: {label}"]
            answers[f"/{number}/{form.replace(' ', '-')}/x.bin"] = answer(body, *headers)
    with RawServer(answers) as server:
        yield server


class TestReadings:
    """A body is right if it fits in one of its readings, whatever it is called."""

    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("known", ["digest", "digest and size", "size", "digest of what is sent"])
    def test_what_is_known_decides(self, server, tmp_path, form, known):
        sent = FORMS[form]
        for number, label in enumerate(LABELS):
            url = f"{server.url}/{number}/{form.replace(' ', '-')}/x.bin"
            if known == "digest of what is sent":
                model = make_model(sent, "sha256", name="x.bin", sources=(url,))
            else:
                digest, size = "digest" in known, "size" in known
                words = f"{'md5' if digest else ''} {'size' if size else ''}"
                model = make_model(DATA, words, name="x.bin", sources=(url,))
            fetcher = make_fetcher(tmp_path / str(number))
            # What is called neither gzip nor deflate and is zlib looks like any other bytes.
            expected = sent if known == "digest of what is sent" else DATA
            if form == "zlib" and expected is DATA and label != "deflate":
                with pytest.raises(IntegrityError):
                    fetcher.fetch(model)
            else:
                assert fetcher.fetch(model).path.read_bytes() == expected, label
            assert not leftovers(fetcher.cache)

    @pytest.mark.parametrize("form", FORMS)
    def test_where_nothing_is_known_the_label_counts_if_it_can_be_true(self, server, tmp_path, form):
        for number, label in enumerate(LABELS):
            url = f"{server.url}/{number}/{form.replace(' ', '-')}/x.bin"
            fetcher = make_fetcher(tmp_path / str(number))
            model = make_model(None, name="x.bin", sources=(url,))
            words = (label or "").lower()
            if "br" in words:
                with pytest.raises(IntegrityError, match="which was not asked for"):
                    fetcher.fetch(model)
                continue
            labelled = "gzip" in words or "deflate" in words
            compressed = form not in ("as it is", "zlib") or (form == "zlib" and "deflate" in words)
            expected = DATA if labelled and compressed else FORMS[form]
            assert fetcher.fetch(model).path.read_bytes() == expected, label

    def test_a_file_that_is_gzip_by_name_stays_so(self, tmp_path):
        body = gzip.compress(DATA)
        with served(answer(body, "Content-Encoding: x-gzip"), name="x.tar.gz") as model:
            assert make_fetcher(tmp_path).fetch(model).path.read_bytes() == body

    @pytest.mark.parametrize("label", ["Content-Encoding: gzip", "X-Nothing: x"])
    def test_all_readings_are_named_where_none_fits(self, tmp_path, label):
        other = make_bytes(5000, 9)
        sent = gzip.compress(other)
        with served(answer(sent, label), DATA, "md5") as model, pytest.raises(IntegrityError) as caught:
            make_fetcher(tmp_path).fetch(model)
        for content in (sent, other):
            assert hashlib.md5(content).hexdigest() in caught.value.message
        assert "as it was sent" in caught.value.message
        assert "without its gzip coding" in caught.value.message

    def test_a_page_in_gzip_is_a_page(self, tmp_path):
        page = gzip.compress(b"<!doctype html><title>Sign in</title>" + b" " * 5000)
        refusal = pytest.raises(NetworkError, match='an HTML page titled "Sign in"')
        with served(answer(page, "Content-Encoding: gzip")) as model, refusal:
            make_fetcher(tmp_path).fetch(model)

    @pytest.mark.parametrize("length", [True, False])
    @pytest.mark.parametrize("tail", [b"evil" * 50_000, b"\x1f", b"\x1f\x8b\x08 not gzip", b"\0" * 8 + b"x"])
    def test_bytes_behind_the_coding_are_refused(self, tmp_path, tail, length):
        body = gzip.compress(DATA) + tail
        with served(answer(body, "Content-Encoding: gzip", length=length)) as model:
            with pytest.raises((IntegrityError, NetworkError), match="gzip coding"):
                make_fetcher(tmp_path).fetch(model)
            assert not leftovers(make_fetcher(tmp_path).cache)

    def test_a_coding_that_unfolds_without_end_stops_at_the_size(self, tmp_path):
        body = gzip.compress(bytes(50_000_000), 9)
        with served(answer(body, "Content-Encoding: gzip"), DATA, "md5 size") as model:
            with pytest.raises(IntegrityError, match="more than 60000 bytes"):
                make_fetcher(tmp_path).fetch(model)
            assert not leftovers(make_fetcher(tmp_path).cache)

    def test_status_203_brings_the_file(self, tmp_path):
        with served(answer(DATA, status="203 Non-Authoritative Information"), DATA, "sha256") as model:
            assert make_fetcher(tmp_path).fetch(model, verify=True).digest_state == "verified"

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.binary(max_size=3000), min_size=1, max_size=6), st.integers(1, 5000), st.data())
    def test_inflating_is_what_gzip_does_however_it_is_cut(self, members, step, data):
        body = b"".join(map(gzip.compress, members)) + bytes(data.draw(st.integers(0, 50)))

        def inflate(sent: bytes) -> bytes:
            inflater = Inflater()
            pieces = [p for at in range(0, len(sent), step) for p in inflater.feed(sent[at : at + step])]
            return b"".join([*pieces, inflater.end()])

        assert inflate(body) == gzip.decompress(body) == b"".join(members)
        ends = {sum(len(gzip.compress(m)) for m in members[:n]) for n in range(1, len(members) + 1)}
        cut = data.draw(st.integers(0, max(ends) - 1))
        if cut not in ends:
            with pytest.raises(CodingError):
                inflate(body[:cut])


class TestRanges:
    @pytest.mark.parametrize(
        "status",
        [204, 302, 304, 400, 401, 403, 404, 405, 406, 410, 412, 416, 418, 429, 500, 501, 502, 503, 504, 599],
    )
    @pytest.mark.parametrize("known", ["md5", ""])
    def test_a_server_that_refuses_ranges_is_asked_plainly(self, tmp_path, status, known):
        """The first answer is cut; whatever a range is answered with, the next file comes whole."""

        def respond(start):
            if start is not None:
                return [answer(b"", 'ETag: "1"', status=f"{status} No")]
            whole = answer(DATA, 'ETag: "1"')
            return [whole[:-HALF] if len(server.ranges) == 1 else whole]

        with AnyServer(respond) as server:
            model = make_model(DATA, known, sources=(f"{server.url}/net_a.pth",))
            assert make_fetcher(tmp_path).fetch(model).path.read_bytes() == DATA
        assert server.ranges == [None, HALF, None]


class TestCompleteness:
    ZIP = io.BytesIO()
    with zipfile.ZipFile(ZIP, "w") as archive:
        for number in range(5):
            archive.writestr(f"archive/data/{number}", make_bytes(3000, number))
    WHOLE = ZIP.getvalue()

    @settings(max_examples=60, deadline=None)
    @given(st.integers(4, len(WHOLE) - 1))
    def test_a_zip_cut_anywhere_is_seen(self, tmp_path_factory, size):
        path = tmp_path_factory.mktemp("z") / "x.pth"
        path.write_bytes(self.WHOLE)
        assert cut_short(path, "x.pth") is None
        path.write_bytes(self.WHOLE[:size])
        assert cut_short(path, "x.pth") is not None

    def test_a_zip_in_a_zip_does_not_hide_a_cut(self, tmp_path):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr("inner.zip", self.WHOLE)
            archive.writestr("more", b"x" * 500)
        path = tmp_path / "x.zip"
        path.write_bytes(out.getvalue()[: out.getvalue().index(b"more") + 100])
        assert cut_short(path, "x.zip") is not None

    @pytest.mark.parametrize("length", [True, False])
    @pytest.mark.parametrize("size", [5000, len(WHOLE) - 1])
    def test_a_cut_file_is_refused_however_often_it_is_asked_for(self, tmp_path, length, size):
        """A server that has a cut file, or closes too early: refused each time until the file is whole."""
        body = [self.WHOLE[:size]]

        def respond(start):
            sent = body[0][start or 0 :]
            if start is None:
                return [answer(sent, 'ETag: "1"', length=length)]
            if not sent:
                return [answer(b"", f"Content-Range: bytes */{len(body[0])}", status="416 No")]
            span = f"Content-Range: bytes {start}-{len(body[0]) - 1}/{len(body[0])}"
            return [answer(sent, 'ETag: "1"', span, status="206 Partial")]

        with AnyServer(respond) as server:
            model = make_model(None, sources=(f"{server.url}/net_a.pth",))
            for force in (False, False, True):
                fetcher = make_fetcher(tmp_path, force=force)
                with pytest.raises(IntegrityError, match="cut short"):
                    fetcher.fetch(model)
                assert not leftovers(fetcher.cache)
            body[0] = self.WHOLE
            assert make_fetcher(tmp_path).fetch(model).path.read_bytes() == self.WHOLE


class TestPickles:
    """Checkpoints of before PyTorch 1.6, and plain pickles, where nothing but their form shows the end."""

    @pytest.fixture
    def legacy(self):
        torch = pytest.importorskip("torch")
        shared = torch.arange(50, dtype=torch.float64)
        state = {
            "w": torch.ones(40, 5),
            "h": torch.ones(7).half(),
            "n": torch.tensor(3),
            "a": shared,
            "b": shared,
        }
        out = io.BytesIO()
        torch.save({"state_dict": state}, out, _use_new_zipfile_serialization=False)
        return out.getvalue()

    def test_a_checkpoint_cut_anywhere_is_seen(self, legacy, tmp_path):
        path = tmp_path / "x.pth"
        path.write_bytes(legacy)
        assert cut_short(path, "x.pth") is None
        for size in {*range(400, len(legacy), 37), len(legacy) - 1}:
            path.write_bytes(legacy[:size])
            assert cut_short(path, "x.pth") is not None, size

    @settings(max_examples=60, deadline=None)
    @given(
        st.dictionaries(st.text(max_size=8), st.lists(st.floats() | st.integers() | st.binary()), min_size=9),
        st.sampled_from([2, 3, 4, 5]),
        st.data(),
    )
    def test_a_pickle_cut_anywhere_is_seen(self, tmp_path_factory, value, protocol, data):
        path = tmp_path_factory.mktemp("p") / "x.pkl"
        whole = pickle.dumps(value, protocol)
        path.write_bytes(whole)
        assert cut_short(path, "x.pkl") is None
        path.write_bytes(whole[: data.draw(st.integers(max(80, len(whole) // 2), len(whole) - 1))])
        assert cut_short(path, "x.pkl") is not None

    @settings(max_examples=100, deadline=None)
    @given(st.binary(max_size=300))
    def test_what_is_not_a_pickle_is_not_judged(self, tmp_path_factory, data):
        path = tmp_path_factory.mktemp("n") / "x.pth"
        path.write_bytes(b"\x80\x02\xff" + data)
        assert cut_short(path, "x.pth") is None


class TestWaits:
    @settings(max_examples=300, deadline=None)
    @given(
        st.one_of(
            st.text(),
            st.integers().map(str),
            st.integers(1, 6000).map(lambda n: "9" * n),
            st.from_regex(r"(Mon|Fri)?,? ?[0-9]{1,30} (Jan|Dec|Foo) [0-9]{1,9} [0-9:]{0,12} [+-][0-9]{1,20}"),
            st.from_regex(r"[A-Za-z]{3}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT"),
        )
    )
    def test_retry_after_of_any_form_is_a_number_of_seconds_or_none(self, text):
        found = retry_after_s(text)
        assert found is None or (found >= 0 and math.isfinite(found))

    def test_a_long_one_fails_the_source_and_not_the_run(self, tmp_path):
        busy = answer(b"", f"Retry-After: {'9' * 400}", status="503 Busy")
        with RawServer({"/bad.pth": busy, "/good.pth": answer(DATA)}) as server:
            models = [
                make_model(DATA, model_id=name, sources=(f"{server.url}/{name}.pth",))
                for name in ("bad", "good")
            ]
            bad, good = fetch_all(make_fetcher(tmp_path, jobs=1), [FetchJob(m, "weights") for m in models])
        assert isinstance(bad.error, NetworkError)
        assert "asks to come back in more than a day" in bad.error.message
        assert good.result is not None

    def test_a_bug_in_one_file_does_not_end_the_others(self, tmp_path):
        def broken(path):
            raise ZeroDivisionError("not foreseen")

        with RawServer({f"/{n}.pth": answer(DATA) for n in ("one", "two")}) as server:
            tensors = Digest("tensors", "0" * 64, "published")
            one = make_model(None, model_id="one", sources=(f"{server.url}/one.pth",), digests=(tensors,))
            two = make_model(DATA, model_id="two", sources=(f"{server.url}/two.pth",))
            fetcher = make_fetcher(tmp_path, jobs=1, tensors=broken)
            first, second = fetch_all(fetcher, [FetchJob(m, "weights") for m in (one, two)])
        assert isinstance(first.error, BddzooError)
        assert first.error.exit_code == ExitCode.BUG
        assert "bug: ZeroDivisionError: not foreseen" in first.error.message
        assert second.result is not None


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk", "40m") as folder:
        yield folder


HEADERS = {"close": [], "chunked": ["Transfer-Encoding: chunked"], "gzip": ["Content-Encoding: gzip"]}


@pytest.mark.parametrize("kind", HEADERS)
def test_a_body_without_end_leaves_room_and_nothing_else(disk, kind):
    import shutil

    least = [1 << 40]
    block = make_bytes(1 << 20)
    bomb = gzip.compress(bytes(400_000_000), 1) if kind == "gzip" else b""

    def respond(start):
        yield answer(b"", 'ETag: "1"', *HEADERS[kind], length=False)
        if kind == "gzip":
            yield bomb
            return
        while True:
            yield b"100000\r\n" + block + b"\r\n" if kind == "chunked" else block
            least[0] = min(least[0], shutil.disk_usage(disk).free)

    with AnyServer(respond) as server:
        fetcher = make_fetcher(disk)
        with pytest.raises(BddzooError, match="the disk is full"):
            fetcher.fetch(make_model(None, name="x.bin", sources=(f"{server.url}/x.bin",)))
    assert least[0] >= SPARE_BYTES - (2 << 20), "as far as it can be seen from here"
    assert not leftovers(fetcher.cache)
    assert shutil.disk_usage(disk).free > 39 << 20


class TestPrefix:
    """The first digits of a digest are a hint: not a proof, and not nothing."""

    @pytest.fixture
    def registry(self, tmp_path):
        digits = hashlib.sha256(DATA).hexdigest()[:8]
        name = f"net-{digits}.pth"
        with RawServer({f"/{name}": answer(DATA)}) as server:
            entry = weights(name, f"{server.url}/{name}", digests=[f"sha256:{digits} filename"])
            yield write_registry(tmp_path / "registry.yaml", {"net": entry})

    def test_verify_takes_it_only_when_told_to(self, registry, run):
        done = run("fetch", "net", "--format", "json")
        assert json.loads(done.stdout)[0]["digest_state"] == "prefix"
        assert "only the first digits of a digest are known" in done.stderr
        assert_one_line(run("fetch", "net", "--verify"), 6, "first 8 digits of the sha256", "--accept-prefix")
        done = run("fetch", "net", "--verify", "--accept-prefix")
        assert done.returncode == 0
        assert "  prefix  " in done.stdout
        assert_one_line(run("fetch", "net", "--accept-prefix"), 2, "--verify")
        assert "first digits only" in run("info", "net").stdout

    def test_adopted_weights_are_no_more_than_that(self, registry, run, tmp_path):
        path = tmp_path / f"net-{hashlib.sha256(DATA).hexdigest()[:8]}.pth"
        path.write_bytes(DATA)
        assert_one_line(run("adopt", path, "--verify"), 6, "first 8 digits of the sha256")
        assert json.loads(run("adopt", path, "--format", "json").stdout)[0]["digest_state"] == "prefix"

    def test_another_file_is_still_refused(self, registry, run, tmp_path):
        path = tmp_path / f"net-{hashlib.sha256(DATA).hexdigest()[:8]}.pth"
        path.write_bytes(DATA[:-1] + b"?")
        assert_one_line(run("adopt", path), 6, "has the name of net's weights")


def test_health_tells_a_page_from_a_file(tmp_path, run):
    page = b"<!DOCTYPE html><html><title>Parked</title></html>"
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7\n"
    bodies = {"good": DATA, "page": page, "lfs": pointer, "empty": b"", "small": b"x"}
    kind = "Content-Type: application/octet-stream"
    answers = {f"/{name}.pth": answer(body, kind) for name, body in bodies.items()}
    with RawServer(answers) as server:
        models = {name: weights(f"{name}.pth", f"{server.url}/{name}.pth") for name in bodies}
        write_registry(tmp_path / "registry.yaml", models)
        done = run("registry", "health", "--format", "json")
    found = {p["url"].rpartition("/")[2]: p for p in json.loads(done.stdout)["probes"]}
    states = {name.removesuffix(".pth"): p["state"] for name, p in found.items()}
    assert states == {
        "good": "alive",
        "small": "alive",
        "page": "failing",
        "lfs": "failing",
        "empty": "failing",
    }
    assert 'an HTML page titled "Parked"' in found["page.pth"]["note"]
