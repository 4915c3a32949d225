"""Unfinished downloads: one file per writer, with what is needed to go on in another process.

Nothing here relies on locks, which do nothing on some cluster file systems. Every writer has a
file of its own. A later process takes over the file of a dead one by renaming it (of two that try,
one succeeds), and copies the file of one on another machine that has been silent for long. Beside
the data lies a note: the source, its validator, and the SHA-256 of the bytes up to a checkpoint.
Only bytes that still have that SHA-256 are resumed.

The note beside an unfinished download: its source, a checkpoint, and whether its writer still lives.

Unfinished downloads that others left behind: go on with one, or sweep them away.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import msgspec

from bddzoo.artifacts.digests import Hashes, StreamHasher
from bddzoo.artifacts.sources import Origin
from bddzoo.files import boot_id, write_whole

# What the system's calls take.
MAX_PID = (1 << 31) - 1


@dataclass
class Note:
    """What lies beside a partial: the source, a checkpoint, and who writes.

    Attributes:
        origin: Where the bytes are from.
        size: Bytes up to the checkpoint.
        sha256: Of those bytes.
        host: The writer's machine.
        pid: The writer's process.
        started: When that process started.
    """

    origin: Origin = field(default_factory=Origin)
    size: int = 0
    sha256: str = ""
    host: str = ""
    pid: int = 0
    started: str = ""


def note_path(path: Path) -> Path:
    """Where the note of a partial lies."""
    return path.with_suffix(".json")


def read_note(path: Path) -> Note | None:
    """The note of a partial; None where there is none that can be read, or none that makes sense."""
    try:
        note = msgspec.json.decode(note_path(path).read_bytes(), type=Note)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return note if note.size >= 0 and 0 < note.pid <= MAX_PID else None


def write_note(path: Path, origin: Origin, mark: tuple[int, str]) -> None:
    """Write the note of a partial of this process.

    Args:
        path: The partial.
        origin: Where its bytes are from.
        mark: A checkpoint: a number of bytes, and their SHA-256.

    Raises:
        OSError: It cannot be written.
    """
    note = Note(origin, mark[0], mark[1], *identity())
    write_whole(note_path(path), json.dumps(asdict(note)).encode())


def is_gone(note: Note) -> bool:
    """Whether a writer has ended. Of those on other machines nobody can tell."""
    host, pid, _ = identity()
    if note.host != host:
        return False
    if note.pid == pid and note.started == _started(pid):
        return True  # ours, and not active any more
    try:
        os.kill(note.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return note.started != _started(note.pid)


def identity() -> tuple[str, int, str]:
    """Host with its process name space, process id, and when that process started."""
    space = ""
    with contextlib.suppress(OSError):
        space = str(Path("/proc/self/ns/pid").readlink())
    pid = os.getpid()
    return f"{socket.gethostname()} {space}".strip(), pid, _started(pid)


def _started(pid: int) -> str:
    """Start time of a process in clock ticks since boot, to tell it from a later one of the same id."""
    try:
        # Field 22 of proc(5)'s stat, counted after the command name, which may hold spaces.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return ""
    # A zombie writes nothing any more.
    return "" if fields[0] in "ZX" else fields[19]


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
