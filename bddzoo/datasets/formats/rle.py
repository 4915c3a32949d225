"""Run-length encoding of masks, in COCO's compressed form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from bddzoo.datasets.native import native
from bddzoo.errors import MissingError
from bddzoo.lazy_numpy import np

if TYPE_CHECKING:
    import numpy.typing as npt

# Larger masks are refused before a byte is allocated: BDD100K's have 0.9 megapixels.
MAX_PIXELS = 1 << 26
# Five bits a digit: six digits hold every length up to MAX_PIXELS, with its sign.
MAX_DIGITS = 6
# The mask of 0.9 megapixels that is longest, a chessboard, has 0.9 MB of counts.
MAX_COUNTS = 1 << 22


class RleError(ValueError):
    """Counts that describe no mask of the stated size."""


class MaskRuns(msgspec.Struct, frozen=True, gc=False):
    """Foreground runs of several masks of one size, in column order, mask by mask.

    Attributes:
        starts: (N,) int64, first pixel of each run.
        ends: (N,) int64, the pixel behind its last; above its start.
        masks: (N,) int64, which mask it belongs to.
        count: Number of masks.
        pixels: Height times width.
    """

    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    masks: npt.NDArray[np.int64]
    count: int
    pixels: int

    def areas(self) -> npt.NDArray[np.int64]:
        """Pixels of each mask, (count,)."""
        sums = np.bincount(self.masks, self.ends - self.starts, minlength=self.count)
        return sums.astype(np.int64)

    def overlapping(self) -> bool:
        """Whether any two masks share a pixel."""
        order = self.starts.argsort()
        return bool((self.ends[order][:-1] > self.starts[order][1:]).any())


def encode_rle(mask: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Encode a (H, W) mask as `{"counts": str, "size": [H, W]}`, ready for JSON."""
    from pycocotools import mask as coco

    encoded = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
    height, width = encoded["size"]
    return {"counts": encoded["counts"].decode("ascii"), "size": [int(height), int(width)]}


def encode_values(values: npt.NDArray[np.integer]) -> dict[int, dict[str, Any]]:
    """Masks of all values of a (H, W) map at once: value -> what `encode_rle(values == value)` gives."""
    from pycocotools import mask as coco

    height, width = values.shape
    if not values.size:
        return {}
    # Pixels run down the columns, as in COCO's encoding.
    flat = np.ascontiguousarray(values.T).reshape(-1)
    starts = np.concatenate(([0], np.flatnonzero(flat[1:] != flat[:-1]) + 1))
    ends = np.append(starts[1:], flat.size)
    order = np.argsort(flat[starts], kind="stable")
    found, first = np.unique(flat[starts][order], return_index=True)
    out = {}
    for value, mine in zip(found.tolist(), np.split(order, first[1:]), strict=True):
        edges = np.stack((starts[mine], ends[mine]), axis=1).reshape(-1)
        counts = np.diff(edges, prepend=0, append=flat.size)
        # A mask that ends with the image has no background behind it.
        listed = counts.tolist()[: None if counts[-1] else -1]
        encoded = coco.frPyObjects({"counts": listed, "size": [height, width]}, height, width)
        out[int(value)] = {"counts": encoded["counts"].decode("ascii"), "size": [height, width]}
    return out


def decode_rle(rle: Mapping[str, Any], where: str = "RLE") -> npt.NDArray[np.bool_]:
    """Decode `{"counts": str | bytes, "size": [H, W]}` to a (H, W) bool mask.

    Args:
        rle: The encoded mask.
        where: What to name in an error: file, frame and label.

    Raises:
        MissingError: The counts do not describe a mask of that size.
    """
    from pycocotools import mask as coco

    (height, width), counts = _checked(rle, where)
    # pycocotools writes past the end of the canvas or leaves it unset where counts do not fit.
    _runs([counts], height * width, where)
    return np.asarray(coco.decode({"size": [height, width], "counts": counts})).view(np.bool_)


def paint_masks(
    masks: Sequence[tuple[Mapping[str, Any], int]],
    size: tuple[int, int],
    background: int,
    dtype: type[np.unsignedinteger[Any]],
    where: str,
) -> npt.NDArray[Any]:
    """A (H, W) map of values from masks; where they overlap, the later one is seen.

    Args:
        masks: RLE of each mask, as `decode_rle` takes it, and its value.
        size: Height and width, which all masks must have.
        background: Value where there is no mask.
        dtype: Of the map.
        where: What to name in an error.

    Raises:
        MissingError: Counts that do not describe a mask of that size.
    """
    import cv2

    pixels = size[0] * size[1]
    if pixels > MAX_PIXELS:
        raise MissingError(f"{where}: masks of {size[1]}x{size[0]} pixels, which can't be meant")
    checked = [_checked(rle, where) for rle, _ in masks]
    for shape, _ in checked:
        if shape != size:
            raise MissingError(f"{where}: masks of different sizes: {list(shape)} and {list(size)}")
    runs = _runs([counts for _, counts in checked], pixels, where)
    starts, ends = runs.starts, runs.ends
    values = np.array([value for _, value in masks], dtype)[runs.masks]
    order = np.argsort(starts)
    if (ends[order][:-1] <= starts[order][1:]).all():
        # Runs and what is between them, one after the other.
        edges = np.stack((starts[order], ends[order]), axis=1).reshape(-1)
        both = np.full(edges.size + 1, background, dtype)
        both[1::2] = values[order]
        flat = np.repeat(both, np.diff(edges, prepend=0, append=pixels))
    else:
        flat = np.full(pixels, background, dtype)
        for start, end, value in zip(starts.tolist(), ends.tolist(), values.tolist(), strict=True):
            flat[start:end] = value
    # Masks run down the columns.
    return np.asarray(cv2.transpose(flat.reshape(size[1], size[0])), dtype)


