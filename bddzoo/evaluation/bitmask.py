"""Instances and their overlaps from pairs of BDD100K bitmasks.

A bitmask pixel is R = category, G = truncated << 3 | occluded << 2 | crowd << 1 | ignore,
B << 8 | A = instance id; id 0 is background.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bddzoo.datasets.formats.labels import NEUTRAL
from bddzoo.datasets.native import native
from bddzoo.errors import MissingError
from bddzoo.lazy_numpy import np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Segments(msgspec.Struct, frozen=True, gc=False):
    """Instances of one bitmask, ascending by id.

    Attributes:
        ids: (N,) int64, from 1.
        categories: (N,) int64, the R channel.
        attributes: (N,) int64, the G channel.
        areas: (N,) int64, pixels.
    """

    ids: NDArray[np.int64]
    categories: NDArray[np.int64]
    attributes: NDArray[np.int64]
    areas: NDArray[np.int64]

    @property
    def neutral(self) -> NDArray[np.bool_]:
        """(N,): of which nothing is counted, crowd or ignored."""
        return self.attributes & NEUTRAL > 0


class Overlaps(msgspec.Struct, frozen=True, gc=False):
    """Two bitmasks of one frame and how their instances overlap.

    Attributes:
        gt: Instances of the ground truth.
        pred: Instances of the prediction.
        pixels: (pred, gt) int64, common pixels.
        shape: (H, W) of the bitmasks.
        values: R values of the ground truth, ascending, those of the background among them.
    """

    gt: Segments
    pred: Segments
    pixels: NDArray[np.int64]
    shape: tuple[int, int]
    values: NDArray[np.uint8]

    def iou(self) -> NDArray[np.float64]:
        """(pred, gt) float64 intersection over union."""
        union = self.pred.areas[:, None] + self.gt.areas[None, :] - self.pixels
        out: NDArray[np.float64] = self.pixels / np.maximum(union, 1)
        return out


def words(bitmask: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Pixels of an RGBA bitmask (H, W, 4) as one little-endian word each, (H * W,) uint32."""
    if bitmask.ndim != 3 or bitmask.shape[2] != 4:
        raise ValueError(f"a bitmask has shape (H, W, 4), not {bitmask.shape}")
    return np.ascontiguousarray(bitmask).view("<u4").reshape(-1)


def word_pairs(
    first: NDArray[np.uint32], second: NDArray[np.uint32]
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Different pairs of values of two arrays (N,), ascending, and how often each occurs.

    Returns:
        Pairs (M,) uint64, `first << 32 | second`, and counts (M,) int64.
    """
    loops = native()
    if loops is not None:
        return loops.word_pairs(first, second)
    if not first.size:
        return np.zeros(0, np.uint64), np.zeros(0, np.int64)
    # Bitmasks are piecewise constant: runs are counted, not pixels.
    change = np.ones(first.size, np.bool_)
    np.not_equal(first[1:], first[:-1], out=change[:-1])
    change[:-1] |= second[1:] != second[:-1]
    ends = np.flatnonzero(change)
    keys = (first[ends].astype(np.uint64) << np.uint64(32)) | second[ends]
    unique, inverse = np.unique(keys, return_inverse=True)
    counts = np.bincount(inverse, np.diff(ends, prepend=-1), minlength=unique.size)
    return unique, counts.astype(np.int64)


def overlaps(
    gt: NDArray[np.uint8],
    pred: NDArray[np.uint8],
    name: str,
    *,
    pred_attributes: bool = False,
    truth: str | None = None,
) -> Overlaps:
    """Instances of both bitmasks and their common pixels.

    Args:
        gt: Ground truth (H, W, 4) uint8.
        pred: Prediction (H, W, 4) uint8.
        name: Name of the frame, for messages.
        pred_attributes: Whether the G channel of a prediction means something (pan_seg).
        truth: Name of the ground truth, for messages; `name` where None.

    Raises:
        MissingError: Sizes differ, or an instance has pixels of two categories (or, in the ground
            truth, of two sets of attributes).
    """
    if gt.shape != pred.shape:
        raise MissingError(
            f"{name}: the prediction is {pred.shape[1]}x{pred.shape[0]}, "
            f"the ground truth {gt.shape[1]}x{gt.shape[0]}",
            hint="predictions are scored at the size of the ground truth",
        )
    unique, counts = word_pairs(words(gt), words(pred))
    gt_word = (unique >> np.uint64(32)).astype(np.int64)
    pred_word = (unique & np.uint64(0xFFFFFFFF)).astype(np.int64)
    objects, gt_index = _segments(gt_word, counts, truth or name, "ground truth")
    if not pred_attributes:
        # They mean nothing; two sets of them in one instance do not contradict each other.
        pred_word &= ~0xFF00
    found, pred_index = _segments(pred_word, counts, name, "prediction")
    pixels = np.zeros((found.ids.size + 1, objects.ids.size + 1), np.int64)
    np.add.at(pixels, (pred_index, gt_index), counts)
    return Overlaps(
        objects, found, pixels[1:, 1:], (gt.shape[0], gt.shape[1]), np.unique(gt_word & 0xFF).astype(np.uint8)
    )


def segments(bitmask: NDArray[np.uint8], name: str) -> Segments:
    """Instances of one bitmask (H, W, 4)."""
    word = words(bitmask)
    unique, counts = word_pairs(np.zeros_like(word), word)
    return _segments(unique.astype(np.int64), counts, name, "bitmask")[0]


def _segments(
    word: NDArray[np.int64], counts: NDArray[np.int64], name: str, which: str
) -> tuple[Segments, NDArray[np.int64]]:
    """Instances from distinct words and their pixel counts; also each word's 1-based index (0: none)."""
    ids = ((word >> 16) & 0xFF) << 8 | word >> 24
    # An id must come with one category and one set of attributes: one word.
    unique_ids, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    mixed = (word != word[first][inverse]) & (ids > 0)
    if mixed.any():
        raise MissingError(
            f"{name}: instance {int(ids[mixed][0])} of the {which} has pixels of two categories "
            "or attribute sets",
            hint="an id in B << 8 | A stands for one object",
        )
    areas = np.bincount(inverse, counts, minlength=unique_ids.size).astype(np.int64)
    values = word[first]
    background = int(unique_ids.size > 0 and unique_ids[0] == 0)
    keep = slice(background, None)
    found = Segments(unique_ids[keep], (values & 0xFF)[keep], (values >> 8 & 0xFF)[keep], areas[keep])
    return found, inverse + (1 - background)
