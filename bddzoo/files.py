"""Files that are either absent or complete, folders that are read whole, and the user's own folder."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from bddzoo.errors import MissingError


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


def _umask() -> int:
    # The only portable way to read the mask is to set it.
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
