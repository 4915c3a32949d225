"""Files that are either absent or complete, folders that are read whole, and the user's own folder.

Small steps on the file system: whole writes, links, room.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO

from bddzoo.errors import BddzooError, MissingError


@contextmanager
def atomic_open(path: Path, *, durable: bool = False) -> Iterator[IO[bytes]]:
    """A binary file that appears under its name only when the block ends without an error.

    The bytes go to a temporary file beside the target, which is then renamed; a failure or an
    interruption removes it. The folder is made where it is missing. A file that is replaced keeps
    its permissions; a link stays a link, and what it points to is replaced. A device or a pipe is
    written to as it is.

    Args:
        path: The file.
        durable: Wait until the bytes are on the disk before the rename: for documents that cannot be
            made again, not for thousands of predictions.

    Raises:
        MissingError: The folder or the file cannot be written.
    """
    if is_special(path):
        try:
            with path.open("wb") as file:
                yield file
        except OSError as error:
            raise cannot_write(path, error) from error
        return
    import tempfile

    try:
        target = path.resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        # mkstemp makes private files; a result is as readable as any other file of the user.
        mode = target.stat().st_mode & 0o7777 if target.exists() else 0o666 & ~_umask()
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.chmod(mode)
        temporary.replace(target)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def is_special(path: Path) -> bool:
    """Whether a path is a device, a pipe or a socket: renaming a file onto it would destroy it."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def write_bytes(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Write a whole file at once; see `atomic_open`."""
    with atomic_open(path, durable=durable) as file:
        file.write(content)


def cannot_write(path: Path, error: OSError) -> MissingError:
    """The error for a file that cannot be written, with the system's reason."""
    reason = error.strerror or str(error)
    return MissingError(f"cannot write {path}: {reason}", hint="choose a folder that you may write to")


def cannot_read(folder: Path, error: OSError) -> MissingError:
    """The error for a folder or file below it that cannot be read, with the system's reason."""
    return MissingError(f"cannot read {error.filename or folder}: {error.strerror or error}")


def files_below(
    folder: Path, suffix: str, on_error: Callable[[MissingError], None] | None = None
) -> list[Path]:
    """Files at any depth whose names end so, in the order of their paths; hidden ones are passed over.

    Args:
        folder: Where to look.
        suffix: End of the names.
        on_error: Called for each folder that cannot be read; without it that is an error.

    Raises:
        MissingError: A folder cannot be read: what is in it would be taken for absent.
    """

    def report(error: OSError) -> None:
        if on_error is None:
            raise cannot_read(folder, error) from error
        on_error(cannot_read(folder, error))

    walk = os.walk(folder, onerror=report)
    return sorted(
        Path(place, name)
        for place, _, names in walk
        for name in names
        if name.endswith(suffix) and not name.startswith(".")
    )


def home_folder() -> Path:
    """The user's own folder.

    Raises:
        MissingError: There is none, as for a user of a container that no file knows.
    """
    try:
        return Path.home()
    except RuntimeError:
        raise MissingError(
            "this user has no home folder", hint="set HOME, or BDDZOO_CACHE and BDDZOO_RESULTS"
        ) from None


def user_cache_folder(name: str) -> Path:
    """Folder for what can be made again: `name` in `XDG_CACHE_HOME`, by default `~/.cache`.

    Raises:
        MissingError: There is no home folder.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else home_folder() / ".cache") / name


def _umask() -> int:
    # The only portable way to read the mask is to set it.
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


# Linux's ioctl to share the blocks of a file (btrfs, XFS, bcachefs): FICLONE of linux/fs.h.
_FICLONE = 0x40049409


def temp_beside(path: Path) -> Path:
    """A name beside `path` that no other writer uses."""
    return path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}.tmp")


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
    import shutil

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
    import shutil

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
    import shutil

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
