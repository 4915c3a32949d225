"""Street furniture: lamp posts, traffic lights and traffic signs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bddzoo.datasets.mini.draw import Canvas, Colour, Draw, Points, shade
from bddzoo.datasets.mini.people import Figure
from bddzoo.datasets.mini.scene import Plan

POLE, LIGHT, SIGN = 5, 6, 7
Item = tuple[float, Callable[[], None]]
_STEEL: list[Colour] = [(116, 118, 120), (78, 82, 84), (146, 146, 144), (88, 84, 72)]
_LENSES: dict[str, tuple[int, Colour]] = {
    "red": (0, (246, 50, 40)),
    "amber": (1, (252, 190, 50)),
    "green": (2, (60, 236, 140)),
}
_OCTAGON: Points = np.array(
    [(0.414, 1), (1, 0.414), (1, -0.414), (0.414, -1), (-0.414, -1), (-1, -0.414), (-1, 0.414), (-0.414, 1)]
)


def lamp_post(canvas: Canvas, plan: Plan, draw: Draw, x: float, z: float) -> Item:
    """A lamp post whose arm reaches over the road."""
    steel, tall = draw.vary(draw.pick(_STEEL), 8), draw.uniform(6.0, 8.5)
    reach = -1.8 if x > 0 else 1.8

    def run() -> None:
        figure = Figure(canvas, plan.camera, x, 0.0, z)
        pole = canvas.surface(POLE, z)
        canvas.shape(figure.points([(-0.13, 0), (0.13, 0), (0.09, tall), (-0.09, tall)]), pole, steel)
        canvas.detail([figure.points([(0.0, 0), (0.13, 0), (0.09, tall), (0.0, tall)])], shade(steel, 0.72))
        canvas.shape(figure.limb((0.0, tall - 0.05), (reach, tall + 0.35), 0.14), pole, steel)
        lamp = figure.points(
            [
                (reach - 0.35, tall + 0.25),
                (reach + 0.35, tall + 0.25),
                (reach + 0.25, tall + 0.45),
                (reach - 0.25, tall + 0.45),
            ]
        )
        lit = plan.timeofday != "daytime"
        canvas.shape(
            lamp, pole, (250, 226, 170) if lit else shade(steel, 0.8), (255, 220, 150) if lit else None
        )

    return (z, run)


def traffic_light(canvas: Canvas, plan: Plan, draw: Draw, x: float, z: float, *, arm: bool) -> Item:
    """A signal on a mast, and a second one on an arm over the road."""
    steel = draw.vary(draw.pick(_STEEL), 8)
    state = draw.pick(["red", "red", "amber", "green", "green"])
    case = draw.pick([(36, 38, 38), (36, 38, 38), (196, 160, 48)])
    over = -(abs(x) - 0.9) * (1.0 if x > 0 else -1.0)

    def head(figure: Figure, dx: float, y: float) -> None:
        light = canvas.surface(LIGHT, z)
        canvas.shape(
            figure.points([(dx - 0.24, y), (dx + 0.24, y), (dx + 0.24, y + 1.2), (dx - 0.24, y + 1.2)]),
            light,
            case,
        )
        for i in range(3):
            colour: Colour = (74, 70, 66)
            glow: Colour | None = None
            place, lens = _LENSES[state]
            if i == place:
                colour, glow = lens, lens
            canvas.detail([figure.disc(dx, y + 1.2 - 0.22 - 0.38 * i, 0.15, 0.15)], colour, glow)

    def run() -> None:
        figure = Figure(canvas, plan.camera, x, 0.0, z)
        pole = canvas.surface(POLE, z)
        tall = 5.9 if arm else 3.5
        canvas.shape(figure.points([(-0.12, 0), (0.12, 0), (0.1, tall), (-0.1, tall)]), pole, steel)
        canvas.detail([figure.points([(0.0, 0), (0.12, 0), (0.1, tall), (0.0, tall)])], shade(steel, 0.74))
        if arm:
            canvas.shape(figure.limb((0.0, tall - 0.1), (over, tall), 0.16), pole, steel)
            head(figure, over, tall - 0.75)
            if abs(over) > 4:
                head(figure, over * 0.5, tall - 0.78)
        head(figure, 0.0, 2.35)

    return (z, run)


def sign(canvas: Canvas, plan: Plan, draw: Draw, x: float, z: float) -> Item:
    """A traffic sign on a post."""
    steel = draw.vary(draw.pick(_STEEL), 8)
    kind = draw.pick(["stop", "limit", "warning", "yield", "blue", "square"])
    size = draw.uniform(0.36, 0.46)

    def run() -> None:
        figure = Figure(canvas, plan.camera, x, 0.0, z)
        pole, plate = canvas.surface(POLE, z), canvas.surface(SIGN, z)
        canvas.shape(figure.points([(-0.07, 0), (0.07, 0), (0.07, 2.2), (-0.07, 2.2)]), pole, steel)
        _plate(canvas, figure, plate, kind, 2.5, size)

    return (z, run)


def _plate(canvas: Canvas, figure: Figure, index: int, kind: str, y: float, size: float) -> None:
    def scaled(points: Points, k: float) -> Points:
        return figure.points([(float(px) * size * k, y + float(py) * size * k) for px, py in points])

    diamond = np.array([(0, 1.2), (1.2, 0), (0, -1.2), (-1.2, 0)])
    triangle = np.array([(-1.15, 0.9), (1.15, 0.9), (0, -1.1)])
    square = np.array([(-0.85, 1.1), (0.85, 1.1), (0.85, -1.1), (-0.85, -1.1)])
    if kind == "stop":
        canvas.shape(scaled(_OCTAGON, 1.0), index, (236, 234, 232))
        canvas.detail([scaled(_OCTAGON, 0.9)], (192, 30, 38))
        canvas.detail(
            [figure.points([(-0.26, y - 0.08), (0.26, y - 0.08), (0.26, y + 0.08), (-0.26, y + 0.08)])],
            (236, 234, 232),
        )
    elif kind == "warning":
        canvas.shape(scaled(diamond, 1.0), index, (40, 38, 30))
        canvas.detail([scaled(diamond, 0.9)], (244, 196, 44))
        canvas.detail(
            [figure.points([(-0.05, y - 0.22), (0.05, y - 0.22), (0.05, y + 0.22), (-0.05, y + 0.22)])],
            (34, 32, 28),
        )
    elif kind == "yield":
        canvas.shape(scaled(triangle, 1.0), index, (200, 34, 40))
        canvas.detail([scaled(triangle, 0.6)], (240, 238, 234))
    elif kind == "limit":
        canvas.shape(figure.disc(0, y, size, size), index, (204, 36, 40))
        canvas.detail([figure.disc(0, y, size * 0.76, size * 0.76)], (240, 240, 236))
        canvas.detail(
            [figure.points([(-0.16, y - 0.12), (0.16, y - 0.12), (0.16, y + 0.12), (-0.16, y + 0.12)])],
            (60, 60, 64),
        )
    elif kind == "blue":
        canvas.shape(figure.disc(0, y, size, size), index, (236, 238, 240))
        canvas.detail([figure.disc(0, y, size * 0.92, size * 0.92)], (30, 84, 176))
        canvas.detail([figure.limb((0, y - 0.22), (0, y + 0.22), 0.09)], (240, 240, 240))
    else:
        canvas.shape(scaled(square, 1.0), index, (240, 240, 238))
        canvas.detail([scaled(square, 0.84)], (226, 228, 226))
        canvas.detail(
            [
                figure.points([(-0.2, y + dy), (0.2, y + dy), (0.2, y + dy + 0.1), (-0.2, y + dy + 0.1)])
                for dy in (-0.3, 0.15)
            ],
            (36, 36, 40),
        )


def board(canvas: Canvas, plan: Plan, draw: Draw, z: float) -> Item:
    """A green direction sign over a highway, on two posts."""
    left, right = plan.left - 0.5, plan.right + 0.5
    steel = draw.vary((138, 140, 142), 8)
    green = draw.vary(draw.pick([(16, 108, 68), (20, 84, 150)]), 6)
    panels = [
        (draw.uniform(0.5, 1.2), draw.uniform(3.2, 4.4)),
        (draw.uniform(5.4, 6.2), draw.uniform(2.6, 3.6)),
    ]

    def run() -> None:
        figure = Figure(canvas, plan.camera, left, 0.0, z)
        pole, plate = canvas.surface(POLE, z), canvas.surface(SIGN, z)
        for x in (0.0, right - left):
            canvas.shape(
                figure.points([(x - 0.2, 0), (x + 0.2, 0), (x + 0.2, 6.6), (x - 0.2, 6.6)]), pole, steel
            )
        canvas.shape(
            figure.points([(0, 6.0), (right - left, 6.0), (right - left, 6.35), (0, 6.35)]),
            pole,
            shade(steel, 0.9),
        )
        for x, most in panels:
            wide = min(most, right - left - x)
            if wide < 1.0:
                continue
            canvas.shape(
                figure.points([(x, 5.0), (x + wide, 5.0), (x + wide, 7.2), (x, 7.2)]), plate, (232, 236, 232)
            )
            canvas.detail(
                [
                    figure.points(
                        [(x + 0.08, 5.08), (x + wide - 0.08, 5.08), (x + wide - 0.08, 7.12), (x + 0.08, 7.12)]
                    )
                ],
                green,
            )
            lines = [(6.5, 0.8), (6.0, 0.6), (5.5, 0.7)]
            canvas.detail(
                [
                    figure.points(
                        [
                            (x + 0.3, y),
                            (x + 0.3 + (wide - 0.6) * k, y),
                            (x + 0.3 + (wide - 0.6) * k, y + 0.26),
                            (x + 0.3, y + 0.26),
                        ]
                    )
                    for y, k in lines
                ],
                (226, 232, 228),
            )

    return (z, run)
