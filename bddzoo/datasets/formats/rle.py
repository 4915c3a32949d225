"""Run-length encoding of masks, in COCO's compressed form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bddzoo.errors import MissingError

# Larger masks are refused before a byte is allocated: BDD100K's have 0.9 megapixels.
MAX_PIXELS = 1 << 26
# Five bits a digit: six digits hold every length up to MAX_PIXELS, with its sign.
MAX_DIGITS = 6
# The mask of 0.9 megapixels that is longest, a chessboard, has 0.9 MB of counts.
MAX_COUNTS = 1 << 22


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
    _runs(counts, height * width, where)
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
    runs = []
    for rle, value in masks:
        shape, counts = _checked(rle, where)
        if shape != size:
            raise MissingError(f"{where}: masks of different sizes: {list(shape)} and {list(size)}")
        starts, ends = _runs(counts, pixels, where)
        runs.append((starts, ends, np.full(starts.size, value, dtype)))
    starts, ends, values = (
        np.concatenate([run[part] for run in runs]) if runs else np.zeros(0, np.int64) for part in range(3)
    )
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
        counts = counts.encode("ascii") if isinstance(counts, str) else bytes(counts)
    except (KeyError, TypeError, ValueError) as error:
        raise MissingError(f"{where}: not an RLE with 'counts' and 'size': {type(error).__name__}") from None
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise MissingError(f"{where}: an RLE of size {[height, width]}, which can't be meant")
    if len(counts) > MAX_COUNTS:
        raise MissingError(f"{where}: an RLE of {len(counts)} bytes, which can't be meant")
    return (height, width), counts


def _runs(counts: bytes, pixels: int, where: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Starts and ends of the runs of a mask, in column order.

    Each count is a sequence of 6-bit digits, 5 bits of value and one that says "more"; from the
    third on it is the difference to the count two before (rleFrString in cocoapi's maskApi.c).

    Raises:
        MissingError: The counts are malformed or do not add up to `pixels`.
    """
    bad = MissingError(f"{where}: the RLE does not describe {pixels} pixels")
    digits = np.frombuffer(counts, np.uint8) - np.uint8(48)
    more = (digits & 0x20) != 0
    if not digits.size or more[-1] or (digits > 63).any():
        raise bad
    finals = np.flatnonzero(~more)
    widths = np.diff(finals, prepend=-1)
    if widths.max() > MAX_DIGITS:
        raise bad
    first = finals - widths + 1
    lengths = np.zeros(finals.size, np.int64)
    for k in range(int(widths.max())):
        long = np.flatnonzero(widths > k)
        lengths[long] |= (digits[first[long] + k] & 0x1F).astype(np.int64) << (5 * k)
    lengths -= np.where(digits[finals] & 0x10, np.int64(1) << (5 * widths), 0)
    # Counts 1, 3, 5 ... are running sums of their own, and so are 2, 4, 6 ...; count 0 stands alone.
    for chain in (lengths[1::2], lengths[2::2]):
        np.cumsum(chain, out=chain)
    edges = np.cumsum(lengths)
    if lengths.min() < 0 or edges[-1] != pixels:
        raise bad
    # Runs of foreground are those with odd numbers; some are empty.
    starts, ends = edges[: edges.size // 2 * 2 : 2], edges[1::2]
    full = ends > starts
    return starts[full], ends[full]
