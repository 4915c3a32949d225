"""Vehicles seen from a car: solids of several slices, with wheels, windows and lamps."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from bddzoo.datasets.mini.draw import (
    NEAR_M,
    VOID,
    Camera,
    Canvas,
    Colour,
    Draw,
    Layer,
    Plan,
    Points,
    ellipse,
    mix,
    shade,
)

CAR, TRUCK, BUS, TRAIN = (13, 3), (14, 4), (15, 5), (16, 6)

_PAINTS: list[Colour] = [
    (205, 206, 208), (232, 232, 230), (44, 46, 50), (92, 96, 102), (142, 146, 150), (150, 30, 34),
    (36, 62, 118), (60, 92, 76), (176, 160, 130), (100, 36, 44), (72, 110, 160),
]  # fmt: skip
_GLASS: Colour = (38, 46, 56)
_RUBBER: Colour = (26, 26, 28)
_RED: Colour = (176, 24, 26)
_LAMP: Colour = (244, 240, 216)

# Side profiles from the rear bumper over the roof to the front bumper: (metres ahead, height), and the
# part between each point and the next: r rear, g glass, p paint, f front.
_CARS: dict[str, tuple[list[tuple[float, float]], str, list[tuple[float, float]]]] = {
    "sedan": (
        [
            (0.05, 0.32),
            (0.0, 0.95),
            (0.75, 1.02),
            (1.4, 1.42),
            (2.6, 1.45),
            (3.4, 1.02),
            (4.45, 0.86),
            (4.6, 0.34),
        ],
        "rpgpgpf",
        [(1.15, 1.02), (1.5, 1.35), (2.55, 1.38), (3.15, 1.02)],
    ),
    "hatch": (
        [
            (0.05, 0.32),
            (0.0, 0.95),
            (0.35, 1.42),
            (0.5, 1.5),
            (2.2, 1.5),
            (3.0, 1.05),
            (3.9, 0.9),
            (4.0, 0.34),
        ],
        "rgppgpf",
        [(0.5, 1.02), (0.65, 1.4), (2.15, 1.42), (2.75, 1.04)],
    ),
    "suv": (
        [
            (0.05, 0.38),
            (0.0, 1.1),
            (0.3, 1.65),
            (0.5, 1.76),
            (2.7, 1.76),
            (3.5, 1.2),
            (4.6, 1.08),
            (4.7, 0.4),
        ],
        "rgppgpf",
        [(0.5, 1.16), (0.65, 1.62), (2.6, 1.64), (3.2, 1.18)],
    ),
    "van": (
        [
            (0.05, 0.36),
            (0.0, 1.2),
            (0.12, 1.95),
            (0.3, 2.05),
            (3.7, 2.05),
            (4.5, 1.25),
            (5.0, 1.05),
            (5.1, 0.36),
        ],
        "rgppgpf",
        [(2.4, 1.25), (2.5, 1.85), (3.65, 1.86), (4.25, 1.26)],
    ),
}


@dataclass
class Solid:
    """A vehicle's box. Metres; x is its centre line, z its nearest end, `oncoming` turns it round."""

    x: float
    z: float
    width: float
    length: float
    oncoming: bool


def shadow(canvas: Canvas, camera: Camera, solid: Solid) -> None:
    """Darken the ground below; the road's label stays."""
    half = solid.width / 2 + 0.12
    x0, x1, z0, z1 = solid.x - half, solid.x + half, max(solid.z - 0.15, NEAR_M), solid.z + solid.length
    canvas.detail([camera.project([x0, x0, x1, x1], 0.0, [z0, z1, z1, z0])], (40, 40, 43))


def car(
    canvas: Canvas, plan: Plan, draw: Draw, x: float, z: float, oncoming: bool, *, parked: bool = False
) -> Layer:
    """A passenger car."""
    points, kinds, window = _CARS[draw.pick(["sedan", "sedan", "hatch", "suv", "suv", "van"])]
    paint = draw.vary(draw.pick(_PAINTS), 10)
    solid = Solid(x + draw.around(0, 0.25), z, draw.uniform(1.72, 1.95), points[-1][0], oncoming)
    braking = draw.chance(0.4)
    plate = draw.pick([(232, 232, 228), (224, 206, 120)])

    def run() -> None:
        index = canvas.surface(CAR[0], z, CAR[1])
        shadow(canvas, plan.camera, solid)
        _solid(canvas, plan.camera, solid, points, kinds, window, paint, index)
        _lights(canvas, plan, solid, points, index, braking and not parked, parked, plate)

    return (z + solid.length / 2, run)


