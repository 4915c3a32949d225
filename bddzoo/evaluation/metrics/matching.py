"""Greedy matching of detections to ground truth at ten IoU thresholds at once.

A set of thresholds is a bit mask: bit t stands for threshold t of `IOU_THRESHOLDS`.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from bddzoo.datasets.native import native
from bddzoo.lazy_numpy import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# As numpy.linspace has them.
IOU_THRESHOLDS = (*(0.5 + k * ((0.95 - 0.5) / 9) for k in range(9)), 0.95)
# Area ranges in pixels, both ends inclusive: all, small, medium, large.
AREA_RANGES = ((0.0, 1e10), (0.0, 32.0**2), (32.0**2, 96.0**2), (96.0**2, 1e10))
AREAS = ("all", "s", "m", "l")
SETTINGS = array("d", chain(IOU_THRESHOLDS, *AREA_RANGES))
ALL_BITS = (1 << len(IOU_THRESHOLDS)) - 1
MAX_DETECTIONS = (1, 10, 100)


class FrameMatches(msgspec.Struct, frozen=True, gc=False):
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

    def packed(self) -> bytes:
        """The same as bytes, as `Native.match_frames` has it."""
        head = array("q", [self.classes.size, 0]).tobytes() + self.positives.astype(np.int64).tobytes()
        present = self.present.tobytes()
        lists = (self.scores, self.hits, self.ignored, self.classes)
        parts = [head, present, bytes(-len(present) % 8), *(values.tobytes() for values in lists)]
        return b"".join([*parts, bytes(-self.classes.size % 8)])


# Matches of a frame as they are kept until somebody looks at them.
Packed: TypeAlias = "bytes | FrameMatches"


def count_of(matches: Packed) -> int:
    """Number of detections."""
    if isinstance(matches, bytes):
        return int.from_bytes(matches[:8], sys.byteorder)
    return matches.classes.size


def unpacked(matches: Packed, classes: int) -> FrameMatches:
    """Matches of a frame, whether they are packed or not."""
    if not isinstance(matches, bytes):
        return matches
    count, areas = count_of(matches), len(AREAS)
    behind = 16 + classes * areas * 8
    scores = behind + (classes + 7) // 8 * 8
    hits = scores + 8 * count
    return FrameMatches(
        np.frombuffer(matches, np.uint8, count, hits + 4 * areas * count),
        np.frombuffer(matches, np.float64, count, scores),
        np.frombuffer(matches, np.uint16, areas * count, hits).reshape(areas, count),
        np.frombuffer(matches, np.uint16, areas * count, hits + 2 * areas * count).reshape(areas, count),
        np.frombuffer(matches, np.int64, classes * areas, 16).reshape(classes, areas),
        np.frombuffer(matches, np.bool_, classes, behind),
    )


def all_detections(
    frames: Sequence[FrameMatches],
) -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.uint16], NDArray[np.uint16]]:
    """Classes and scores (N,), hits and ignored (areas, N) of all detections, frame by frame."""
    none = np.zeros((len(AREAS), 0), np.uint16)
    return (
        np.concatenate([np.zeros(0, np.uint8), *(f.classes for f in frames)]),
        np.concatenate([np.zeros(0), *(f.scores for f in frames)]),
        np.concatenate([none, *(f.hits for f in frames)], axis=1),
        np.concatenate([none, *(f.ignored for f in frames)], axis=1),
    )


# What `Native.match_frames` says of a frame besides.
CROWD, SHARING, OBJECTS, DETECTIONS = 1, 2, 4, 8


def remarkable(packed: bytes) -> int:
    """Which of these there are in a frame that was packed."""
    return int.from_bytes(packed[8:16], sys.byteorder)


class Candidates(msgspec.Struct, frozen=True, gc=False):
    """Detections and objects of one frame, before they are matched.

    Attributes:
        iou: (detections, objects) float64; over the detection's area for COCO's crowds.
        scores: (detections,) float64, in the order that decides ties.
        pred_class: (detections,) int64 class indices.
        pred_areas: (detections,) float64 pixels.
        gt_class: (objects,) int64 class indices.
        gt_areas: (objects,) float64 pixels.
        gt_ignored: (objects,) bool, whether an object counts in no area range.
        gt_crowd: (objects,) bool, whether it can be matched again.
    """

    iou: NDArray[np.float64]
    scores: NDArray[np.float64]
    pred_class: NDArray[np.int64]
    pred_areas: NDArray[np.float64]
    gt_class: NDArray[np.int64]
    gt_areas: NDArray[np.float64]
    gt_ignored: NDArray[np.bool_]
    gt_crowd: NDArray[np.bool_]


def threshold_bits(iou: NDArray[np.float64]) -> NDArray[np.int64]:
    """Bit mask of the thresholds that each IoU reaches (`>=`)."""
    reached = np.searchsorted(IOU_THRESHOLDS, iou, side="right")
    return (np.int64(1) << reached) - 1


def outside(areas: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(areas, N) bool: whether an object's area is out of each range."""
    low, high = np.array(AREA_RANGES).T[..., None]
    out: NDArray[np.bool_] = (areas < low) | (areas > high)
    return out


