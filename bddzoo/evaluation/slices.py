"""Scores of some of the frames: by attribute, of single ones, and of bootstrap draws of all.

For intervals, images are drawn with replacement; a draw is a weight for each frame, so that no frame is
scored again: counts are weighted sums, precision-recall curves weighted cumulative sums.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from bddzoo.datasets.attributes import UNKNOWN
from bddzoo.errors import UsageError
from bddzoo.evaluation.metrics.average_precision import (
    RECALL_POINTS,
    ClassDetections,
    by_class,
    precision_recall,
    unpack,
)
from bddzoo.evaluation.metrics.detection import MatchAccumulator
from bddzoo.evaluation.metrics.matching import IOU_THRESHOLDS, FrameMatches
from bddzoo.evaluation.metrics.panseg import PanSegAccumulator, pan_scores
from bddzoo.evaluation.metrics.scores import Scores
from bddzoo.evaluation.metrics.semseg import SemSegAccumulator, ratio
from bddzoo.evaluation.metrics.tracking import TrackAccumulator, class_means, track_values
from bddzoo.evaluation.options import Accumulator


def check_keys(attributes: Mapping[str, Mapping[str, str]], by: Sequence[str]) -> None:
    """Refuse an attribute that no frame has.

    Raises:
        UsageError: It is named, and those that exist.
    """
    known = sorted({key for values in attributes.values() for key in values})
    for key in by:
        if key not in known:
            raise UsageError(f"no frame has an attribute {key!r}", hint="there are " + ", ".join(known))


def slice_scores(
    accumulator: Accumulator, attributes: Mapping[str, Mapping[str, str]], by: Sequence[str]
) -> dict[str, dict[str, Scores]]:
    """Scores for each value of each attribute; frames without one are `unknown`.

    Raises:
        UsageError: No frame has an attribute of that name.
    """
    check_keys(attributes, by)
    out: dict[str, dict[str, Scores]] = {}
    for key in by:
        values = np.array([attributes.get(_stem(n), {}).get(key, UNKNOWN) for n in accumulator.names])
        out[key] = {str(v): accumulator.compute(values == v) for v in np.unique(values)}
    return out


def frame_scores(accumulator: Accumulator) -> tuple[str, NDArray[np.float64]]:
    """One number for each frame: its metric, and the values (NaN where a frame has nothing to find).

    mIoU over the classes in the frame, AP50 of the frame alone, its PQ, or MOTA of a video; in percent.
    """
    if isinstance(accumulator, SemSegAccumulator):
        found, actual, predicted = np.moveaxis(accumulator.per_frame().astype(np.float64), 1, 0)
        union = np.maximum(actual + predicted - found, 1)
        present = actual > 0
        with np.errstate(invalid="ignore"):
            values = 100 * (found / union * present).sum(axis=1) / present.sum(axis=1)
        return "accuracy" if accumulator.rule == "tagging" else "mIoU", values
    if isinstance(accumulator, PanSegAccumulator):
        names, stuff = accumulator.class_names, accumulator.stuff
        rows = [pan_scores(f, names, stuff, 1).summary for f in accumulator.per_frame()]
        return "PQ", np.array([r["PQ"] if r["N"] else np.nan for r in rows])
    if isinstance(accumulator, TrackAccumulator):
        return "MOTA", track_values(accumulator.per_frame().sum(axis=1))["MOTA"]
    return "AP50", np.array([_frame_ap50(f, len(accumulator.class_names)) for f in accumulator.per_frame()])


def _frame_ap50(frame: FrameMatches, classes: int) -> float:
    values = []
    for c, found in enumerate(by_class([frame], classes)):
        positives = int(frame.positives[c, 0])
        if positives:
            values.append(precision_recall(found, 0, positives, 100)[0][0].mean())
    return float(100 * np.mean(values)) if values else float("nan")


def worst_frames(accumulator: Accumulator, count: int) -> tuple[str, list[tuple[str, float]]]:
    """The frames with the lowest values of `frame_scores`, worst first."""
    metric, values = frame_scores(accumulator)
    order = [i for i in np.argsort(values, kind="stable").tolist() if not np.isnan(values[i])]
    names = accumulator.names
    return metric, [(names[i], float(values[i])) for i in order[:count]]


def _stem(name: str) -> str:
    return PurePosixPath(name.split("\0", maxsplit=1)[0]).stem


RESAMPLES = 1000
LEVEL = 0.95
# Weights of so many resamples are held at a time.
CHUNK = 100


def intervals(
    accumulator: Accumulator, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Percentile intervals of the summary metrics, in percent.

    Args:
        accumulator: Statistics of each frame.
        resamples: Number of draws.
        seed: Of the draws; the same seed gives the same interval.

    Returns:
        Metric -> (low, high); nothing without frames. A class that a draw does not have is left out of
        that draw's mean, so with classes that only a few frames have, an interval can lie next to the
        score.
    """
    values = resampled(accumulator, resamples=resamples, seed=seed)
    return {metric: interval(draws) for metric, draws in values.items()}