def _place(solid: Solid, points: list[tuple[float, float]]) -> tuple[Points, Points, Points]:
    along = np.array([p[0] for p in points])
    high = np.array([p[1] for p in points])
    z = solid.z + (solid.length - along if solid.oncoming else along)
    half = solid.width / 2 - np.maximum(high - 0.98, 0.0) * 0.26
    return z, high, half


def _solid(
    canvas: Canvas,
    camera: Camera,
    solid: Solid,
    points: list[tuple[float, float]],
    kinds: str,
    window: list[tuple[float, float]],
    paint: Colour,
    index: int,
) -> None:
    z, high, half = _place(solid, points)
    side = _visible_side(camera, solid)
    _tyres_end(canvas, camera, solid, index)
    canvas.shape(camera.project(solid.x - side * half, high, z), index, shade(paint, 0.5))
    pairs = sorted(range(len(kinds)), key=lambda i: -(z[i] + z[i + 1]))
    for i in pairs:
        tone = {"g": _GLASS, "p": shade(paint, 1.12), "r": shade(paint, 0.86), "f": shade(paint, 0.86)}[
            kinds[i]
        ]
        quad = camera.project(
            solid.x + np.array([-half[i], half[i], half[i + 1], -half[i + 1]]),
            high[[i, i, i + 1, i + 1]],
            z[[i, i, i + 1, i + 1]],
        )
        canvas.shape(quad, index, tone)
        if kinds[i] == "g":
            shine = quad[0] * 0.6 + quad[3] * 0.4
            canvas.detail([np.array([shine, quad[1] * 0.3 + quad[0] * 0.7, quad[2] * 0.4 + quad[3] * 0.6])],
                          mix(_GLASS, (150, 170, 190), 0.35))  # fmt: skip
    if _side_seen(camera, solid, side):
        canvas.shape(camera.project(solid.x + side * half, high, z), index, shade(paint, 0.96))
        wz, wh, whalf = _place(solid, window)
        canvas.detail([camera.project(solid.x + side * whalf, wh, wz)], mix(_GLASS, (90, 104, 118), 0.35))
        sill = camera.project(solid.x + side * solid.width / 2, [0.34, 0.34, 0.5, 0.5],
                              [z[0], z[-1], z[-1], z[0]])  # fmt: skip
        canvas.detail([sill], shade(paint, 0.72))
        for along in (0.85, solid.length - 0.85):
            _wheel(canvas, camera, solid.x + side * solid.width / 2, 0.33, solid.z + along, index)


def _visible_side(camera: Camera, solid: Solid) -> float:
    return -1.0 if solid.x + camera.bend * solid.z * solid.z > 0 else 1.0


def _side_seen(camera: Camera, solid: Solid, side: float) -> bool:
    ends = camera.project(solid.x + side * solid.width / 2, 0.8, [solid.z, solid.z + solid.length])
    return bool((ends[1, 0] - ends[0, 0]) * side > 0)


def _tyres_end(canvas: Canvas, camera: Camera, solid: Solid, index: int) -> None:
    half, z = solid.width / 2, solid.z + 0.35
    for x0, x1 in ((-half + 0.03, -half + 0.28), (half - 0.28, half - 0.03)):
        xs = [solid.x + x0, solid.x + x1, solid.x + x1, solid.x + x0]
        canvas.shape(camera.project(xs, [0.0, 0.0, 0.45, 0.45], z), index, _RUBBER)
    xs = [solid.x - half, solid.x + half, solid.x + half, solid.x - half]
    canvas.shape(camera.project(xs, [0.2, 0.2, 0.5, 0.5], z), index, (34, 34, 37))


def _wheel(canvas: Canvas, camera: Camera, x: float, radius: float, z: float, index: int) -> None:
    centre, rim = camera.project(x, radius, z), camera.project(x, [radius, radius], [z - radius, z + radius])
    wide = abs(rim[1, 0] - rim[0, 0]) / 2
    tall = camera.scale(z) * radius
    canvas.shape(ellipse(centre[0], centre[1], max(wide, 0.6), tall), index, _RUBBER)
    canvas.detail([ellipse(centre[0], centre[1], wide * 0.58, tall * 0.58)], (128, 130, 134))


