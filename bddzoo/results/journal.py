"""What a sweep leaves in the results folder besides records: locks, logs, and the folder's own mark."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path
from typing import IO

from bddzoo.results.places import path_part
from bddzoo.results.record import Record
from bddzoo.results.store import scan_records

MARK = "mark"


def sweep_folder(results: Path, sweep: str) -> Path:
    """Where a sweep's locks and logs are."""
    return results / ".sweeps" / sweep


def lock_path(folder: Path, model: str) -> Path:
    """The lock file of a model in a sweep's folder."""
    return folder / f"{path_part(model)}.lock"


def log_path(folder: Path, model: str) -> Path:
    """What the processes that measured a model have said."""
    return folder / f"{path_part(model)}.log"


def last_line(log: Path) -> str:
    """The last line of a log that is not empty; empty where there is none."""
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 65536))
        lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
        return lines[-1].removeprefix("error: ") if lines else ""
    return ""


def record_of(results: Path, zoo: str, task: str, model: str, sweep: str) -> Record | None:
    """The record that a sweep has of a model, or None."""
    known = scan_records(results, zoo=zoo, task=task, model=model, on_error=lambda error: None)
    return next((s.record for s in known if s.record.run.sweep == sweep), None)


def acquire_lock(path: Path) -> IO[bytes] | None:
    """The file, locked, or None where another process holds it."""
    lock = path.open("ab")
    try:
        import fcntl
    except ImportError:
        return lock
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    except OSError:
        # No locks on this file system: records stay whole, see `bddzoo.results.sweep`.
        return lock
    return lock


def folder_mark(folder: Path) -> str:
    """What tells a sweep's folder from one of the same path on another machine; made once.

    Raises:
        OSError: It cannot be written.
    """
    path = folder / MARK
    if not read_mark(folder):
        fresh = path.with_name(f".{MARK}.{uuid.uuid4().hex}")
        try:
            fresh.write_text(uuid.uuid4().hex)
            with contextlib.suppress(FileExistsError):
                path.hardlink_to(fresh)
        except OSError:
            fresh.replace(path)  # no hard links here
        finally:
            fresh.unlink(missing_ok=True)
    return read_mark(folder)


def read_mark(folder: Path) -> str:
    """See `folder_mark`; empty where there is none."""
    try:
        return (folder / MARK).read_text()
    except OSError:
        return ""