def interval(draws: NDArray[np.float64]) -> tuple[float, float]:
    """Ends of the interval that holds `LEVEL` of the draws; NaN without any."""
    known = draws[~np.isnan(draws)]
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(known, [tail, 100 - tail]) if known.size else (np.nan, np.nan)
    return float(low), float(high)


def resampled(
    accumulator: Accumulator, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, NDArray[np.float64]]:
    """Summary metrics of each draw: metric -> (resamples,) float64, percent.

    Two prediction sets of the same frames get the same draws from the same seed, so that their
    differences can be compared draw by draw.
    """
    draws = weights(len(accumulator), resamples, seed)
    if isinstance(accumulator, MatchAccumulator):
        found = by_class(accumulator.per_frame(), len(accumulator.class_names))
        parts = [_ap(accumulator, found, w) for w in draws]
    else:
        frames = accumulator.per_frame()
        kind = accumulator.rule if isinstance(accumulator, SemSegAccumulator) else type(accumulator)
        values = _VALUES[kind]
        parts = [values(np.tensordot(w, frames, 1)) for w in draws]
    if not parts:
        return {}
    return {metric: np.concatenate([p[metric] for p in parts]) for metric in parts[0]}


def weights(frames: int, resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """How often each frame is drawn: (up to `CHUNK`, frames) float64 at a time."""
    rng = np.random.default_rng(seed)
    if not frames:
        return
    for start in range(0, resamples, CHUNK):
        rows = min(CHUNK, resamples - start)
        picks = rng.integers(0, frames, (rows, frames))
        picks += np.arange(rows)[:, None] * frames
        counts = np.bincount(picks.reshape(-1), minlength=rows * frames)
        yield counts.reshape(rows, frames).astype(np.float64)


def _semseg(sums: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Metrics of each draw from its sums, (draws, 3, classes); likewise below."""
    found, actual, predicted = sums[:, 0], sums[:, 1], sums[:, 2]
    iou = ratio(found, actual + predicted - found)
    present = actual > 0
    classes = present.sum(axis=1)
    total = actual.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "mIoU": 100 * (iou * present).sum(axis=1) / classes,
            "fIoU": 100 * (iou * actual).sum(axis=1) / total,
            "pAcc": 100 * found.sum(axis=1) / total,
            "mPrecision": 100 * (ratio(found, predicted) * present).sum(axis=1) / classes,
            "mRecall": 100 * (ratio(found, actual) * present).sum(axis=1) / classes,
        }


def _openseg(sums: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    found, actual, predicted = sums[:, 0], sums[:, 1], sums[:, 2]
    union = actual + predicted - found
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "mIoU": 100 * ratio(found, union).sum(axis=1) / (union > 0).sum(axis=1),
            "PixelACC": 100 * found.sum(axis=1) / actual.sum(axis=1),
            "mRecall": 100 * ratio(found, actual).sum(axis=1) / (actual > 0).sum(axis=1),
        }


def _tagging(sums: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    found, actual, predicted = sums[:, 0], sums[:, 1], sums[:, 2]
    seen = (actual + predicted > 0).sum(axis=1)
    return {
        "accuracy": 100 * found.sum(axis=1) / actual.sum(axis=1),
        "mPrecision": 100 * ratio(found, predicted).sum(axis=1) / seen,
        "mRecall": 100 * ratio(found, actual).sum(axis=1) / seen,
        "mF1": 100 * ratio(2 * found, actual + predicted).sum(axis=1) / seen,
    }


def _panseg(sums: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    iou, tp, fp, fn = (sums[:, k] for k in range(4))
    half = tp + 0.5 * fp + 0.5 * fn
    seen = (half > 0).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "PQ": 100 * ratio(iou, half).sum(axis=1) / seen,
            "SQ": 100 * ratio(iou, tp).sum(axis=1) / seen,
            "RQ": 100 * ratio(tp, half).sum(axis=1) / seen,
        }


def _tracks(sums: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    means, whole = class_means(track_values(sums)), track_values(sums.sum(axis=1))
    shares = ("MOTA", "IDF1", "HOTA")
    return {**{f"m{m}": means[m] for m in shares}, **{m: whole[m] for m in shares}}


_VALUES = {
    "bdd100k": _semseg,
    "openseg": _openseg,
    "tagging": _tagging,
    PanSegAccumulator: _panseg,
    TrackAccumulator: _tracks,
}


def _ap(
    accumulator: MatchAccumulator, classes: list[ClassDetections], w: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    frames = accumulator.per_frame()
    positives = np.stack([f.positives[:, 0] for f in frames]).astype(np.float64)
    counted = w @ positives
    values = np.full((len(w), len(classes), len(IOU_THRESHOLDS)), np.nan)
    for c, found in enumerate(classes):
        keep = found.ranks < 100
        hits = unpack(found.hits[0][keep])
        ignored = unpack(found.ignored[0][keep])
        true = (hits & ~ignored).astype(np.float64)
        false = (~hits & ~ignored).astype(np.float64)
        where = found.frames[keep]
        for r in np.flatnonzero(counted[:, c]).tolist():
            values[r, c] = _weighted_ap(true, false, w[r, where], counted[r, c])
    prefix = accumulator.prefix

    def mean(part: NDArray[np.float64]) -> NDArray[np.float64]:
        per_class = part.reshape(len(w), len(classes), -1).mean(axis=2)
        known = ~np.isnan(per_class)
        with np.errstate(invalid="ignore", divide="ignore"):
            out: NDArray[np.float64] = 100 * np.where(known, per_class, 0).sum(axis=1) / known.sum(axis=1)
        return out

    return {
        f"{prefix}AP": mean(values),
        f"{prefix}AP50": mean(values[..., 0]),
        f"{prefix}AP75": mean(values[..., 5]),
    }


def _weighted_ap(
    true: NDArray[np.float64], false: NDArray[np.float64], w: NDArray[np.float64], positives: float
) -> NDArray[np.float64]:
    """AP of one class at each threshold (thresholds,), every detection counted `w` times."""
    drawn = w > 0
    w = w[drawn]
    out = np.zeros(len(true))
    if not w.size:
        return out
    hit = np.cumsum(true[:, drawn] * w, axis=1)
    miss = np.cumsum(false[:, drawn] * w, axis=1)
    precision = hit / (hit + miss + np.spacing(1))
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    recall = hit / positives
    for t in range(len(true)):
        at = np.searchsorted(recall[t], RECALL_POINTS, side="left")
        out[t] = envelope[t, at[at < w.size]].sum() / len(RECALL_POINTS)
    return out
