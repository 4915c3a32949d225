"""Unfinished downloads: a file per writer, with what is needed to go on in another process.

Next to the data, `NAME.part`, lies `NAME.json`: the source, its validators, and the SHA-256 of the bytes up
to a checkpoint. Who goes on with a file that was left behind copies those bytes, if they still have that
SHA-256, into a file of its own; nobody ever writes into another's file.

A writer holds a lock on its file, so that others know it is at work. Some cluster file systems ignore locks,
and nothing depends on them: a writer whose file was taken for abandoned and removed finds out when it wants
to rename it, and then either has the file that the other one finished, or begins again.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import msgspec

from bddzoo.artifacts.digests import Hashes, StreamHasher, new_hash
from bddzoo.artifacts.streams import Origin
from bddzoo.artifacts.verification import is_compressed
from bddzoo.files import write_whole
from bddzoo.reading import json_errors

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

CHECKPOINT_EVERY_S = 0.5
# A file without locks, or without a note that can be read, is abandoned when nobody wrote to it for so long.
SILENCE_S = 900.0


@dataclass
class Note:
    """What lies next to the data: where the bytes are from, and the SHA-256 of the first `size` of them."""

    origin: Origin = field(default_factory=Origin)
    size: int = 0
    sha256: str = ""


def note_path(path: Path) -> Path:
    """Where the note of a partial lies."""
    return path.with_suffix(".json")


def read_note(path: Path) -> Note | None:
    """The note of a partial; None where there is none that can be read."""
    try:
        note = msgspec.json.decode(note_path(path).read_bytes(), type=Note)
    except json_errors(OSError):
        return None
    return note if 0 <= note.size < 1 << 60 else None


class Partial:
    """A file being written, hashed on the way.

    Attributes:
        path: The file.
        origin: Where its bytes are from.
        continued: Whether they came in more than one piece, so that a wrong digest may be the fault
            of an earlier one.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"{secrets.token_hex(8)}.part"
        self.origin = Origin()
        self.continued = False
        self._hasher = StreamHasher()
        self._mark = self._noted = (0, "")
        self._next_mark = time.monotonic() + CHECKPOINT_EVERY_S
        self._fd: int | None = None

    @property
    def size_bytes(self) -> int:
        """Bytes written so far."""
        return self._hasher.size_bytes

    def is_compressed(self) -> bool:
        """Whether the bytes are compressed on top of what the file is."""
        with self.path.open("rb") as file:
            return is_compressed(file.read(2), self.origin.coding)

    def open(self, origin: Origin) -> None:
        """Go on writing; `origin` is what the source says about itself now."""
        self.origin = origin
        self._write_note(self._mark)
        self._open()

    def write(self, data: bytes) -> None:
        """Append bytes.

        Raises:
            OSError: The disk is full, for example; what was written before stays resumable.
        """
        self._append(data)
        now = time.monotonic()
        if now >= self._next_mark:
            self._next_mark = now + CHECKPOINT_EVERY_S
            if self._mark != self._noted:
                self._write_note(self._mark)
            self._hasher.mark(self._keep_mark)

    def restart(self) -> None:
        """Throw away what was written."""
        self._hasher.finish()
        self._hasher = StreamHasher()
        self._mark = (0, "")
        self.continued = False
        self.origin = Origin()
        if self._fd is not None:
            os.ftruncate(self._fd, 0)

    def copy_prefix(self, path: Path, note: Note) -> bool:
        """Begin with the bytes of another partial up to its checkpoint.

        Returns:
            Whether they are still what they were.

        Raises:
            OSError: They cannot be read, or there is no room for a second copy.
        """
        self.origin = note.origin
        self._write_note((note.size, note.sha256))  # killed in between, the copy still says what it is
        self._open()
        state = new_hash("sha256")
        with path.open("rb") as file:
            while self.size_bytes < note.size:
                data = file.read(min(1 << 20, note.size - self.size_bytes))
                if not data:
                    return False
                state.update(data)
                self._append(data)
        self.continued = True
        self._mark = (note.size, note.sha256)
        return bool(state.hexdigest() == note.sha256)

    def finish(self) -> Hashes:
        """End writing: the bytes are on the disk, and these are their digests."""
        hashes = self._hasher.finish()
        if self._fd is not None:
            with contextlib.suppress(OSError):
                os.fsync(self._fd)
        return hashes

    def suspend(self) -> None:
        """Leave the file to be continued, by whomever; does nothing after `give` or `discard`."""
        if self._fd is None:
            return
        hashes = self._hasher.finish()
        if hashes.size_bytes == 0:
            self.discard()
            return
        self._write_note((hashes.size_bytes, hashes.sha256))
        self._close()

    def give(self, target: Path) -> None:
        """Rename the finished file to its final name.

        Raises:
            FileNotFoundError: Somebody else finished the same file, and swept this one away.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        self.path.replace(target)
        with contextlib.suppress(OSError):
            # Read-only, against slips; whoever means it can still change it, and `verify` sees it.
            target.chmod(target.stat().st_mode & 0o444)
        self.discard()

    def discard(self) -> None:
        """Remove file and note."""
        self._hasher.finish()
        _remove(self.path)
        self._close()

    def _open(self) -> None:
        if self._fd is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            for _ in range(10):
                if _lock(self._fd) is not False:
                    break
                time.sleep(0.01)  # somebody looks whether it is locked

    def _append(self, data: bytes) -> None:
        assert self._fd is not None
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
        self._hasher.update(data)

    def _close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _keep_mark(self, size: int, sha256: str) -> None:
        self._mark = (size, sha256)

    def _write_note(self, mark: tuple[int, str]) -> None:
        # A note that cannot be written costs a resume, not the download.
        with contextlib.suppress(OSError):
            write_whole(note_path(self.path), json.dumps(asdict(Note(self.origin, *mark))).encode())
            self._noted = mark


def open_partial(folder: Path, *, trusted: bool) -> Partial:
    """A partial to write into: the continuation of one that was left behind, otherwise an empty one.

    Args:
        folder: Holds the partials of one artifact.
        trusted: Whether the finished file will be compared with a known digest, so that bytes from
            another source, or from one without validators, may be continued.
    """
    for path, note in sorted(_left_behind(folder), key=lambda pair: -pair[1].size):
        if note.size == 0 or note.origin.coding or not (trusted or note.origin.validator):
            continue
        partial = Partial(folder)
        try:
            if partial.copy_prefix(path, note):
                _remove(path)
                return partial
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                _remove(path)  # there is room for the file or for this part of it, not for both
        partial.discard()
    return Partial(folder)


def sweep_partials(folder: Path) -> None:
    """Remove what was left behind of one artifact."""
    for path, _ in list(_left_behind(folder, with_damaged=True)):
        _remove(path)
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            # Notes without data, and notes that were never finished.
            if (path.suffix == ".json" and not path.with_suffix(".part").exists()) or (
                path.suffix == ".tmp" and _is_silent(path)
            ):
                path.unlink(missing_ok=True)
        folder.rmdir()


def resumable_bytes(folder: Path) -> int:
    """Bytes of the longest partial that was left behind."""
    return max((note.size for _, note in _left_behind(folder)), default=0)


def is_abandoned(path: Path) -> bool:
    """Whether a partial is there that nobody writes to."""
    return any(path == left for left, _ in _left_behind(path.parent, with_damaged=True))


def _left_behind(folder: Path, *, with_damaged: bool = False) -> Iterator[tuple[Path, Note]]:
    """Partials that nobody writes to, with their notes."""
    try:
        paths = [p for p in folder.iterdir() if p.suffix == ".part"]
    except OSError:
        return
    for path in paths:
        note = read_note(path)
        if note is not None and not _is_locked(path):
            yield path, note
        elif note is None and with_damaged and _is_silent(path):
            yield path, Note()


def _is_locked(path: Path) -> bool:
    """Whether somebody writes to a partial; where locks are not known, whether somebody did of late."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return True  # gone, or not ours to judge
    try:
        locked = _lock(fd)
    finally:
        os.close(fd)
    return not locked if locked is not None else not _is_silent(path)


def _lock(fd: int) -> bool | None:
    """Lock a file until it is closed; None where that is not known here."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (OSError, AttributeError):
        return None
    return True


def _is_silent(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > SILENCE_S
    except OSError:
        return False


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
        note_path(path).unlink(missing_ok=True)
