"""Run-length encoding of masks, in COCO's compressed form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bddzoo.errors import MissingError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def encode_rle(mask: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Encode a (H, W) mask as `{"counts": str, "size": [H, W]}`, ready for JSON."""
    import numpy as np
    from pycocotools import mask as coco

    encoded = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
    height, width = encoded["size"]
    return {"counts": encoded["counts"].decode("ascii"), "size": [int(height), int(width)]}


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
    if height < 1 or width < 1 or _total(counts) != height * width:
        # pycocotools writes past the end of the canvas or leaves it unset instead of complaining.
        raise MissingError(f"{where}: the RLE does not describe {height}x{width} pixels")
    return np.asarray(coco.decode({"size": [height, width], "counts": counts}), np.bool_)


def _total(counts: bytes) -> int:
    """Pixels that compressed counts describe; -1 where they are malformed.

    Each count is a sequence of 6-bit digits, 5 bits of value and one that says "more"; from the
    third on it is the difference to the count two before (rleFrString in cocoapi's maskApi.c).
    """
    runs: list[int] = []
    at = 0
    while at < len(counts):
        value = shift = 0
        more = True
        while more:
            if at >= len(counts):
                return -1
            digit = counts[at] - 48
            if not 0 <= digit < 64:
                return -1
            value |= (digit & 0x1F) << shift
            more = bool(digit & 0x20)
            at += 1
            shift += 5
            if not more and digit & 0x10:
                value -= 1 << shift
        if len(runs) > 2:
            value += runs[-2]
        if value < 0:
            return -1
        runs.append(value)
    return sum(runs)
