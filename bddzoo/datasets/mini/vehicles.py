"""Vehicles seen from a car: solids of several slices, with wheels, windows and lamps."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import partial

import numpy as np

from bddzoo.datasets.mini.draw import NEAR_M, VOID, Colour, Layer, Points, Scene, ellipse, mix, shade

CAR, TRUCK, BUS, TRAIN = (13, 3), (14, 4), (15, 5), (16, 6)

_PAINTS: list[Colour] = [
    (205, 206, 208), (232, 232, 230), (44, 46, 50), (92, 96, 102), (142, 146, 150), (150, 30, 34),
    (36, 62, 118), (60, 92, 76), (176, 160, 130), (100, 36, 44), (72, 110, 160),
]  # fmt: skip
_GLASS: Colour = (38, 46, 56)
_LONG_GLASS: Colour = (36, 44, 54)
_RUBBER: Colour = (26, 26, 28)

Profile = list[tuple[float, float]]

# Side profiles from the rear bumper over the roof to the front bumper: (metres ahead, height), the part
# between each point and the next (r rear, g glass, p paint, f front), and the side window.
_CARS: dict[str, tuple[Profile, str, Profile]] = {
    "sedan": ([(0.05, 0.32), (0.0, 0.95), (0.75, 1.02), (1.4, 1.42), (2.6, 1.45), (3.4, 1.02), (4.45, 0.86),
               (4.6, 0.34)], "rpgpgpf", [(1.15, 1.02), (1.5, 1.35), (2.55, 1.38), (3.15, 1.02)]),
    "hatch": ([(0.05, 0.32), (0.0, 0.95), (0.35, 1.42), (0.5, 1.5), (2.2, 1.5), (3.0, 1.05), (3.9, 0.9),
               (4.0, 0.34)], "rgppgpf", [(0.5, 1.02), (0.65, 1.4), (2.15, 1.42), (2.75, 1.04)]),
    "suv": ([(0.05, 0.38), (0.0, 1.1), (0.3, 1.65), (0.5, 1.76), (2.7, 1.76), (3.5, 1.2), (4.6, 1.08),
             (4.7, 0.4)], "rgppgpf", [(0.5, 1.16), (0.65, 1.62), (2.6, 1.64), (3.2, 1.18)]),
    "van": ([(0.05, 0.36), (0.0, 1.2), (0.12, 1.95), (0.3, 2.05), (3.7, 2.05), (4.5, 1.25), (5.0, 1.05),
             (5.1, 0.36)], "rgppgpf", [(2.4, 1.25), (2.5, 1.85), (3.65, 1.86), (4.25, 1.26)]),
}  # fmt: skip


class Solid:
    """A vehicle's box, and what is painted on its end and on the side that the camera sees.

    Metres; x is its centre line, z its nearest end, `oncoming` turns it round.
    """

    def __init__(self, scene: Scene, x: float, z: float, width: float, length: float, oncoming: bool) -> None:
        self.scene, self.canvas, self.camera = scene, scene.canvas, scene.plan.camera
        self.x, self.z, self.width, self.length, self.oncoming = x, z, width, length, oncoming
        self.side = -1.0 if x + self.camera.bend * z * z > 0 else 1.0
        self.side_x = x + self.side * width / 2
        ends = self.camera.project(self.side_x, 0.8, [z, z + length])
        self.side_seen = bool((ends[1, 0] - ends[0, 0]) * self.side > 0)

    def across(self, x0: float, x1: float, y0: float, y1: float, z: float) -> Points:
        """A rectangle that faces the camera; x from the centre line."""
        return self.camera.project(self.x + np.array([x0, x1, x1, x0]), [y0, y0, y1, y1], z)

    def along(self, y0: float, y1: float, z0: float, z1: float) -> Points:
        """A rectangle on the side."""
        return self.camera.project(self.side_x, [y0, y0, y1, y1], [z0, z1, z1, z0])

    def panel(
        self, x0: float, x1: float, y0: float, y1: float, colour: Colour, glow: Colour | None = None
    ) -> None:
        """Paint a rectangle on the near end; x0 and x1 as shares of the half width."""
        if self.z > NEAR_M:
            corners = self.across(x0 * self.width / 2, x1 * self.width / 2, y0, y1, self.z)
            self.canvas.detail(corners, colour, glow)

    def end_lamps(self, y: float) -> None:
        """Head or tail lamps of a long vehicle."""
        on = self.scene.plan.lamps
        for sign in (-1.0, 1.0):
            if self.oncoming:
                glow = (255, 244, 214) if on else None
                self.panel(sign * 0.92, sign * 0.66, y, y + 0.22, (240, 238, 220), glow)
            else:
                glow = (190, 24, 20) if on else None
                self.panel(sign * 0.94, sign * 0.78, y, y + 0.3, (190, 28, 28), glow)

    def shadow(self) -> None:
        """Darken the ground below; the road's label stays."""
        half = self.width / 2 + 0.12
        x0, x1, z0, z1 = self.x - half, self.x + half, max(self.z - 0.15, NEAR_M), self.z + self.length
        self.canvas.detail(self.camera.project([x0, x0, x1, x1], 0.0, [z0, z1, z1, z0]), (40, 40, 43))

    def tyres_end(self, index: int) -> None:
        """What is seen below the near end: two tyres, and the dark between them."""
        half, z = self.width / 2, self.z + 0.35
        for x0, x1 in ((-half + 0.03, -half + 0.28), (half - 0.28, half - 0.03)):
            self.canvas.shape(self.across(x0, x1, 0.0, 0.45, z), index, _RUBBER)
        self.canvas.shape(self.across(-half, half, 0.2, 0.5, z), index, (34, 34, 37))

    def wheel(self, radius: float, z: float, index: int) -> None:
        """A wheel on the side."""
        centre = self.camera.project(self.side_x, radius, z)
        rim = self.camera.project(self.side_x, radius, [z - radius, z + radius])
        wide, tall = abs(rim[1, 0] - rim[0, 0]) / 2, self.camera.scale(z) * radius
        self.canvas.shape(ellipse(centre[0], centre[1], max(wide, 0.6), tall), index, _RUBBER)
        self.canvas.detail(ellipse(centre[0], centre[1], wide * 0.58, tall * 0.58), (128, 130, 134))


