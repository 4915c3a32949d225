"""Plots of an evaluation: confusion matrix, precision-recall curves, reliability diagram."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bddzoo.datasets.classes import CLASS_SETS
from bddzoo.evaluation.metrics.average_precision import RECALL_POINTS, by_class, precision_recall
from bddzoo.evaluation.metrics.calibration import calibration, out_of_range
from bddzoo.evaluation.metrics.errors import ErrorAccumulator
from bddzoo.evaluation.metrics.insseg import MatchAccumulator
from bddzoo.evaluation.metrics.matching import IOU_THRESHOLDS
from bddzoo.evaluation.metrics.semseg import SemSegAccumulator
from bddzoo.evaluation.options import Accumulator
from bddzoo.reports.plots.canvas import COLOURS, drawing, new_figure, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Thresholds whose curves are drawn, as indices into IOU_THRESHOLDS.
CURVES = (0, 5)


def plot(accumulator: Accumulator, folder: Path, errors: ErrorAccumulator | None = None) -> list[Path]:
    """Draw what there is to draw for a task, as PNG and SVG.

    Returns:
        The files: `confusion` for class maps; for detections `precision-recall-50` and `-75`, `reliability`
        where scores are probabilities, and with `errors` the `confusion` of classes.

    Raises:
        MissingError: matplotlib is not installed, or a file cannot be written.
    """
    figures: dict[str, Figure] = {}
    with drawing():
        if isinstance(accumulator, SemSegAccumulator):
            figures["confusion"] = _confusion(
                accumulator.class_names,
                accumulator.matrix,
                f"Share of each class's {'frames' if accumulator.rule == 'tagging' else 'pixels'}, percent "
                f"({len(accumulator)} frames)",
            )
        elif isinstance(accumulator, MatchAccumulator):
            for threshold in CURVES:
                percent = round(100 * IOU_THRESHOLDS[threshold])
                figures[f"precision-recall-{percent}"] = curves(accumulator, threshold)
            if not out_of_range(accumulator):
                figures["reliability"] = reliability(accumulator)
        if errors is not None:
            matrix = np.array(errors.compute()["confusion"]["matrix"])
            figures["confusion"] = _confusion(
                errors.class_names,
                matrix[:-1],
                f"What detections take each class's objects for, percent ({len(accumulator)} frames)",
            )
        return [path for name, figure in figures.items() for path in save(figure, folder / name, name)]


def _confusion(names: Sequence[str], counts: NDArray[np.int64], title: str) -> Figure:
    """Rows: where the pixels or objects of a class went, as shares; the last column is for no class."""
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = 2.5 + 0.42 * len(names)
    figure, (axes,) = new_figure(size, size)
    axes.grid(visible=False)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names) + 1), [*names, "(no class)"], rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("ground truth")
    for i, row in enumerate(share):
        for j, value in enumerate(row.tolist()):
            if value >= 0.005:
                colour = "white" if value > 0.6 else "black"
                axes.text(j, i, f"{100 * value:.0f}", ha="center", va="center", fontsize=7, color=colour)
    axes.set_title(title)
    return figure


def reliability(accumulator: MatchAccumulator) -> Figure:
    """Share of detections that are right over their score, and how many there are of each score.

    Raises:
        UsageError: Scores are not between 0 and 1.
    """
    values = calibration(accumulator)
    bins = values["bins"]
    middle, width = [(b["low"] + b["high"]) / 2 for b in bins], 1 / len(bins)
    figure, (left, right) = new_figure(8, 4, 2)
    left.bar(middle, [b["right"] for b in bins], width, color=COLOURS[4], edgecolor="white")
    left.plot((0, 1), (0, 1), color="black", linestyle="--", linewidth=1, label="score = share")
    scores, shares = ([b[key] for b in bins] for key in ("score", "right"))
    left.plot(scores, shares, color=COLOURS[0], marker="o", label="mean score of the bin")
    left.set_ylabel("share that is right at IoU 0.50")
    left.set_ylim(0, 1.02)
    left.legend(fontsize=8, loc="upper left")
    left.set_title(f"Reliability: ECE {values['ECE']:.1f} percent")
    right.bar(middle, [b["count"] for b in bins], width, color=COLOURS[4], edgecolor="white")
    right.set_ylabel("detections")
    right.set_title(f"{values['detections']} detections ({len(accumulator)} frames)")
    for axes in (left, right):
        axes.set_xlim(0, 1)
        axes.set_xlabel("score")
    return figure


def curves(accumulator: MatchAccumulator, threshold: int) -> Figure:
    """One curve a class at one IoU threshold, with its AP.

    Args:
        accumulator: Matches of all frames.
        threshold: Index into `IOU_THRESHOLDS`.
    """
    figure, (axes,) = new_figure(7, 5)
    frames = accumulator.per_frame()
    positives = [sum(int(f.positives[c, 0]) for f in frames) for c in range(len(accumulator.class_names))]
    palette = CLASS_SETS["det"].palette
    for c, found in enumerate(by_class(frames, len(accumulator.class_names))):
        if not positives[c]:
            continue
        precision = precision_recall(found, 0, positives[c], 100)[0][threshold]
        label = f"{accumulator.class_names[c]} ({100 * precision.mean():.1f}, {positives[c]} objects)"
        colour = tuple(v / 255 for v in palette[c]) if c < len(palette) else None
        axes.plot(RECALL_POINTS, precision, label=label, color=colour)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("recall")
    axes.set_ylabel("precision (interpolated)")
    axes.set_title(f"IoU {IOU_THRESHOLDS[threshold]:.2f} ({len(frames)} frames)")
    if axes.lines:
        axes.legend(fontsize=8, title="class (AP, objects that count)", title_fontsize=8)
    return figure
