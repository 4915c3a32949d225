"""Reading parts of a member of a zip archive, without unpacking it to disk or holding it in memory.

A deflated stream can only be read from its start, or from a place at which the state of the decompressor
was kept. Such states (about 40 KiB each) are kept at up to `PLACES` places as the member is read through
for the first time; later, any part is read from the place before it. Parts that are asked for in order are
read in one go.
"""

from __future__ import annotations

import threading
import weakref
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from bddzoo.errors import MissingError

PLACES = 64
MIN_SPACING = 1 << 20
READ_BYTES = 1 << 16
BLOCK_BYTES = 1 << 18
_LOCAL_HEADER = 30


@dataclass(slots=True)
class _Place:
    """A position in the member from which reading can go on.

    Attributes:
        at: Position in the inflated bytes.
        packed: Position in the packed bytes.
        inflater: Decompressor, or None where nothing is packed.
        rest: Packed bytes that were read but not inflated.
    """

    at: int
    packed: int
    inflater: Any
    rest: bytes = b""

    def copy(self) -> _Place:
        return _Place(self.at, self.packed, self.inflater and self.inflater.copy(), self.rest)


def can_stream(info: zipfile.ZipInfo) -> bool:
    """Whether a member is stored or deflated, and not encrypted."""
    return info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) and not info.flag_bits & 1


class MemberReader:
    """Bytes of one member, by position.

    Args:
        archive: The archive.
        info: The member; see `can_stream`.
        where: How it is called in messages.

    Raises:
        MissingError: The archive cannot be read.
    """

    def __init__(self, archive: Path, info: zipfile.ZipInfo, where: Path) -> None:
        self._where, self._info = where, info
        self._lock = threading.Lock()
        try:
            self._file: IO[bytes] = archive.open("rb")
            weakref.finalize(self, self._file.close)
            self._file.seek(info.header_offset)
            head = self._file.read(_LOCAL_HEADER)
        except OSError as error:
            raise MissingError(f"cannot read {where}: {error.strerror or error}") from None
        if len(head) < _LOCAL_HEADER or not head.startswith(b"PK\3\4"):
            raise self._damaged("its header is not where the archive's index says")
        lengths = int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
        self._start = info.header_offset + _LOCAL_HEADER + lengths
        deflated = info.compress_type == zipfile.ZIP_DEFLATED
        first = _Place(0, 0, zlib.decompressobj(-zlib.MAX_WBITS) if deflated else None)
        self._places = [first]
        self._spacing = max(MIN_SPACING, info.file_size // PLACES)
        self._now = first.copy()
        self._block, self._block_at = b"", 0

    def chunks(self, size: int) -> Iterator[bytes]:
        """All bytes in pieces of about `size`, checked against the archive's checksum.

        Raises:
            MissingError: Damaged, or larger or smaller than the archive says.
        """
        with self._lock:
            self._now = self._places[0].copy()
        checksum = 0
        parts: list[bytes] = []
        held = 0
        while True:
            with self._lock:
                block = self._next()
            if not block:
                break
            checksum = zlib.crc32(block, checksum)
            parts.append(block)
            held += len(block)
            if held >= size:
                yield b"".join(parts)
                parts, held = [], 0
        if parts:
            yield b"".join(parts)
        if self._now.at != self._info.file_size or checksum != self._info.CRC:
            raise self._damaged("its checksum or size is not what the archive says")

    def part(self, start: int, size: int) -> bytes:
        """`size` bytes from `start` on; fewer only at the end.

        Raises:
            MissingError: Damaged.
        """
        with self._lock:
            self._go(start)
            parts: list[bytes] = []
            while size > 0:
                at = start - self._block_at
                if not 0 <= at < len(self._block) and not self._next():
                    break
                at = start - self._block_at
                piece = self._block[at : at + size]
                parts.append(piece)
                start += len(piece)
                size -= len(piece)
            return b"".join(parts)

    def _go(self, start: int) -> None:
        """Bring the block that holds a position in, from the nearest place before it."""
        if self._block_at <= start < self._now.at:
            return
        best = max((p for p in self._places if p.at <= start), key=lambda p: p.at)
        if not self._now.at <= start or best.at > self._now.at:
            self._now = best.copy()
        while self._now.at <= start and self._next():
            pass

    def _next(self) -> bytes:
        """Inflate the next block; empty at the end."""
        now = self._now
        if now.at >= self._places[-1].at + self._spacing and len(self._places) < PLACES:
            self._places.append(now.copy())
        self._block_at = now.at
        try:
            self._block = self._inflate(now) if now.inflater else self._packed(now, BLOCK_BYTES)
        except (zlib.error, OSError) as error:
            raise self._damaged(str(error)) from None
        now.at += len(self._block)
        if now.at > self._info.file_size:
            raise self._damaged("it is larger than the archive says")
        return self._block

    def _inflate(self, now: _Place) -> bytes:
        while not now.inflater.eof:
            data = now.rest or self._packed(now, READ_BYTES)
            block: bytes = now.inflater.decompress(data, BLOCK_BYTES)
            now.rest = now.inflater.unconsumed_tail
            if block:
                return block
            if not data:
                raise zlib.error("it ends too early")
        return b""

    def _packed(self, now: _Place, size: int) -> bytes:
        size = min(size, self._info.compress_size - now.packed)
        self._file.seek(self._start + now.packed)
        data = self._file.read(size)
        if len(data) < size:
            raise zlib.error("the archive is cut short")
        now.packed += size
        return data

    def _damaged(self, why: str) -> MissingError:
        return MissingError(f"{self._where} is damaged: {why}", hint="copy or download the archive again")