def car(scene: Scene, x: float, z: float, oncoming: bool, *, parked: bool = False) -> Layer:
    """A passenger car."""
    draw = scene.draw
    points, kinds, window = _CARS[draw.pick(["sedan", "sedan", "hatch", "suv", "suv", "van"])]
    paint = draw.vary(draw.pick(_PAINTS), 10)
    solid = Solid(scene, x + draw.around(0, 0.25), z, draw.uniform(1.72, 1.95), points[-1][0], oncoming)
    braking = draw.chance(0.4) and not parked
    plate = draw.pick([(232, 232, 228), (224, 206, 120)])

    def run() -> None:
        index = scene.canvas.surface(CAR[0], z, CAR[1])
        solid.shadow()
        _car_body(solid, points, kinds, window, paint, index)
        _car_end(solid, points, braking, scene.plan.lamps and not parked, plate)

    return (z + solid.length / 2, run)


def _profile(solid: Solid, points: Profile) -> tuple[Points, Points, Points]:
    """Distance, height and half width at each point of a profile; a car is narrower above."""
    along, high = np.array(points).T
    z = solid.z + (solid.length - along if solid.oncoming else along)
    return z, high, solid.width / 2 - np.maximum(high - 0.98, 0.0) * 0.26


def _car_body(solid: Solid, points: Profile, kinds: str, window: Profile, paint: Colour, index: int) -> None:
    canvas, camera, side = solid.canvas, solid.camera, solid.side
    z, high, half = _profile(solid, points)
    solid.tyres_end(index)
    canvas.shape(camera.project(solid.x - side * half, high, z), index, shade(paint, 0.5))
    tones = {"g": _GLASS, "p": shade(paint, 1.12), "r": shade(paint, 0.86), "f": shade(paint, 0.86)}
    for i in sorted(range(len(kinds)), key=lambda i: -(z[i] + z[i + 1])):
        ends = [i, i, i + 1, i + 1]
        xs = solid.x + np.array([-half[i], half[i], half[i + 1], -half[i + 1]])
        quad = camera.project(xs, high[ends], z[ends])
        canvas.shape(quad, index, tones[kinds[i]])
        if kinds[i] == "g":
            shine = [
                quad[0] * 0.6 + quad[3] * 0.4,
                quad[1] * 0.3 + quad[0] * 0.7,
                quad[2] * 0.4 + quad[3] * 0.6,
            ]
            canvas.detail(np.array(shine), mix(_GLASS, (150, 170, 190), 0.35))
    if solid.side_seen:
        canvas.shape(camera.project(solid.x + side * half, high, z), index, shade(paint, 0.96))
        wz, wh, whalf = _profile(solid, window)
        canvas.detail(camera.project(solid.x + side * whalf, wh, wz), mix(_GLASS, (90, 104, 118), 0.35))
        canvas.detail(solid.along(0.34, 0.5, z[0], z[-1]), shade(paint, 0.72))
        for along in (0.85, solid.length - 0.85):
            solid.wheel(0.33, solid.z + along, index)


