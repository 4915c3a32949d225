"""Instances and their overlaps from pairs of BDD100K bitmasks.

A bitmask pixel is R = category, G = truncated << 3 | occluded << 2 | crowd << 1 | ignore,
B << 8 | A = instance id; id 0 is background.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bddzoo.errors import MissingError
from bddzoo.evaluation.fast.repack import Folded, align

IGNORE_BIT = 1
CROWD_BIT = 2


@dataclass(frozen=True, slots=True)
class Segments:
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


@dataclass(frozen=True, slots=True)
class Overlaps:
    """Two bitmasks of one frame and how their instances overlap.

    Attributes:
        gt: Instances of the ground truth.
        pred: Instances of the prediction.
        pixels: (pred, gt) int64, common pixels.
        shape: (H, W) of the bitmasks.
    """

    gt: Segments
    pred: Segments
    pixels: NDArray[np.int64]
    shape: tuple[int, int]

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


def runs(
    first: NDArray[np.uint32], second: NDArray[np.uint32], repeats: NDArray[np.int64]
) -> tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.int64]]:
    """Cut two aligned arrays into runs on which both are constant: values, values, lengths.

    Args:
        first: (rows * width,) uint32.
        second: (rows * width,) uint32.
        repeats: (rows,) how often each row occurs; lengths are pixels of all its copies.
    """
    if not first.size:
        return first, second, np.zeros(0, np.int64)
    width = first.size // repeats.size
    change = np.empty(first.size, np.bool_)
    np.not_equal(first[1:], first[:-1], out=change[:-1])
    change[:-1] |= second[1:] != second[:-1]
    # A run may go on in the next row if that is repeated as often.
    change[width - 1 :: width] |= np.diff(repeats, append=-1) != 0
    ends = np.flatnonzero(change)
    return first[ends], second[ends], np.diff(ends, prepend=-1) * repeats[ends // width]


def overlaps(
    gt: NDArray[np.uint8], pred: NDArray[np.uint8], name: str, *, pred_attributes: bool = False
) -> Overlaps:
    """Instances of both bitmasks and their common pixels.

    Args:
        gt: Ground truth (H, W, 4) uint8.
        pred: Prediction (H, W, 4) uint8.
        name: Name of the frame, for messages.
        pred_attributes: Whether the G channel of a prediction means something (pan_seg).

    Raises:
        MissingError: Sizes differ, or an instance has pixels of two categories (or, in the ground
            truth, of two sets of attributes).
    """
    return folded_overlaps(Folded(gt), Folded(pred), name, pred_attributes=pred_attributes)


def folded_overlaps(gt: Folded, pred: Folded, name: str, *, pred_attributes: bool = False) -> Overlaps:
    """The same of bitmasks without their repeated rows."""
    if gt.shape != pred.shape:
        raise MissingError(
            f"{name}: the prediction is {pred.shape[1]}x{pred.shape[0]}, "
            f"the ground truth {gt.shape[1]}x{gt.shape[0]}",
            hint="predictions are scored at the size of the ground truth",
        )
    gt_rows, pred_rows, repeats = align(gt, pred)
    g, p, lengths = runs(words(gt_rows), words(pred_rows), repeats)
    keys = (g.astype(np.uint64) << np.uint64(32)) | p
    unique, inverse = np.unique(keys, return_inverse=True)
    counts = np.bincount(inverse, lengths, minlength=unique.size).astype(np.int64)
    gt_word = (unique >> np.uint64(32)).astype(np.int64)
    pred_word = (unique & np.uint64(0xFFFFFFFF)).astype(np.int64)
    truth, gt_index = _segments(gt_word, counts, name, "ground truth")
    if not pred_attributes:
        # They mean nothing; two sets of them in one instance are no contradiction.
        pred_word &= ~0xFF00
    found, pred_index = _segments(pred_word, counts, name, "prediction")
    pixels = np.zeros((found.ids.size + 1, truth.ids.size + 1), np.int64)
    np.add.at(pixels, (pred_index, gt_index), counts)
    return Overlaps(truth, found, pixels[1:, 1:], (gt.shape[0], gt.shape[1]))


def segments(bitmask: NDArray[np.uint8], name: str) -> Segments:
    """Instances of one bitmask (H, W, 4)."""
    w, _, lengths = runs(words(bitmask), words(bitmask), np.ones(len(bitmask), np.int64))
    unique, inverse = np.unique(w, return_inverse=True)
    counts = np.bincount(inverse, lengths, minlength=unique.size).astype(np.int64)
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
