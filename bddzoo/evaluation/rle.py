"""COCO's compressed run-length encoding as runs, without painting masks.

Counts are written with 6-bit digits (5 bits of value, one that says "more"), the last digit's bit 4
being the sign; from the third count on a count is stored as its difference to the one two before
(`rleFrString` in cocoapi's maskApi.c). Pixels run down the columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from bddzoo.datasets.formats.rle import MaskRuns, RleError, decode_runs
from bddzoo.datasets.native import native
from bddzoo.evaluation.metrics.confusion import IGNORE
from bddzoo.lazy_numpy import np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class ClassRuns(msgspec.Struct, frozen=True, gc=False):
    """A class map as runs in column order.

    Attributes:
        starts: (N,) int64, ascending; the first is 0. Runs may be empty.
        values: (N,) uint8 class of each run, 255 where there is none.
        pixels: Pixels in all.
    """

    starts: NDArray[np.int64]
    values: NDArray[np.uint8]
    pixels: int


def decode_class_runs(counts: Sequence[bytes], classes: NDArray[np.uint8], pixels: int) -> ClassRuns:
    """Class map of masks; where they overlap, a later one wins.

    Args:
        counts: Compressed counts of masks of one size.
        classes: (masks,) class of each.
        pixels: Height times width.

    Raises:
        RleError: With the position of the first bad mask as its argument.
    """
    loops = native()
    if loops is not None and counts:
        found = loops.class_runs(counts, classes, pixels)
        if not isinstance(found, int):
            return ClassRuns(*found, pixels)
        if found < len(counts):
            raise RleError(found)
    return class_runs(decode_runs(counts, pixels), classes)


def class_runs(runs: MaskRuns, classes: NDArray[np.uint8]) -> ClassRuns:
    """Class map of several masks; where they overlap, a later one wins.

    Args:
        runs: The masks.
        classes: (masks,) class of each.
    """
    # Sorting numbers that hold their places takes half the time of sorting places.
    bits = max(runs.starts.size, 1).bit_length()
    packed = np.sort(runs.starts << bits | np.arange(runs.starts.size))
    order = packed & ((1 << bits) - 1)
    low, high = packed >> bits, runs.ends[order]
    if (high[:-1] > low[1:]).any():
        return _painted(runs, classes)
    corners = np.empty(2 * low.size + 1, np.int64)
    corners[0], corners[1::2], corners[2::2] = 0, low, high
    colours = np.full(corners.size, IGNORE, np.uint8)
    colours[1::2] = classes[runs.masks[order]]
    return ClassRuns(corners, colours, runs.pixels)


def _painted(runs: MaskRuns, classes: NDArray[np.uint8]) -> ClassRuns:
    canvas = np.full(runs.pixels, IGNORE, np.uint8)
    values = classes[runs.masks].tolist()
    # Runs lie mask by mask, so that later masks are painted over earlier ones.
    for start, end, value in zip(runs.starts.tolist(), runs.ends.tolist(), values, strict=True):
        canvas[start:end] = value
    starts = np.concatenate(([0], np.flatnonzero(canvas[1:] != canvas[:-1]) + 1)).astype(np.int64)
    return ClassRuns(starts, canvas[starts], runs.pixels)


def runs_confusion(gt: ClassRuns, pred: ClassRuns, classes: int) -> NDArray[np.int64]:
    """Confusion matrix (classes, classes + 1) of two class maps of the same size."""
    loops = native()
    if loops is not None:
        return loops.merge_runs(gt.starts, gt.values, pred.starts, pred.values, gt.pixels, classes)
    both = np.concatenate((gt.starts, pred.starts))
    # Two sorted halves: a stable sort merges them in linear time.
    order = np.argsort(both, kind="stable")
    at = np.cumsum(order < gt.starts.size)
    g = gt.values[at - 1]
    # Until the first run of the prediction is reached only empty stretches have been passed.
    p = pred.values[np.maximum(np.arange(1, both.size + 1) - at, 1) - 1]
    lengths = np.diff(both[order], append=gt.pixels)
    clip = np.minimum(np.arange(256), classes)
    keys = (clip * (classes + 1))[g] + clip[p]
    counts = np.bincount(keys, lengths, minlength=(classes + 1) ** 2)
    return counts.astype(np.int64).reshape(classes + 1, classes + 1)[:classes]