def _lights(
    canvas: Canvas,
    plan: Plan,
    solid: Solid,
    points: list[tuple[float, float]],
    index: int,
    braking: bool,
    parked: bool,
    plate: Colour,
) -> None:
    camera, half, z = plan.camera, solid.width / 2, solid.z
    end = points[-1] if solid.oncoming else points[0]
    top = points[-2][1] if solid.oncoming else points[1][1]
    low = top - 0.24
    on = plan.timeofday != "daytime" and not parked
    for sign in (-1.0, 1.0):
        xs = solid.x + sign * np.array([half - 0.02, half - 0.36, half - 0.36, half - 0.02])
        lamp = camera.project(xs, [low, low, top - 0.06, top - 0.06], z)
        if solid.oncoming:
            canvas.detail([lamp], _LAMP if on else (206, 210, 214), (255, 244, 214) if on else None)
        else:
            canvas.detail(
                [lamp], (226, 40, 36) if braking else _RED, (200, 26, 22) if on or braking else None
            )
    xs = solid.x + np.array([-0.26, 0.26, 0.26, -0.26])
    canvas.detail([camera.project(xs, [0.52, 0.52, 0.64, 0.64], z)], plate)
    xs = solid.x + np.array([-half, half, half, -half])
    canvas.detail([camera.project(xs, [end[1], end[1], end[1] + 0.13, end[1] + 0.13], z)], (52, 53, 57))
    if solid.oncoming:
        xs = solid.x + np.array([-half + 0.42, half - 0.42, half - 0.42, -half + 0.42])
        canvas.detail([camera.project(xs, [low, low, top - 0.1, top - 0.1], z)], (46, 48, 52))


_LONG_GLASS: Colour = (36, 44, 54)


@dataclass
class Cuboid:
    """A stretch of a long vehicle: heights in metres, and how its side is painted."""

    start: float
    end: float
    low: float
    high: float
    colour: Colour
    band: tuple[float, float] | None = None
    stripe: tuple[float, float, Colour] | None = None


def _slices(
    canvas: Canvas,
    plan: Plan,
    solid: Solid,
    boxes: list[Cuboid],
    index: int,
    wheels: list[float],
    radius: float,
) -> list[Layer]:
    camera = plan.camera
    side = _visible_side(camera, solid)
    x = solid.x + side * solid.width / 2
    seen = _side_seen(camera, solid, side)
    lit = plan.timeofday != "daytime"

    def side_slice(box: Cuboid, z0: float, z1: float) -> None:
        if z1 <= NEAR_M or not seen:
            return
        zz = [z0, z1, z1, z0]
        canvas.shape(
            camera.project(x, [box.low, box.low, box.high, box.high], zz), index, shade(box.colour, 0.94)
        )
        canvas.detail(
            [camera.project(x, [box.low, box.low, box.low + 0.22, box.low + 0.22], zz)], (48, 48, 52)
        )
        if box.stripe:
            low, high, colour = box.stripe
            canvas.detail([camera.project(x, [low, low, high, high], zz)], colour)
        if box.band:
            low, high = box.band
            canvas.detail(
                [camera.project(x, [low, low, high, high], [z0 + 0.08, z1 - 0.12, z1 - 0.12, z0 + 0.08])],
                (206, 190, 140) if lit else mix(_LONG_GLASS, (100, 116, 130), 0.3),
                (120, 104, 66) if lit else None,
            )

    def end_face(box: Cuboid, z: float) -> None:
        half = solid.width / 2
        xs = solid.x + np.array([-half, half, half, -half])
        canvas.shape(
            camera.project(xs, [box.low, box.low, box.high, box.high], z), index, shade(box.colour, 0.84)
        )

    def wheel(z: float) -> None:
        if seen and z > NEAR_M + radius:
            _wheel(canvas, camera, x, radius, z, index)

    items: list[Layer] = [(solid.z + solid.length + 0.05, lambda: shadow(canvas, camera, solid))]
    for box in boxes:
        z0 = solid.z + box.start
        count = max(1, round((box.end - box.start) / 1.6))
        cuts = [z0 + (box.end - box.start) * i / count for i in range(count + 1)]
        for a, b in itertools.pairwise(cuts):
            items.append(((a + b) / 2, lambda box=box, a=a, b=b: side_slice(box, a, b)))  # type: ignore[misc]
        if z0 > NEAR_M:
            items.append((z0 - 0.01, lambda box=box, z=z0: end_face(box, z)))  # type: ignore[misc]
    for along in wheels:
        z = solid.z + along
        items.append((z - 0.95, lambda z=z: wheel(z)))  # type: ignore[misc]
    if solid.z > NEAR_M and radius > 0.3:
        items.append((solid.z + 0.02, lambda: _tyres_end(canvas, camera, solid, index)))
    return items


