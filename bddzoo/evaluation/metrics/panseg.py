"""Streaming panoptic quality from bitmasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bddzoo.datasets.classes import PAN_SEG, PAN_STUFF
from bddzoo.evaluation.bitmask import Overlaps, overlaps, segments
from bddzoo.evaluation.metrics.scores import PerFrame, Scores
from bddzoo.lazy_numpy import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Rows of the statistics of a frame.
IOU, TP, FP, FN = range(4)


class PanSegAccumulator(PerFrame["NDArray[np.float64]"]):
    """Panoptic quality as the official toolkit computes it (`bdd100k.eval.pan_seg`).

    Keeps four numbers for each frame and class: summed IoU of matches, TP, FP, FN.
    """

    def __init__(self, class_names: Sequence[str] = PAN_SEG.names, stuff: int = PAN_STUFF) -> None:
        super().__init__(class_names)
        self.stuff = stuff

    def update(self, gt_rgba: NDArray[np.uint8], pred_rgba: NDArray[np.uint8] | None, name: str) -> None:
        """Count one frame.

        Args:
            gt_rgba: Ground truth bitmask (H, W, 4) uint8, R = label id 1..40.
            pred_rgba: Prediction bitmask, or None when there is none (everything is missed).
            name: Name of the frame, unique in the set.
        """
        self.add(name, pan_counts(gt_rgba, pred_rgba, len(self.class_names), name))

    def per_frame(self, chosen: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
        """Statistics (frames, 4, classes), see `in_order`."""
        return np.array(self.in_order(chosen), np.float64).reshape(-1, 4, len(self.class_names))

    def compute(self, chosen: NDArray[np.bool_] | None = None) -> Scores:
        """Scores over all frames so far, or over the chosen ones; qualities in percent, N as a count."""
        counts = self.per_frame(chosen)
        return pan_scores(counts.sum(axis=0), self.class_names, self.stuff, len(counts))


def pan_counts(
    gt: NDArray[np.uint8], pred: NDArray[np.uint8] | None, classes: int, name: str
) -> NDArray[np.float64]:
    """Summed IoU, TP, FP and FN of each class in one frame: (4, classes) float64."""
    if pred is None:
        found = segments(gt, name)
        out = np.zeros((4, classes))
        _count(out[FN], found.categories[~found.neutral])
        return out
    return match_panoptic(overlaps(gt, pred, name, pred_attributes=True), classes)


def match_panoptic(both: Overlaps, classes: int) -> NDArray[np.float64]:
    """Match the segments of one frame: (4, classes) float64.

    Each ground-truth segment that counts takes the prediction of its class with the highest IoU and
    is found if that IoU is above one half. A prediction that nothing took is a false positive only
    if at least half of its area lies on ground truth that counts.
    """
    out = np.zeros((4, classes))
    gt, pred = both.gt, both.pred
    gt_valid, pred_valid = ~gt.neutral, ~pred.neutral
    if not pred.ids.size:
        _count(out[FN], gt.categories[gt_valid])
        return out
    same = gt.categories[:, None] == pred.categories[None, :]
    iou = both.iou().T * same
    best = iou.argmax(axis=1)
    best_iou = iou.max(axis=1)
    found = gt_valid & (best_iou > 0.5) & pred_valid[best]
    _count(out[TP], gt.categories[found])
    _count(out[FN], gt.categories[gt_valid & ~found])
    _count(out[IOU], gt.categories[found], best_iou[found])
    share = both.pixels.T / pred.areas[None, :]
    elsewhere = 1 - share[gt_valid].sum(axis=0)
    taken = np.zeros(pred.ids.size, np.bool_)
    taken[best[found]] = True
    _count(out[FP], pred.categories[pred_valid & ~taken & ~(elsewhere > 0.5)])
    return out


def _count(
    row: NDArray[np.float64], categories: NDArray[np.int64], weights: NDArray[np.float64] | None = None
) -> None:
    known = (categories >= 1) & (categories <= row.size)
    values = 1.0 if weights is None else weights[known]
    np.add.at(row, categories[known] - 1, values)


def pan_scores(counts: NDArray[np.float64], class_names: Sequence[str], stuff: int, frames: int) -> Scores:
    """Scores from summed statistics (4, classes)."""
    iou, tp, fp, fn = counts
    seen = (tp + fp + fn) > 0
    weight = np.where(seen, tp + 0.5 * fp + 0.5 * fn, 1)
    values = {
        "PQ": 100 * iou / weight,
        "SQ": 100 * np.divide(iou, tp, out=np.zeros_like(iou), where=tp > 0),
        "RQ": 100 * tp / weight,
    }
    things = np.arange(len(class_names)) >= stuff

    def mean(row: NDArray[np.float64], who: NDArray[np.bool_]) -> float:
        return float(row[who & seen].mean()) if (who & seen).any() else 0.0

    table = {m: dict(zip(class_names, row.tolist(), strict=True)) for m, row in values.items()}
    groups = {m: {"STUFF": mean(row, ~things), "THING": mean(row, things)} for m, row in values.items()}
    summary = {m: mean(row, things | ~things) for m, row in values.items()}
    table["N"] = dict(zip(class_names, seen.astype(int).tolist(), strict=True))
    groups["N"] = {"STUFF": int((seen & ~things).sum()), "THING": int((seen & things).sum())}
    summary["N"] = int(seen.sum())
    absent = tuple(n for n, t, f in zip(class_names, tp, fn, strict=True) if t + f == 0)
    return Scores("pan_seg", table, summary, frames, absent, groups)
