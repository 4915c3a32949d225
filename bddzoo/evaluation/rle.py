"""COCO's compressed run-length encoding as runs, without painting masks.

Counts are written with 6-bit digits (5 bits of value, one that says "more"), the last digit's bit 4
being the sign; from the third count on a count is stored as its difference to the one two before
(`rleFrString` in cocoapi's maskApi.c). Pixels run down the columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from bddzoo.datasets.formats.rle import MAX_PIXELS
from bddzoo.datasets.native import native
from bddzoo.evaluation.metrics.confusion import IGNORE

# Five bits a digit: six digits hold every length up to MAX_PIXELS.
MAX_DIGITS = 6


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

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    masks: NDArray[np.int64]
    count: int
    pixels: int

    def areas(self) -> NDArray[np.int64]:
        """Pixels of each mask, (count,)."""
        sums = np.bincount(self.masks, self.ends - self.starts, minlength=self.count)
        return sums.astype(np.int64)

    def overlapping(self) -> bool:
        """Whether any two masks share a pixel."""
        order = np.argsort(self.starts)
        return bool((self.ends[order][:-1] > self.starts[order][1:]).any())


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
    parts: list[NDArray[np.int64]] = []
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
