"""One frame of the mini set: plan it, paint it far to near, label what can be seen.

Labels that follow from what was painted: instances with their flags, and boxes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from bddzoo.datasets.classes import INS_SEG
from bddzoo.datasets.mini.draw import BOXED, HEIGHT, VOID, WIDTH, Canvas, Draw, ellipse, quad
from bddzoo.datasets.mini.furniture import board, lamp_post, sign, traffic_light
from bddzoo.datasets.mini.ground import paint_backdrop, paint_ground, paint_sky
from bddzoo.datasets.mini.heavy import bus, trailer, train, truck
from bddzoo.datasets.mini.light import develop
from bddzoo.datasets.mini.people import crowd, pedestrian, two_wheeler
from bddzoo.datasets.mini.scene import Plan, make_plan
from bddzoo.datasets.mini.sides import barriers, houses, trees
from bddzoo.datasets.mini.vehicles import car

# Bits of the bitmask's second channel.
TRUNCATED, OCCLUDED, CROWD, IGNORED = 8, 4, 2, 1
# Less than this cannot be told what it is: such an instance is there, but ignored.
MIN_PIXELS, MIN_SHARE = 150, 0.2
OCCLUDED_SHARE = 0.9


@dataclass(frozen=True)
class Box:
    """A labelled box, in pixels, both corners inside, as the detection labels of BDD100K have it."""

    category: str
    corners: tuple[int, int, int, int]
    occluded: bool
    truncated: bool
    crowd: bool


@dataclass(frozen=True)
class _Extent:
    """What one surface covers: pixels seen, pixels painted within the frame, cut off, visible corners."""

    seen: int
    painted: int
    cut: bool
    corners: tuple[int, int, int, int]


def label(canvas: Canvas) -> tuple[NDArray[np.uint8], list[Box]]:
    """The instances that can be seen, ids from 1 in the order of painting, and the boxes.

    Returns:
        (720, 1280, 4) uint8 bitmask (category, flags, id high, id low), and the boxes of instances
        that are not ignored and of traffic lights and signs.
    """
    table = np.zeros((len(canvas.surfaces), 4), np.uint8)
    boxes: list[Box] = []
    number = 0
    for index, polygons in canvas.outlines.items():
        extent = _extent(canvas, index, polygons)
        if extent is None:
            continue
        surface = canvas.surfaces[index]
        share = extent.seen / max(extent.painted, 1)
        hidden = share < OCCLUDED_SHARE
        ignored = surface.ignored or extent.seen < MIN_PIXELS or share < MIN_SHARE
        if surface.category:
            number += 1
            flags = TRUNCATED * extent.cut + OCCLUDED * hidden + CROWD * surface.crowd + IGNORED * ignored
            table[index] = (surface.category, flags, number >> 8, number & 255)
        if not ignored:
            name = INS_SEG.names[surface.category - 1] if surface.category else BOXED[surface.sem]
            boxes.append(Box(name, extent.corners, hidden, extent.cut, surface.crowd))
    return table[canvas.owner], boxes


def _extent(canvas: Canvas, index: int, polygons: list[NDArray[np.int32]]) -> _Extent | None:
    if not polygons:
        return None
    points = np.concatenate(polygons)
    x0, y0 = (int(v) for v in points.min(axis=0))
    x1, y1 = (int(v) for v in points.max(axis=0))
    cut = x0 < 0 or y0 < 0 or x1 >= WIDTH or y1 >= HEIGHT
    x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1, WIDTH - 1), min(y1, HEIGHT - 1)
    if x1 < x0 or y1 < y0:
        return None
    seen = canvas.owner[y0 : y1 + 1, x0 : x1 + 1] == index
    columns, rows = np.flatnonzero(seen.any(axis=0)), np.flatnonzero(seen.any(axis=1))
    if not len(rows):
        return None
    scratch = np.zeros(seen.shape, np.uint8)
    for polygon in polygons:
        cv2.fillPoly(scratch, [polygon - np.array([x0, y0], np.int32)], 1)
    corners = (x0 + int(columns[0]), y0 + int(rows[0]), x0 + int(columns[-1]), y0 + int(rows[-1]))
    return _Extent(int(np.count_nonzero(seen)), int(np.count_nonzero(scratch)), cut, corners)


Item = tuple[float, Callable[[], None]]
SPLITS = {"train": 0, "val": 1}


@dataclass
class MiniFrame:
    """A finished frame.

    Attributes:
        image: (720, 1280, 3) uint8, RGB.
        sem: (720, 1280) uint8, ids 0..18, 255 for none.
        bitmask: (720, 1280, 4) uint8, RGBA as BDD100K has it: category 1..8, flags, id high, id low.
        attributes: Weather, scene, timeofday.
        boxes: Of the instances that count, and of traffic lights and signs.
    """

    image: NDArray[np.uint8]
    sem: NDArray[np.uint8]
    bitmask: NDArray[np.uint8]
    attributes: dict[str, str]
    boxes: list[Box] = field(default_factory=list)


def render(seed: int, split: str, index: int) -> MiniFrame:
    """Render frame `index` of a split; depends on nothing but the arguments."""
    code = SPLITS[split]
    plan = make_plan(seed, code, index)
    draw = Draw(seed, code, index, 2)
    canvas = Canvas()
    paint_sky(canvas, plan, Draw(seed, code, index, 3))
    paint_backdrop(canvas, plan, draw)
    paint_ground(canvas, plan, draw)
    for layer in (houses, barriers):
        _paint(layer(canvas, plan, draw))
    _paint(_traffic(canvas, plan, draw) + _things(canvas, plan, draw) + trees(canvas, plan, draw))
    _bonnet(canvas, plan, draw)
    bitmask, boxes = label(canvas)
    image = develop(canvas, plan, Draw(seed, code, index, 4))
    return MiniFrame(image, canvas.sem(), bitmask, plan.attributes, boxes)


def _paint(items: list[Item]) -> None:
    for _, paint in sorted(items, key=lambda item: -item[0]):
        paint()


def _traffic(canvas: Canvas, plan: Plan, draw: Draw) -> list[Item]:
    items: list[Item] = []
    wanted = [w for w in ("bus", "truck") if w in plan.wants]
    lanes: list[tuple[float, bool]] = [(x, False) for x in plan.own_lanes] + [
        (x, True) for x in plan.oncoming_lanes
    ]
    lanes.append((0.0, False))
    order = [lanes.pop(draw.integer(0, len(lanes) - 1)) for _ in range(len(lanes))]
    for x, oncoming in order:
        z = draw.uniform(9, 16) if x == 0.0 else draw.uniform(4, 12)
        limit = draw.uniform(26, 45)
        while z < limit:
            if wanted and z > 7 and draw.chance(0.85):
                kind = wanted.pop()
                items += (bus if kind == "bus" else truck)(canvas, plan, draw, x, z, oncoming)
                z += 13.0
            elif draw.chance(0.16) and "motorcycle" in plan.wants and z < 30:
                items.append(
                    two_wheeler(canvas, plan, draw, x, 0.0, z, "motorcycle", ridden=True, sideways=False)
                )
                z += 4.0
            elif draw.chance(0.75):
                items.append(car(canvas, plan, draw, x, z, oncoming))
                z += 5.0
            z += draw.uniform(2.5, 12.0)
    for parking in (plan.parking_right, plan.parking_left):
        if parking is not None:
            items += _parked(canvas, plan, draw, parking)
    if plan.track is not None:
        items += train(canvas, plan, draw, plan.track, draw.uniform(6, 17), draw.chance(0.6))
    return items


def _parked(canvas: Canvas, plan: Plan, draw: Draw, x: float) -> list[Item]:
    items: list[Item] = []
    z = draw.uniform(3.5, 12)
    while z < 38:
        if x > 0 and "trailer" in plan.wants and z > 9 and not items:
            items += trailer(canvas, plan, draw, x, z)
        elif draw.chance(0.7):
            items.append(car(canvas, plan, draw, x, z, x < 0, parked=True))
        z += draw.uniform(6.0, 9.0)
    return items


def _things(canvas: Canvas, plan: Plan, draw: Draw) -> list[Item]:
    items: list[Item] = []
    if plan.scene == "highway":
        return _highway_things(canvas, plan, draw)
    inner = 0.2 + plan.verge
    for side, edge in ((-1.0, plan.left), (1.0, plan.right)):
        curb = edge + side * (0.45 if plan.verge == 0 else 0.6)
        z = draw.uniform(7, 13)
        while z < 45:
            choice = draw.integer(0, 9)
            if choice < 3:
                items.append(lamp_post(canvas, plan, draw, curb, z))
            elif choice < 8:
                items.append(sign(canvas, plan, draw, curb, z))
            z += draw.uniform(6, 12)
        for _ in range(draw.integer(1, 5 if plan.scene == "city street" else 3)):
            x = edge + side * (inner + draw.uniform(0.5, plan.walk - 0.3))
            items.append(pedestrian(canvas, plan, draw, x, 0.14, draw.uniform(6, 20)))
        if "bicycle" in plan.wants and draw.chance(0.6):
            x = edge + side * (inner + draw.uniform(0.7, plan.walk * 0.7))
            z = draw.uniform(6, 16)
            for i in range(draw.integer(1, 2)):
                items.append(
                    two_wheeler(
                        canvas, plan, draw, x, 0.14, z + 1.2 * i, "bicycle", ridden=False, sideways=True
                    )
                )
    if draw.chance(0.85 if plan.scene == "city street" else 0.45):
        z = draw.uniform(11, 22)
        for side, edge in ((-1.0, plan.left), (1.0, plan.right)):
            if draw.chance(0.85):
                items.append(
                    traffic_light(canvas, plan, draw, edge + side * 0.6, z + 0.3 * side, arm=draw.chance(0.5))
                )
    items += _on_the_road(canvas, plan, draw)
    if "crowd" in plan.wants:
        side, edge = draw.pick([(-1.0, plan.left), (1.0, plan.right)])
        items += crowd(
            canvas, plan, draw, edge + side * (inner + plan.walk * 0.5), 0.14, draw.uniform(10, 22)
        )
    return items


def _on_the_road(canvas: Canvas, plan: Plan, draw: Draw) -> list[Item]:
    """Riders beside the traffic, and people and riders that cross."""
    items: list[Item] = []
    right = max([0.0, *plan.own_lanes]) + 1.65
    for kind in ("bicycle", "motorcycle"):
        if kind not in plan.wants:
            continue
        ridden = draw.chance(0.8)
        if draw.chance(0.55):
            x = right - 0.35 if draw.chance(0.6) else plan.left + 2.9
            items.append(
                two_wheeler(
                    canvas, plan, draw, x, 0.0, draw.uniform(7, 17), kind, ridden=True, sideways=False
                )
            )
        else:
            x = draw.uniform(-6, 4)
            items.append(
                two_wheeler(
                    canvas, plan, draw, x, 0.0, draw.uniform(7.5, 9), kind, ridden=ridden, sideways=True
                )
            )
        if kind == "motorcycle" and draw.chance(0.5):
            x = plan.right + 0.2 + plan.verge + draw.uniform(0.9, 1.5)
            items.append(
                two_wheeler(
                    canvas, plan, draw, x, 0.14, draw.uniform(7, 15), kind, ridden=False, sideways=True
                )
            )
    for _ in range(draw.integer(0, 3)):
        items.append(
            pedestrian(canvas, plan, draw, draw.uniform(plan.left, plan.right), 0.0, draw.uniform(7, 16))
        )
    return items


def _highway_things(canvas: Canvas, plan: Plan, draw: Draw) -> list[Item]:
    items: list[Item] = []
    if draw.chance(0.75):
        items.append(board(canvas, plan, draw, draw.uniform(22, 45)))
    z = draw.uniform(8, 16)
    while z < 60:
        side, edge = draw.pick([(-1.0, plan.left), (1.0, plan.right)])
        items.append((lamp_post if draw.chance(0.6) else sign)(canvas, plan, draw, edge + side * 1.2, z))
        z += draw.uniform(9, 18)
    for kind in ("motorcycle", "bicycle"):
        if kind in plan.wants:
            x = plan.right - 0.7 if kind == "bicycle" else draw.pick([0.0, *plan.own_lanes]) + 1.5
            items.append(
                two_wheeler(
                    canvas, plan, draw, x, 0.0, draw.uniform(7, 15), kind, ridden=True, sideways=False
                )
            )
    return items


def _bonnet(canvas: Canvas, plan: Plan, draw: Draw) -> None:
    """In some frames the camera sees its own car, which nobody labels."""
    if draw.chance(0.4):
        own = canvas.surface(VOID, 1.0)
        tall = draw.uniform(28, 62)
        paint = draw.pick([(40, 42, 46), (70, 72, 78), (96, 30, 34), (110, 114, 120)])
        body = ellipse(WIDTH / 2 + draw.around(0, 60), HEIGHT + 46, WIDTH * 0.56, tall + 46)
        canvas.shape(body, own, paint)
        low = HEIGHT - 14
        canvas.detail(
            [quad((200, low), (WIDTH - 200, low), (WIDTH - 150, HEIGHT), (150, HEIGHT))], (58, 60, 66)
        )
