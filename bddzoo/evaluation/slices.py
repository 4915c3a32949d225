"""Scores of some of the frames: by attribute, and of single frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from bddzoo.datasets.attributes import UNKNOWN
from bddzoo.errors import UsageError
from bddzoo.evaluation.metrics.average_precision import ap_scores, by_class, precision_recall
from bddzoo.evaluation.metrics.matching import FrameMatches
from bddzoo.evaluation.metrics.panseg import PanSegAccumulator, pan_scores
from bddzoo.evaluation.metrics.scores import Scores
from bddzoo.evaluation.metrics.semseg import SemSegAccumulator, semseg_scores
from bddzoo.evaluation.metrics.tracking import TrackAccumulator, track_scores, track_values
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
        out[key] = {str(v): subset_scores(accumulator, values == v) for v in np.unique(values)}
    return out


def subset_scores(accumulator: Accumulator, chosen: NDArray[np.bool_]) -> Scores:
    """Scores of some frames.

    Args:
        accumulator: Statistics of each frame.
        chosen: (frames,) bool, in the order of `accumulator.names`.
    """
    count = int(chosen.sum())
    if isinstance(accumulator, SemSegAccumulator):
        counts = accumulator.per_frame()[chosen].sum(axis=0)
        return semseg_scores(counts, accumulator.class_names, count, accumulator.task, accumulator.rule)
    if isinstance(accumulator, PanSegAccumulator):
        sums = accumulator.per_frame()[chosen].sum(axis=0)
        return pan_scores(sums, accumulator.class_names, accumulator.stuff, count)
    if isinstance(accumulator, TrackAccumulator):
        sums = accumulator.per_frame()[chosen].sum(axis=0)
        return track_scores(sums, accumulator.class_names, count, accumulator.task)
    frames = [f for f, c in zip(accumulator.in_order(), chosen.tolist(), strict=True) if c]
    return ap_scores(frames, accumulator.class_names, accumulator.task, accumulator.prefix)


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
