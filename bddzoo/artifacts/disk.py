"""Small steps on the file system: whole writes, links, room."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import sys
from functools import cache
from pathlib import Path

from bddzoo.errors import BddzooError, MissingError

# Linux's ioctl to share the blocks of a file (btrfs, XFS, bcachefs): FICLONE of linux/fs.h.
_FICLONE = 0x40049409


def temp_beside(path: Path) -> Path:
    """A name beside `path` that no other writer uses."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


def write_whole(path: Path, data: bytes) -> None:
    """Write a small file so that it is either absent, old or whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temp = temp_beside(path)
    try:
        temp.write_bytes(data)
        temp.replace(path)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise


def copy_whole(source: Path, target: Path) -> None:
    """Copy a file, sharing blocks where the file system can; the target is absent, old or whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temp = temp_beside(target)
    try:
        if not _reflink(source, temp):
            shutil.copyfile(source, temp)
        temp.replace(target)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise


def link_or_copy(source: Path, target: Path) -> str:
    """Put a file at a second place at the least cost.

    Returns:
        How: `reflink`, `hardlink` or `copy`.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temp = temp_beside(target)
    try:
        how = "reflink"
        if not _reflink(source, temp):
            try:
                os.link(source.resolve(), temp)
                how = "hardlink"
            except OSError:
                shutil.copyfile(source, temp)
                how = "copy"
        temp.replace(target)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise
    return how


def _reflink(source: Path, target: Path) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    from fcntl import ioctl

    try:
        with source.open("rb") as old, target.open("xb") as new:
            ioctl(new.fileno(), _FICLONE, old.fileno())
    except OSError:
        with contextlib.suppress(OSError):
            target.unlink()
        return False
    return True


@cache
def boot_id() -> str | None:
    """What tells this run of the machine from the next one, or None where that cannot be told."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() or None
    except OSError:
        return None


def free_bytes(path: Path) -> int | None:
    """Room on the file system that would hold `path`, in bytes; None where that is unknown."""
    for folder in (path, *path.parents):
        try:
            return shutil.disk_usage(folder).free
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return None


def explain(
    error: OSError, doing: str, hint: str = "use another --cache DIR (or BDDZOO_CACHE)"
) -> BddzooError:
    """Turn a failed file operation into one line for the user.

    Args:
        error: What the system said.
        doing: What was tried, and where.
        hint: What else the user can do.
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return MissingError(f"{doing}: the disk is full", hint=f"free some room, or {hint}")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return MissingError(f"{doing}: no permission to write", hint=hint)
    where = f" ({error.filename})" if error.filename else ""
    return MissingError(f"{doing}: {error.strerror or error}{where}", hint=hint)


def format_size(size_bytes: int | None) -> str:
    """A size for people, in powers of ten as disks are sold: `262.4 MB`; `unknown` for None."""
    if size_bytes is None:
        return "unknown"
    if size_bytes < 1000:
        return f"{size_bytes} B"
    value = float(size_bytes)
    for unit in ("kB", "MB", "GB", "TB"):
        value /= 1000
        if value < 999.95 or unit == "TB":
            return f"{value:.1f} {unit}"
    raise AssertionError("unreachable")
