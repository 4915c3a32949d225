"""Greedy matching of detections to ground truth at ten IoU thresholds at once.

A set of thresholds is a bit mask: bit t stands for threshold t of `IOU_THRESHOLDS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IOU_THRESHOLDS: NDArray[np.float64] = np.linspace(0.5, 0.95, 10)
# Area ranges in pixels, both ends inclusive: all, small, medium, large.
AREA_RANGES: NDArray[np.float64] = np.array([[0, 1e10], [0, 32**2], [32**2, 96**2], [96**2, 1e10]])
AREAS = ("all", "s", "m", "l")
ALL_BITS = (1 << len(IOU_THRESHOLDS)) - 1
MAX_DETECTIONS = (1, 10, 100)


@dataclass(frozen=True, slots=True)
class FrameMatches:
    """What AP needs of one frame: about 26 bytes for each detection.

    Attributes:
        classes: Class of each detection (N,) uint8, from 0.
        scores: (N,) float64, descending within a class.
        hits: (areas, N) uint16 bit masks: thresholds at which a detection is matched.
        ignored: (areas, N) uint16 bit masks: thresholds at which it counts as nothing.
        positives: (classes, areas) int64, ground-truth objects that count.
        present: (classes,) bool, whether any ground-truth object is there, ignored ones too.
    """

    classes: NDArray[np.uint8]
    scores: NDArray[np.float64]
    hits: NDArray[np.uint16]
    ignored: NDArray[np.uint16]
    positives: NDArray[np.int64]
    present: NDArray[np.bool_]


def threshold_bits(iou: NDArray[np.float64]) -> NDArray[np.int64]:
    """Bit mask of the thresholds that each IoU reaches (`>=`)."""
    reached = np.searchsorted(IOU_THRESHOLDS, iou, side="right")
    return (np.int64(1) << reached) - 1


def outside(areas: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(areas, N) bool: whether an object's area is out of each range."""
    return (areas < AREA_RANGES[:, :1]) | (areas > AREA_RANGES[:, 1:])


def match_bitmask(
    iou: NDArray[np.float64], gt_ignored: NDArray[np.bool_], gt_crowd: NDArray[np.bool_]
) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Matching as the toolkit does it for bitmasks, for one class of one frame.

    Detections in order of score take the free object of highest IoU, the lowest index on ties,
    whether it is ignored or not; only a crowd object stays free. So matching does not depend on the
    area range, only what is ignored does.

    Args:
        iou: (detections, objects) float64, plain IoU.
        gt_ignored: (areas, objects) bool.
        gt_crowd: (objects,) bool.

    Returns:
        `hits` (detections,) and `ignored` (areas, detections), both as uint16 bit masks; detections
        that are unmatched and out of an area range are not yet ignored.
    """
    count = iou.shape[0]
    hits = np.zeros(count, np.uint16)
    ignored = np.zeros((len(AREAS), count), np.uint16)
    rows, columns = np.nonzero(iou >= IOU_THRESHOLDS[0])
    if not rows.size:
        return hits, ignored
    values = iou[rows, columns]
    free = [ALL_BITS] * iou.shape[1]
    order = np.lexsort((columns, -values, rows))
    bits = threshold_bits(values)
    for k in order.tolist():
        d, g = int(rows[k]), int(columns[k])
        taken = int(bits[k]) & free[g] & ~int(hits[d])
        if not taken:
            continue
        hits[d] |= taken
        if not gt_crowd[g]:
            free[g] &= ~taken
        for a in np.flatnonzero(gt_ignored[:, g]).tolist():
            ignored[a, d] |= taken
    return hits, ignored


def match_coco(
    iou: NDArray[np.float64], gt_ignored: NDArray[np.bool_], gt_crowd: NDArray[np.bool_]
) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Matching as COCO's `evaluateImg` does it, for one class, frame and area range.

    A detection takes the free object of highest IoU among those that count, the last one on ties,
    and only if there is none the best ignored one; crowd objects stay free.

    Args:
        iou: (detections, objects) float64 (intersection over detection for crowds).
        gt_ignored: (objects,) bool, crowds among them.
        gt_crowd: (objects,) bool.

    Returns:
        `hits` and `ignored`, both (detections,) uint16 bit masks.
    """
    count = iou.shape[0]
    hits = np.zeros(count, np.uint16)
    ignored = np.zeros(count, np.uint16)
    rows, columns = np.nonzero(iou >= IOU_THRESHOLDS[0])
    if not rows.size:
        return hits, ignored
    values = iou[rows, columns]
    free = [ALL_BITS] * iou.shape[1]
    order = np.lexsort((-columns, -values, gt_ignored[columns], rows))
    bits = threshold_bits(values)
    for k in order.tolist():
        d, g = int(rows[k]), int(columns[k])
        taken = int(bits[k]) & free[g] & ~int(hits[d])
        if not taken:
            continue
        hits[d] |= taken
        if gt_ignored[g]:
            ignored[d] |= taken
        if not gt_crowd[g]:
            free[g] &= ~taken
    return hits, ignored


def join_classes(
    parts: Sequence[tuple[int, NDArray[np.float64], NDArray[np.uint16], NDArray[np.uint16]]],
    positives: NDArray[np.int64],
    present: NDArray[np.bool_],
) -> FrameMatches:
    """One frame's matches from (class, scores, hits (areas, n), ignored (areas, n)) of each class."""
    empty = np.zeros((len(AREAS), 0), np.uint16)
    return FrameMatches(
        classes=np.concatenate(
            [np.full(p[1].size, p[0], np.uint8) for p in parts] or [np.zeros(0, np.uint8)]
        ),
        scores=np.concatenate([p[1] for p in parts] or [np.zeros(0)]),
        hits=np.concatenate([p[2] for p in parts] or [empty], axis=1),
        ignored=np.concatenate([p[3] for p in parts] or [empty], axis=1),
        positives=positives,
        present=present,
    )
