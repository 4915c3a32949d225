"""The pieces of fetch one by one, with what must hold for any input."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bddzoo.artifacts import hash_file, verify_file
from bddzoo.artifacts.cache import Cache, check_name, safe
from bddzoo.artifacts.digests import StreamHasher, parse_digest_file
from bddzoo.artifacts.http import retry_after_s
from bddzoo.artifacts.sources import Locator, digest_urls, relative_paths, split_sources
from bddzoo.artifacts.streams import NetworkPolicy, SourceError
from bddzoo.artifacts.verification import cut_short, wrong_content
from bddzoo.errors import IntegrityError, MissingError, UsageError
from bddzoo.files import copy_whole, format_size, free_bytes, link_or_copy, write_whole
from bddzoo.registry.model import Artifact, Digest
from tests.artifacts.zoo import make_bytes, make_fetcher, make_model
from tests.support.server import Server

MD5 = "0123456789abcdef0123456789abcdef"


class TestDigests:
    @settings(max_examples=40, deadline=None)
    @given(st.lists(st.one_of(st.binary(max_size=50), st.integers(0, 300_000).map(bytes)), max_size=12))
    def test_stream_equals_hashlib_however_it_is_cut(self, pieces):
        hasher, marks = StreamHasher(), []
        for piece in pieces:
            hasher.update(piece)
            hasher.mark(lambda size, digest: marks.append((size, digest)))
        whole = b"".join(pieces)
        found = hasher.finish()
        assert (found.md5, found.sha256) == (
            hashlib.md5(whole).hexdigest(),
            hashlib.sha256(whole).hexdigest(),
        )
        assert found.size_bytes == len(whole)
        assert marks == [(n, hashlib.sha256(whole[:n]).hexdigest()) for n, _ in marks]
        assert len(marks) == len(pieces)

    @settings(max_examples=150, deadline=None)
    @given(
        digest=st.one_of(
            st.text("0123456789abcdefABCDEF", min_size=32, max_size=32),
            st.text("0123456789abcdefABCDEF", min_size=64, max_size=64),
        ),
        form=st.sampled_from(
            [
                "{d}",
                "{d}  {n}",
                "{d} *{n}",
                "\\{d}  {n}",
                "{d}\t{n}",
                "{d}  /data/x/{n}",
                "{d}  C:\\x\\{n}",
                "{b}",
            ]
        ),
        name=st.sampled_from(["net.pth", "deeplabv3+_r50.pth", "with space.pth"]),
        end=st.sampled_from(["", "\n", "\r\n", "\r\n\r\n", " \n"]),
        encoding=st.sampled_from(["utf-8", "utf-8-sig"]),
    )
    def test_published_forms(self, digest, form, name, end, encoding):
        kind = "MD5" if len(digest) == 32 else "SHA256"
        text = form.format(d=digest, n=name, b=f"{kind} ({name}) = {digest}") + end
        found = parse_digest_file(text.encode(encoding), name)
        assert found is not None
        assert found.hex == digest.lower()
        assert found.algorithm == kind.lower()

    @settings(max_examples=200, deadline=None)
    @given(st.binary(max_size=200))
    def test_noise_is_no_digest(self, data):
        found = parse_digest_file(data, "net.pth")
        assert found is None or found.hex.encode() in data.lower().replace(b"\0", b"")

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "not found",
            MD5[:-1],
            MD5 + "0",
            f"{MD5}  a.pth\n{MD5[::-1]}  b.pth\n",
            f"{MD5}  net.pth\n{MD5[::-1]}  net.pth\n",
            f"<html>{MD5}</html>",
        ],
    )
    def test_doubt_is_no_digest(self, text):
        assert parse_digest_file(text.encode(), "net.pth") is None

    def test_hash_file(self, tmp_path):
        data = make_bytes(3_000_000)
        path = tmp_path / "x"
        path.write_bytes(data)
        assert hash_file(path) == {
            "md5": hashlib.md5(data).hexdigest(),
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        seen: list[int] = []
        found = hash_file(path, ("md5",), each=seen.append)
        assert found == {"md5": hashlib.md5(data).hexdigest()}
        assert sum(seen) == 3_000_000


class TestVerifyFile:
    def test_says_what_it_is(self, tmp_path):
        path = tmp_path / "net.pth"
        path.write_bytes(b"weights")
        digest = hashlib.md5(b"weights").hexdigest()

        def artifact(*digests, **fields):
            return Artifact("weights", "net.pth", digests=digests, **fields)

        assert verify_file(path, artifact()) == "unknown"
        assert verify_file(path, artifact(Digest("md5", digest, "published"))) == "verified"
        assert verify_file(path, artifact(Digest("md5", digest[:8], "filename"))) == "prefix"
        assert verify_file(path, artifact(Digest("md5", digest[:6], "filename"))) == "unknown"
        with pytest.raises(IntegrityError, match="expected 0123"):
            verify_file(path, artifact(Digest("md5", MD5, "published")))
        with pytest.raises(IntegrityError, match="has 7 bytes, the registry knows 8"):
            verify_file(path, artifact(size_bytes=8))
        path.write_bytes(b"<!doctype html><title>Not &amp; found</title>")
        with pytest.raises(IntegrityError, match='an HTML page titled "Not & found"'):
            verify_file(path, artifact())
        with pytest.raises(MissingError, match="cannot be read"):
            verify_file(tmp_path / "gone", artifact())


class TestSniff:
    @pytest.mark.parametrize(
        ("head", "words"),
        [
            (b"", "an empty file"),
            (
                b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7\n",
                "a Git LFS pointer for a file of 7",
            ),
            (b"\xef\xbb\xbf\n <!DOCTYPE HTML><title>x", "an HTML page"),
            (b"<HTML><HEAD><TITLE>\n404 Not\n Found</TITLE>", 'titled "404 Not Found"'),
            (b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code>', "an XML error message (NoSuchKey)"),
        ],
    )
    def test_names_what_it_is(self, head, words):
        assert words in (wrong_content(head, "net.pth") or "")

    @pytest.mark.parametrize("head", [b"PK\x03\x04", b"\x80\x02}q", b'{"a": 1}', b"_base_ = [", b"\x89PNG"])
    def test_leaves_files_alone(self, head):
        assert wrong_content(head, "net.pth") is None

    def test_leaves_html_alone_where_html_is_wanted(self):
        assert wrong_content(b"<!doctype html>", "index.html") is None

    def test_cut_files(self, tmp_path):
        path = tmp_path / "x"
        for data, name, cut in [
            (b'[1, 2, 3', "x.json", True),
            (b'[1, 2, 3]\n', "x.json", False),
            (b"PK\x03\x04 and no directory", "x.pth", True),
            (b"PK\x03\x04 PK\x05\x06" + bytes(12) + b"\x05" + bytes(5), "x.zip", False),
            (b"\x80\x02 legacy", "x.pth", False),
        ]:  # fmt: skip
            path.write_bytes(data)
            assert (cut_short(path, name) is not None) == cut, data


class TestLocate:
    MODEL = make_model(
        None,
        model_id="deeplabv3+_x",
        sources=("https://host/bdd100k/sem_seg/models/deeplabv3+_x.pth",),
        digest_url="https://host/bdd100k/sem_seg/models/deeplabv3+_x.md5",
    )

    def test_addresses_at_a_mirror(self):
        artifact = self.MODEL.artifacts[0]
        place = next(iter(Locator(["https://mirror/a/"]).sources(self.MODEL, artifact)))
        assert place.urls == (
            "https://mirror/a/deeplabv3%2B_x.pth",
            "https://mirror/a/testzoo/sem_seg/deeplabv3%2B_x.pth",
            "https://mirror/a/testzoo/sem_seg/weights/deeplabv3%2B_x.pth",
            "https://mirror/a/weights/deeplabv3%2B_x.pth",
            "https://mirror/a/bdd100k/sem_seg/models/deeplabv3%2B_x.pth",
            "https://mirror/a/sem_seg/models/deeplabv3%2B_x.pth",
            "https://mirror/a/models/deeplabv3%2B_x.pth",
        )

    def test_layout_that_answered_comes_first_for_the_next_file(self):
        artifact, locator = self.MODEL.artifacts[0], Locator(["https://mirror"])
        place = next(iter(locator.sources(self.MODEL, artifact)))
        locator.remember(place, place.urls[-1])
        assert next(iter(locator.sources(self.MODEL, artifact))).urls[0] == place.urls[-1]

    def test_digest_lies_at_the_zoo_or_beside_the_file(self):
        artifact = self.MODEL.artifacts[0]
        place = next(iter(Locator(["https://mirror"]).sources(self.MODEL, artifact)))
        urls = digest_urls(self.MODEL, artifact, place, "https://mirror/q/deeplabv3%2B_x.pth?v=1")
        assert urls[:3] == [
            artifact.digest_url,
            "https://mirror/q/deeplabv3%2B_x.pth.md5?v=1",
            "https://mirror/q/deeplabv3%2B_x.md5?v=1",
        ]
        assert "https://mirror/sem_seg/models/deeplabv3%2B_x.md5" in urls

    @given(st.text(max_size=60))
    def test_no_url_leads_out_of_a_folder(self, tail):
        model = make_model(None, sources=(f"https://host/{tail}",))
        for _, path in relative_paths(model, model.artifacts[0]):
            assert not path.startswith("/")
            assert ".." not in Path(path).parts

    def test_sources_are_checked(self, tmp_path):
        for bad in ("ftp://x/y", "https://", str(tmp_path / "gone")):
            with pytest.raises(UsageError):
                Locator([bad])
        assert split_sources(" a,b  c,\n,d ") == ["a", "b", "c", "d"]


class TestSmallThings:
    def test_words_of_a_server_cannot_steer_the_terminal(self):
        error = SourceError('an HTML page titled "\x1b]0;mine\x07\x1b[2J\r\nerror: \u202egood"')
        assert error.text == 'an HTML page titled "?]0;mine??[2J error: ?good"'

    @given(st.text(min_size=1, max_size=40))
    def test_any_id_is_one_folder(self, word):
        word = word.encode("utf-8", "ignore").decode()
        folder = safe(word or "x")
        assert unquote(folder) == (word or "x")
        assert "/" not in folder
        assert not folder.startswith(".")

    @pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", ".hidden", "a\0b", "x" * 201])
    def test_names_that_are_paths_are_refused(self, name):
        with pytest.raises(UsageError):
            check_name(name)

    def test_retry_after_forms(self):
        from email.utils import formatdate

        assert retry_after_s("7") == 7
        assert retry_after_s("-7") == 0
        assert 20 < (retry_after_s(formatdate(time.time() + 30, usegmt=True)) or 0) <= 31
        assert retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT") == 0
        assert retry_after_s("soon") is None
        assert retry_after_s(None) is None

    def test_waits_double_up_to_a_bound(self):
        manners = NetworkPolicy(backoff_s=1, backoff_max_s=8)
        for failures, bound in [(1, 1), (2, 2), (3, 4), (4, 8), (9, 8)]:
            waits = [manners.wait_s(failures) for _ in range(50)]
            assert bound / 2 <= min(waits) <= max(waits) <= bound
            assert len(set(waits)) > 1

    def test_sizes_for_people(self):
        sizes = [None, 0, 1023, 1024, 262_441_012, 2**30 - 1, 2**60]
        texts = ["unknown", "0 B", "1023 B", "1.0 KiB", "250.3 MiB", "1.0 GiB", "1048576.0 TiB"]
        assert [format_size(n) for n in sizes] == texts

    def test_files_are_written_whole(self, tmp_path):
        target = tmp_path / "a" / "b"
        write_whole(target, b"one")
        copy_whole(target, tmp_path / "c")
        assert link_or_copy(target, tmp_path / "d") in ("reflink", "hardlink", "copy")
        assert (tmp_path / "c").read_bytes() == (tmp_path / "d").read_bytes() == b"one"
        with pytest.raises(OSError, match="No such file"):
            copy_whole(tmp_path / "gone", tmp_path / "e")
        assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "c", "d"]
        assert free_bytes(tmp_path / "not" / "there") == free_bytes(tmp_path)

    def test_content_is_shared_between_models(self, tmp_path):
        data = make_bytes(1000)
        with Server() as server:
            one = make_model(data, model_id="one", sources=(server.put("x.pth", data),))
            two = make_model(data, model_id="two", sources=("http://127.0.0.1:9/x",))
            make_fetcher(tmp_path).fetch(one)
            result = make_fetcher(tmp_path, offline=True).fetch(two, verify=True)
        assert result.path.name == "two.pth"
        assert {e.model for e in Cache(tmp_path / "cache").entries()} == {"one", "two"}
