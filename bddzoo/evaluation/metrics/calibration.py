"""Whether scores of detections mean what they say: the share that is right among those of one score.

Expected calibration error (Naeini et al., AAAI 2015) over bins of equal width; a detection is right where
it is matched at IoU 0.5. The official toolkit has no such numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bddzoo.errors import UsageError
from bddzoo.evaluation.metrics.insseg import MatchAccumulator

BINS = 10


def calibration(accumulator: MatchAccumulator) -> dict[str, Any]:
    """Calibration of the scores of all detections that count.

    Returns:
        `ECE` and `MCE` (mean gap, weighted by number, and largest gap) in percent, `per_class` ECE, and
        `bins`: `low`, `high`, `count`, mean `score` and the share that is `right`, both 0 to 1 and NaN in
        empty bins.

    Raises:
        UsageError: A score is not between 0 and 1.
    """
    frames = accumulator.per_frame()
    classes = _joined([f.classes for f in frames])
    scores = _joined([f.scores for f in frames])
    right = _joined([f.hits[0] & 1 for f in frames]) > 0
    counted = _joined([f.ignored[0] & 1 for f in frames]) == 0
    if reach := out_of_range(accumulator):
        raise UsageError(f"scores {reach} are not probabilities", hint="calibration needs scores from 0 to 1")
    classes, scores, right = classes[counted], scores[counted], right[counted]
    bins = _bins(scores, right)
    return {
        "ECE": _error(bins),
        "MCE": max((100 * abs(b["right"] - b["score"]) for b in bins if b["count"]), default=float("nan")),
        "detections": int(scores.size),
        "per_class": {
            name: _error(_bins(scores[classes == c], right[classes == c]))
            for c, name in enumerate(accumulator.class_names)
        },
        "bins": bins,
    }


def out_of_range(accumulator: MatchAccumulator) -> str:
    """From where to where the scores go if they are not between 0 and 1, otherwise nothing."""
    scores = _joined([f.scores for f in accumulator.per_frame()])
    if not scores.size or (scores.min() >= 0 and scores.max() <= 1):
        return ""
    return f"from {scores.min():g} to {scores.max():g}"


def _joined(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.zeros(0)


def _bins(scores: NDArray[np.float64], right: NDArray[np.bool_]) -> list[dict[str, Any]]:
    at = np.minimum((scores * BINS).astype(np.int64), BINS - 1)
    counts = np.bincount(at, minlength=BINS)
    with np.errstate(invalid="ignore"):
        means = np.bincount(at, scores, BINS) / counts
        shares = np.bincount(at, right, BINS) / counts
    return [
        {"low": k / BINS, "high": (k + 1) / BINS, "count": count, "score": mean, "right": share}
        for k, (count, mean, share) in enumerate(
            zip(counts.tolist(), means.tolist(), shares.tolist(), strict=True)
        )
    ]


def _error(bins: Sequence[dict[str, Any]]) -> float:
    total = sum(b["count"] for b in bins)
    gaps = [b["count"] * abs(b["right"] - b["score"]) for b in bins if b["count"]]
    return 100 * sum(gaps) / total if total else float("nan")
