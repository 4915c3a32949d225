"""Average precision and recall from matched detections, as COCO's `accumulate` defines them."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from bddzoo.datasets.native import native
from bddzoo.evaluation.metrics.matching import (
    AREAS,
    IOU_THRESHOLDS,
    MAX_DETECTIONS,
    FrameMatches,
    Packed,
    all_detections,
    unpacked,
)
from bddzoo.evaluation.metrics.scores import Scores
from bddzoo.lazy_numpy import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# As numpy.linspace has them.
RECALL_POINTS = tuple(k * (1 / 100) for k in range(101))


class ClassDetections(msgspec.Struct, frozen=True, gc=False):
    """All detections of one class, best score first.

    Attributes:
        scores: (N,) float64, descending.
        frames: (N,) index of the frame of each detection.
        ranks: (N,) rank of a detection by score within its frame, from 0.
        hits: (areas, N) uint16 bit masks, see `FrameMatches`.
        ignored: (areas, N) uint16 bit masks.
    """

    scores: NDArray[np.float64]
    frames: NDArray[np.int64]
    ranks: NDArray[np.int64]
    hits: NDArray[np.uint16]
    ignored: NDArray[np.uint16]


def by_class(frames: Sequence[FrameMatches], classes: int) -> list[ClassDetections]:
    """Detections of each class, sorted by score; ties stay in the order of frames."""
    labels, scores, hits, ignored = all_detections(frames)
    index = np.repeat(np.arange(len(frames)), [f.classes.size for f in frames])
    out = []
    for label in range(classes):
        mine = np.flatnonzero(labels == label)
        frame = index[mine]
        # Within a frame and class, detections lie in order of score: the rank is the distance
        # from the first one of the same frame.
        first = np.searchsorted(frame, frame, side="left")
        rank = np.arange(mine.size) - first
        order = np.argsort(-scores[mine], kind="stable")
        mine = mine[order]
        out.append(ClassDetections(scores[mine], frame[order], rank[order], hits[:, mine], ignored[:, mine]))
    return out


def unpack(bits: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """Bit masks (N,) to booleans (thresholds, N)."""
    shift = np.arange(len(IOU_THRESHOLDS), dtype=np.uint16)[:, None]
    out: NDArray[np.bool_] = (bits[None, :] >> shift) & 1 == 1
    return out


def precision_recall(
    found: ClassDetections, area: int, positives: int, limit: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Interpolated precision at the recall points, and the recall reached, for each threshold.

    Args:
        found: Detections of one class.
        area: Index into `AREAS`.
        positives: Number of ground-truth objects that count; not 0.
        limit: Detections of each frame that count.

    Returns:
        Precision (thresholds, 101) and recall (thresholds,), shares.
    """
    keep = found.ranks < limit
    hits, ignored = found.hits[area][keep], found.ignored[area][keep]
    precision = np.zeros((len(IOU_THRESHOLDS), len(RECALL_POINTS)))
    recall = np.zeros(len(IOU_THRESHOLDS))
    for t in range(len(IOU_THRESHOLDS)):
        counted = (ignored >> t) & 1 == 0
        # Precision is highest, and recall changes, where a detection is right: no other place matters.
        right = np.flatnonzero(((hits >> t) & 1 == 1) & counted)
        if not right.size:
            continue
        true = np.arange(1.0, right.size + 1)
        false = np.cumsum(counted)[right] - true
        # The machine epsilon as in pycocotools.
        envelope = np.maximum.accumulate((true / (true + false + np.spacing(1)))[::-1])[::-1]
        recalls = true / positives
        recall[t] = recalls[-1]
        at = np.searchsorted(recalls, RECALL_POINTS, side="left")
        reached = at < right.size
        precision[t, reached] = envelope[at[reached]]
    return precision, recall


