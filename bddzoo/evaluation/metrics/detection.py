"""Streaming AP of masks, boxes and poses.

AP of boxes is COCO's: crowd or ignored objects are `iscrowd`, area ranges go by box area, at most 100
detections for each frame and class. BDD100K's official toolkit has no evaluation of boxes against instance
masks, and how the model zoo made its "Box AP" column of instances is not documented. Here their ground-truth
boxes are the tight boxes [x1, y1, x2 - x1 + 1, y2 - y1 + 1] of the instances' pixels. AP of poses is COCO's
by the similarity of their joints, as the official toolkit has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bddzoo.datasets.formats.frames import checked_scores
from bddzoo.datasets.formats.labels import FLAGS
from bddzoo.errors import MissingError
from bddzoo.evaluation.bitmask import Overlaps, overlaps, segments, words
from bddzoo.evaluation.metrics.average_precision import ap_scores
from bddzoo.evaluation.metrics.matching import (
    Candidates,
    FrameMatches,
    Packed,
    count_of,
    match_frame,
    unpacked,
)
from bddzoo.evaluation.metrics.scores import PerFrame, Scores
from bddzoo.lazy_numpy import np

if TYPE_CHECKING:
    from numpy.typing import NDArray


Entry = Mapping[str, Any] | tuple[int, float]


class MatchAccumulator(PerFrame[Packed]):
    """Frames of matched detections; what mask AP and box AP have in common.

    Frames are scored in the order of their names, so that ties of score do not depend on the order
    of `update` and `merge`.

    Args:
        class_names: Names of the classes; class 0 is category 1 of a bitmask.
    """

    prefix = ""
    task = "ins_seg"

    def per_frame(self) -> list[FrameMatches]:
        """Matches of each frame, in the order of `names`."""
        return [unpacked(matches, len(self.class_names)) for matches in self.in_order()]

    def compute(self, chosen: NDArray[np.bool_] | None = None) -> Scores:
        """Scores over all frames so far, or over the chosen ones (see `in_order`), in percent."""
        return ap_scores(self.in_order(chosen), self.class_names, self.task, self.prefix)

    def as_json(self, scores: Scores) -> Scores:
        """What the toolkit makes of these scores where the frames came as JSON.

        Without a single prediction it gives 0 for every class that occurs.
        """
        if any(map(count_of, self.in_order())):
            return scores
        present = [False] * len(self.class_names)
        for matches in self.per_frame():
            present = [a or bool(b) for a, b in zip(present, matches.present.tolist(), strict=True)]
        row = {n: 0.0 if p else float("nan") for n, p in zip(self.class_names, present, strict=True)}
        total = 0.0 if any(present) else float("nan")
        return replace(
            scores, table=dict.fromkeys(scores.table, row), summary=dict.fromkeys(scores.summary, total)
        )


class InsSegAccumulator(MatchAccumulator):
    """Mask AP from bitmasks, as the official toolkit computes it (`bdd100k.eval.ins_seg`).

    Objects with the ignore bit, or of an area out of range, are ignored. A crowd alone is an
    ordinary object that may be matched repeatedly.
    """

    def update(
        self, gt_rgba: NDArray[np.uint8], pred_rgba: NDArray[np.uint8], scores: Iterable[Entry], name: str
    ) -> list[str]:
        """Match one frame.

        Args:
            gt_rgba: Ground truth bitmask (H, W, 4) uint8.
            pred_rgba: Prediction bitmask (H, W, 4) uint8; ids are the indices of `scores`.
            scores: Entries `{"index": id, "score": s}` or pairs, in file order. An entry without
                pixels is dropped; an instance without an entry too.
            name: Name of the frame, unique in the set.

        Returns:
            Remarks on what was dropped, one line each.

        Raises:
            MissingError: Sizes differ, an instance is of two categories, an index is 0 or occurs
                twice, a score is not a finite number.
            UsageError: The frame was matched before.
        """
        entries = checked_scores(_pairs(scores, name), name)
        both = overlaps(gt_rgba, pred_rgba, name)
        found, unscored = instances(both, entries)
        self.add(name, match_frame(found, classes=len(self.class_names), coco=False))
        if not unscored:
            return []
        return [
            f"{name}: {unscored} predicted instance{'s' * (unscored > 1)} without a score entry "
            f"{'are' if unscored > 1 else 'is'} not counted"
        ]


def _pairs(scores: Iterable[Entry], name: str) -> Iterator[tuple[int, float]]:
    for entry in scores:
        try:
            if isinstance(entry, Mapping):
                yield int(entry["index"]), float(entry["score"])
            else:
                yield int(entry[0]), float(entry[1])
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise MissingError(f"{name}: a score entry needs a numeric index and score: {error!r}") from None


def instances(both: Overlaps, scores: Mapping[int, float]) -> tuple[Candidates, int]:
    """The scored instances of one frame and its objects; also how many instances have no score."""
    ids = {int(i): k for k, i in enumerate(both.pred.ids.tolist())}
    scored = {index: score for index, score in scores.items() if index in ids}
    rows = np.array([ids[index] for index in scored], np.int64)
    gt = both.gt
    found = Candidates(
        iou=both.iou()[rows],
        scores=np.array(list(scored.values()), np.float64),
        pred_class=both.pred.categories[rows] - 1,
        pred_areas=both.pred.areas[rows].astype(np.float64),
        gt_class=gt.categories - 1,
        gt_areas=gt.areas.astype(np.float64),
        gt_ignored=(gt.attributes & FLAGS["ignored"]) > 0,
        gt_crowd=(gt.attributes & FLAGS["crowd"]) > 0,
    )
    return found, len(ids) - rows.size


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
    return boxes, found.categories - 1, found.neutral


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


JOINTS = 18
# How far annotators disagree about a joint, as a share of the person's size (the toolkit's `poseSigmas`).
SIGMAS = (
    *(0.079, 0.079, 0.079, 0.072, 0.062, 0.079, 0.072, 0.062, 0.107),
    *(0.087, 0.089, 0.107, 0.087, 0.089, 0.062, 0.062, 0.062, 0.062),
)
MOST_PEOPLE = 20
"""Predictions that count in a frame."""


class PoseAccumulator(MatchAccumulator):
    """Pose AP as in the official toolkit (`scalabel.eval.pose`)."""

    prefix = "pose_"
    task = "pose"


def oks(
    pred: NDArray[np.float64], gt: NDArray[np.float64], boxes: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Object keypoint similarity (predictions, people) of joints.

    As `computeOks` of pycocotools with the areas of boxes, step by step: also values that lie on a threshold
    are the same.

    Args:
        pred: (N, 18, 2) x and y of each joint.
        gt: (M, 18, 3) x, y and visibility; a joint of visibility 0 is left out.
        boxes: (M, 4) x, y, width and height of the people.
    """
    out = np.zeros((len(pred), len(gt)))
    spread = (np.array(SIGMAS) * 2) ** 2
    for column, (joints, box) in enumerate(zip(gt, boxes, strict=True)):
        seen = joints[:, 2] > 0
        away = pred - joints[:, :2]
        if not seen.any():
            # How far joints lie outside of a box three times as large.
            low, high = box[:2] - box[2:], box[:2] + box[2:] * 2
            away = np.maximum(0, low - pred) + np.maximum(0, pred - high)
            seen[:] = True
        error = (away[..., 0] ** 2 + away[..., 1] ** 2) / spread / (box[2] * box[3] + np.spacing(1)) / 2
        out[:, column] = np.exp(-np.ascontiguousarray(error[:, seen])).sum(axis=1) / np.count_nonzero(seen)
    return out
