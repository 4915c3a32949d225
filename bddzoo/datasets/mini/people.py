"""Pedestrians, riders and two-wheelers, as figures that stand upright at their distance."""

from __future__ import annotations

import numpy as np

from bddzoo.datasets.mini.draw import Colour, Disc, Draw, Figure, Layer, Plan, Scene, box, limb, shade, taper

PERSON, RIDER, MOTORCYCLE, BICYCLE = (11, 1), (12, 2), (17, 7), (18, 8)
_CLOTHES: list[Colour] = [
    (160, 44, 48), (44, 72, 130), (58, 62, 70), (206, 204, 198), (206, 160, 60), (66, 110, 82),
    (120, 84, 130), (34, 34, 40), (214, 120, 70), (110, 140, 170),
]  # fmt: skip
_TROUSERS: list[Colour] = [(42, 48, 66), (56, 56, 60), (110, 96, 76), (30, 32, 36), (84, 88, 100)]
_SKIN: list[Colour] = [(224, 182, 150), (190, 140, 104), (132, 92, 66), (96, 66, 50)]
_HAIR: list[Colour] = [(40, 32, 28), (86, 60, 40), (170, 140, 90), (120, 118, 116)]
_DARK: Colour = (30, 30, 33)


_GREY: Colour = (70, 72, 76)
_HELMETS: list[Colour] = [(210, 50, 50), (236, 236, 232), (50, 52, 56), (230, 190, 50), (60, 110, 190)]


def _body(figure: Figure, draw: Draw, index: int, tall: float) -> None:
    """A standing or walking person of a height in metres."""
    k = tall / 1.75
    top, legs = draw.vary(draw.pick(_CLOTHES), 12), draw.vary(draw.pick(_TROUSERS), 8)
    skin, hair = draw.pick(_SKIN), draw.pick(_HAIR)
    stride, swing = draw.uniform(0.02, 0.3), draw.uniform(-0.18, 0.22)
    low = (0.6 if draw.chance(0.3) else 0.84) * k  # a coat, or a jacket
    hip, neck = 0.9 * k, 1.48 * k
    back, front = 0.06 - stride, -0.02 + stride
    figure.shape(
        index,
        (limb((0.09, hip), (back, 0.05), 0.19 * k), shade(legs, 0.82)),
        (limb((-0.05, hip), (front, 0.05), 0.2 * k), legs),
        ([(back - 0.08, 0), (back + 0.16, 0), (back + 0.14, 0.1), (back - 0.08, 0.1)], _DARK),
        ([(front - 0.08, 0), (front + 0.16, 0), (front + 0.14, 0.1), (front - 0.08, 0.1)], _DARK),
        (limb((0.2 * k, neck - 0.06), (0.24 * k - swing, hip), 0.13 * k), shade(top, 0.78)),
        ([(-0.21 * k, low), (0.21 * k, low), (0.25 * k, neck - 0.04), (0.12 * k, neck + 0.02),
          (-0.12 * k, neck + 0.02), (-0.25 * k, neck - 0.04)], top),
        (limb((-0.21 * k, neck - 0.06), (-0.25 * k + swing, hip), 0.13 * k), shade(top, 1.12)),
    )  # fmt: skip
    if draw.chance(0.3):
        bag = [(-0.36, 0.55 * k), (-0.14, 0.55 * k), (-0.16, 0.9 * k), (-0.34, 0.9 * k)]
        figure.shape(index, (bag, draw.pick(_CLOTHES)))
    figure.shape(
        index,
        (taper(0.06, 0.05, neck - 0.02, neck + 0.1), skin),
        (Disc(0.0, neck + 0.16 * k, 0.105 * k, 0.14 * k), skin),
        (Disc(-0.02, neck + 0.21 * k, 0.11 * k, 0.1 * k), hair),
    )


def _ground_shadow(figure: Figure, wide: float) -> None:
    figure.detail((Disc(0.0, 0.0, wide, 0.06), (46, 46, 49)))


def pedestrian(scene: Scene, x: float, y: float, z: float, index: int | None = None) -> Layer:
    """A pedestrian; pass an index to paint several as one group."""
    own, draw = scene.stream(11), scene.draw
    tall = draw.uniform(1.55, 1.88) if draw.chance(0.88) else draw.uniform(1.05, 1.4)
    flip = draw.pick([-1.0, 1.0])

    def run() -> None:
        number = scene.canvas.surface(PERSON[0], z, PERSON[1]) if index is None else index
        figure = Figure(scene, x, y, z, flip)
        _ground_shadow(figure, 0.32)
        _body(figure, own, number, tall)

    return (z, run)


