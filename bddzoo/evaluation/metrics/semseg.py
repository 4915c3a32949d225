"""Streaming scores of semantic segmentation and drivable area."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from bddzoo.errors import MissingError
from bddzoo.evaluation.metrics.confusion import confusion
from bddzoo.evaluation.metrics.per_frame import PerFrame
from bddzoo.evaluation.metrics.scores import Scores

if TYPE_CHECKING:
    from typing_extensions import Self

Rule = Literal["bdd100k", "openseg", "tagging"]


class SemSegAccumulator(PerFrame[NDArray[np.int64]]):
    """Confusion counts of class maps, frame by frame.

    Follows the official toolkit (`bdd100k.eval.seg`): ground truth that is not a class is left out,
    a prediction that is not a class is a miss, and means are over the classes in the ground truth.
    Counts are int64, so large sets do not wrap. Keeps three numbers for each frame and class (found,
    in ground truth, predicted), which is what slices and intervals need.

    Args:
        class_names: Names of the classes 0, 1, ...
        task: `sem_seg`, `drivable` or `tagging`, whose frames count as one pixel each.
        rule: Whose definition of the means `compute` follows, see `semseg_scores`.
    """

    def __init__(self, class_names: Sequence[str], task: str = "sem_seg", rule: Rule = "bdd100k") -> None:
        super().__init__(class_names)
        self.task = task
        self.rule: Rule = rule
        size = len(self.class_names)
        self.matrix: NDArray[np.int64] = np.zeros((size, size + 1), np.int64)

    def update(
        self,
        gt: NDArray[np.uint8],
        pred: NDArray[np.uint8] | None,
        name: str,
        known: Collection[int] | None = None,
    ) -> int:
        """Count one frame.

        Args:
            gt: Ground truth (H, W) uint8; 255 is ignored.
            pred: Prediction (H, W) uint8, or None when there is none (every pixel is missed).
            name: Name of the frame, unique in the set.
            known: Values that ground truth may hold, see `confusion`.

        Returns:
            Number of ground-truth pixels whose value is not known.

        Raises:
            MissingError: The shapes differ.
            UsageError: The frame was counted before.
        """
        if pred is not None and pred.shape != gt.shape:
            raise MissingError(
                f"{name}: the prediction is {shape_text(pred.shape)}, "
                f"the ground truth {shape_text(gt.shape)}",
                hint="predictions are scored at the size of the ground truth",
            )
        counts, unknown = confusion(gt, pred, len(self.class_names), known)
        self.add(name, counts)
        return unknown

    def add(self, name: str, counts: NDArray[np.int64]) -> None:
        """Add the confusion matrix (classes, classes + 1) of one frame."""
        super().add(name, np.stack((np.diagonal(counts), counts.sum(1), counts[:, :-1].sum(0))))
        self.matrix += counts

    def restore(self, names: Sequence[str], counts: NDArray[np.int64], matrix: NDArray[np.int64]) -> None:
        """Start from stored statistics: `names`, `per_frame()` and `matrix` of another accumulator."""
        self.matrix = matrix.astype(np.int64)
        self._frames = dict(zip(names, counts, strict=True))

    def merge(self, other: Self) -> None:
        """Add the frames of another accumulator (another worker's)."""
        super().merge(other)
        self.matrix += other.matrix

    def per_frame(self) -> NDArray[np.int64]:
        """Counts (frames, 3, classes): found, in ground truth, predicted; in the order of `names`."""
        return np.array(self.in_order(), np.int64).reshape(-1, 3, len(self.class_names))

    def compute(self) -> Scores:
        """Scores over all frames so far, in percent."""
        diagonal = np.diagonal(self.matrix)
        counts = np.stack((diagonal, self.matrix.sum(1), self.matrix[:, :-1].sum(0)))
        return semseg_scores(counts, self.class_names, len(self), self.task, self.rule)


def semseg_scores(
    counts: NDArray[np.int64],
    class_names: Sequence[str],
    frames: int,
    task: str = "sem_seg",
    rule: Rule = "bdd100k",
) -> Scores:
    """Scores from counts (3, classes): found, in ground truth, predicted.

    Args:
        counts: See above.
        class_names: Names of the classes.
        frames: Number of frames.
        task: `sem_seg` or `drivable`.
        rule: `bdd100k`: means over the classes in the ground truth, 0 for a class without pixels.
            `openseg`: means over the classes in ground truth or predictions, as that zoo's trainer has
            them (RunningScore of openseg.pytorch at aefc755), and PixelACC.
            `tagging`: the share that is right, and Scalabel's precision, recall and F1 (means over the
            classes in ground truth or predictions).
    """
    if rule == "tagging":
        return _tagging_scores(counts, class_names, frames, task)
    if rule == "openseg":
        return _openseg_scores(counts, class_names, frames, task)
    found, actual, predicted = counts.astype(np.float64)
    iou = ratio(found, actual + predicted - found)
    precision = ratio(found, predicted)
    recall = ratio(found, actual)
    present = actual > 0
    total = actual.sum()
    nothing = not present.any()

    def mean(values: NDArray[np.float64]) -> float:
        return float("nan") if nothing else float(values[present].mean() * 100)

    def table(values: NDArray[np.float64]) -> dict[str, float]:
        return dict(zip(class_names, (values * 100).tolist(), strict=True))

    return Scores(
        task=task,
        table={"IoU": table(iou), "Precision": table(precision), "Recall": table(recall)},
        summary={
            "mIoU": mean(iou),
            "fIoU": float("nan") if nothing else float((iou * (actual / total)).sum() * 100),
            "pAcc": float("nan") if nothing else float(found.sum() / total * 100),
            "mPrecision": mean(precision),
            "mRecall": mean(recall),
        },
        frames=frames,
        absent=tuple(n for n, p in zip(class_names, present, strict=True) if not p),
    )


def _openseg_scores(counts: NDArray[np.int64], class_names: Sequence[str], frames: int, task: str) -> Scores:
    found, actual, predicted = counts.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        iou, recall = found / (actual + predicted - found), found / actual
        pixels = float(found.sum() / actual.sum() * 100) if actual.any() else float("nan")

    def mean(values: NDArray[np.float64]) -> float:
        known = values[~np.isnan(values)]
        return float(known.mean() * 100) if known.size else float("nan")

    def table(values: NDArray[np.float64]) -> dict[str, float]:
        return dict(zip(class_names, (values * 100).tolist(), strict=True))

    return Scores(
        task=task,
        table={"IoU": table(iou), "Recall": table(recall)},
        summary={"mIoU": mean(iou), "PixelACC": pixels, "mRecall": mean(recall)},
        frames=frames,
        absent=tuple(n for n, v in zip(class_names, iou, strict=True) if np.isnan(v)),
    )


def _tagging_scores(counts: NDArray[np.int64], class_names: Sequence[str], frames: int, task: str) -> Scores:
    found, actual, predicted = counts.astype(np.float64)
    seen = actual + predicted > 0
    rows = {
        "Precision": ratio(found, predicted),
        "Recall": ratio(found, actual),
        "F1": ratio(2 * found, actual + predicted),
    }
    rows = {metric: np.where(seen, 100 * values, np.nan) for metric, values in rows.items()}
    return Scores(
        task=task,
        table={metric: dict(zip(class_names, row.tolist(), strict=True)) for metric, row in rows.items()},
        summary={
            "accuracy": float(100 * found.sum() / actual.sum()) if actual.any() else float("nan"),
            **{f"m{m}": float(row[seen].mean()) if seen.any() else float("nan") for m, row in rows.items()},
        },
        frames=frames,
        absent=tuple(name for name, there in zip(class_names, seen, strict=True) if not there),
    )


def ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """`part / whole`, 0 where `whole` is 0 (as the toolkit does)."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def shape_text(shape: tuple[int, ...]) -> str:
    """Width x height of an image array's shape, for messages."""
    return "x".join(str(n) for n in (shape[1::-1] if len(shape) > 1 else shape))
