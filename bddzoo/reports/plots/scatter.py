"""Scatter plots: a point for each model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bddzoo.reports.plots.canvas import WIDTH_IN, looks, new_figure
from bddzoo.reports.plots.points import Point, front

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