def crowd(scene: Scene, x: float, y: float, z: float) -> list[Layer]:
    """A group of pedestrians that is labelled as one crowd."""
    draw, index = scene.draw, scene.canvas.surface(PERSON[0], z, PERSON[1], crowd=True)
    count = draw.integer(4, 6)
    return [
        pedestrian(
            scene, x + (i - count / 2) * draw.uniform(0.34, 0.46), y, z + draw.uniform(-0.5, 0.5), index
        )
        for i in range(count)
    ]


def two_wheeler(
    scene: Scene, x: float, y: float, z: float, kind: str, *, ridden: bool = True, sideways: bool = False
) -> Layer:
    """A bicycle or motorcycle, with or without its rider; seen along the street, or from the side."""
    own = scene.stream(12)
    flip = scene.draw.pick([-1.0, 1.0])
    motor = kind == "motorcycle"

    def run() -> None:
        sem, category = MOTORCYCLE if motor else BICYCLE
        figure = Figure(scene, x, y, z, flip)
        _ground_shadow(figure, 0.85 if sideways else 0.3)
        index = scene.canvas.surface(sem, z, category)
        rider = scene.canvas.surface(RIDER[0], z, RIDER[1]) if ridden else 0
        colour = own.vary(own.pick(_CLOTHES), 10)
        if sideways:
            (_motorcycle_side if motor else _bicycle_side)(figure, index, colour)
        else:
            (_motorcycle_end if motor else _bicycle_end)(figure, index, colour, scene.plan, x < 0)
        if ridden:
            (_rider_side if sideways else _rider_end)(figure, own, rider, motor)

    return (z - 0.1, run)


def _spoked_wheel(figure: Figure, x: float, radius: float, index: int, thick: float) -> None:
    # Labelled with what shows between the spokes, as annotators outline wheels.
    hub = figure.place(Disc(x, radius, radius, radius))
    inner = figure.place(Disc(x, radius, radius - thick, radius - thick))
    figure.canvas.label(hub, index)
    figure.canvas.detail(np.concatenate([hub, hub[:1], inner[:1], inner[::-1]]), _DARK)
    rim = radius - thick / 2
    for sx, sy in ((rim, 0.0), (0.5 * rim, 0.866 * rim), (-0.5 * rim, 0.866 * rim)):
        figure.detail((limb((x - sx, radius - sy), (x + sx, radius + sy), 0.02), (150, 150, 154)))


def _bicycle_side(figure: Figure, index: int, colour: Colour) -> None:
    for x in (-0.52, 0.52):
        _spoked_wheel(figure, x, 0.34, index, 0.06)
    frame = [(-0.52, 0.34), (-0.2, 0.82), (0.36, 0.84), (0.02, 0.32)]
    tubes = [(frame[a], frame[b]) for a, b in ((0, 1), (1, 2), (2, 3), (3, 0), (1, 3))]
    figure.canvas.label(figure.place(frame), index)
    figure.shape(
        index,
        *((limb(a, b, 0.055), colour) for a, b in [*tubes, ((0.36, 0.84), (0.52, 0.34))]),
        (limb((0.36, 0.84), (0.33, 1.04), 0.05), _DARK),
        (limb((0.22, 1.04), (0.42, 1.02), 0.05), _DARK),
        (limb((-0.36, 0.93), (-0.08, 0.93), 0.08), _DARK),
        (limb((-0.2, 0.82), (-0.22, 0.93), 0.05), _DARK),
    )


def _bicycle_end(figure: Figure, index: int, colour: Colour, plan: Plan, oncoming: bool) -> None:
    figure.shape(
        index,
        (Disc(0, 0.34, 0.045, 0.34), _DARK),
        (taper(0.07, 0.06, 0.45, 0.95), colour),
        (box(-0.3, 0.3, 1.0, 1.07), (70, 70, 74)),
        (taper(0.13, 0.1, 0.9, 0.98), _DARK),
    )
    glow = (255, 240, 200) if oncoming else (210, 20, 20)
    lamp = (240, 235, 210) if oncoming else (190, 30, 30)
    figure.detail((Disc(0, 0.72, 0.05, 0.05), lamp, glow if plan.lamps else None))