def _checked(rle: Mapping[str, Any], where: str) -> tuple[tuple[int, int], bytes]:
    """Size and counts of an RLE, of types and sizes that can be meant."""
    try:
        height, width = (int(v) for v in rle["size"])
        counts = rle["counts"]
        counts = counts.encode("ascii") if isinstance(counts, str) else counts
        if not isinstance(counts, bytes):  # of a number, bytes() would make as many zeros
            raise TypeError
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise MissingError(f"{where}: not an RLE with 'counts' and 'size': {type(error).__name__}") from None
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise MissingError(f"{where}: an RLE of size {[height, width]}, which can't be meant")
    if len(counts) > MAX_COUNTS:
        raise MissingError(f"{where}: an RLE of {len(counts)} bytes, which can't be meant")
    return (height, width), counts


def _runs(counts: Sequence[bytes], pixels: int, where: str) -> MaskRuns:
    """Runs of masks.

    Raises:
        MissingError: Counts are malformed or do not add up to `pixels`.
    """
    try:
        return decode_runs(counts, pixels)
    except RleError:
        raise MissingError(f"{where}: the RLE does not describe {pixels} pixels") from None


def decode_runs(counts: Sequence[bytes], pixels: int) -> MaskRuns:
    """Runs of masks from their compressed counts; all masks are decoded at once.

    Args:
        counts: Compressed counts of masks of one size.
        pixels: Height times width.

    Raises:
        RleError: With the position of the first bad mask as its argument.
    """
    total = len(counts)
    if not total:
        none = np.zeros(0, np.int64)
        return MaskRuns(none, none, none, 0, pixels)
    loops = native()
    if loops is not None:
        found = loops.rle_runs(counts, pixels)
        if isinstance(found, int):
            raise RleError(found)
        return MaskRuns(*found, total, pixels)
    digits = np.frombuffer(b"".join(counts), np.uint8) - np.uint8(48)
    more = (digits & 0x20) != 0
    finals = np.flatnonzero(~more)
    lasts = np.cumsum([len(c) for c in counts]) - 1
    # Every value ends with a final digit, and so must every mask.
    if not all(counts) or more[lasts].any() or (digits > 63).any():
        raise RleError(_first_bad(counts, pixels))
    widths = np.diff(finals, prepend=-1)
    widest = int(widths.max())
    if widest > MAX_DIGITS:
        raise RleError(_first_bad(counts, pixels))
    first = finals - widths + 1
    values = (digits[first] & 0x1F).astype(np.int64)
    for k in range(1, widest):
        long = np.flatnonzero(widths > k)
        values[long] |= (digits[first[long] + k] & 0x1F).astype(np.int64) << (5 * k)
    negative = np.flatnonzero(digits[finals] & 0x10)
    values[negative] -= np.int64(1) << (5 * widths[negative])

    stops = np.searchsorted(finals, lasts, side="right").tolist()
    parts: list[npt.NDArray[np.int64]] = []
    begin = 0
    for mask, stop in enumerate(stops):
        lengths = values[begin:stop]
        # Counts 1, 3, 5 ... are running sums of their own, and so are 2, 4, 6 ...; count 0 stands alone.
        for chain in (lengths[1::2], lengths[2::2]):
            np.cumsum(chain, out=chain)
        edges = np.cumsum(lengths)
        if edges[-1] != pixels or lengths.min() < 0:
            raise RleError(mask)
        parts.append(edges)
        begin = stop
    # Runs of foreground are those with odd numbers.
    starts = np.concatenate([e[: e.size // 2 * 2 : 2] for e in parts])
    ends = np.concatenate([e[1::2] for e in parts])
    masks = np.repeat(np.arange(total), [e.size // 2 for e in parts])
    full = ends > starts
    return MaskRuns(starts[full], ends[full], masks[full], total, pixels)


def _first_bad(counts: Sequence[bytes], pixels: int) -> int:
    """Which of several masks is malformed; they are looked at one by one."""
    if len(counts) > 1:
        for i, one in enumerate(counts):
            try:
                decode_runs([one], pixels)
            except RleError:
                return i
    return 0


def check_size(size: Sequence[int]) -> int:
    """Pixels of a mask of [height, width].

    Raises:
        RleError: Not positive, or too large to be meant.
    """
    height, width = int(size[0]), int(size[1])
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise RleError(0)
    return height * width
