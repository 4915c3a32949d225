"""A folder that is replaced whole: never half of it, and never one that is not ours."""

from __future__ import annotations

import ctypes
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bddzoo.errors import MissingError, UsageError
from bddzoo.files import cannot_write

MARKER = ".bddzoo-site"
# What a build writes, besides the marker; anything else in the folder is somebody else's.
FILES = ("index.html", "facts.html", "site.css", "site.js", "page.js", ".nojekyll")
OURS = frozenset({MARKER, *FILES, "models", "pictures"})
_AT_FDCWD, _EXCHANGE = -100, 2


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A new empty folder that takes the target's place when the block ends without an error.

    A failure or an interruption removes it and leaves the target as it was.

    Args:
        target: The folder: absent, empty, or one that this function made. A link to a folder stays a link.

    Raises:
        UsageError: The target is something that must not be replaced.
        MissingError: It cannot be written.
    """
    real = check_folder(target)
    try:
        real.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{real.name}.", suffix=".part", dir=real.parent))
    except OSError as error:
        raise cannot_write(target, error) from error
    try:
        # mkdtemp makes private folders; a web server runs as somebody else.
        fresh.chmod(0o755)
        yield fresh
        (fresh / MARKER).write_text("Made by bddzoo site build, which replaces the whole folder.\n")
        check_folder(target)
        _replace(fresh, real)
    except OSError as error:
        raise cannot_write(target, error) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def check_folder(target: Path) -> Path:
    """The folder that is meant, links followed; looks before work is spent on it, and changes nothing.

    Raises:
        UsageError: It is a file, a folder that is not ours, or one that this process stands in.
        MissingError: It cannot be read.
    """
    real = Path(os.path.realpath(target))
    if real in (here := Path.cwd(), *here.parents) or real.parent == real:
        raise UsageError(
            f"{target} is the current folder or holds it", hint="name a folder inside, such as -o site"
        )
    try:
        names = sorted(path.name for path in real.iterdir())
    except FileNotFoundError:
        return real
    except NotADirectoryError:
        raise UsageError(f"{target} is a file, not a folder", hint="choose another name with -o") from None
    except OSError as error:
        raise MissingError(f"cannot read {target}: {error.strerror}", hint="choose another folder") from None
    if names and MARKER not in names:
        raise UsageError(
            f"{target} is not empty, and no site that bddzoo built",
            hint="choose an empty folder or a new name with -o",
        )
    foreign = [name for name in names if name not in OURS]
    if foreign:
        shown = ", ".join(foreign[:3]) + (" ..." if len(foreign) > 3 else "")
        raise UsageError(
            f"{target} also holds files that are not of the site: {shown}", hint="move them elsewhere first"
        )
    return real


def _replace(fresh: Path, real: Path) -> None:
    if not real.exists():
        fresh.rename(real)
    elif not _exchange(fresh, real):
        # No exchange in one step on this system: a moment without a folder, but never a mixed one.
        old = Path(tempfile.mkdtemp(prefix=f".{real.name}.", suffix=".old", dir=real.parent))
        try:
            real.rename(old / real.name)
            try:
                fresh.rename(real)
            except OSError:
                (old / real.name).rename(real)
                raise
        finally:
            shutil.rmtree(old, ignore_errors=True)


def _exchange(a: Path, b: Path) -> bool:
    """Swap two folders in one step, as Linux can; False where that is not to be had."""
    try:
        swap = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    return bool(swap(_AT_FDCWD, os.fsencode(a), _AT_FDCWD, os.fsencode(b), _EXCHANGE) == 0)
