"""Pictures of an evaluation: the confusion matrix, precision-recall curves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bddzoo.datasets.classes import CLASS_SETS
from bddzoo.errors import UsageError, install_hint
from bddzoo.evaluation.metrics.average_precision import RECALL_POINTS, by_class, precision_recall
from bddzoo.evaluation.metrics.insseg import MatchAccumulator
from bddzoo.evaluation.metrics.matching import IOU_THRESHOLDS
from bddzoo.evaluation.metrics.semseg import SemSegAccumulator
from bddzoo.evaluation.options import Accumulator
from bddzoo.files import cannot_write

SUFFIXES = (".png", ".svg")
# Thresholds whose curves are drawn, as indices into IOU_THRESHOLDS.
CURVES = (0, 5)


def plot(accumulator: Accumulator, folder: Path) -> list[Path]:
    """Draw what there is to draw for a task, as PNG and SVG.

    Returns:
        The files: `confusion` for class maps, `precision-recall-50` and `-75` for instances.

    Raises:
        UsageError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise UsageError("--plots needs matplotlib", hint=install_hint("plots")) from None
    matplotlib.use("agg")
    # Without it, an SVG would differ from run to run in its ids.
    matplotlib.rcParams["svg.hashsalt"] = "bddzoo"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from None
    if isinstance(accumulator, SemSegAccumulator):
        return _save(_confusion(accumulator), folder / "confusion")
    if isinstance(accumulator, MatchAccumulator):
        return [p for t in CURVES for p in _save(_curves(accumulator, t), folder / _curve_name(t))]
    return []


def _curve_name(threshold: int) -> str:
    return f"precision-recall-{round(100 * IOU_THRESHOLDS[threshold])}"


def _save(figure: Any, stem: Path) -> list[Path]:
    from matplotlib import pyplot

    out = []
    for suffix in SUFFIXES:
        path = stem.with_name(stem.name + suffix)
        part = path.with_name(f".{path.name}.part{suffix}")
        metadata = {"Date": None} if suffix == ".svg" else {"Software": None}
        try:
            figure.savefig(part, bbox_inches="tight", dpi=120, metadata=metadata)
            part.replace(path)
        except OSError as error:
            raise cannot_write(path, error) from None
        finally:
            part.unlink(missing_ok=True)
        out.append(path)
    pyplot.close(figure)
    return out


def _confusion(accumulator: SemSegAccumulator) -> Any:
    """Rows: where the pixels of a class went, as shares."""
    from matplotlib import pyplot

    names = accumulator.class_names
    matrix = accumulator.matrix.astype(np.float64)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    size = 2.5 + 0.42 * len(names)
    figure, axes = pyplot.subplots(figsize=(size, size))
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


def _curves(accumulator: MatchAccumulator, threshold: int) -> Any:
    """One curve a class at one IoU threshold, with its AP."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 5))
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
    axes.grid(alpha=0.3)
    axes.set_title(f"IoU {IOU_THRESHOLDS[threshold]:.2f} ({len(frames)} frames)")
    if axes.lines:
        axes.legend(fontsize=8, title="class (AP, objects that count)", title_fontsize=8)
    return figure