def _car_end(solid: Solid, points: Profile, braking: bool, on: bool, plate: Colour) -> None:
    canvas, half, z = solid.canvas, solid.width / 2, solid.z
    bumper = points[-1 if solid.oncoming else 0][1]
    top = points[-2 if solid.oncoming else 1][1]
    low = top - 0.24
    for sign in (-1.0, 1.0):
        lamp = solid.across(sign * (half - 0.02), sign * (half - 0.36), low, top - 0.06, z)
        if solid.oncoming:
            canvas.detail(lamp, (244, 240, 216) if on else (206, 210, 214), (255, 244, 214) if on else None)
        else:
            glow = (200, 26, 22) if on or braking else None
            canvas.detail(lamp, (226, 40, 36) if braking else (176, 24, 26), glow)
    canvas.detail(solid.across(-0.26, 0.26, 0.52, 0.64, z), plate)
    canvas.detail(solid.across(-half, half, bumper, bumper + 0.13, z), (52, 53, 57))
    if solid.oncoming:
        canvas.detail(solid.across(-half + 0.42, half - 0.42, low, top - 0.1, z), (46, 48, 52))


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


def _slices(solid: Solid, boxes: list[Cuboid], index: int, wheels: list[float], radius: float) -> list[Layer]:
    """A long vehicle in slices, so that what stands next to it hides only a part."""
    canvas, lit = solid.canvas, solid.scene.plan.lamps

    def side_slice(box: Cuboid, z0: float, z1: float) -> None:
        if z1 <= NEAR_M or not solid.side_seen:
            return
        canvas.shape(solid.along(box.low, box.high, z0, z1), index, shade(box.colour, 0.94))
        canvas.detail(solid.along(box.low, box.low + 0.22, z0, z1), (48, 48, 52))
        if box.stripe:
            low, high, colour = box.stripe
            canvas.detail(solid.along(low, high, z0, z1), colour)
        if box.band:
            pane = solid.along(*box.band, z0 + 0.08, z1 - 0.12)
            colour = (206, 190, 140) if lit else mix(_LONG_GLASS, (100, 116, 130), 0.3)
            canvas.detail(pane, colour, (120, 104, 66) if lit else None)

    def end_face(box: Cuboid, z: float) -> None:
        half = solid.width / 2
        canvas.shape(solid.across(-half, half, box.low, box.high, z), index, shade(box.colour, 0.84))

    items: list[Layer] = [(solid.z + solid.length + 0.05, solid.shadow)]
    for box in boxes:
        z0 = solid.z + box.start
        count = max(1, round((box.end - box.start) / 1.6))
        cuts = [z0 + (box.end - box.start) * i / count for i in range(count + 1)]
        items += [((a + b) / 2, partial(side_slice, box, a, b)) for a, b in itertools.pairwise(cuts)]
        if z0 > NEAR_M:
            items.append((z0 - 0.01, partial(end_face, box, z0)))
    for z in (solid.z + along for along in wheels):
        if solid.side_seen and z > NEAR_M + radius:
            items.append((z - 0.95, partial(solid.wheel, radius, z, index)))
    if solid.z > NEAR_M and radius > 0.3:
        items.append((solid.z + 0.02, partial(solid.tyres_end, index)))
    return items


