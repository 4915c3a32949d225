"""Bars: classes, slices, and differences with their tolerance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bddzoo.datasets.classes import in_order
from bddzoo.registry.model import Model
from bddzoo.reports.plots.canvas import COLOURS, HATCHES, WIDTH_IN, Look, new_figure
from bddzoo.results.verdict import MetricVerdict, Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW_IN = 0.27
VERDICTS = {
    Verdict.REPRODUCED: Look("#009E73", "o"),
    Verdict.DRIFTED: Look("#D55E00", "v"),
    Verdict.BETTER: Look("#0072B2", "^"),
    Verdict.UNVERIFIED: Look("#E69F00", "s"),
    Verdict.INCOMPARABLE: Look("#7f7f7f", "x"),
    Verdict.MISSING: Look("#7f7f7f", "+"),
}


def reported_against_measured(rows: Sequence[tuple[Model, MetricVerdict]], title: str) -> Figure:
    """Measured minus reported for each number, with the band that counts as equal.

    Args:
        rows: Reported numbers that were measured.
        title: Of the plot.
    """
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
