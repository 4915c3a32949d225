"""Label PNGs through libdeflate and a library's row filters: most of a decoder's speed without a compiler.

Label pictures are so flat that inflating them is most of the work for zlib, and almost none for libdeflate.
What libdeflate hands out still has PNG's row filters on it. They are undone by libpng: the filtered rows are
put into a PNG again, this time stored and not packed. Rows that repeat the one above need not be put there
at all, and in label pictures a quarter to a half of the rows do.
"""

from __future__ import annotations

import struct
import threading
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bddzoo.datasets.formats.png import GREY, RGBA, SIGNATURE

# Signature, IHDR (8 + 13 + 4), length and kind of IDAT, zlib's header.
_IHDR_AT = len(SIGNATURE)
_LENGTH_AT = _IHDR_AT + 25
_KIND_AT = _LENGTH_AT + 4
_STREAM_AT = _KIND_AT + 4
_ROWS_AT = _STREAM_AT + 2
# Before each row: whether it is the last, its size, and the size's complement (RFC 1951, section 3.2.4).
_BLOCK = 5
_END = b"\0\0\0\0IEND\xaeB`\x82"
# Adler-32 of the stream, CRC of the chunk, and the last chunk.
_TAIL = 4 + 4 + len(_END)
# A stored block holds no longer row.
MAX_ROW_BYTES = 0xFFFF
NONE, SUB, UP, AVERAGE, PAETH = range(5)

_local = threading.local()


@dataclass(frozen=True, slots=True)
class Folded:
    """A picture without its repeated rows.

    Attributes:
        rows: (N, W) or (N, W, channels) uint8.
        index: (H,) int64, ascending: which of `rows` each row of the picture is; None if it is all of them.
    """

    rows: NDArray[np.uint8]
    index: NDArray[np.int64] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole picture."""
        return self.rows.shape if self.index is None else (self.index.size, *self.rows.shape[1:])

    def unfolded(self, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """The whole picture, in `out` if that is needed and given."""
        if self.index is None:
            return self.rows
        return np.take(self.rows, self.index, axis=0, out=out, mode="clip")


def align(first: Folded, second: Folded) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int64]]:
    """Rows of two pictures of one size in which either changes, and how often each pair of rows recurs.

    Returns:
        Rows (N, ...) of the first, rows (N, ...) of the second, repeats (N,) int64 that sum up to the height.
    """
    height = first.shape[0]
    if first.index is None and second.index is None:
        return first.rows, second.rows, np.ones(height, np.int64)
    indices = [f.index if f.index is not None else np.arange(height) for f in (first, second)]
    change = (np.diff(indices[0], prepend=-1) | np.diff(indices[1], prepend=-1)) != 0
    starts = np.flatnonzero(change)
    pictures = (
        f.rows if i.size == starts.size == len(f.rows) else np.take(f.rows, i[starts], axis=0)
        for f, i in zip((first, second), indices, strict=True)
    )
    return *pictures, np.diff(starts, append=height)  # type: ignore[return-value]


class _Repacker:
    """Buffers for pictures of one size.

    Args:
        shape: (H, W) or (H, W, 4).
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        height, width = shape[:2]
        row = int(np.prod(shape[1:])) + 1
        self.raw = np.empty((height, row), np.uint8)
        self._kept = np.empty((height, row), np.uint8)
        self._file = np.zeros(_ROWS_AT + height * (_BLOCK + row) + _TAIL, np.uint8)
        self._bytes = self._file.data
        ends = _ROWS_AT + height * (_BLOCK + row)
        self._rows = self._file[_ROWS_AT:ends].reshape(height, _BLOCK + row)
        self._block = np.frombuffer(struct.pack("<BHH", 0, row, row ^ 0xFFFF), np.uint8)
        self._rows[:, :_BLOCK] = self._block
        self._head = struct.pack(">I", width)
        self._kind = bytes([8, RGBA if len(shape) > 2 else GREY, 0, 0, 0])
        self._bytes[:_IHDR_AT] = SIGNATURE
        self._bytes[_KIND_AT:_STREAM_AT] = b"IDAT"
        self._bytes[_STREAM_AT:_ROWS_AT] = b"\x78\x01"

    def picture(self, codecs: Any, out: NDArray[np.uint8]) -> Folded:
        """Undo the filters of `raw`; what is returned lies in `out`.

        Raises:
            Exception: imagecodecs' own, for a filter type that does not exist.
        """
        copies = repeats(self.raw)
        keep = np.flatnonzero(~copies)
        count = keep.size
        kept = self._kept[:count]
        np.take(self.raw, keep, axis=0, out=kept, mode="clip")
        self._rows[:count, _BLOCK:] = kept
        self._rows[count - 1, 0] = 1
        end = _ROWS_AT + count * self._rows.shape[1]
        data = self._bytes
        head = b"IHDR" + self._head + struct.pack(">I", count) + self._kind
        data[_IHDR_AT:_LENGTH_AT] = struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
        data[_LENGTH_AT:_KIND_AT] = struct.pack(">I", end + 4 - _STREAM_AT)
        data[end : end + 4] = struct.pack(">I", codecs.deflate_adler32(kept.reshape(-1).data))
        checksum = codecs.deflate_crc32(data[_KIND_AT : end + 4])
        data[end + 4 : end + _TAIL] = struct.pack(">I", checksum) + _END
        target = out[:count]
        try:
            codecs.png_decode(data[: end + _TAIL], out=target)
        finally:
            # The tail lies where another picture has the next rows.
            self._rows[count - 1, 0] = 0
            self._rows[count : count + _TAIL // _BLOCK + 1, :_BLOCK] = self._block
        return Folded(target, None if count == len(copies) else np.cumsum(~copies) - 1)


def repeats(raw: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which of the filtered rows (H, 1 + W) certainly repeat the one above: (H,) bool.

    A row of zeros is the row above if it was filtered by it, and black if it was not, or by itself only. The
    average of neighbours fades, so it is never taken for a repetition.
    """
    kinds = raw[:, 0]
    zeros = ~raw[:, 1:].any(axis=1)
    black = zeros & (kinds <= SUB)
    out: NDArray[np.bool_] = zeros & ((kinds == UP) | (kinds == PAETH))
    out[1:] |= black[1:] & black[:-1]
    out[0] = False
    return out


def repacker(shape: tuple[int, ...]) -> _Repacker:
    """This thread's buffers for pictures of a size; those of the last size are kept."""
    last: tuple[tuple[int, ...], _Repacker] | None = getattr(_local, "last", None)
    if last is None or last[0] != shape:
        last = _local.last = (shape, _Repacker(shape))
    return last[1]