def bus(scene: Scene, x: float, z: float, oncoming: bool) -> list[Layer]:
    """A city bus or coach."""
    draw = scene.draw
    colour = draw.vary(
        draw.pick([(206, 60, 48), (226, 180, 52), (236, 236, 232), (60, 120, 176), (84, 150, 96)]), 10
    )
    trim = draw.pick([(240, 240, 236), (40, 70, 130), (60, 60, 64), (214, 120, 40)])
    solid = Solid(scene, x, z, 2.5, draw.uniform(10.0, 12.5), oncoming)
    index = scene.canvas.surface(BUS[0], z, BUS[1])
    body = Cuboid(0.0, solid.length, 0.32, 3.05, colour, (1.35, 2.4), (0.95, 1.2, trim))

    def end() -> None:
        inside = (120, 104, 66) if scene.plan.night else None
        solid.panel(
            -0.88, 0.88, 1.35 if oncoming else 1.7, 2.5, mix(_LONG_GLASS, (92, 108, 124), 0.25), inside
        )
        solid.panel(-0.75, 0.75, 2.62, 2.92, (30, 30, 32))
        solid.panel(-0.5, 0.5, 2.67, 2.87, (236, 160, 50), (160, 100, 24))
        solid.panel(-1.0, 1.0, 0.32, 0.6, (50, 50, 54))
        solid.panel(-1.0, 1.0, 1.0, 1.2, trim)
        if not oncoming:
            solid.panel(-0.6, 0.6, 0.68, 0.96, shade(colour, 0.6))
        solid.end_lamps(0.68)

    return [*_slices(solid, [body], index, [2.6, solid.length - 2.4], 0.48), (z - 0.02, end)]


def truck(scene: Scene, x: float, z: float, oncoming: bool) -> list[Layer]:
    """A lorry: a cab, and a box, tank-like body or open bed."""
    draw = scene.draw
    cab = draw.vary(
        draw.pick([(196, 40, 40), (40, 80, 150), (230, 230, 228), (230, 150, 40), (60, 110, 80)]), 10
    )
    load = draw.vary(
        draw.pick([(226, 226, 222), (200, 196, 186), (110, 130, 150), (160, 150, 120), (212, 214, 220)]), 8
    )
    body = draw.uniform(4.2, 7.5)
    open_bed = draw.chance(0.3)
    tall = 1.55 if open_bed else draw.uniform(2.9, 3.6)
    solid = Solid(scene, x, z, draw.uniform(2.3, 2.5), body + 2.3, oncoming)
    index = scene.canvas.surface(TRUCK[0], z, TRUCK[1])
    cab_start, load_start = (0.0, 2.3) if oncoming else (body + 0.25, 0.0)
    mark = draw.pick([(200, 50, 50), (50, 90, 170), (70, 140, 90), (220, 160, 50)])
    boxes = [
        Cuboid(cab_start, cab_start + 2.05, 0.5, 2.55, cab, (1.55, 2.3)),
        Cuboid(load_start, load_start + body, 0.75, tall, load, None, None if open_bed else (1.5, 2.1, mark)),
    ]
    wheels = [1.1, solid.length - 1.3, solid.length - 2.4] if oncoming else [solid.length - 1.2, 1.3, 2.4]

    def end() -> None:
        if oncoming:
            solid.panel(-0.86, 0.86, 1.5, 2.35, mix(_LONG_GLASS, (92, 108, 124), 0.25))
            solid.panel(-0.7, 0.7, 0.8, 1.35, (44, 45, 48))
            solid.panel(-1.0, 1.0, 0.5, 0.72, (56, 56, 60))
        else:
            top = tall - 0.1
            solid.panel(-0.015, 0.015, 0.8, top, shade(load, 0.55))
            for y in (1.0, tall * 0.5, top - 0.15):
                solid.panel(-0.95, 0.95, y, y + 0.05, shade(load, 0.66))
            for i in range(8):
                solid.panel(
                    -1 + i / 4, -0.75 + i / 4, 0.72, 0.86, (214, 60, 50) if i % 2 else (236, 236, 230)
                )
        solid.end_lamps(0.86 if oncoming else 0.9)

    return [*_slices(solid, boxes, index, wheels, 0.5), (z - 0.02, end)]


