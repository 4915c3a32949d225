"""Cars, trucks, buses and trams as solids with a side and an end that faces the camera."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bddzoo.datasets.mini.draw import NEAR_M, Camera, Canvas, Colour, Draw, Points, ellipse, mix, shade
from bddzoo.datasets.mini.scene import Plan

CAR, TRUCK, BUS, TRAIN = (13, 3), (14, 4), (15, 5), (16, 6)
Item = tuple[float, Callable[[], None]]

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
) -> Item:
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
