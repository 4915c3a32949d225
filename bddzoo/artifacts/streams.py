"""One shape for bytes that come from anywhere, and the ones that come from this machine."""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from bddzoo.artifacts.digests import CHUNK_BYTES
from bddzoo.artifacts.failures import SourceError
from bddzoo.artifacts.origin import Origin


@dataclass
class Stream:
    """Bytes of a file from `offset` on.

    Attributes:
        origin: Validators and size of the whole file, as the source gives them now.
        offset: First byte that will come: what was asked for, or 0 where the source starts over.
        chunks: The bytes. Raises `SourceError` when they stop before the end.
        close: Lets go of the connection or file.
        content_type: As declared by the source, or None.
    """

    origin: Origin
    offset: int
    chunks: Iterator[bytes]
    close: Callable[[], None]
    content_type: str | None = None


Opener = Callable[[str, int, Origin], Stream]


def local_path(url: str) -> Path | None:
    """The file behind a `file://` URL, a `package:` source or a plain path; None for others."""
    if url.startswith("package:"):
        import bddzoo

        inside = Path(url.removeprefix("package:"))
        if inside.is_absolute() or ".." in inside.parts:
            return None
        return Path(bddzoo.__file__).parent / inside
    if url.startswith("bundle:"):
        return None
    if url.startswith("file:"):
        parts = urlsplit(url)
        return Path(unquote(parts.path)) if parts.netloc in ("", "localhost") else None
    return None if "://" in url else Path(url)


def open_local(path: Path, offset: int, known: Origin, url: str) -> Stream:
    """Read a file of this machine from `offset` on, from 0 if it changed since.

    Raises:
        SourceError: It is not there or cannot be read.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            raise SourceError("is a device or a pipe, not a file", kind="missing")  # may never end
        file = path.open("rb", buffering=0)
    except (FileNotFoundError, NotADirectoryError):
        raise SourceError("no such file", kind="missing") from None
    except IsADirectoryError:
        raise SourceError("is a folder", kind="missing") from None
    except OSError as error:
        raise SourceError(f"cannot be read: {error.strerror or error}") from None
    origin = Origin(url=url, last_modified=str(status.st_mtime_ns), total=status.st_size)
    if offset and (known.total != origin.total or (known.is_of(url) and known.validator != origin.validator)):
        offset = 0
    file.seek(offset)
    return Stream(origin, offset, read_chunks(file), file.close)


def read_chunks(file: Any) -> Iterator[bytes]:
    """Bytes of an open file until its end, with read errors as `SourceError`."""
    while True:
        try:
            data = file.read(CHUNK_BYTES)
        except OSError as error:
            # ESTALE: the file went away on the server of a network file system; worth one more try.
            again = error.errno in (errno.ESTALE, errno.EIO, errno.ETIMEDOUT)
            raise SourceError(f"reading failed: {error.strerror or error}", retry=again) from None
        if not data:
            return
        yield data
