"""Streaming box AP.

It is COCO's: crowd or ignored objects are `iscrowd`, area ranges go by box area, at most 100 detections for
each frame and class.

BDD100K's official toolkit has no evaluation of boxes against instance masks, and how the model zoo made its
"Box AP" column of instances is not documented. Here their ground-truth boxes are the tight boxes
[x1, y1, x2 - x1 + 1, y2 - y1 + 1] of the instances' pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bddzoo.errors import MissingError
from bddzoo.evaluation.bitmask import CROWD_BIT, IGNORE_BIT, segments, words
from bddzoo.evaluation.metrics.insseg import MatchAccumulator
from bddzoo.evaluation.metrics.matching import Candidates, match_frame
from bddzoo.lazy_numpy import np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class BoxAccumulator(MatchAccumulator):
    """Box AP of detections against the boxes of ground-truth bitmasks."""

    prefix = "box_"

    def update(
        self,
        gt_rgba: NDArray[np.uint8],
        boxes: NDArray[np.floating],
        scores: NDArray[np.floating],
        labels: NDArray[np.integer],
        name: str,
    ) -> None:
        """Match one frame.

        Args:
            gt_rgba: Ground truth bitmask (H, W, 4) uint8.
            boxes: Detected boxes (N, 4), x1, y1, x2, y2 in pixels; x2 and y2 are outer edges, so
                that the width is x2 - x1.
            scores: (N,).
            labels: (N,) class indices from 0.
            name: Name of the frame, unique in the set.

        Raises:
            MissingError: Arrays of different lengths, or a number that is not finite.
        """
        det = np.asarray(boxes, np.float64).reshape(-1, 4)
        values = np.asarray(scores, np.float64).reshape(-1)
        kinds = np.asarray(labels, np.int64).reshape(-1)
        if not len(det) == values.size == kinds.size:
            raise MissingError(f"{name}: {len(det)} boxes, {values.size} scores and {kinds.size} labels")
        if not (np.isfinite(det).all() and np.isfinite(values).all()):
            raise MissingError(f"{name}: a box or score is not a finite number")
        xywh = np.concatenate((det[:, :2], det[:, 2:] - det[:, :2]), axis=1)
        found = box_candidates(xywh, values, kinds, *boxes_of_bitmask(gt_rgba, name))
        self.add(name, match_frame(found, classes=len(self.class_names), coco=True))


class DetAccumulator(MatchAccumulator):
    """Box AP of detections against labelled boxes, as in the official toolkit (`scalabel.eval.detect`)."""

    prefix = "box_"
    task = "det"


def box_candidates(
    found: NDArray[np.float64],
    scores: NDArray[np.float64],
    classes: NDArray[np.int64],
    gt: NDArray[np.float64],
    gt_class: NDArray[np.int64],
    gt_ignored: NDArray[np.bool_],
) -> Candidates:
    """Detections and objects of one frame for COCO's matching of boxes.

    Args:
        found: (N, 4) x, y, width and height of the detections.
        scores: (N,).
        classes: (N,) class indices.
        gt: (M, 4) x, y, width and height of the objects.
        gt_class: (M,) class indices.
        gt_ignored: (M,) crowd or ignored objects.
    """
    return Candidates(
        box_iou(found, gt, gt_ignored),
        scores,
        classes,
        pred_areas=found[:, 2] * found[:, 3],
        gt_class=gt_class,
        gt_areas=gt[:, 2] * gt[:, 3],
        gt_ignored=gt_ignored,
        gt_crowd=gt_ignored,
    )


def boxes_of_bitmask(
    bitmask: NDArray[np.uint8], name: str
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]]:
    """Boxes (N, 4) x, y, w, h of a bitmask's instances, class indices (N,), and iscrowd (N,) bool."""
    found = segments(bitmask, name)
    height, width = bitmask.shape[:2]
    word = words(bitmask).reshape(height, width)
    # Runs within rows: their ends give the extent of each instance.
    change = np.ones((height, width), np.bool_)
    change[:, 1:] = word[:, 1:] != word[:, :-1]
    starts = np.flatnonzero(change)
    stops = np.append(starts[1:], word.size) - 1
    values = word.reshape(-1)[starts].astype(np.int64)
    ids = ((values >> 16) & 0xFF) << 8 | values >> 24
    at = np.searchsorted(found.ids, ids)
    inside = ids > 0
    at, starts, stops = at[inside], starts[inside], stops[inside]
    count = found.ids.size
    low = np.full((2, count), np.iinfo(np.int64).max)
    high = np.full((2, count), -1)
    np.minimum.at(low[0], at, starts % width)
    np.minimum.at(low[1], at, starts // width)
    np.maximum.at(high[0], at, stops % width)
    np.maximum.at(high[1], at, stops // width)
    boxes = np.concatenate((low, high - low + 1)).T.astype(np.float64)
    crowd = (found.attributes & (CROWD_BIT | IGNORE_BIT)) > 0
    return boxes, found.categories - 1, crowd


def box_iou(
    pred: NDArray[np.float64], gt: NDArray[np.float64], crowd: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """(pred, gt) IoU of x, y, w, h boxes; over the prediction's area where the object is a crowd."""
    left = np.maximum(pred[:, None, :2], gt[None, :, :2])
    right = np.minimum(pred[:, None, :2] + pred[:, None, 2:], gt[None, :, :2] + gt[None, :, 2:])
    side = np.maximum(right - left, 0)
    common = side[..., 0] * side[..., 1]
    area = (pred[:, 2] * pred[:, 3])[:, None]
    whole = np.where(crowd[None, :], area, area + (gt[:, 2] * gt[:, 3])[None, :] - common)
    out: NDArray[np.float64] = np.divide(common, whole, out=np.zeros_like(common), where=common > 0)
    return out
