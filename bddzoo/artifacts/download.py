"""One file from one address into a partial: resume, retry, and look at what comes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from bddzoo.artifacts.partial import Partial
from bddzoo.artifacts.policy import Manners, sleep
from bddzoo.artifacts.sources import Origin
from bddzoo.artifacts.streams import Opener, SourceError, Stopped, Stream
from bddzoo.artifacts.verification import HEAD_BYTES, name_cut, name_impostor
from bddzoo.errors import MissingError
from bddzoo.files import format_size, free_bytes
from bddzoo.registry.model import Artifact

# Left alone on the disk, so that the last download does not take the machine down.
SPARE_BYTES = 16 << 20
# No file of a model is this large; a source that says so is wrong, and the disk is not too small.
MAX_BYTES = 1 << 44


@dataclass(frozen=True)
class Wanted:
    """What a download is for.

    Attributes:
        name: File name.
        size_bytes: Size as the registry knows it, or None.
        trusted: Whether a known digest decides at the end, so that any prefix may be continued.
    """

    name: str
    size_bytes: int | None = None
    trusted: bool = False


def download(
    url: str,
    opener: Opener,
    partial: Partial,
    wanted: Wanted,
    manners: Manners,
    stop: threading.Event,
    report: Callable[[int, int | None], None],
    note: Callable[[str], None],
) -> None:
    """Bring a file into `partial`, whole as far as its source and the registry can tell.

    Args:
        url: The address.
        opener: Opens it from an offset on.
        partial: Receives the bytes; what it holds already is continued where that is sound.
        wanted: What the file should be.
        manners: Retries and waits.
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
    best = partial.size_bytes
    while True:
        try:
            _attempt(url, opener, partial, wanted, stop, report)
            return
        except SourceError as error:
            if not error.retry:
                raise
            # Only bytes never had before count, else a server that always breaks at the same place
            # would be asked for ever.
            grown, best = partial.size_bytes > best, max(best, partial.size_bytes)
            failures = 1 if grown and not error.stalled else failures + 1
            limit = manners.connect_attempts if error.unreachable else manners.attempts
            if failures >= limit:
                times = f" ({failures} times)" if failures > 1 else ""
                raise SourceError(error.text + times, kind=error.kind) from None
            wait_s = max(manners.wait_s(failures), error.retry_after_s or 0.0)
            note(f"{error.text}; trying again in {wait_s:.1f} s at {format_size(partial.size_bytes)}")
            sleep(wait_s, stop)


def _attempt(
    url: str,
    opener: Opener,
    partial: Partial,
    wanted: Wanted,
    stop: threading.Event,
    report: Callable[[int, int | None], None],
) -> None:
    if stop.is_set():
        raise Stopped
    known = partial.origin
    if partial.size_bytes and not _may_continue(partial, url, wanted):
        partial.restart()
        known = Origin()
    offset = partial.size_bytes
    if offset and offset == (wanted.size_bytes or known.total) and (wanted.trusted or known.is_of(url)):
        return  # an earlier process was stopped between the last byte and the rename
    stream = opener(url, offset, known)
    try:
        if stream.offset != offset:
            partial.restart()
        elif offset:
            partial.continued = True
        _receive(stream, partial, wanted, stop, report)
    finally:
        stream.close()


def _may_continue(partial: Partial, url: str, wanted: Wanted) -> bool:
    """Whether the bytes in a partial may be continued from this address."""
    if wanted.size_bytes is not None and partial.size_bytes > wanted.size_bytes:
        return False
    return wanted.trusted or (partial.origin.is_of(url) and partial.origin.validator is not None)


def _receive(
    stream: Stream,
    partial: Partial,
    wanted: Wanted,
    stop: threading.Event,
    report: Callable[[int, int | None], None],
) -> None:
    total = stream.origin.total
    head: bytes | None = b"" if stream.offset == 0 else None
    opened = False
    for piece in stream.chunks:
        chunk = piece
        if head is not None:
            # Nothing is written before the first bytes have been looked at.
            head += chunk
            if len(head) < HEAD_BYTES and (total is None or len(head) < total):
                continue
            _look(head, stream, wanted)
            chunk, head = head, None
        if not opened:
            _check_size(total, wanted)
            _check_room(partial, total if total is not None else wanted.size_bytes)
            partial.open(stream.origin)
            opened = True
        partial.write(chunk)
        report(partial.size_bytes, total if total is not None else wanted.size_bytes)
        if wanted.size_bytes is not None and partial.size_bytes > wanted.size_bytes:
            raise SourceError(
                f"more than the {wanted.size_bytes} bytes that the registry knows", kind="integrity"
            )
        if stop.is_set():
            raise Stopped
        del piece, chunk  # nothing may hold the bytes while the next ones are received
    if head is not None and not (total and len(head) < total):
        _look(head, stream, wanted)
        _check_size(total, wanted)
    if head:
        partial.open(stream.origin)
        partial.write(head)
    _check_end(partial, total, wanted)


def look_at(url: str, opener: Opener, artifact: Artifact) -> int | None:
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
    tensors = any(d.algorithm == "tensors" for d in artifact.digests)
    wanted = Wanted(artifact.name, None if tensors else artifact.size_bytes)
    _look(head, stream, wanted)
    _check_size(stream.origin.total, wanted)
    return stream.origin.total


def _look(head: bytes, stream: Stream, wanted: Wanted) -> None:
    impostor = name_impostor(head[:HEAD_BYTES], wanted.name, stream.content_type)
    if impostor is not None:
        page = impostor.startswith(("an HTML", "an XML"))
        raise SourceError(f"gave {impostor}", kind="network" if page else "integrity")


def _check_size(total: int | None, wanted: Wanted) -> None:
    if total is not None and wanted.size_bytes is not None and total != wanted.size_bytes:
        raise SourceError(f"has {total} bytes, the registry knows {wanted.size_bytes}", kind="integrity")


def _check_room(partial: Partial, total: int | None) -> None:
    if total is None:
        return
    if total > MAX_BYTES:
        raise SourceError(f"claims to have {total} bytes", kind="integrity")
    free, need = free_bytes(partial.path), total - partial.size_bytes
    if free is not None and free < need + min(SPARE_BYTES, need):
        raise MissingError(
            f"no room in {partial.path.parent}: {format_size(need)} needed, {format_size(free)} free",
            hint="free some room, or use another --cache DIR",
        )


def _check_end(partial: Partial, total: int | None, wanted: Wanted) -> None:
    """Decide whether the stream ended because the file did."""
    size = partial.size_bytes
    if total is not None and size != total:
        raise SourceError(f"connection closed after {size} of {total} bytes", retry=True)
    if wanted.size_bytes is not None and size != wanted.size_bytes:
        raise SourceError(f"ended after {size} of {wanted.size_bytes} bytes", retry=True)
    if not wanted.trusted:
        cut = name_cut(partial.path, wanted.name)
        if cut is not None:
            raise SourceError(f"gave {cut}", kind="integrity", retry=total is None)