def _panel(canvas: Canvas, plan: Plan, solid: Solid, x0: float, x1: float, y0: float, y1: float,
           colour: Colour, glow: Colour | None = None) -> None:  # fmt: skip
    """A rectangle on the end that faces the camera; x0 and x1 as shares of the half width."""
    if solid.z > NEAR_M:
        xs = solid.x + np.array([x0, x1, x1, x0]) * solid.width / 2
        canvas.detail([plan.camera.project(xs, [y0, y0, y1, y1], solid.z)], colour, glow)


def _end_lamps(canvas: Canvas, plan: Plan, solid: Solid, y: float, oncoming: bool) -> None:
    on = plan.timeofday != "daytime"
    for sign in (-1.0, 1.0):
        if oncoming:
            _panel(canvas, plan, solid, sign * 0.92, sign * 0.66, y, y + 0.22,
                   (240, 238, 220), (255, 244, 214) if on else None)  # fmt: skip
        else:
            _panel(canvas, plan, solid, sign * 0.94, sign * 0.78, y, y + 0.3,
                   (190, 28, 28), (190, 24, 20) if on else None)  # fmt: skip


def bus(canvas: Canvas, plan: Plan, draw: Draw, x: float, z: float, oncoming: bool) -> list[Layer]:
    """A city bus or coach."""
    colour = draw.vary(
        draw.pick([(206, 60, 48), (226, 180, 52), (236, 236, 232), (60, 120, 176), (84, 150, 96)]), 10
    )
    trim = draw.pick([(240, 240, 236), (40, 70, 130), (60, 60, 64), (214, 120, 40)])
    solid = Solid(x, z, 2.5, draw.uniform(10.0, 12.5), oncoming)
    index = canvas.surface(BUS[0], z, BUS[1])
    box = Cuboid(0.0, solid.length, 0.32, 3.05, colour, (1.35, 2.4), (0.95, 1.2, trim))
    items = _slices(canvas, plan, solid, [box], index, [2.6, solid.length - 2.4], 0.48)

    def end() -> None:
        glass = mix(_LONG_GLASS, (92, 108, 124), 0.25)
        inside = (120, 104, 66) if plan.night else None
        _panel(canvas, plan, solid, -0.88, 0.88, 1.35 if oncoming else 1.7, 2.5, glass, inside)
        _panel(canvas, plan, solid, -0.75, 0.75, 2.62, 2.92, (30, 30, 32))
        _panel(canvas, plan, solid, -0.5, 0.5, 2.67, 2.87, (236, 160, 50), (160, 100, 24))
        _panel(canvas, plan, solid, -1.0, 1.0, 0.32, 0.6, (50, 50, 54))
        _panel(canvas, plan, solid, -1.0, 1.0, 1.0, 1.2, trim)
        if not oncoming:
            _panel(canvas, plan, solid, -0.6, 0.6, 0.68, 0.96, shade(colour, 0.6))
        _end_lamps(canvas, plan, solid, 0.68, oncoming)

    items.append((z - 0.02, end))
    return items


def truck(canvas: Canvas, plan: Plan, draw: Draw, x: float, z: float, oncoming: bool) -> list[Layer]:
    """A lorry: a cab, and a box, tank-like body or open bed."""
    cab = draw.vary(
        draw.pick([(196, 40, 40), (40, 80, 150), (230, 230, 228), (230, 150, 40), (60, 110, 80)]), 10
    )
    load = draw.vary(
        draw.pick([(226, 226, 222), (200, 196, 186), (110, 130, 150), (160, 150, 120), (212, 214, 220)]), 8
    )
    body = draw.uniform(4.2, 7.5)
    open_bed = draw.chance(0.3)
    tall = 1.55 if open_bed else draw.uniform(2.9, 3.6)
    solid = Solid(x, z, draw.uniform(2.3, 2.5), body + 2.3, oncoming)
    index = canvas.surface(TRUCK[0], z, TRUCK[1])
    cab_start = 0.0 if oncoming else body + 0.25
    box_start = 2.3 if oncoming else 0.0
    mark = draw.pick([(200, 50, 50), (50, 90, 170), (70, 140, 90), (220, 160, 50)])
    boxes = [
        Cuboid(cab_start, cab_start + 2.05, 0.5, 2.55, cab, (1.55, 2.3)),
        Cuboid(box_start, box_start + body, 0.75, tall, load, None, None if open_bed else (1.5, 2.1, mark)),
    ]
    wheels = [solid.length - 1.2, 1.3, 2.4] if not oncoming else [1.1, solid.length - 1.3, solid.length - 2.4]
    items = _slices(canvas, plan, solid, boxes, index, wheels, 0.5)

    def end() -> None:
        if oncoming:
            _panel(canvas, plan, solid, -0.86, 0.86, 1.5, 2.35, mix(_LONG_GLASS, (92, 108, 124), 0.25))
            _panel(canvas, plan, solid, -0.7, 0.7, 0.8, 1.35, (44, 45, 48))
            _panel(canvas, plan, solid, -1.0, 1.0, 0.5, 0.72, (56, 56, 60))
        else:
            top = tall - 0.1
            _panel(canvas, plan, solid, -0.015, 0.015, 0.8, top, shade(load, 0.55))
            for y in (1.0, tall * 0.5, top - 0.15):
                _panel(canvas, plan, solid, -0.95, 0.95, y, y + 0.05, shade(load, 0.66))
            for i in range(8):
                _panel(canvas, plan, solid, -1 + i / 4, -0.75 + i / 4, 0.72, 0.86,
                       (214, 60, 50) if i % 2 else (236, 236, 230))  # fmt: skip
        _end_lamps(canvas, plan, solid, 0.86 if oncoming else 0.9, oncoming)

    items.append((z - 0.02, end))
    return items


