"""Files that a user names or a stranger made: read in bounded time and memory.

And what decoders raise on bytes that are damaged, or made to do harm: listed here, once, for every `except`.
Functions give these lists, because an `except` asks for them only when something was raised.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from bddzoo.errors import MissingError

if TYPE_CHECKING:
    import io

    import numpy as np
    import numpy.typing as npt

    Arrays = dict[str, npt.NDArray[np.generic]]

# Documents, indices, score files: the largest known has 2 MB.
LIMIT_BYTES = 64 << 20
# How long to wait for somebody to write into a pipe.
WAIT_S = 8.0
# Packed arrays unpack about twentyfold; a thousandfold is a bomb.
MAX_PACKING, FREE_BYTES = 400, 64 << 20

Errors = tuple[type[Exception], ...]


def json_errors(*more: type[Exception]) -> Errors:
    """What `json` and `msgspec` raise on bad JSON, and more: many brackets end in a RecursionError."""
    import msgspec

    return (ValueError, RecursionError, msgspec.MsgspecError, *more)


def archive_errors(*more: type[Exception]) -> Errors:
    """What `zipfile` and `gzip` raise on a damaged archive or member, and more."""
    import lzma
    import struct
    import zipfile
    import zlib

    found: Errors = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, OSError, EOFError)
    return (*found, ValueError, NotImplementedError, RuntimeError, OverflowError, *more)


def pickle_errors(*more: type[Exception]) -> Errors:
    """What `pickle`, `pickletools` and PyTorch's safe reader raise on a damaged pickle, and more."""
    import pickle

    return archive_errors(pickle.UnpicklingError, AttributeError, TypeError, IndexError, KeyError, *more)


def array_errors(*more: type[Exception]) -> Errors:
    """What `numpy` raises on a damaged `.npz` file or where an array is missing or another one, and more."""
    return archive_errors(KeyError, TypeError, IndexError, SyntaxError, MemoryError, *more)


def read_limited(path: Path, limit: int = LIMIT_BYTES) -> bytes:
    """The bytes of a file, or of a pipe that somebody writes to.

    Raises:
        OSError: It cannot be read, is larger than `limit` or has no end, or is a pipe that stays empty.
    """
    import select

    file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        found = os.fstat(file)
        waits = not stat.S_ISREG(found.st_mode)
        pieces: list[bytes] = []
        left = limit - found.st_size
        while left >= 0:
            if waits and not select.select([file], [], [], WAIT_S)[0]:
                raise TimeoutError(errno.ETIMEDOUT, f"nothing came out of it for {WAIT_S:.0f} s", str(path))
            piece = os.read(file, 1 << 20)
            if not piece:
                return b"".join(pieces)
            pieces.append(piece)
            left = limit - sum(map(len, pieces))
        raise OSError(errno.EFBIG, f"more than {limit >> 20} MiB, or without an end", str(path))
    finally:
        os.close(file)


def read_text(path: Path, what: str = "", limit: int = LIMIT_BYTES) -> str:
    """The text of a file in UTF-8, line ends as they are.

    Args:
        path: The file.
        what: What it is called in errors: `the document`.
        limit: Its largest size in bytes.

    Raises:
        MissingError: It cannot be read, is too large, or is not UTF-8.
    """
    name = f"{what} {path}" if what else str(path)
    try:
        return read_limited(path, limit).decode("utf-8")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise MissingError(f"cannot read {name}: not UTF-8 text (line {line})") from None
    except OSError as error:
        raise MissingError(f"cannot read {name}: {error.strerror or error}") from None


def read_arrays(file: Path | io.BytesIO) -> Arrays:
    """All arrays of an `.npz` file, never unpickling and never more than it can mean.

    Raises:
        Exception: One of `array_errors`.
    """
    import zipfile

    import numpy as np

    with zipfile.ZipFile(file) as archive:
        packed = sum(info.compress_size for info in archive.infolist())
        unpacked = sum(info.file_size for info in archive.infolist())
    if unpacked > FREE_BYTES and unpacked > packed * MAX_PACKING:
        raise ValueError(f"{packed} bytes unpack to {unpacked}, which no arrays do")
    with np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}