def train(scene: Scene, x: float, z: float, oncoming: bool) -> list[Layer]:
    """A tram of two or three cars on its track."""
    draw = scene.draw
    colour = draw.vary(
        draw.pick([(224, 214, 170), (178, 40, 44), (64, 128, 104), (200, 204, 210), (236, 202, 84)]), 8
    )
    trim = draw.pick([(40, 66, 120), (150, 30, 36), (36, 96, 70), (60, 60, 66)])
    cars = draw.integer(2, 3)
    long = draw.uniform(8.0, 10.0)
    solid = Solid(scene, x, z, 2.55, cars * (long + 0.5), oncoming)
    index = scene.canvas.surface(TRAIN[0], z, TRAIN[1])
    boxes: list[Cuboid] = []
    for start in (i * (long + 0.5) for i in range(cars)):
        boxes.append(Cuboid(start, start + long, 0.2, 3.5, colour, (1.55, 2.65), (0.75, 1.3, trim)))
        boxes.append(Cuboid(start + long, start + long + 0.5, 0.4, 3.2, (52, 52, 56)))

    def pantograph() -> None:
        # A thin frame above the first car, up to the wire.
        if z > 4.0:
            xs = solid.x + np.array([-0.5, -0.36, 0.0, 0.36, 0.5, 0.07, -0.07])
            arm = solid.camera.project(xs, [3.5, 3.5, 4.35, 3.5, 3.5, 4.5, 4.5], z + 3.0)
            scene.canvas.shape(arm, index, (50, 50, 54))

    def end() -> None:
        inside = (140, 122, 80) if scene.plan.lamps else None
        solid.panel(-0.82, 0.82, 1.6, 2.75, mix(_LONG_GLASS, (92, 108, 124), 0.2), inside)
        solid.panel(-0.5, 0.5, 2.95, 3.25, (30, 30, 32))
        solid.panel(-0.22, 0.22, 2.99, 3.21, (236, 190, 70), (170, 120, 30))
        solid.panel(-1.0, 1.0, 0.75, 1.3, trim)
        solid.panel(-1.0, 1.0, 0.2, 0.42, (46, 46, 50))
        solid.end_lamps(0.95)

    # No coupling behind the last car.
    return [*_slices(solid, boxes[:-1], index, [], 0.0), (z + 3.0, pantograph), (z - 0.02, end)]


def trailer(scene: Scene, x: float, z: float) -> list[Layer]:
    """A parked trailer: no class of its own, an ignored truck, as BDD100K's converters have it."""
    solid = Solid(scene, x, z, 2.1, 3.6, False)
    index = scene.canvas.surface(VOID, z, TRUCK[1], ignored=True)
    body = Cuboid(0.0, 3.6, 0.5, 2.1, scene.draw.vary((224, 220, 210), 8))

    def end() -> None:
        solid.panel(-0.5, 0.5, 1.2, 1.8, mix(_LONG_GLASS, (92, 108, 124), 0.25))
        solid.end_lamps(0.6)

    return [*_slices(solid, [body], index, [1.8], 0.32), (z - 0.02, end)]
