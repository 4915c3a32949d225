"""One file from one address into a partial: resume, retry, and look at what comes."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass

from bddzoo.artifacts.digests import tensors_known
from bddzoo.artifacts.partial import Partial
from bddzoo.artifacts.streams import NetworkPolicy, Opener, Origin, SourceError, Stopped, Stream, sleep
from bddzoo.artifacts.verification import (
    HEAD_BYTES,
    CodingError,
    Inflater,
    cut_short,
    is_compressed,
    wrong_content,
)
from bddzoo.errors import MissingError
from bddzoo.files import format_size, free_bytes
from bddzoo.registry.model import Artifact

# Left alone on the disk, so that the last download does not take the machine down.
SPARE_BYTES = 16 << 20
# How often a body of unknown length has the room on the disk looked at.
ROOM_EVERY_BYTES = 1 << 20
# No file of a model is this large; a source that says so is wrong, and the disk is not too small.
MAX_BYTES = 1 << 44


@dataclass(frozen=True)
class Expected:
    """What a download should bring.

    Attributes:
        name: File name.
        size_bytes: Size as the registry knows it, or None.
        trusted: Whether a known digest decides at the end, so that any prefix may be continued.
    """

    name: str
    size_bytes: int | None = None
    trusted: bool = False

    def check_size(self, size: int | None, head: bytes, coding: str | None) -> None:
        """Refuse a body of another size than the file's, unless it may be a compressed form of it.

        Raises:
            SourceError: It cannot be the file.
        """
        if size is None or self.size_bytes in (None, size) or is_compressed(head, coding):
            return
        raise SourceError(f"has {size} bytes, the registry knows {self.size_bytes}", kind="integrity")


def download(
    url: str,
    opener: Opener,
    partial: Partial,
    expected: Expected,
    policy: NetworkPolicy,
    stop: threading.Event,
    report: Callable[[int, int | None], None],
    note: Callable[[str], None],
) -> None:
    """Bring a file into `partial` as it is sent, whole as far as its source and the registry can tell.

    Args:
        url: The address.
        opener: Opens it from an offset on.
        partial: Receives the bytes; what it holds already is continued where that is sound.
        expected: What the file should be.
        policy: Retries and waits.
        stop: Set to end soon.
        report: Called with bytes done and total.
        note: Called with a line when a try fails and another follows.

    Raises:
        SourceError: The source was given up.
        Stopped: `stop` was set.
        MissingError: The disk has no room.
        OSError: Writing failed.
    """
    failures = 0
    most = partial.size_bytes
    while True:
        try:
            _attempt(url, opener, partial, expected, stop, report)
            return
        except SourceError as error:
            if not error.retry:
                raise
            # Only bytes never had before count: a server that always breaks at the same place would
            # otherwise be asked for ever.
            grown, most = partial.size_bytes > most, max(most, partial.size_bytes)
            failures = 1 if grown and not error.stalled else failures + 1
            limit = policy.connect_attempts if error.unreachable else policy.attempts
            if failures >= limit:
                times = f" ({failures} times)" if failures > 1 else ""
                raise SourceError(error.text + times, kind=error.kind) from None
            wait_s = max(policy.wait_s(failures), error.retry_after_s or 0.0)
            note(f"{error.text}; trying again in {wait_s:.1f} s at {format_size(partial.size_bytes)}")
            sleep(wait_s, stop)


def _attempt(
    url: str,
    opener: Opener,
    partial: Partial,
    expected: Expected,
    stop: threading.Event,
    report: Callable[[int, int | None], None],
) -> None:
    if stop.is_set():
        raise Stopped
    known = partial.origin
    if partial.size_bytes and not _may_continue(partial, url, expected):
        partial.restart()
        known = Origin()
    offset = partial.size_bytes
    if offset and offset == (expected.size_bytes or known.total) and (expected.trusted or known.is_of(url)):
        # An earlier process was stopped between the last byte and the rename.
        _check_end(partial, offset, expected)
        return
    stream = opener(url, offset, known)
    try:
        if stream.offset != offset:
            partial.restart()
        elif offset:
            partial.continued = True
        _receive(stream, partial, expected, stop, report)
    finally:
        stream.close()


def _may_continue(partial: Partial, url: str, expected: Expected) -> bool:
    """Whether the bytes in a partial may be continued from this address."""
    if expected.size_bytes is not None and partial.size_bytes > expected.size_bytes:
        return False
    if partial.origin.coding is not None:
        return False
    return expected.trusted or (partial.origin.is_of(url) and partial.origin.validator is not None)


def _receive(
    stream: Stream,
    partial: Partial,
    expected: Expected,
    stop: threading.Event,
    report: Callable[[int, int | None], None],
) -> None:
    origin = stream.origin
    guard = _Guard(partial, origin, expected)
    head: bytes | None = b"" if stream.offset == 0 else None
    opened = False
    for piece in stream.chunks:
        chunk = piece
        if head is not None:
            # Nothing is written before the first bytes have been looked at.
            head += chunk
            if len(head) < HEAD_BYTES and (origin.total is None or len(head) < origin.total):
                continue
            chunk, head = head, None
            guard.check_head(chunk, stream.content_type)
        if not opened:
            guard.check_room()
            partial.open(origin)
            opened = True
        guard.write(chunk)
        report(partial.size_bytes, guard.total)
        if stop.is_set():
            raise Stopped
        del piece, chunk  # nothing may hold the bytes while the next ones are received
    if head is not None and not (origin.total and len(head) < origin.total):
        guard.check_head(head, stream.content_type)
    if head:
        partial.open(origin)
        guard.write(head)
    guard.check_coding()
    _check_end(partial, origin.total, expected)


class _Guard:
    """Watches what is received: its first bytes, its amount, and the room that it takes."""

    def __init__(self, partial: Partial, origin: Origin, expected: Expected) -> None:
        self._partial, self._origin, self._expected = partial, origin, expected
        self._inflater: Inflater | None = None
        self._limit: int | None = expected.size_bytes
        self._next_look = 0
        self.total = origin.total if origin.total is not None else expected.size_bytes

    def check_head(self, head: bytes, content_type: str | None) -> None:
        """Look at the first bytes before they are written.

        Raises:
            SourceError: They cannot be of the file.
        """
        look_at(head, self._origin.coding, content_type, self._expected)
        self._expected.check_size(self._origin.total, head, self._origin.coding)
        if is_compressed(head, self._origin.coding):
            # What cannot be compressed grows a little by it.
            self._limit = self._limit and self._limit + self._limit // 100 + (64 << 10)
            self._inflater = Inflater() if self._origin.coding else None

    def check_room(self) -> None:
        """Refuse a file that the disk has no room for.

        Raises:
            MissingError: There is no room.
        """
        if self.total is None:
            return
        if self.total > MAX_BYTES:
            raise SourceError(f"claims to have {self.total} bytes", kind="integrity")
        folder = self._partial.path.parent
        free, need = free_bytes(folder), self.total - self._partial.size_bytes
        if free is not None and free < need + min(SPARE_BYTES, need):
            raise MissingError(
                f"no room in {folder}: {format_size(need)} needed, {format_size(free)} free",
                hint="free some room, or use another --cache DIR",
            )

    def write(self, data: bytes) -> None:
        """Append bytes to the partial.

        Raises:
            SourceError: There are more than the file has.
            OSError: The disk is full; a body of unknown length, which may never end, is removed.
        """
        try:
            if self.total is None and self._partial.size_bytes >= self._next_look:
                self._next_look = self._partial.size_bytes + ROOM_EVERY_BYTES
                check_growth(self._partial, ROOM_EVERY_BYTES)
            self._partial.write(data)
        except OSError:
            if self._origin.total is None:
                self._partial.discard()
            raise
        if self._limit is not None and self._partial.size_bytes > self._limit:
            text = f"more than the {self._expected.size_bytes} bytes that the registry knows"
            raise SourceError(text, kind="integrity")
        if self._inflater is not None:
            try:
                for _ in self._inflater.feed(data):
                    pass
            except CodingError as error:
                self._inflater = None
                if "behind" in str(error):
                    raise SourceError(
                        f"has bytes behind its {self._origin.coding} coding", kind="integrity"
                    ) from None

    def check_coding(self) -> None:
        """Find a compressed body of unknown length that was cut.

        Raises:
            SourceError: It was; asking again may help.
        """
        if self._inflater is not None and self._origin.total is None:
            try:
                self._inflater.end()
            except CodingError:
                raise SourceError(f"cut off inside its {self._origin.coding} coding", retry=True) from None


def check_growth(partial: Partial, count: int) -> None:
    """Stop a file of unknown length before it leaves less room than it takes, or than `SPARE_BYTES`.

    Args:
        partial: The file.
        count: Bytes that it is about to grow by.

    Raises:
        OSError: There is too little room.
    """
    free = free_bytes(partial.path.parent)
    if free is not None and free < min(SPARE_BYTES, partial.size_bytes) + count:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def peek(url: str, opener: Opener, artifact: Artifact) -> int | None:
    """Open a file and look at its first bytes and its size, as a download would.

    Returns:
        Its size in bytes, if the source says it.

    Raises:
        SourceError: The source does not have it, or has something else.
    """
    stream = opener(url, 0, Origin())
    try:
        head = b""
        for chunk in stream.chunks:
            head += chunk
            if len(head) >= HEAD_BYTES:
                break
    finally:
        stream.close()
    expected = Expected(artifact.name, artifact.size_bytes if tensors_known(artifact) is None else None)
    look_at(head, stream.origin.coding, stream.content_type, expected)
    expected.check_size(stream.origin.total, head, stream.origin.coding)
    return None if is_compressed(head, stream.origin.coding) else stream.origin.total


def look_at(head: bytes, coding: str | None, content_type: str | None, expected: Expected) -> None:
    """Refuse a body whose first bytes, compressed or not, are those of something else.

    Raises:
        SourceError: They are a page, a pointer, or nothing.
    """
    if is_compressed(head, coding):
        try:
            head = next(Inflater().feed(head))
        except (CodingError, StopIteration):
            return
    found = wrong_content(head[:HEAD_BYTES], expected.name, content_type)
    if found is not None:
        page = found.startswith(("an HTML", "an XML"))
        raise SourceError(f"gave {found}", kind="network" if page else "integrity")


def _check_end(partial: Partial, total: int | None, expected: Expected) -> None:
    """Decide whether the stream ended because the file did.

    Raises:
        SourceError: It did not.
    """
    size = partial.size_bytes
    if total is not None and size != total:
        raise SourceError(f"connection closed after {size} of {total} bytes", retry=True)
    if expected.size_bytes is not None and size < expected.size_bytes and not partial.is_compressed():
        raise SourceError(f"ended after {size} of {expected.size_bytes} bytes", retry=True)
    if not expected.trusted:
        cut = cut_short(partial.path, expected.name)
        if cut is not None:
            raise SourceError(f"gave {cut}", kind="integrity", retry=total is None)
