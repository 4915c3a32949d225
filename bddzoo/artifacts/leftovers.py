"""Unfinished downloads that others left behind: go on with one, or sweep them away."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from bddzoo.artifacts.notes import Note, identity, is_gone, note_path, read_note
from bddzoo.artifacts.partial import Partial, is_active, new_partial

FOREIGN_SILENCE_S = 900.0


def open_partial(folder: Path, *, trusted: bool) -> Partial:
    """A partial to write into: one that was left behind if it can be resumed, else a new one.

    Args:
        folder: Holds the partials of one artifact.
        trusted: Whether the finished file will be compared with a known digest, so that bytes from
            another source, or from one without validators, may be continued.
    """
    for path, note in sorted(_left_behind(folder), key=lambda pair: -pair[1].size):
        if note.size == 0 or not (trusted or note.origin.validator):
            continue
        partial = new_partial(folder)
        try:
            taken = partial.take_over(path, note)
        except OSError:
            taken = False
        if taken:
            return partial
        partial.discard()
    return new_partial(folder)


def sweep_partials(folder: Path) -> int:
    """Remove partials of one artifact whose writers are gone; returns the bytes freed."""
    freed = 0
    for path, _ in list(_left_behind(folder, with_damaged=True)):
        with contextlib.suppress(OSError):
            freed += path.stat().st_size
            path.unlink(missing_ok=True)
            note_path(path).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            _sweep_note(path)
        folder.rmdir()
    return freed


def _sweep_note(path: Path) -> None:
    """Remove a note without data, or one that was never finished, if its writer is gone."""
    if path.suffix == ".tmp":
        if time.time() - path.stat().st_mtime > FOREIGN_SILENCE_S:
            path.unlink(missing_ok=True)
        return
    data = path.with_suffix(".part")
    note = read_note(data)
    if (
        path.suffix == ".json"
        and not is_active(data)
        and not data.exists()
        and note is not None
        and is_gone(note)
    ):
        path.unlink(missing_ok=True)


def resumable_bytes(folder: Path) -> int:
    """Bytes of the longest partial that was left behind."""
    return max((note.size for _, note in _left_behind(folder)), default=0)


def is_abandoned(path: Path) -> bool:
    """Whether a partial is there whose writer is gone."""
    return any(path == left for left, _ in _left_behind(path.parent, with_damaged=True))


def _left_behind(folder: Path, *, with_damaged: bool = False) -> Iterator[tuple[Path, Note]]:
    """Partials whose writers are gone, with their notes."""
    try:
        paths = [p for p in folder.iterdir() if p.suffix == ".part"]
    except OSError:
        return
    for path in paths:
        if is_active(path):
            continue
        note = read_note(path)
        try:
            silent = time.time() - path.stat().st_mtime > FOREIGN_SILENCE_S
        except OSError:
            continue
        if note is None:
            # Killed before the first note, or one about to write it.
            if with_damaged and silent:
                yield path, Note()
        elif is_gone(note) or (note.host != identity()[0] and silent):
            yield path, note
