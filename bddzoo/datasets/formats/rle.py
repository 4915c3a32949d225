"""Run-length encoding of masks, in COCO's compressed form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bddzoo.errors import MissingError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

# Larger masks are refused before a byte is allocated: BDD100K's have 0.9 megapixels.
MAX_PIXELS = 1 << 26
# Five bits a digit: six digits hold every length up to MAX_PIXELS, with its sign.
MAX_DIGITS = 6


def encode_rle(mask: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Encode a (H, W) mask as `{"counts": str, "size": [H, W]}`, ready for JSON."""
    import numpy as np
    from pycocotools import mask as coco

    encoded = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
    height, width = encoded["size"]
    return {"counts": encoded["counts"].decode("ascii"), "size": [int(height), int(width)]}


def encode_values(values: npt.NDArray[np.integer]) -> dict[int, dict[str, Any]]:
    """Masks of all values of a (H, W) map at once: value -> what `encode_rle(values == value)` gives."""
    import numpy as np
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
        # A mask that ends with the picture has no background behind it.
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
    import numpy as np
    from pycocotools import mask as coco

    try:
        height, width = (int(v) for v in rle["size"])
        counts = rle["counts"]
        counts = counts.encode("ascii") if isinstance(counts, str) else bytes(counts)
    except (KeyError, TypeError, ValueError) as error:
        raise MissingError(f"{where}: not an RLE with 'counts' and 'size': {type(error).__name__}") from None
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise MissingError(f"{where}: an RLE of size {[height, width]}, which can't be meant")
    if _total(counts) != height * width:
        # pycocotools writes past the end of the canvas or leaves it unset instead of complaining.
        raise MissingError(f"{where}: the RLE does not describe {height}x{width} pixels")
    return np.asarray(coco.decode({"size": [height, width], "counts": counts})).view(np.bool_)


def _total(counts: bytes) -> int:
    """Pixels that compressed counts describe; -1 where they are malformed.

    Each count is a sequence of 6-bit digits, 5 bits of value and one that says "more"; from the
    third on it is the difference to the count two before (rleFrString in cocoapi's maskApi.c).
    """
    import numpy as np

    digits = np.frombuffer(counts, np.uint8) - np.uint8(48)
    more = (digits & 0x20) != 0
    if not digits.size or more[-1] or (digits > 63).any():
        return -1
    finals = np.flatnonzero(~more)
    widths = np.diff(finals, prepend=-1)
    if widths.max() > MAX_DIGITS:
        return -1
    first = finals - widths + 1
    lengths = np.zeros(finals.size, np.int64)
    for k in range(int(widths.max())):
        long = np.flatnonzero(widths > k)
        lengths[long] |= (digits[first[long] + k] & 0x1F).astype(np.int64) << (5 * k)
    lengths -= np.where(digits[finals] & 0x10, np.int64(1) << (5 * widths), 0)
    # Counts 1, 3, 5 ... are running sums of their own, and so are 2, 4, 6 ...; count 0 stands alone.
    for chain in (lengths[1::2], lengths[2::2]):
        np.cumsum(chain, out=chain)
    return int(lengths.sum()) if lengths.min() >= 0 else -1
