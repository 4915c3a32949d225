"""COCO's compressed run-length encoding as runs, without painting masks.

Counts are written with 6-bit digits (5 bits of value, one that says "more"), the last digit's bit 4
being the sign; from the third count on a count is stored as its difference to the one two before
(`rleFrString` in cocoapi's maskApi.c). Pixels run down the columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bddzoo.evaluation.confusion import IGNORE
from bddzoo.evaluation.decode import MAX_PIXELS

# Five bits a digit: six digits hold every length up to MAX_PIXELS.
MAX_DIGITS = 6


class RleError(ValueError):
    """Counts that describe no mask of the stated size."""


@dataclass(frozen=True, slots=True)
class ClassRuns:
    """A class map as runs in column order.

    Attributes:
        starts: (N,) int64, ascending; the first is 0. Runs may be empty.
        values: (N,) uint8 class of each run, 255 where there is none.
        pixels: Pixels in all.
    """

    starts: NDArray[np.int64]
    values: NDArray[np.uint8]
    pixels: int


def run_edges(counts: Sequence[bytes], pixels: int) -> list[NDArray[np.int64]]:
    """Ends of the alternating runs (background first) of each mask.

    Args:
        counts: Compressed counts of masks of one size.
        pixels: Height times width.

    Raises:
        RleError: With the position of the first bad mask as its argument.
    """
    joined = np.frombuffer(b"".join(counts), np.uint8)
    digits = joined - np.uint8(48)
    finals = np.flatnonzero((digits & 0x20) == 0)
    sizes = np.array([len(c) for c in counts], np.int64)
    # How many values each mask has: values end at final digits, masks must end with one.
    lasts = np.cumsum(sizes) - 1
    bounds = np.searchsorted(finals, lasts, side="right")
    first = np.empty_like(finals)
    if finals.size:
        first[0] = 0
        first[1:] = finals[:-1] + 1
    widths = finals - first + 1
    ok = not (digits > 63).any() and (not widths.size or int(widths.max()) <= MAX_DIGITS)
    if not ok:
        raise RleError(_first_bad(counts, pixels))
    values = (digits[first] & 0x1F).astype(np.int64)
    for k in range(1, int(widths.max()) if widths.size else 0):
        long = np.flatnonzero(widths > k)
        values[long] |= (digits[first[long] + k] & 0x1F).astype(np.int64) << (5 * k)
    negative = np.flatnonzero(digits[finals] & 0x10)
    values[negative] -= np.int64(1) << (5 * widths[negative])
    out = []
    start = 0
    for i, stop in enumerate(bounds.tolist()):
        mine = values[start:stop]
        if not len(counts[i]) or digits[lasts[i]] & 0x20:
            raise RleError(i)
        np.cumsum(mine[1::2], out=mine[1::2])
        np.cumsum(mine[2::2], out=mine[2::2])
        edges = np.cumsum(mine)
        if (mine < 0).any() or edges[-1] != pixels:
            raise RleError(i)
        out.append(edges)
        start = stop
    return out


def _first_bad(counts: Sequence[bytes], pixels: int) -> int:
    """Which of several masks is malformed, when the bytes of all were looked at together."""
    for i, one in enumerate(counts):
        digits = np.frombuffer(one, np.uint8) - np.uint8(48)
        finals = np.flatnonzero((digits & 0x20) == 0)
        widths = np.diff(finals, prepend=-1)
        if (digits > 63).any() or not finals.size or int(widths.max()) > MAX_DIGITS:
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


def class_runs(edges: Sequence[NDArray[np.int64]], classes: Sequence[int], pixels: int) -> ClassRuns:
    """Class map of several masks; where they overlap, a later one wins.

    Args:
        edges: Ends of the runs of each mask, see `run_edges`.
        classes: Class of each mask.
        pixels: Pixels of the map.
    """
    starts, ends, values = [], [], []
    for edge, value in zip(edges, classes, strict=True):
        count = edge.size // 2
        starts.append(edge[0 : 2 * count : 2])
        ends.append(edge[1 : 2 * count : 2])
        values.append(np.full(count, value, np.uint8))
    if not starts:
        return ClassRuns(np.zeros(1, np.int64), np.full(1, IGNORE, np.uint8), pixels)
    low, high, kind = np.concatenate(starts), np.concatenate(ends), np.concatenate(values)
    keep = high > low
    low, high, kind = low[keep], high[keep], kind[keep]
    order = np.argsort(low, kind="stable")
    low, high, kind = low[order], high[order], kind[order]
    if (high[:-1] > low[1:]).any():
        return _painted(edges, classes, pixels)
    corners = np.empty(2 * low.size + 1, np.int64)
    corners[0], corners[1::2], corners[2::2] = 0, low, high
    colours = np.full(corners.size, IGNORE, np.uint8)
    colours[1::2] = kind
    return ClassRuns(corners, colours, pixels)


def _painted(edges: Sequence[NDArray[np.int64]], classes: Sequence[int], pixels: int) -> ClassRuns:
    canvas = np.full(pixels, IGNORE, np.uint8)
    for edge, value in zip(edges, classes, strict=True):
        lengths = np.diff(edge, prepend=0)
        canvas[np.repeat(np.arange(edge.size) % 2 == 1, lengths)] = value
    starts = np.concatenate(([0], np.flatnonzero(canvas[1:] != canvas[:-1]) + 1)).astype(np.int64)
    return ClassRuns(starts, canvas[starts], pixels)


def runs_confusion(gt: ClassRuns, pred: ClassRuns, classes: int) -> NDArray[np.int64]:
    """Confusion matrix (classes, classes + 1) of two class maps of the same size."""
    both = np.concatenate((gt.starts, pred.starts))
    # Two sorted halves: a stable sort merges them in linear time.
    order = np.argsort(both, kind="stable")
    from_gt = order < gt.starts.size
    at = np.cumsum(from_gt)
    g = gt.values[at - 1]
    # Until the first run of the prediction is reached only empty stretches have been passed.
    p = pred.values[np.maximum(np.arange(1, both.size + 1) - at, 1) - 1]
    lengths = np.diff(both[order], append=gt.pixels)
    clip = np.minimum(np.arange(256), classes)
    keys = (clip * (classes + 1))[g] + clip[p]
    counts = np.bincount(keys, lengths, minlength=(classes + 1) ** 2)
    return counts.astype(np.int64).reshape(classes + 1, classes + 1)[:classes]


def overlapping(edges: Sequence[NDArray[np.int64]]) -> bool:
    """Whether any two masks share a pixel."""
    if len(edges) < 2:
        return False
    low = np.concatenate([e[0 : 2 * (e.size // 2) : 2] for e in edges])
    high = np.concatenate([e[1 : 2 * (e.size // 2) : 2] for e in edges])
    keep = high > low
    low, high = low[keep], high[keep]
    order = np.argsort(low, kind="stable")
    return bool((high[order][:-1] > low[order][1:]).any())


def area(edges: NDArray[np.int64]) -> int:
    """Pixels of a mask."""
    return int(np.diff(edges, prepend=0)[1::2].sum())
