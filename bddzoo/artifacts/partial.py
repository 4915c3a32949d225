"""Unfinished downloads: one file per writer, with what is needed to go on in another process.

Nothing here relies on locks, which do nothing on some cluster file systems. Every writer has a
file of its own. A later process takes over the file of a dead one by renaming it (of two that try,
one succeeds), and copies the file of one on another machine that has been silent for long. Beside
the data lies a note: the source, its validator, and the SHA-256 of the bytes up to a checkpoint.
Only bytes that still have that SHA-256 are resumed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import threading
import time
from pathlib import Path

from bddzoo.artifacts.digests import Hashes, StreamHasher
from bddzoo.artifacts.disk import boot_id
from bddzoo.artifacts.notes import Note, identity, note_path, write_note
from bddzoo.artifacts.origin import Origin

CHECKPOINT_EVERY_S = 0.5
_ACTIVE: set[str] = set()
_ACTIVE_LOCK = threading.Lock()


class Partial:
    """A file being written, hashed on the way.

    Attributes:
        path: The file.
        origin: Where its bytes are from.
        continued: Whether they came in more than one piece, so that a wrong digest may be the fault
            of an earlier one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.origin = Origin()
        self.continued = False
        self._over = False
        self._hasher = StreamHasher()
        self._mark: tuple[int, str] | None = None
        self._noted: tuple[int, str] | None = None
        self._next_mark = time.monotonic() + CHECKPOINT_EVERY_S
        self._fd: int | None = None

    @property
    def size_bytes(self) -> int:
        """Bytes written so far."""
        return self._hasher.size_bytes

    def open(self, origin: Origin) -> None:
        """Go on writing; `origin` is what the source says about itself now."""
        self.origin = origin
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # The note first: data without a note would be nobody's.
        self._write_note(self._mark or (0, ""))
        if self._fd is None:
            self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write(self, data: bytes) -> None:
        """Append bytes.

        Raises:
            OSError: The disk is full, for example; what was written before stays resumable.
        """
        assert self._fd is not None
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
        self._hasher.update(data)
        now = time.monotonic()
        if now >= self._next_mark:
            self._next_mark = now + CHECKPOINT_EVERY_S
            if self._mark is not None and self._mark != self._noted:
                self._write_note(self._mark)
            self._hasher.mark(self._keep_mark)

    def restart(self) -> None:
        """Throw away what was written."""
        self._stop_hashing()
        self._hasher = StreamHasher()
        self._mark = self._noted = None
        self.continued = False
        if self._fd is not None:
            os.ftruncate(self._fd, 0)
        else:
            self.path.unlink(missing_ok=True)
        self.origin = Origin()

    def take_over(self, path: Path, note: Note) -> bool:
        """Go on where another writer stopped.

        Args:
            path: Its file. It is renamed; the file of a writer on another machine, which may be alive
                after all, is copied, so that two never write into one.
            note: Its note.

        Returns:
            Whether the bytes up to the note's checkpoint are still what they were.

        Raises:
            OSError: Somebody else took it first, or it cannot be read.
        """
        self.origin = note.origin
        # The note first, as always: killed between the two, the data still has one.
        self._write_note((note.size, note.sha256))
        if note.host == identity()[0]:
            path.rename(self.path)
        else:
            shutil.copyfile(path, self.path)
        note_path(path).unlink(missing_ok=True)
        with self.path.open("r+b") as file:
            while self.size_bytes < note.size:
                data = file.read(min(1 << 20, note.size - self.size_bytes))
                if not data:
                    return False
                self._hasher.update(data)
            if self._hasher.sha256_so_far() != note.sha256:
                return False
            file.truncate(note.size)
        self.continued = True
        self._mark = (note.size, note.sha256)
        return True

    def finish(self) -> Hashes:
        """End writing and return the digests."""
        hashes = self._hasher.finish()
        if self._fd is not None:
            if boot_id() is None:
                # Elsewhere the cache hashes a file again when the machine was started since, which
                # finds what a power cut took and does not make every download wait for the disk.
                with contextlib.suppress(OSError):
                    os.fsync(self._fd)
            os.close(self._fd)
            self._fd = None
        return hashes

    def suspend(self) -> None:
        """End writing for now: note a last checkpoint, so that everything written can be resumed."""
        if self._over:
            return
        hashes = self._hasher.finish()
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
        if hashes.size_bytes:
            self._write_note((hashes.size_bytes, hashes.sha256))
        else:
            self._remove()
        self._release()

    def give(self, target: Path) -> None:
        """Rename the finished file to its final name."""
        target.parent.mkdir(parents=True, exist_ok=True)
        self.path.replace(target)
        with contextlib.suppress(OSError):
            # Read-only, against slips; whoever means it can still change it, and `verify` sees it.
            target.chmod(target.stat().st_mode & 0o444)
        note_path(self.path).unlink(missing_ok=True)
        self._release()

    def discard(self) -> None:
        """Remove file and note."""
        self._stop_hashing()
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
        self._remove()
        self._release()

    def _remove(self) -> None:
        self.path.unlink(missing_ok=True)
        note_path(self.path).unlink(missing_ok=True)

    def _stop_hashing(self) -> None:
        self._hasher.close()

    def _keep_mark(self, size: int, sha256: str) -> None:
        self._mark = (size, sha256)

    def _write_note(self, mark: tuple[int, str]) -> None:
        # A note that cannot be written costs a resume, not the download.
        with contextlib.suppress(OSError):
            write_note(self.path, self.origin, mark)
            self._noted = mark

    def _release(self) -> None:
        self._over = True
        with _ACTIVE_LOCK:
            _ACTIVE.discard(str(self.path))


def new_partial(folder: Path) -> Partial:
    """An empty partial that no other writer has."""
    path = folder / f"{secrets.token_hex(8)}.part"
    with _ACTIVE_LOCK:
        _ACTIVE.add(str(path))
    return Partial(path)


def is_active(path: Path) -> bool:
    """Whether this process writes a partial at the moment."""
    with _ACTIVE_LOCK:
        return str(path) in _ACTIVE