def train(canvas: Canvas, plan: Plan, draw: Draw, x: float, z: float, oncoming: bool) -> list[Layer]:
    """A tram of two or three cars on its track."""
    colour = draw.vary(
        draw.pick([(224, 214, 170), (178, 40, 44), (64, 128, 104), (200, 204, 210), (236, 202, 84)]), 8
    )
    trim = draw.pick([(40, 66, 120), (150, 30, 36), (36, 96, 70), (60, 60, 66)])
    cars = draw.integer(2, 3)
    long = draw.uniform(8.0, 10.0)
    solid = Solid(x, z, 2.55, cars * (long + 0.5), oncoming)
    index = canvas.surface(TRAIN[0], z, TRAIN[1])
    boxes: list[Cuboid] = []
    for i in range(cars):
        start = i * (long + 0.5)
        boxes.append(Cuboid(start, start + long, 0.2, 3.5, colour, (1.55, 2.65), (0.75, 1.3, trim)))
        if i + 1 < cars:
            boxes.append(Cuboid(start + long, start + long + 0.5, 0.4, 3.2, (52, 52, 56)))
    items = _slices(canvas, plan, solid, boxes, index, [], 0.0)
    camera = plan.camera

    def roof() -> None:
        # Pantograph above the first car: a thin frame up to the wire.
        if z > 4.0:
            arm = camera.project(solid.x + np.array([-0.5, -0.36, 0.0, 0.36, 0.5, 0.07, -0.07]),
                                 [3.5, 3.5, 4.35, 3.5, 3.5, 4.5, 4.5], z + 3.0)  # fmt: skip
            canvas.shape(arm, index, (50, 50, 54))

    def end() -> None:
        inside = (140, 122, 80) if plan.timeofday != "daytime" else None
        _panel(canvas, plan, solid, -0.82, 0.82, 1.6, 2.75, mix(_LONG_GLASS, (92, 108, 124), 0.2), inside)
        _panel(canvas, plan, solid, -0.5, 0.5, 2.95, 3.25, (30, 30, 32))
        _panel(canvas, plan, solid, -0.22, 0.22, 2.99, 3.21, (236, 190, 70), (170, 120, 30))
        _panel(canvas, plan, solid, -1.0, 1.0, 0.75, 1.3, trim)
        _panel(canvas, plan, solid, -1.0, 1.0, 0.2, 0.42, (46, 46, 50))
        _end_lamps(canvas, plan, solid, 0.95, oncoming)

    items += [(z + 3.0, roof), (z - 0.02, end)]
    return items


def trailer(canvas: Canvas, plan: Plan, draw: Draw, x: float, z: float) -> list[Layer]:
    """A parked trailer: no class of its own, an ignored truck, as BDD100K's converters have it."""
    solid = Solid(x, z, 2.1, 3.6, False)
    index = canvas.surface(VOID, z, TRUCK[1], ignored=True)
    colour = draw.vary((224, 220, 210), 8)
    items = _slices(canvas, plan, solid, [Cuboid(0.0, 3.6, 0.5, 2.1, colour)], index, [1.8], 0.32)

    def end() -> None:
        _panel(canvas, plan, solid, -0.5, 0.5, 1.2, 1.8, mix(_LONG_GLASS, (92, 108, 124), 0.25))
        _end_lamps(canvas, plan, solid, 0.6, False)

    items.append((z - 0.02, end))
    return items
