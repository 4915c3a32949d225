"""The note beside an unfinished download: its source, a checkpoint, and whether its writer still lives."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from dataclasses import asdict, dataclass, field
from pathlib import Path

import msgspec

from bddzoo.artifacts.disk import write_whole
from bddzoo.artifacts.origin import Origin

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
