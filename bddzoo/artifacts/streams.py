"""One shape for bytes that come from anywhere, and the ones that come from this machine.

How one source can fail, in words for the user; never seen outside this room.
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from bddzoo.artifacts.digests import CHUNK_BYTES
from bddzoo.artifacts.sources import Origin

FailureKind = Literal["missing", "network", "integrity"]


class SourceError(Exception):
    """One source did not give the file.

    Args:
        text: What happened, without the source's name.
        kind: `missing` if the source says it has no such file, `integrity` if it gave other bytes,
            `network` for everything between.
        retry: Whether asking the same source again may help.
        retry_after_s: How long the source asked us to wait, in seconds.
        unreachable: The host could not be connected to at all.
        stalled: Bytes came too slowly to be of use; these do not reset the retry counter.
        status: HTTP status, if the source gave one that says no.
        told: The user has been told already, for another file.
    """

    def __init__(
        self,
        text: str,
        *,
        kind: FailureKind = "network",
        retry: bool = False,
        retry_after_s: float | None = None,
        unreachable: bool = False,
        stalled: bool = False,
        status: int | None = None,
        told: bool = False,
    ) -> None:
        # Servers put words into it: nothing of them may steer the user's terminal.
        text = "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
        super().__init__(text)
        self.text = text
        self.told = told
        self.kind = kind
        self.retry = retry
        self.retry_after_s = retry_after_s
        self.unreachable = unreachable
        self.stalled = stalled
        self.status = status


class Stopped(Exception):
    """The user asked to stop; what arrived is kept."""


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
