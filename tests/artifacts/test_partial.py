"""Unfinished downloads: only what is proven is resumed, and nobody writes into another's file."""

from __future__ import annotations

import hashlib
import json
import os
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bddzoo.artifacts import partial as leftovers
from bddzoo.artifacts.partial import (
    is_abandoned,
    new_partial,
    note_path,
    open_partial,
    resumable_bytes,
    sweep_partials,
)
from bddzoo.artifacts.sources import Origin


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
        first = new_partial(folder)
        first.open(Origin("http://x/", etag='"1"' if validator else None, total=9999))
        first.write(data)
        first.suspend()
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
        # Data with a note that cannot be read may belong to a writer on another machine.
        assert left == ([] if damage != "note" else left)

    def test_live_writer_is_left_alone(self, tmp_path):
        alive = new_partial(tmp_path)
        alive.open(Origin("http://x/", etag='"1"'))
        alive.write(b"data")
        other = open_partial(tmp_path, trusted=True)
        assert other.size_bytes == 0
        sweep_partials(tmp_path)
        assert alive.path.exists()

    def test_file_of_another_machine_is_copied_when_silent(self, tmp_path, monkeypatch):
        first = new_partial(tmp_path)
        first.open(Origin("http://x/", etag='"1"'))
        first.write(b"data")
        first.suspend()
        note = json.loads(note_path(first.path).read_text())
        note_path(first.path).write_text(json.dumps(note | {"host": "elsewhere"}))
        assert open_partial(tmp_path, trusted=True).size_bytes == 0, "it may be alive"
        old = time.time() - leftovers.FOREIGN_SILENCE_S - 10
        os.utime(first.path, (old, old))
        assert open_partial(tmp_path, trusted=True).size_bytes == 4
        assert first.path.read_bytes() == b"data", "never written into"

    @pytest.mark.parametrize(
        "change",
        [
            {"size": "4"}, {"size": -4}, {"pid": "me"}, {"pid": -1}, {"pid": 0}, {"pid": 10**12},
            {"host": None}, {"sha256": 5}, {"origin": []}, {"origin": {"etag": 5}}, {"started": {}},
        ],
        ids=str,
    )  # fmt: skip
    def test_note_that_makes_no_sense_is_none(self, tmp_path, change):
        first = new_partial(tmp_path)
        first.open(Origin("http://x/", etag='"1"'))
        first.write(b"data")
        first.suspend()
        note = json.loads(note_path(first.path).read_text())
        note_path(first.path).write_text(json.dumps(note | change))
        again = open_partial(tmp_path, trusted=True)
        assert again.size_bytes == 0
        assert resumable_bytes(tmp_path) == 0
        assert not is_abandoned(first.path)
        again.discard()
        sweep_partials(tmp_path)
        assert first.path.exists(), "it may belong to a writer on another machine"
        old = time.time() - leftovers.FOREIGN_SILENCE_S - 10
        os.utime(first.path, (old, old))
        assert is_abandoned(first.path)
        sweep_partials(tmp_path)
        assert not first.path.exists()
