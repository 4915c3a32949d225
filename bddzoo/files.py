"""Files that are absent, old or whole; folders read whole; the user's folders; links, room and sizes."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from bddzoo.errors import BddzooError, MissingError

if TYPE_CHECKING:
    from zipfile import ZipInfo


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name next to `path` that nobody else uses; what is there when the block ends is renamed to `path`.

    The folder is made where it is missing. A failure or an interruption removes the temporary file.

    Raises:
        OSError: The folder or the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_open(path: Path, *, durable: bool = False) -> Iterator[IO[bytes]]:
    """A binary file that appears under its name only when the block ends without an error.

    A file that is replaced keeps its permissions; a link stays a link, and what it points to is replaced.
    A device or a pipe is written to as it is.

    Args:
        path: The file.
        durable: Wait until the bytes are on the disk before the rename: for documents that cannot be
            made again, not for thousands of predictions.

    Raises:
        MissingError: The folder or the file cannot be written.
    """
    try:
        if is_special(path):
            with path.open("wb") as file:
                yield file
            return
        target = path.resolve()
        with replacing(target) as temporary:
            with temporary.open("xb") as file:
                yield file
                if durable:
                    flush(file)
            if target.exists():
                temporary.chmod(target.stat().st_mode & 0o7777)
    except OSError as error:
        raise cannot_write(path, error) from error


def flush(file: IO[bytes]) -> None:
    """Wait until the bytes of an open file are on the disk."""
    file.flush()
    os.fsync(file.fileno())


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


def write_whole(path: Path, data: bytes) -> None:
    """Write a small file of our own, as `write_bytes` does; fails with what the system says.

    Raises:
        OSError: It cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(data)


# What file systems take, less a suffix and the mark of a temporary file.
LONGEST_NAME, LONGEST_PATH = 200, 1000


def not_writable(folder: Path) -> str | None:
    """Why files cannot be made in a folder that may not exist yet, or None; makes nothing that stays."""
    import tempfile

    try:
        for place in (folder, *folder.parents):
            if place.exists():
                if not place.is_dir():
                    return f"{place} is not a folder"
                # A file that has no name from the start: nothing is left, and no access bits are trusted.
                with tempfile.TemporaryFile(dir=place):
                    return None
    except OSError as error:
        return error.strerror or str(error)
    return "no such place"


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


def walk_once(
    folder: Path, onerror: Callable[[OSError], None], *, hidden: bool = True
) -> Iterator[tuple[str, list[str]]]:
    """Each folder below one, and the names of its files; in a fixed order.

    Links are followed, and each folder is entered once, however many lead to it: they may go in circles.

    Args:
        folder: Where to begin.
        onerror: Called for each folder that cannot be read.
        hidden: Enter hidden folders, too.
    """
    entered: set[tuple[int, int]] = set()
    for top, folders, names in os.walk(folder, onerror=onerror, followlinks=True):
        try:
            place = os.stat(top)  # noqa: PTH116
        except OSError as error:  # it was there a moment ago
            onerror(error)
            continue
        if (place.st_dev, place.st_ino) in entered:
            folders.clear()
            continue
        entered.add((place.st_dev, place.st_ino))
        folders[:] = sorted(f for f in folders if hidden or not f.startswith("."))
        yield top, names


def user_folder(kind: Literal["cache", "config", "data"]) -> Path:
    """This program's own folder for a kind of files: `bddzoo` in `XDG_CACHE_HOME`, or `~/.cache`, and so on.

    The same places on macOS: files that are there stay in use, and command-line tools are looked for there.

    Raises:
        MissingError: The user has no home folder, as a user of a container that no file knows.
    """
    from platformdirs.unix import Unix

    folders = Unix("bddzoo", appauthor=False)
    try:
        path: str = getattr(folders, f"user_{kind}_dir")
    except RuntimeError:
        path = "~"
    if path.startswith("~"):
        hint = "set HOME, or BDDZOO_CACHE and BDDZOO_RESULTS"
        raise MissingError("this user has no home folder", hint=hint)
    return Path(path)


# Linux's ioctl to share the blocks of a file (btrfs, XFS, bcachefs): FICLONE of linux/fs.h.
_FICLONE = 0x40049409


def zip_info(name: str) -> ZipInfo:
    """A member of an archive, with a date that does not change: equal files give archives of equal bytes."""
    from zipfile import ZipInfo

    info = ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    info.external_attr = 0o644 << 16
    return info


def copy_whole(source: Path, target: Path) -> None:
    """Copy a file, sharing blocks where the file system can; the target is absent, old or whole."""
    with replacing(target) as temporary:
        if not _reflink(source, temporary):
            _copy(source, temporary)


def link_or_copy(source: Path, target: Path) -> str:
    """Put a file at a second place at the least cost.

    Returns:
        How: `reflink`, `hardlink` or `copy`.
    """
    with replacing(target) as temporary:
        if _reflink(source, temporary):
            return "reflink"
        with contextlib.suppress(OSError):
            os.link(source.resolve(), temporary)
            return "hardlink"
        _copy(source, temporary)
        return "copy"


def _copy(source: Path, target: Path) -> None:
    import shutil

    with source.open("rb") as old, target.open("xb") as new:
        shutil.copyfileobj(old, new, 1 << 20)
        flush(new)


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
    """A size for people: `262.4 MiB`; `unknown` for None."""
    if size_bytes is None:
        return "unknown"
    if size_bytes < 1024:
        return f"{size_bytes} B"
    value = float(size_bytes)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        value /= 1024
        if value < 1023.95 or unit == "TiB":
            return f"{value:.1f} {unit}"
    raise AssertionError("unreachable")


def is_inside(name: str) -> bool:
    """Whether a string from a file is the path of something inside a folder, on every system.

    For every string from a file that becomes a path and was not made one by `path_part`: names of frames,
    members of archives, names of files in registries, bundles and the cache.
    """
    parts = name.split("/")
    return (
        name.isprintable()
        and not any(part in ("", ".", "..") or len(part.encode()) > LONGEST_NAME for part in parts)
        and len(name.encode()) <= LONGEST_PATH
        and not ("\\" in name or name[1:2] == ":" or name.startswith("~"))
    )


def path_part(name: str) -> str:
    """A string from a file or a user as the name of one file or folder: never a path, never hidden.

    For every string from a file that becomes part of a path and that was not checked before, as digests and
    names in the registry are. A name too long for a file ends in its digest.
    """
    part = re.sub(r"[^\w.+@=-]", "_", name)
    part = "_" + part if part.startswith(".") or not part else part
    if len(part.encode()) > LONGEST_NAME:
        import hashlib  # takes long to load, and is hardly ever needed

        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        part = part.encode()[: LONGEST_NAME - 17].decode(errors="ignore") + "-" + digest
    return part
