"""Unfinished downloads: only what is proven is resumed, and nobody writes into another's file."""

from __future__ import annotations

import hashlib
import json
import os
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bddzoo.artifacts.partial import (
    SILENCE_S,
    Partial,
    is_abandoned,
    note_path,
    open_partial,
    resumable_bytes,
    sweep_partials,
)
from bddzoo.artifacts.streams import Origin

ORIGIN = Origin("http://x/", etag='"1"')


def suspended(folder, data=b"data", origin=ORIGIN) -> Partial:
    """An unfinished download whose writer has gone."""
    partial = Partial(folder)
    partial.open(origin)
    partial.write(data)
    partial.suspend()
    return partial


class TestPartial:
    @settings(max_examples=40, deadline=None)
    @given(
        st.binary(min_size=1, max_size=4000),
        st.integers(0, 4000),
        st.sampled_from(["nothing", "append", "flip", "cut", "note", "gone"]),
        st.booleans(),
    )
    def test_only_proven_bytes_are_resumed(self, tmp_path_factory, data, at, damage, validator):
        folder = tmp_path_factory.mktemp("p")
        first = suspended(folder, data, Origin("http://x/", etag='"1"' if validator else None, total=9999))
        note = note_path(first.path)
        if damage == "append":
            first.path.write_bytes(data + b"tail")
        elif damage == "flip":
            changed = bytearray(data)
            changed[at % len(data)] ^= 1
            first.path.write_bytes(changed)
        elif damage == "cut":
            first.path.write_bytes(data[: at % len(data)])
        elif damage == "note":
            note.write_text("{")
        elif damage == "gone":
            first.path.unlink()
        second = open_partial(folder, trusted=False)
        whole = damage in ("nothing", "append") and validator
        assert second.size_bytes == (len(data) if whole else 0)
        second.open(second.origin)
        second.write(b"rest")
        hashes = second.finish()
        expected = (data if whole else b"") + b"rest"
        assert second.path.read_bytes() == expected
        assert hashes.sha256 == hashlib.sha256(expected).hexdigest()
        second.give(folder.parent / f"{folder.name}-done")
        sweep_partials(folder)
        left = list(folder.iterdir()) if folder.exists() else []
        # Data with a note that cannot be read may belong to a writer that is about to write it.
        assert left == ([] if damage != "note" else left)

    def test_live_writer_is_left_alone(self, tmp_path):
        alive = Partial(tmp_path)
        alive.open(ORIGIN)
        alive.write(b"data")
        other = open_partial(tmp_path, trusted=True)
        assert other.size_bytes == 0
        sweep_partials(tmp_path)
        assert alive.path.exists()

    def test_nobody_writes_into_the_file_of_another(self, tmp_path):
        first = suspended(tmp_path)
        with first.path.open("rb") as held:
            second = open_partial(tmp_path, trusted=True)
            assert (second.size_bytes, second.continued) == (4, True)
            second.open(second.origin)
            second.write(b" and more")
            assert second.path != first.path
            assert second.path.read_bytes() == b"data and more"
            assert held.read() == b"data"
        assert not first.path.exists(), "its bytes are not kept twice"

    def test_a_writer_whose_file_was_swept_away_finds_out(self, tmp_path, monkeypatch):
        """As on a file system where locks do nothing: the slower writer loses its file."""
        monkeypatch.setattr("bddzoo.artifacts.partial._lock", lambda fd: True)
        slow, fast = Partial(tmp_path / "p"), Partial(tmp_path / "p")
        for partial in (slow, fast):
            partial.open(ORIGIN)
            partial.write(b"data")
            partial.finish()
        fast.give(tmp_path / "done")
        sweep_partials(tmp_path / "p")
        assert not slow.path.exists()
        slow.write(b" goes on")
        with pytest.raises(FileNotFoundError):
            slow.give(tmp_path / "slow")
        assert (tmp_path / "done").read_bytes() == b"data"

    def test_where_locks_are_not_known_age_decides(self, tmp_path, monkeypatch):
        monkeypatch.setattr("bddzoo.artifacts.partial._lock", lambda fd: None)
        first = suspended(tmp_path)
        assert open_partial(tmp_path, trusted=True).size_bytes == 0, "somebody may write to it"
        old = time.time() - SILENCE_S - 10
        os.utime(first.path, (old, old))
        assert open_partial(tmp_path, trusted=True).size_bytes == 4

    def test_notes_of_earlier_versions_are_read(self, tmp_path):
        first = suspended(tmp_path)
        note = json.loads(note_path(first.path).read_text())
        del note["origin"]["coding"]
        note |= {"host": "elsewhere pid:[4026531836]", "pid": 17, "started": "4711"}
        note_path(first.path).write_text(json.dumps(note))
        assert open_partial(tmp_path, trusted=False).size_bytes == 4

    @pytest.mark.parametrize(
        "change",
        [
            {"size": "4"}, {"size": -4}, {"size": 1.5}, {"size": 10**30},
            {"sha256": 5}, {"sha256": None}, {"origin": []}, {"origin": {"etag": 5}},
            {"origin": {"coding": 1}},
        ],
        ids=str,
    )  # fmt: skip
    def test_note_that_makes_no_sense_is_none(self, tmp_path, change):
        first = suspended(tmp_path)
        note = json.loads(note_path(first.path).read_text())
        note_path(first.path).write_text(json.dumps(note | change))
        again = open_partial(tmp_path, trusted=True)
        assert again.size_bytes == 0
        assert resumable_bytes(tmp_path) == 0
        assert not is_abandoned(first.path)
        again.discard()
        sweep_partials(tmp_path)
        assert first.path.exists(), "it may belong to a writer that is about to write its note"
        old = time.time() - SILENCE_S - 10
        os.utime(first.path, (old, old))
        assert is_abandoned(first.path)
        sweep_partials(tmp_path)
        assert not first.path.exists()
