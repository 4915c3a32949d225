"""Pictures of an evaluation: the confusion matrix, precision-recall curves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bddzoo.datasets.classes import CLASS_SETS
from bddzoo.evaluation.metrics.average_precision import RECALL_POINTS, by_class, precision_recall
from bddzoo.evaluation.metrics.insseg import MatchAccumulator
from bddzoo.evaluation.metrics.matching import IOU_THRESHOLDS
from bddzoo.evaluation.metrics.semseg import SemSegAccumulator
from bddzoo.evaluation.options import Accumulator
from bddzoo.reports.plots.canvas import drawing, new_figure, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Thresholds whose curves are drawn, as indices into IOU_THRESHOLDS.
CURVES = (0, 5)


def plot(accumulator: Accumulator, folder: Path) -> list[Path]:
    """Draw what there is to draw for a task, as PNG and SVG.

    Returns:
        The files: `confusion` for class maps, `precision-recall-50` and `-75` for instances.

    Raises:
        MissingError: matplotlib is not installed, or a file cannot be written.
    """
    figures: dict[str, Figure] = {}
    with drawing():
        if isinstance(accumulator, SemSegAccumulator):
            figures["confusion"] = _confusion(accumulator)
        elif isinstance(accumulator, MatchAccumulator):
            for threshold in CURVES:
                percent = round(100 * IOU_THRESHOLDS[threshold])
                figures[f"precision-recall-{percent}"] = _curves(accumulator, threshold)
        return [path for name, figure in figures.items() for path in save(figure, folder / name, name)]


def _confusion(accumulator: SemSegAccumulator) -> Figure:
    """Rows: where the pixels of a class went, as shares."""
    names = accumulator.class_names
    matrix = accumulator.matrix.astype(np.float64)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
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
    axes.set_title(f"Share of each class's pixels, percent ({len(accumulator)} frames)")
    return figure


def _curves(accumulator: MatchAccumulator, threshold: int) -> Figure:
    """One curve a class at one IoU threshold, with its AP."""
    figure, (axes,) = new_figure(7, 5)
    frames = accumulator.per_frame()
    positives = [sum(int(f.positives[c, 0]) for f in frames) for c in range(len(accumulator.class_names))]
    palette = CLASS_SETS["ins_seg"].palette
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
