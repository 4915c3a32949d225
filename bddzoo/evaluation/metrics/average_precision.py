"""Average precision and recall from matched detections, as COCO's `accumulate` defines them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from bddzoo.evaluation.metrics.matching import AREAS, IOU_THRESHOLDS, MAX_DETECTIONS, FrameMatches
from bddzoo.evaluation.metrics.scores import Scores

RECALL_POINTS: NDArray[np.float64] = np.linspace(0.0, 1.0, 101)


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
    empty = np.zeros((len(AREAS), 0), np.uint16)
    labels = np.concatenate([f.classes for f in frames] or [np.zeros(0, np.uint8)])
    scores = np.concatenate([f.scores for f in frames] or [np.zeros(0)])
    hits = np.concatenate([f.hits for f in frames] or [empty], axis=1)
    ignored = np.concatenate([f.ignored for f in frames] or [empty], axis=1)
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
    precision = np.zeros((len(IOU_THRESHOLDS), RECALL_POINTS.size))
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


def _recall(found: ClassDetections, area: int, positives: int, limit: int) -> NDArray[np.float64]:
    keep = found.ranks < limit
    right = unpack(found.hits[area][keep] & ~found.ignored[area][keep])
    out: NDArray[np.float64] = right.sum(axis=1) / positives
    return out


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


def ap_scores(frames: Sequence[FrameMatches], class_names: Sequence[str], task: str, prefix: str) -> Scores:
    """Scores of matched frames.

    A class without objects that count has NaN and is left out of the overall values, which are means
    over classes (and thresholds, and recall points) alike.

    Args:
        frames: Matches, in the order that decides ties of score.
        class_names: Names of the classes 0, 1, ...
        task: Task that the scores are labelled with.
        prefix: Put before metric names (`box_`).
    """
    metrics = POSE_METRICS if task == "pose" else METRICS
    classes = len(class_names)
    positives = sum((f.positives for f in frames), np.zeros((classes, len(AREAS)), np.int64))
    detections = by_class(frames, classes)
    precision = np.full((classes, len(AREAS), len(IOU_THRESHOLDS), RECALL_POINTS.size), np.nan)
    recall = {
        (a, limit): np.full((classes, len(IOU_THRESHOLDS)), np.nan)
        for a, limit in {(spec[2], spec[3]) for spec in metrics.values()}
    }
    for c, found in enumerate(detections):
        for (a, limit), store in recall.items():
            if positives[c, a]:
                if limit == MAX_DETECTIONS[-1]:
                    precision[c, a], store[c] = precision_recall(found, a, int(positives[c, a]), limit)
                else:
                    store[c] = _recall(found, a, int(positives[c, a]), limit)
    table: dict[str, dict[str, float]] = {}
    summary: dict[str, float] = {}
    for name, (kind, threshold, area, limit) in metrics.items():
        values = precision[:, area] if kind == "precision" else recall[area, limit]
        if threshold is not None:
            values = values[:, threshold]
        values = values.reshape(classes, -1)
        row = 100 * values.mean(axis=1) if values.size else np.full(classes, np.nan)
        table[prefix + name] = dict(zip(class_names, row.tolist(), strict=True))
        known = row[~np.isnan(row)]
        summary[prefix + name] = float(known.mean()) if known.size else float("nan")
    absent = tuple(n for n, p in zip(class_names, positives[:, 0], strict=True) if not p)
    return Scores(task=task, table=table, summary=summary, frames=len(frames), absent=absent)