# Metric -> (precision or recall, threshold index or None, area index, detections per frame).
METRICS: dict[str, tuple[str, int | None, int, int]] = {
    "AP": ("precision", None, 0, 100),
    "AP50": ("precision", 0, 0, 100),
    "AP75": ("precision", 5, 0, 100),
    "APs": ("precision", None, 1, 100),
    "APm": ("precision", None, 2, 100),
    "APl": ("precision", None, 3, 100),
    "AR1": ("recall", None, 0, 1),
    "AR10": ("recall", None, 0, 10),
    "AR100": ("recall", None, 0, 100),
    "ARs": ("recall", None, 1, 100),
    "ARm": ("recall", None, 2, 100),
    "ARl": ("recall", None, 3, 100),
}


# The same of poses.
POSE_METRICS: dict[str, tuple[str, int | None, int, int]] = {
    f"{short}{part}": (kind, threshold, area, 100)
    for short, kind in (("AP", "precision"), ("AR", "recall"))
    for part, threshold, area in (("", None, 0), ("50", 0, 0), ("75", 5, 0), ("m", None, 2), ("l", None, 3))
}


def ap_scores(frames: Sequence[Packed], class_names: Sequence[str], task: str, prefix: str) -> Scores:
    """Scores of matched frames.

    A class without objects that count has NaN and is left out of the overall values, which are means
    over classes (and thresholds, and recall points) alike.

    Args:
        frames: Matches, in the order that decides ties of score.
        class_names: Names of the classes 0, 1, ...
        task: Task that the scores are labelled with.
        prefix: Put before metric names (`box_`).
    """
    classes, thresholds, points = len(class_names), len(IOU_THRESHOLDS), len(RECALL_POINTS)
    positives, precision, recall = _accumulate(frames, classes)
    table: dict[str, dict[str, float]] = {}
    summary: dict[str, float] = {}
    for name, (kind, threshold, area, limit) in (POSE_METRICS if task == "pose" else METRICS).items():
        first, count = (0, thresholds) if threshold is None else (threshold, 1)
        if kind == "precision":
            values, first, count, stride = precision, first * points, count * points, thresholds * points
        else:
            values, stride = recall, thresholds
            first += MAX_DETECTIONS.index(limit) * classes * len(AREAS) * thresholds
        row = []
        for c in range(classes):
            start = first + (c * len(AREAS) + area) * stride
            mean = math.fsum(values[start : start + count]) / count
            row.append(100 * mean if positives[c * len(AREAS) + area] else math.nan)
        table[prefix + name] = dict(zip(class_names, row, strict=True))
        known = [value for value in row if not math.isnan(value)]
        summary[prefix + name] = math.fsum(known) / len(known) if known else math.nan
    absent = tuple(n for n, p in zip(class_names, positives[:: len(AREAS)], strict=True) if not p)
    return Scores(task=task, table=table, summary=summary, frames=len(frames), absent=absent)


def _accumulate(
    frames: Sequence[Packed], classes: int
) -> tuple[Sequence[int], Sequence[float], Sequence[float]]:
    """Positives, precision and recall, as `Native.average_precision` has them."""
    loops = native()
    if loops is not None:
        records = b"".join(f if isinstance(f, bytes) else f.packed() for f in frames)
        return loops.average_precision(
            records, classes, array("d", RECALL_POINTS), array("q", MAX_DETECTIONS)
        )
    found = [unpacked(f, classes) for f in frames]
    positives = sum((f.positives for f in found), np.zeros((classes, len(AREAS)), np.int64))
    precision = np.zeros((classes, len(AREAS), len(IOU_THRESHOLDS), len(RECALL_POINTS)))
    recall = np.zeros((len(MAX_DETECTIONS), classes, len(AREAS), len(IOU_THRESHOLDS)))
    for c, detections in enumerate(by_class(found, classes)):
        for area in np.flatnonzero(positives[c]).tolist():
            count = int(positives[c, area])
            for k, limit in enumerate(MAX_DETECTIONS):  # precision is that of the last one
                precision[c, area], recall[k, c, area] = precision_recall(detections, area, count, limit)
    flat: list[int] = positives.reshape(-1).tolist()
    return flat, precision.reshape(-1).tolist(), recall.reshape(-1).tolist()
