"""Pedestrians, riders and two-wheelers, as figures that stand upright at their distance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bddzoo.datasets.mini.draw import Camera, Canvas, Colour, Draw, Layer, Plan, Points, ellipse, shade

PERSON, RIDER, MOTORCYCLE, BICYCLE = (11, 1), (12, 2), (17, 7), (18, 8)
_CLOTHES: list[Colour] = [
    (160, 44, 48), (44, 72, 130), (58, 62, 70), (206, 204, 198), (206, 160, 60), (66, 110, 82),
    (120, 84, 130), (34, 34, 40), (214, 120, 70), (110, 140, 170),
]  # fmt: skip
_TROUSERS: list[Colour] = [(42, 48, 66), (56, 56, 60), (110, 96, 76), (30, 32, 36), (84, 88, 100)]
_SKIN: list[Colour] = [(224, 182, 150), (190, 140, 104), (132, 92, 66), (96, 66, 50)]
_HAIR: list[Colour] = [(40, 32, 28), (86, 60, 40), (170, 140, 90), (120, 118, 116)]
_DARK: Colour = (30, 30, 33)


class Figure:
    """Paints in metres around a foot point: x to the right, y up, at one distance."""

    def __init__(
        self, canvas: Canvas, camera: Camera, x: float, y: float, z: float, flip: float = 1.0
    ) -> None:
        self.canvas = canvas
        self.scale = camera.scale(z)
        self.foot = camera.project(x, y, z)
        self.flip = flip

    def points(self, corners: Sequence[tuple[float, float]]) -> Points:
        """Image points of figure points."""
        local = np.array(corners, np.float64) * (self.flip, -1.0)
        return local * self.scale + self.foot

    def disc(self, x: float, y: float, rx: float, ry: float) -> Points:
        """An ellipse in figure metres."""
        centre = self.points([(x, y)])[0]
        return ellipse(centre[0], centre[1], max(rx * self.scale, 0.7), max(ry * self.scale, 0.7))

    def limb(self, a: tuple[float, float], b: tuple[float, float], wide: float) -> Points:
        """A straight limb between two points."""
        dx, dy = b[0] - a[0], b[1] - a[1]
        length = float(np.sqrt(dx * dx + dy * dy)) or 1.0
        nx, ny = -dy / length * wide / 2, dx / length * wide / 2
        return self.points(
            [(a[0] + nx, a[1] + ny), (b[0] + nx, b[1] + ny), (b[0] - nx, b[1] - ny), (a[0] - nx, a[1] - ny)]
        )


def _body(figure: Figure, draw: Draw, index: int, tall: float) -> None:
    """A standing or walking person of a height in metres."""
    c, k = figure.canvas, tall / 1.75
    top, legs = draw.vary(draw.pick(_CLOTHES), 12), draw.vary(draw.pick(_TROUSERS), 8)
    skin, hair = draw.pick(_SKIN), draw.pick(_HAIR)
    stride = draw.uniform(0.02, 0.3)
    swing = draw.uniform(-0.18, 0.22)
    coat = draw.chance(0.3)
    hip, neck = 0.9 * k, 1.48 * k
    c.shape(figure.limb((0.09, hip), (0.06 - stride, 0.05), 0.19 * k), index, shade(legs, 0.82))
    c.shape(figure.limb((-0.05, hip), (-0.02 + stride, 0.05), 0.2 * k), index, legs)
    for foot in (0.06 - stride, -0.02 + stride):
        c.shape(
            figure.points([(foot - 0.08, 0), (foot + 0.16, 0), (foot + 0.14, 0.1), (foot - 0.08, 0.1)]),
            index,
            _DARK,
        )
    c.shape(figure.limb((0.2 * k, neck - 0.06), (0.24 * k - swing, hip), 0.13 * k), index, shade(top, 0.78))
    low = 0.6 * k if coat else 0.84 * k
    c.shape(
        figure.points([(-0.21 * k, low), (0.21 * k, low), (0.25 * k, neck - 0.04), (0.12 * k, neck + 0.02),
                       (-0.12 * k, neck + 0.02), (-0.25 * k, neck - 0.04)]),
        index, top,
    )  # fmt: skip
    c.shape(
        figure.limb((-0.21 * k, neck - 0.06), (-0.25 * k + swing, hip), 0.13 * k), index, shade(top, 1.12)
    )
    if draw.chance(0.3):
        bag = draw.pick(_CLOTHES)
        c.shape(
            figure.points([(-0.36, 0.55 * k), (-0.14, 0.55 * k), (-0.16, 0.9 * k), (-0.34, 0.9 * k)]),
            index,
            bag,
        )
    c.shape(
        figure.points([(-0.06, neck - 0.02), (0.06, neck - 0.02), (0.05, neck + 0.1), (-0.05, neck + 0.1)]),
        index,
        skin,
    )
    c.shape(figure.disc(0.0, neck + 0.16 * k, 0.105 * k, 0.14 * k), index, skin)
    c.shape(figure.disc(-0.02, neck + 0.21 * k, 0.11 * k, 0.1 * k), index, hair)


def _ground_shadow(figure: Figure, wide: float) -> None:
    figure.canvas.detail([figure.disc(0.0, 0.0, wide, 0.06)], (46, 46, 49))


def pedestrian(
    canvas: Canvas, plan: Plan, draw: Draw, x: float, y: float, z: float, index: int | None = None
) -> Layer:
    """A pedestrian; pass an index to paint several as one group."""
    own = Draw(draw.integer(0, 1 << 30), 11)
    tall = draw.uniform(1.55, 1.88) if draw.chance(0.88) else draw.uniform(1.05, 1.4)
    flip = draw.pick([-1.0, 1.0])

    def run() -> None:
        number = canvas.surface(PERSON[0], z, PERSON[1]) if index is None else index
        figure = Figure(canvas, plan.camera, x, y, z, flip)
        _ground_shadow(figure, 0.32)
        _body(figure, own, number, tall)

    return (z, run)


def crowd(canvas: Canvas, plan: Plan, draw: Draw, x: float, y: float, z: float) -> list[Layer]:
    """A group of pedestrians that is labelled as one crowd."""
    index = canvas.surface(PERSON[0], z, PERSON[1], crowd=True)
    count = draw.integer(4, 6)
    return [
        pedestrian(
            canvas,
            plan,
            draw,
            x + (i - count / 2) * draw.uniform(0.34, 0.46),
            y,
            z + draw.uniform(-0.5, 0.5),
            index,
        )
        for i in range(count)
    ]


def two_wheeler(
    canvas: Canvas,
    plan: Plan,
    draw: Draw,
    x: float,
    y: float,
    z: float,
    kind: str,
    *,
    ridden: bool,
    sideways: bool,
) -> Layer:
    """A bicycle or motorcycle, with or without its rider; seen from the side, or along the street."""
    own = Draw(draw.integer(0, 1 << 30), 12)
    flip = draw.pick([-1.0, 1.0])
    oncoming = x < 0

    def run() -> None:
        sem, category = MOTORCYCLE if kind == "motorcycle" else BICYCLE
        figure = Figure(canvas, plan.camera, x, y, z, flip)
        _ground_shadow(figure, 0.85 if sideways else 0.3)
        index = canvas.surface(sem, z, category)
        rider = canvas.surface(RIDER[0], z, RIDER[1]) if ridden else 0
        if kind == "motorcycle":
            (_motorcycle_side if sideways else _motorcycle_end)(figure, own, index, plan, oncoming)
        else:
            (_bicycle_side if sideways else _bicycle_end)(figure, own, index, plan, oncoming)
        if ridden:
            (_rider_side if sideways else _rider_end)(figure, own, rider, kind)

    return (z - 0.1, run)


def _rim(figure: Figure, x: float, radius: float, index: int, thick: float) -> None:
    # Labelled with what shows between the spokes, as annotators outline wheels.
    c = figure.canvas
    hub = figure.disc(x, radius, radius, radius)
    c.label(hub, index)
    inner = figure.disc(x, radius, radius - thick, radius - thick)
    ring = np.concatenate([hub, hub[:1], inner[:1], inner[::-1]])
    c.detail([ring], _DARK)
    rim = radius - thick / 2
    spokes = [(rim, 0.0), (0.5 * rim, 0.866 * rim), (-0.5 * rim, 0.866 * rim)]
    bars = [figure.limb((x - sx, radius - sy), (x + sx, radius + sy), 0.02) for sx, sy in spokes]
    c.detail(bars, (150, 150, 154))


def _bicycle_side(figure: Figure, draw: Draw, index: int, plan: Plan, oncoming: bool) -> None:
    c, colour = figure.canvas, draw.vary(draw.pick(_CLOTHES), 10)
    _rim(figure, -0.52, 0.34, index, 0.06)
    _rim(figure, 0.52, 0.34, index, 0.06)
    frame = [(-0.52, 0.34), (-0.2, 0.82), (0.36, 0.84), (0.02, 0.32)]
    c.label(figure.points(frame), index)
    for a, b in ((0, 1), (1, 2), (2, 3), (3, 0), (1, 3)):
        c.shape(figure.limb(frame[a], frame[b], 0.055), index, colour)
    c.shape(figure.limb((0.36, 0.84), (0.52, 0.34), 0.055), index, colour)
    c.shape(figure.limb((0.36, 0.84), (0.33, 1.04), 0.05), index, _DARK)
    c.shape(figure.limb((0.22, 1.04), (0.42, 1.02), 0.05), index, _DARK)
    c.shape(figure.limb((-0.36, 0.93), (-0.08, 0.93), 0.08), index, _DARK)
    c.shape(figure.limb((-0.2, 0.82), (-0.22, 0.93), 0.05), index, _DARK)


def _bicycle_end(figure: Figure, draw: Draw, index: int, plan: Plan, oncoming: bool) -> None:
    c, colour = figure.canvas, draw.vary(draw.pick(_CLOTHES), 10)
    c.shape(figure.disc(0, 0.34, 0.045, 0.34), index, _DARK)
    c.shape(figure.points([(-0.07, 0.45), (0.07, 0.45), (0.06, 0.95), (-0.06, 0.95)]), index, colour)
    c.shape(figure.points([(-0.3, 1.0), (0.3, 1.0), (0.3, 1.07), (-0.3, 1.07)]), index, (70, 70, 74))
    c.shape(figure.points([(-0.13, 0.9), (0.13, 0.9), (0.1, 0.98), (-0.1, 0.98)]), index, _DARK)
    glow = None if plan.timeofday == "daytime" else ((255, 240, 200) if oncoming else (210, 20, 20))
    c.detail([figure.disc(0, 0.72, 0.05, 0.05)], (240, 235, 210) if oncoming else (190, 30, 30), glow)


def _motorcycle_side(figure: Figure, draw: Draw, index: int, plan: Plan, oncoming: bool) -> None:
    c, colour = figure.canvas, draw.vary(draw.pick(_CLOTHES), 10)
    for x in (-0.68, 0.72):
        c.shape(figure.disc(x, 0.33, 0.33, 0.33), index, _DARK)
        c.detail([figure.disc(x, 0.33, 0.2, 0.2)], (120, 122, 126))
    c.shape(figure.points([(-0.6, 0.3), (0.4, 0.26), (0.5, 0.66), (-0.5, 0.7)]), index, (78, 80, 84))
    c.shape(figure.points([(-0.15, 0.62), (0.5, 0.66), (0.46, 0.98), (0.1, 1.02)]), index, colour)
    c.shape(
        figure.points([(-0.95, 0.82), (-0.1, 0.7), (0.1, 0.84), (-0.3, 0.9), (-0.9, 0.98)]),
        index,
        (38, 36, 36),
    )
    c.shape(figure.limb((0.72, 0.33), (0.5, 1.08), 0.09), index, (140, 142, 146))
    c.shape(figure.limb((0.36, 1.16), (0.58, 1.06), 0.08), index, _DARK)
    c.detail([figure.points([(-0.75, 0.28), (0.0, 0.26), (0.0, 0.34), (-0.75, 0.38)])], (168, 168, 172))
    c.detail([figure.disc(0.62, 0.9, 0.09, 0.1)], (236, 234, 214))


def _motorcycle_end(figure: Figure, draw: Draw, index: int, plan: Plan, oncoming: bool) -> None:
    c, colour = figure.canvas, draw.vary(draw.pick(_CLOTHES), 10)
    c.shape(figure.points([(-0.11, 0.0), (0.11, 0.0), (0.11, 0.62), (-0.11, 0.62)]), index, _DARK)
    c.shape(
        figure.points(
            [(-0.24, 0.42), (0.24, 0.42), (0.28, 0.78), (0.17, 1.02), (-0.17, 1.02), (-0.28, 0.78)]
        ),
        index,
        colour,
    )
    c.shape(figure.points([(-0.42, 1.02), (0.42, 1.02), (0.42, 1.11), (-0.42, 1.11)]), index, _DARK)
    for x in (-0.42, 0.42):
        c.shape(figure.disc(x, 1.2, 0.07, 0.06), index, (70, 72, 76))
    on = plan.timeofday != "daytime"
    if oncoming:
        c.detail([figure.disc(0, 0.86, 0.11, 0.11)], (244, 242, 220), (255, 246, 216) if on else None)
    else:
        c.detail(
            [figure.points([(-0.13, 0.8), (0.13, 0.8), (0.13, 0.9), (-0.13, 0.9)])],
            (206, 30, 30),
            (210, 22, 20) if on else None,
        )
        c.detail([figure.points([(-0.1, 0.56), (0.1, 0.56), (0.1, 0.68), (-0.1, 0.68)])], (228, 226, 214))


def _head(figure: Figure, draw: Draw, index: int, x: float, y: float, helmet: bool) -> None:
    c = figure.canvas
    c.shape(figure.disc(x, y, 0.11, 0.14), index, draw.pick(_SKIN))
    cover = draw.pick([(210, 50, 50), (236, 236, 232), (50, 52, 56), (230, 190, 50), (60, 110, 190)])
    c.shape(figure.disc(x, y + 0.05, 0.14, 0.13 if not helmet else 0.16), index, cover)
    if helmet:
        c.detail(
            [
                figure.points(
                    [(x - 0.1, y - 0.02), (x + 0.1, y - 0.02), (x + 0.1, y + 0.06), (x - 0.1, y + 0.06)]
                )
            ],
            (30, 32, 38),
        )


def _rider_side(figure: Figure, draw: Draw, index: int, kind: str) -> None:
    c, motor = figure.canvas, kind == "motorcycle"
    top, legs = draw.vary(draw.pick(_CLOTHES), 12), draw.pick(_TROUSERS)
    seat = (-0.3, 0.92) if motor else (-0.22, 0.98)
    knee, foot = ((0.2, 0.8), (0.05, 0.34)) if motor else ((0.14, 0.72), (0.05, 0.24))
    shoulder, hand = ((-0.02, 1.48), (0.42, 1.12)) if motor else ((0.02, 1.5), (0.34, 1.06))
    c.shape(figure.limb(seat, knee, 0.2), index, legs)
    c.shape(figure.limb(knee, foot, 0.15), index, shade(legs, 0.9))
    c.shape(
        figure.points(
            [
                (foot[0] - 0.06, foot[1] - 0.08),
                (foot[0] + 0.2, foot[1] - 0.08),
                (foot[0] + 0.16, foot[1] + 0.03),
                (foot[0] - 0.06, foot[1] + 0.03),
            ]
        ),
        index,
        _DARK,
    )
    c.shape(figure.limb((seat[0], seat[1] - 0.05), shoulder, 0.32), index, top)
    c.shape(figure.limb((shoulder[0], shoulder[1] - 0.06), hand, 0.12), index, shade(top, 1.14))
    _head(figure, draw, index, shoulder[0] + 0.1, shoulder[1] + 0.2, motor)


def _rider_end(figure: Figure, draw: Draw, index: int, kind: str) -> None:
    c, motor = figure.canvas, kind == "motorcycle"
    top, legs = draw.vary(draw.pick(_CLOTHES), 12), draw.pick(_TROUSERS)
    for side, foot in ((-1.0, 0.3), (1.0, 0.22 if not motor else 0.3)):
        c.shape(figure.limb((side * 0.12, 0.95), (side * 0.25, 0.66), 0.19), index, legs)
        c.shape(figure.limb((side * 0.25, 0.68), (side * 0.22, foot), 0.14), index, shade(legs, 0.9))
        c.shape(figure.limb((side * 0.24, 1.42), (side * 0.38, 1.08), 0.13), index, shade(top, 0.9))
    c.shape(
        figure.points([(-0.2, 0.9), (0.2, 0.9), (0.28, 1.42), (0.14, 1.52), (-0.14, 1.52), (-0.28, 1.42)]),
        index,
        top,
    )
    if draw.chance(0.3):
        c.shape(
            figure.points([(-0.17, 1.0), (0.17, 1.0), (0.19, 1.38), (-0.19, 1.38)]),
            index,
            draw.pick(_CLOTHES),
        )
    _head(figure, draw, index, 0.0, 1.66, motor)