def match_frame(found: Candidates, *, classes: int, coco: bool) -> FrameMatches:
    """Match the detections of one frame to its objects, class by class, best score first.

    With `coco` as `evaluateImg` in pycocotools' cocoeval.py: a detection takes the free object of highest IoU
    among those that count, the last one on ties, and only if there is none the best ignored one; at most 100
    detections a class. Otherwise as the official toolkit does for bitmasks: the free object of highest IoU
    whether it counts or not, the first one on ties. Either way crowd objects stay free, and an unmatched
    detection of an area out of range counts as nothing.

    Args:
        found: The detections and objects.
        classes: Number of classes.
        coco: See above.
    """
    scores, pred_class, gt_class = found.scores, found.pred_class, found.gt_class
    limit = MAX_DETECTIONS[-1] if coco else max(scores.size, 1)
    loops = native()
    if loops is not None:
        whole = np.ascontiguousarray
        order, hits, ignored, positives, present = loops.match_frame(
            whole(found.iou),
            whole(scores),
            whole(pred_class),
            whole(found.pred_areas),
            whole(gt_class),
            whole(found.gt_areas),
            whole(found.gt_ignored),
            whole(found.gt_crowd),
            classes=classes,
            limit=limit,
            settings=np.array(SETTINGS),
            coco=coco,
        )
        return FrameMatches(
            pred_class[order].astype(np.uint8), scores[order], hits, ignored, positives, present
        )
    out_of_range = outside(found.gt_areas) | found.gt_ignored
    ranked = np.argsort(-scores, kind="stable")
    positives, present = np.zeros((classes, len(AREAS)), np.int64), np.zeros(classes, np.bool_)
    chosen, hit_parts, ignored_parts = [], [], []
    for c in range(classes):
        objects = np.flatnonzero(gt_class == c)
        mine = ranked[pred_class[ranked] == c][:limit]
        present[c] = objects.size > 0
        positives[c] = (~out_of_range[:, objects]).sum(axis=1)
        pairs, crowd = found.iou[np.ix_(mine, objects)], found.gt_crowd[objects]
        matched = [_match_class(pairs, row[objects], crowd, coco=coco) for row in out_of_range]
        chosen.append(mine)
        hit_parts.append(np.stack([m[0] for m in matched]))
        ignored_parts.append(np.stack([m[1] for m in matched]))
    order = np.concatenate(chosen)
    hits, ignored = np.concatenate(hit_parts, axis=1), np.concatenate(ignored_parts, axis=1)
    ignored |= np.where(outside(found.pred_areas[order]), ~hits & ALL_BITS, 0).astype(np.uint16)
    return FrameMatches(pred_class[order].astype(np.uint8), scores[order], hits, ignored, positives, present)


def _match_class(
    iou: NDArray[np.float64], gt_ignored: NDArray[np.bool_], gt_crowd: NDArray[np.bool_], *, coco: bool
) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """`hits` and `ignored`, both (detections,) bit masks, of one class and area range."""
    hits = np.zeros(len(iou), np.uint16)
    ignored = np.zeros(len(iou), np.uint16)
    rows, columns = np.nonzero(iou >= IOU_THRESHOLDS[0])
    values = iou[rows, columns]
    free = [ALL_BITS] * iou.shape[1]
    keys = (-columns, -values, gt_ignored[columns], rows) if coco else (columns, -values, rows)
    bits = threshold_bits(values)
    for k in np.lexsort(keys).tolist():
        d, g = int(rows[k]), int(columns[k])
        taken = int(bits[k]) & free[g] & ~int(hits[d])
        hits[d] |= taken
        if gt_ignored[g]:
            ignored[d] |= taken
        if not gt_crowd[g]:
            free[g] &= ~taken
    return hits, ignored