def _motorcycle_side(figure: Figure, index: int, colour: Colour) -> None:
    for x in (-0.68, 0.72):
        figure.shape(index, (Disc(x, 0.33, 0.33, 0.33), _DARK))
        figure.detail((Disc(x, 0.33, 0.2, 0.2), (120, 122, 126)))
    figure.shape(
        index,
        ([(-0.6, 0.3), (0.4, 0.26), (0.5, 0.66), (-0.5, 0.7)], (78, 80, 84)),
        ([(-0.15, 0.62), (0.5, 0.66), (0.46, 0.98), (0.1, 1.02)], colour),
        ([(-0.95, 0.82), (-0.1, 0.7), (0.1, 0.84), (-0.3, 0.9), (-0.9, 0.98)], (38, 36, 36)),
        (limb((0.72, 0.33), (0.5, 1.08), 0.09), (140, 142, 146)),
        (limb((0.36, 1.16), (0.58, 1.06), 0.08), _DARK),
    )
    figure.detail(
        ([(-0.75, 0.28), (0.0, 0.26), (0.0, 0.34), (-0.75, 0.38)], (168, 168, 172)),
        (Disc(0.62, 0.9, 0.09, 0.1), (236, 234, 214)),
    )


def _motorcycle_end(figure: Figure, index: int, colour: Colour, plan: Plan, oncoming: bool) -> None:
    body = [(-0.24, 0.42), (0.24, 0.42), (0.28, 0.78), (0.17, 1.02), (-0.17, 1.02), (-0.28, 0.78)]
    figure.shape(
        index,
        (box(-0.11, 0.11, 0.0, 0.62), _DARK),
        (body, colour),
        (box(-0.42, 0.42, 1.02, 1.11), _DARK),
        (Disc(-0.42, 1.2, 0.07, 0.06), _GREY),
        (Disc(0.42, 1.2, 0.07, 0.06), _GREY),
    )
    if oncoming:
        figure.detail((Disc(0, 0.86, 0.11, 0.11), (244, 242, 220), (255, 246, 216) if plan.lamps else None))
    else:
        figure.detail(
            (box(-0.13, 0.13, 0.8, 0.9), (206, 30, 30), (210, 22, 20) if plan.lamps else None),
            (box(-0.1, 0.1, 0.56, 0.68), (228, 226, 214)),
        )


def _head(figure: Figure, draw: Draw, index: int, x: float, y: float, helmet: bool) -> None:
    figure.shape(
        index,
        (Disc(x, y, 0.11, 0.14), draw.pick(_SKIN)),
        (Disc(x, y + 0.05, 0.14, 0.16 if helmet else 0.13), draw.pick(_HELMETS)),
    )
    if helmet:
        figure.detail((box(x - 0.1, x + 0.1, y - 0.02, y + 0.06), (30, 32, 38)))


def _rider_side(figure: Figure, draw: Draw, index: int, motor: bool) -> None:
    top, legs = draw.vary(draw.pick(_CLOTHES), 12), draw.pick(_TROUSERS)
    seat = (-0.3, 0.92) if motor else (-0.22, 0.98)
    knee, (x, y) = ((0.2, 0.8), (0.05, 0.34)) if motor else ((0.14, 0.72), (0.05, 0.24))
    shoulder, hand = ((-0.02, 1.48), (0.42, 1.12)) if motor else ((0.02, 1.5), (0.34, 1.06))
    figure.shape(
        index,
        (limb(seat, knee, 0.2), legs),
        (limb(knee, (x, y), 0.15), shade(legs, 0.9)),
        ([(x - 0.06, y - 0.08), (x + 0.2, y - 0.08), (x + 0.16, y + 0.03), (x - 0.06, y + 0.03)], _DARK),
        (limb((seat[0], seat[1] - 0.05), shoulder, 0.32), top),
        (limb((shoulder[0], shoulder[1] - 0.06), hand, 0.12), shade(top, 1.14)),
    )
    _head(figure, draw, index, shoulder[0] + 0.1, shoulder[1] + 0.2, motor)


def _rider_end(figure: Figure, draw: Draw, index: int, motor: bool) -> None:
    top, legs = draw.vary(draw.pick(_CLOTHES), 12), draw.pick(_TROUSERS)
    for side, foot in ((-1.0, 0.3), (1.0, 0.3 if motor else 0.22)):
        figure.shape(
            index,
            (limb((side * 0.12, 0.95), (side * 0.25, 0.66), 0.19), legs),
            (limb((side * 0.25, 0.68), (side * 0.22, foot), 0.14), shade(legs, 0.9)),
            (limb((side * 0.24, 1.42), (side * 0.38, 1.08), 0.13), shade(top, 0.9)),
        )
    trunk = [(-0.2, 0.9), (0.2, 0.9), (0.28, 1.42), (0.14, 1.52), (-0.14, 1.52), (-0.28, 1.42)]
    figure.shape(index, (trunk, top))
    if draw.chance(0.3):
        figure.shape(index, (taper(0.17, 0.19, 1.0, 1.38), draw.pick(_CLOTHES)))
    _head(figure, draw, index, 0.0, 1.66, motor)
