"""Every figure: of models a point each, their classes, slices, and differences with their tolerance.

And of one evaluation: the confusion matrix, precision-recall curves and the reliability diagram.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bddzoo.datasets.classes import CLASS_SETS
from bddzoo.datasets.openseg import in_order
from bddzoo.evaluation.metrics.average_precision import RECALL_POINTS, by_class, precision_recall
from bddzoo.evaluation.metrics.detection import MatchAccumulator
from bddzoo.evaluation.metrics.errors import ErrorAccumulator, calibration, out_of_range
from bddzoo.evaluation.metrics.matching import IOU_THRESHOLDS
from bddzoo.evaluation.metrics.semseg import SemSegAccumulator
from bddzoo.evaluation.options import Accumulator
from bddzoo.registry.model import Model
from bddzoo.reports.plots.canvas import (
    COLOURS,
    HATCHES,
    WIDTH_IN,
    PointStyle,
    drawing,
    looks,
    new_figure,
    save,
)
from bddzoo.reports.plots.points import Point, front
from bddzoo.results.verdict import MetricVerdict, Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


ROW_IN = 0.27
VERDICTS = {
    Verdict.REPRODUCED: PointStyle("#009E73", "o"),
    Verdict.DRIFTED: PointStyle("#D55E00", "v"),
    Verdict.BETTER: PointStyle("#0072B2", "^"),
    Verdict.UNVERIFIED: PointStyle("#E69F00", "s"),
    Verdict.INCOMPARABLE: PointStyle("#7f7f7f", "x"),
    Verdict.MISSING: PointStyle("#7f7f7f", "+"),
}


def reported_against_measured(rows: Sequence[tuple[Model, MetricVerdict]], title: str) -> Figure:
    """Measured minus reported for each number, with the band that counts as equal."""
    figure, (axes,) = new_figure(WIDTH_IN, 1.5 + ROW_IN * len(rows))
    for y, (_, row) in enumerate(rows):
        assert row.difference is not None
        band = float(row.tolerance or 0)
        label = "tolerance" if y == 0 else None
        axes.barh(
            y, 2 * band, left=-band, height=0.72, color="#d0e3f0", edgecolor="#0072B2", lw=0.6, label=label
        )
    for verdict, look in VERDICTS.items():
        mine = [(y, row.difference or 0.0) for y, (_, row) in enumerate(rows) if row.verdict is verdict]
        if mine:
            axes.scatter(
                [d for _, d in mine],
                [y for y, _ in mine],
                c=look.colour,
                marker=look.marker,
                s=36,
                zorder=3,
                label=str(verdict),
            )
    axes.axvline(0, color="black", linewidth=0.8, zorder=1)
    axes.set_yticks(
        range(len(rows)), [f"{m.id}, {r.metric}: {r.reported} / {r.measured:.2f}" for m, r in rows]
    )
    axes.set_ylim(len(rows) - 0.5, -0.5)
    reach = max(max(abs(r.difference or 0), float(r.tolerance or 0)) for _, r in rows)
    axes.set_xlim(-1.25 * reach, 1.25 * reach)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("measured minus reported, points")
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    figure.legend(loc="outside lower right", ncols=4)
    return figure


def class_bars(values: Mapping[str, Mapping[str, float]], metric: str, title: str) -> Figure:
    """Values of each class, side by side for each model.

    Args:
        values: Model or record to class to value, percent; NaN where a class has none.
        metric: What the values are.
        title: Of the plot.
    """
    classes = in_order(list(dict.fromkeys(name for row in values.values() for name in row)))
    figure, (axes,) = new_figure(WIDTH_IN, 1.4 + 0.16 * len(classes) * (len(values) + 0.6))
    _grouped(axes, classes, values)
    axes.set_xlabel(f"{metric}, percent")
    axes.set_title(title)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def slice_bars(
    slices: Mapping[str, Mapping[str, Mapping[str, tuple[float, int]]]], metric: str, title: str
) -> Figure:
    """Values of parts of a split: a panel for each attribute.

    Args:
        slices: Attribute to model or record to attribute's value to (percent, number of images).
        metric: What the values are.
        title: Of the plot.
    """
    rows = max(len({v for row in models.values() for v in row}) for models in slices.values())
    models = max(len(found) for found in slices.values())
    figure, panels = new_figure(WIDTH_IN, 1.6 + 0.19 * rows * (models + 0.6), len(slices))
    for axes, (attribute, found) in zip(panels, slices.items(), strict=True):
        kinds = list(dict.fromkeys(value for row in found.values() for value in row))
        counts = {value: max(row[value][1] for row in found.values() if value in row) for value in kinds}
        kinds.sort(key=lambda value: (-counts[value], value))
        names = {value: f"{value} ({counts[value]})" for value in kinds}
        rows_of = {model: {names[v]: row[v][0] for v in kinds if v in row} for model, row in found.items()}
        _grouped(axes, [names[v] for v in kinds], rows_of, legend=axes is panels[0])
        axes.set_xlabel(f"{metric}, percent")
        axes.set_title(f"{attribute} (images)")
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _grouped(
    axes: Axes, kinds: Sequence[str], values: Mapping[str, Mapping[str, float]], *, legend: bool = True
) -> None:
    height = 0.8 / len(values)
    for i, (name, row) in enumerate(values.items()):
        places = [y - 0.4 + (i + 0.5) * height for y in range(len(kinds))]
        found = [row.get(kind, math.nan) for kind in kinds]
        axes.barh(
            places,
            [0 if math.isnan(v) else v for v in found],
            height=height,
            color=COLOURS[i % len(COLOURS)],
            hatch=HATCHES[i % len(HATCHES)],
            edgecolor="white",
            linewidth=0.5,
            label=name if legend else None,
        )
        for y, value in zip(places, found, strict=True):
            text = "no value" if math.isnan(value) else f"{value:.1f}"
            axes.annotate(
                text,
                (0 if math.isnan(value) else value, y),
                (3, 0),
                textcoords="offset points",
                va="center",
                fontsize=6.5,
            )
    axes.set_yticks(range(len(kinds)), kinds)
    axes.set_ylim(len(kinds) - 0.5, -0.5)
    axes.set_xlim(0, 108)
    axes.grid(visible=False, axis="y")


# Where a name may stand, in points from its point: right, left, above, below, and between.
PLACES = ((7, 0), (-7, 0), (0, 8), (0, -8), (7, 8), (-7, 8), (7, -8), (-7, -8), (7, 16), (-7, -16), (7, -16))
MAX_NAMES = 14
# A star looks smaller than it is.
SIZES = {"*": 90, "X": 42, "P": 42}


def trade_off(points: Sequence[Point], x: str, y: str, title: str, *, small_x: bool) -> Figure:
    """Accuracy against a cost or a speed, with the front of those that no other model beats.

    Args:
        points: The models.
        x: Title of the horizontal axis.
        y: Title of the vertical axis.
        title: Of the plot.
        small_x: Whether a smaller x is better.
    """
    figure, (axes,) = new_figure(WIDTH_IN, 4.8)
    # Models are as large on every device, but a speed is that of one.
    devices = (
        [points]
        if small_x
        else [[p for p in points if p.group == g] for g in looks([p.group for p in points])]
    )
    fronts = [front(some, small_x=small_x) for some in devices]
    label: str | None = "best for its size" if small_x else "best for its speed"
    for line in (one for one in fronts if len(one) > 1):
        xs, ys = [p.x for p in line], [p.y for p in line]
        axes.plot(xs, ys, color="#7f7f7f", linewidth=1, linestyle="--", zorder=1, label=label)
        label = None
    best = [point for line in fronts for point in line]
    _scatter(axes, points)
    _finish(figure, axes, x, y, title)
    _names(figure, axes, best, points)
    return figure


def splits(points: Sequence[Point], x: str, y: str, title: str) -> Figure:
    """One split against another, with the line of the mean difference."""
    figure, (axes,) = new_figure(WIDTH_IN, 5.2)
    mean = sum(p.y - p.x for p in points) / len(points)
    low, high = min(p.x for p in points), max(p.x for p in points)
    room = 0.05 * (high - low or 1)
    ends = (low - room, high + room)
    axes.plot(
        ends,
        [v + mean for v in ends],
        color="#7f7f7f",
        linewidth=1,
        linestyle="--",
        zorder=1,
        label=f"mean difference {mean:+.2f}",
    )
    _scatter(axes, points)
    _finish(figure, axes, x, y, title)
    # The farthest from the line, either way, and the best: what one looks for.
    odd = sorted(points, key=lambda p: (-abs(p.y - p.x - mean), p.model))[:5]
    top = max(points, key=lambda p: (p.y, p.model))
    _names(figure, axes, list(dict.fromkeys([top, *odd])), points)
    return figure


def _scatter(axes: Axes, points: Sequence[Point]) -> None:
    for group, look in looks([p.group for p in points]).items():
        mine = [p for p in points if p.group == group]
        axes.scatter(
            [p.x for p in mine],
            [p.y for p in mine],
            s=SIZES.get(look.marker, 34),
            c=look.colour,
            marker=look.marker,
            edgecolors="white",
            linewidths=0.6,
            label=group,
            zorder=2,
        )


def _finish(figure: Figure, axes: Axes, x: str, y: str, title: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_title(title)
    axes.margins(0.08)
    figure.legend(loc="outside right upper")


def _names(figure: Figure, axes: Axes, named: Sequence[Point], points: Sequence[Point]) -> None:
    """Write names where they cover neither a point nor each other; without such a place, not at all."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.transforms import Bbox

    # The layout is final only after a first drawing, and so are the places of the points.
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    figure.set_layout_engine("none")
    renderer = canvas.get_renderer()
    radius = 3.5 * figure.dpi / 72
    taken: list[Any] = []
    for point in points:
        px, py = axes.transData.transform((point.x, point.y))
        taken.append(Bbox.from_extents(px - radius, py - radius, px + radius, py + radius))
    inside = axes.get_window_extent(renderer)
    for point in named[:MAX_NAMES]:
        for dx, dy in PLACES:
            text = axes.annotate(
                point.label,
                (point.x, point.y),
                xytext=(dx, dy),
                textcoords="offset points",
                ha="left" if dx > 0 else "right" if dx < 0 else "center",
                va="center",
                fontsize=7.5,
                zorder=1.5,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 0.6},
            )
            box = text.get_window_extent(renderer)
            whole = (
                inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1
            )
            if whole and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            text.remove()


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
