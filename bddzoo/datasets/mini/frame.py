"""One frame of the mini set: plan it, paint it far to near, label what can be seen.

Labels that follow from what was painted: instances with their flags, and boxes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bddzoo.datasets.classes import INS_SEG, PAN_SEG, SEM_SEG
from bddzoo.datasets.formats.labels import FLAGS
from bddzoo.datasets.mini.draw import (
    BOXED,
    HEIGHT,
    VOID,
    WIDTH,
    Canvas,
    Draw,
    Layer,
    Plan,
    Scene,
    ellipse,
    make_plan,
    quad,
)
from bddzoo.datasets.mini.ground import drivable, paint_backdrop, paint_ground, paint_sky
from bddzoo.datasets.mini.people import crowd, pedestrian, two_wheeler
from bddzoo.datasets.mini.roadside import barriers, board, houses, lamp_post, sign, traffic_light, trees
from bddzoo.datasets.mini.vehicles import bus, car, trailer, train, truck

# Texture strength by semantic class id: fine grain and coarse blotches.
_FINE = {
    0: 0.10,
    1: 0.12,
    2: 0.06,
    3: 0.14,
    4: 0.08,
    5: 0.07,
    8: 0.34,
    9: 0.26,
    10: 0.012,
    11: 0.08,
    12: 0.08,
}
_COARSE = {0: 0.06, 1: 0.08, 2: 0.10, 3: 0.12, 8: 0.20, 9: 0.22}
_SNOW = {0: 0.30, 1: 0.62, 2: 0.12, 3: 0.15, 4: 0.15, 8: 0.38, 9: 0.85, 13: 0.16, 14: 0.14, 15: 0.1, 16: 0.1}
_VISIBILITY_M = {"clear": 900, "partly cloudy": 800, "overcast": 500, "rainy": 190, "snowy": 150, "foggy": 65}

Image = NDArray[np.uint8]
# OpenCV's stubs know no element types; what it returns for float32 is float32.
Real = NDArray[Any]


def _table(values: dict[int, float], default: float = 0.0) -> Real:
    table = np.full(256, default, np.float32)
    for key, value in values.items():
        table[key] = value
    return table


def develop(canvas: Canvas, plan: Plan, draw: Draw) -> Image:
    """The frame as a camera would have it: (HEIGHT, WIDTH, 3) uint8, RGB."""
    sem, depth = canvas.sem(), canvas.depth(plan.camera)
    fine = _fine(draw)
    coarse = cv2.resize(draw.noise(HEIGHT // 24, WIDTH // 24), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    blotch = coarse.astype(np.float32) / 127.5 - 1.0
    near = np.minimum(1.0, 30.0 / np.maximum(depth, 1.0))
    gain = 1.0 + cv2.LUT(sem, _table(_FINE, 0.05)) * fine * near + cv2.LUT(sem, _table(_COARSE)) * blotch
    image = canvas.image.astype(np.float32) * gain[..., None]
    if plan.weather == "snowy":
        cover = np.clip(cv2.LUT(sem, _table(_SNOW)) * (1.0 + 0.4 * blotch), 0, 0.95)[..., None]
        image += (np.array((226, 229, 235), np.float32) - image) * cover
    if plan.weather == "rainy":
        image = _wet(image, sem)
    image = _illuminate(image, canvas, plan, depth)
    image = _haze(image, plan, depth)
    image = _glow(image, canvas, plan)
    image = _falling(image, plan, draw)
    return _sensor(image, plan, draw)


def _fine(draw: Draw) -> Real:
    grain = draw.noise(HEIGHT, WIDTH).astype(np.float32) / 127.5 - 1.0
    medium = cv2.resize(draw.noise(HEIGHT // 4, WIDTH // 4), (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
    return 0.55 * grain + 0.75 * (medium.astype(np.float32) / 127.5 - 1.0)


def _wet(image: Real, sem: Image) -> Real:
    # A wet road is darker and mirrors what stands above it, smeared downwards.
    small = cv2.resize(image, (WIDTH // 4, HEIGHT // 4), interpolation=cv2.INTER_AREA)
    mirror = cv2.resize(cv2.blur(small[::-1], (3, 31)), (WIDTH, HEIGHT))
    share = cv2.LUT(sem, _table({0: 0.35, 1: 0.22}))[..., None]
    wet: Real = image * (1 - 0.35 * (share > 0)) * (1 - share) + mirror * share
    return wet


def _illuminate(image: Real, canvas: Canvas, plan: Plan, depth: Real) -> Real:
    if plan.timeofday == "daytime":
        tint = {"clear": (1.06, 1.03, 0.97), "partly cloudy": (1.02, 1.0, 0.98)}.get(
            plan.weather, (0.9, 0.91, 0.93)
        )
        return image * np.array(tint, np.float32)
    if plan.timeofday == "dawn/dusk":
        return image * np.array((0.98, 0.84, 0.76), np.float32)
    # Night: a dim blue ambient, street lamps that fade with distance, and the car's own headlights.
    columns = (np.arange(WIDTH, dtype=np.float32) - plan.camera.centre_x) / plan.camera.focal_px
    cone = np.exp(-((columns / 0.42) ** 2)).astype(np.float32)[None, :]
    below = np.arange(HEIGHT, dtype=np.float32) - plan.camera.horizon_y
    rows = np.clip((below + 130) / 130, 0.15, 1)[:, None]
    beam = 0.95 * cone * rows * np.exp(-depth / 34.0)
    street = 0.34 * np.exp(-depth / 60.0) if plan.scene != "highway" else 0.2 * np.exp(-depth / 60.0)
    light = (0.20 + beam + street)[..., None]
    sky = (depth > 240)[..., None]
    return np.where(sky, image, image * light * np.array((1.0, 0.94, 0.84), np.float32))


def _haze(image: Real, plan: Plan, depth: Real) -> Real:
    colour = np.array((196, 200, 205), np.float32)
    if plan.timeofday == "dawn/dusk":
        colour = np.array((206, 160, 128), np.float32)
    elif plan.night:
        colour = np.array((34, 33, 40), np.float32)
    share = 1.0 - np.exp(-depth / _VISIBILITY_M[plan.weather])
    share = np.where(depth > 240, share * (1.0 if plan.weather == "foggy" else 0.12), share)
    return image + (colour - image) * share[..., None].astype(np.float32)


def _glow(image: Real, canvas: Canvas, plan: Plan) -> Real:
    if not canvas.glow.any():
        return image
    quarter = (WIDTH // 4, HEIGHT // 4)
    small = cv2.resize(canvas.glow, quarter, interpolation=cv2.INTER_AREA).astype(np.float32)
    halo: Real = cv2.GaussianBlur(small, (0, 0), 3) * 0.8 + cv2.GaussianBlur(small, (0, 0), 14) * 0.9
    strength = {"daytime": 0.12, "dawn/dusk": 0.5, "night": 1.0}[plan.timeofday]
    halo = cv2.resize(halo, (WIDTH, HEIGHT)) * strength
    lit: Real = image + halo + canvas.glow.astype(np.float32) * (0.7 * strength)
    return lit


def _falling(image: Real, plan: Plan, draw: Draw) -> Real:
    if plan.weather not in ("rainy", "snowy"):
        return image
    layer: Real = np.zeros((HEIGHT, WIDTH), np.uint8)
    if plan.weather == "rainy":
        slant = draw.uniform(-0.25, 0.25)
        for _ in range(260):
            x, y, long = draw.integer(0, WIDTH), draw.integer(-20, HEIGHT), draw.integer(10, 34)
            cv2.line(layer, (x, y), (int(x + slant * long), y + long), draw.integer(60, 150), 1, cv2.LINE_AA)
        layer = cv2.GaussianBlur(layer, (3, 3), 0)
    else:
        for _ in range(420):
            centre = (draw.integer(0, WIDTH), draw.integer(0, HEIGHT))
            radius = 1 if draw.chance(0.75) else draw.integer(2, 4)
            cv2.circle(layer, centre, radius, draw.integer(120, 230), -1, cv2.LINE_AA)
        layer = cv2.GaussianBlur(layer, (0, 0), 1.1)
    share = layer.astype(np.float32)[..., None] / 255.0 * (0.35 if plan.night else 0.75)
    return image + (225.0 - image) * share


def _sensor(image: Real, plan: Plan, draw: Draw) -> Image:
    x = np.linspace(-1, 1, WIDTH, dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, HEIGHT, dtype=np.float32)[:, None]
    image = image * (draw.uniform(0.93, 1.07) * (1.0 - 0.13 * (x * x + y * y)))[..., None]
    image = cv2.GaussianBlur(image, (0, 0), draw.uniform(0.55, 0.85))
    level = 4.5 if plan.timeofday == "daytime" else 8.0
    grain = draw.noise(HEIGHT, WIDTH).astype(np.float32) - 127.5
    return np.clip(image + (grain * (level / 74.0))[..., None], 0, 255).astype(np.uint8)


# Bits of the bitmask's second channel.
IGNORED, CROWD, OCCLUDED, TRUNCATED = FLAGS.values()
# Less than this cannot be told what it is: such an instance is there, but ignored.
MIN_PIXELS, MIN_SHARE = 150, 0.2
OCCLUDED_SHARE = 0.9


@dataclass(frozen=True)
class LabelledBox:
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


def label(canvas: Canvas) -> tuple[NDArray[np.uint8], list[LabelledBox]]:
    """The instances that can be seen, ids from 1 in the order of painting, and the boxes.

    Returns:
        (720, 1280, 4) uint8 bitmask (category, flags, id high, id low), and the boxes of instances
        that are not ignored and of traffic lights and signs.
    """
    table = np.zeros((len(canvas.surfaces), 4), np.uint8)
    boxes: list[LabelledBox] = []
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
            boxes.append(LabelledBox(name, extent.corners, hidden, extent.cut, surface.crowd))
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


SPLITS = {"train": 0, "val": 1}


@dataclass
class MiniFrame:
    """A finished frame.

    Attributes:
        image: (720, 1280, 3) uint8, RGB.
        sem: (720, 1280) uint8, ids 0..18, 255 for none.
        drivable: (720, 1280) uint8: 0 direct, 1 alternative, 2 background.
        bitmask: (720, 1280, 4) uint8, RGBA as BDD100K has it: category 1..8, flags, id high, id low.
        attributes: Weather, scene, timeofday.
        boxes: Of the instances that count, and of traffic lights and signs.
    """

    image: NDArray[np.uint8]
    sem: NDArray[np.uint8]
    drivable: NDArray[np.uint8]
    bitmask: NDArray[np.uint8]
    attributes: dict[str, str]
    boxes: list[LabelledBox] = field(default_factory=list)

    @property
    def panoptic(self) -> NDArray[np.uint8]:
        """(720, 1280, 4) uint8, RGBA: objects by panoptic class, one segment of each kind of stuff."""
        out = self.bitmask.copy()
        things = ("person", *INS_SEG.names[1:])
        out[..., 0] = np.array([0, *(PAN_SEG.index(kind) + 1 for kind in things)])[self.bitmask[..., 0]]
        last = int((self.bitmask[..., 2].astype(int) << 8 | self.bitmask[..., 3]).max())
        for number, kind in enumerate(SEM_SEG.names[: -len(things)], last + 1):
            pixels = (self.sem == SEM_SEG.index(kind)) & (self.bitmask[..., 0] == 0)
            out[pixels] = (PAN_SEG.index(kind) + 1, 0, number >> 8, number & 255)
        return out


def render(seed: int, split: str, index: int) -> MiniFrame:
    """Render frame `index` of a split; depends on nothing but the arguments."""
    key = (seed, SPLITS[split], index)
    plan, canvas = make_plan(*key), Canvas()
    scene = Scene(canvas, plan, Draw(*key, 2))
    paint_sky(canvas, plan, Draw(*key, 3))
    paint_backdrop(canvas, plan, scene.draw)
    paint_ground(canvas, plan, scene.draw)
    for layers in (houses, barriers):
        _paint(layers(scene))
    things = _highway_things if plan.scene == "highway" else _street_things
    _paint(_traffic(scene) + things(scene) + trees(scene))
    _bonnet(scene)
    bitmask, boxes = label(canvas)
    image = develop(canvas, plan, Draw(*key, 4))
    return MiniFrame(image, canvas.sem(), drivable(canvas, plan), bitmask, plan.attributes, boxes)


def _paint(items: list[Layer]) -> None:
    for _, paint in sorted(items, key=lambda item: -item[0]):
        paint()


def _traffic(scene: Scene) -> list[Layer]:
    plan, draw = scene.plan, scene.draw
    items: list[Layer] = []
    wanted = [(w, paint) for w, paint in (("bus", bus), ("truck", truck)) if w in plan.wants]
    lanes = [*((x, False) for x in plan.own_lanes), *((x, True) for x in plan.oncoming_lanes), (0.0, False)]
    order = [lanes.pop(draw.integer(0, len(lanes) - 1)) for _ in range(len(lanes))]
    for x, oncoming in order:
        z = draw.uniform(9, 16) if x == 0.0 else draw.uniform(4, 12)
        limit = draw.uniform(26, 45)
        while z < limit:
            if wanted and z > 7 and draw.chance(0.85):
                items += wanted.pop()[1](scene, x, z, oncoming)
                z += 13.0
            elif draw.chance(0.16) and "motorcycle" in plan.wants and z < 30:
                items.append(two_wheeler(scene, x, 0.0, z, "motorcycle"))
                z += 4.0
            elif draw.chance(0.75):
                items.append(car(scene, x, z, oncoming))
                z += 5.0
            z += draw.uniform(2.5, 12.0)
    for parking in (plan.parking_right, plan.parking_left):
        if parking is not None:
            items += _parked(scene, parking)
    if plan.track is not None:
        items += train(scene, plan.track, draw.uniform(6, 17), draw.chance(0.6))
    return items


def _parked(scene: Scene, x: float) -> list[Layer]:
    draw = scene.draw
    items: list[Layer] = []
    z = draw.uniform(3.5, 12)
    while z < 38:
        if x > 0 and "trailer" in scene.plan.wants and z > 9 and not items:
            items += trailer(scene, x, z)
        elif draw.chance(0.7):
            items.append(car(scene, x, z, x < 0, parked=True))
        z += draw.uniform(6.0, 9.0)
    return items


def _street_things(scene: Scene) -> list[Layer]:
    plan, draw = scene.plan, scene.draw
    items: list[Layer] = []
    city = plan.scene == "city street"
    inner = 0.2 + plan.verge
    for side, edge in plan.sides:
        curb = edge + side * (0.45 if plan.verge == 0 else 0.6)
        z = draw.uniform(7, 13)
        while z < 45:
            choice = draw.integer(0, 9)
            if choice < 8:
                items.append((lamp_post if choice < 3 else sign)(scene, curb, z))
            z += draw.uniform(6, 12)
        for _ in range(draw.integer(1, 5 if city else 3)):
            x = edge + side * (inner + draw.uniform(0.5, plan.walk - 0.3))
            items.append(pedestrian(scene, x, 0.14, draw.uniform(6, 20)))
        if "bicycle" in plan.wants and draw.chance(0.6):
            x, z = edge + side * (inner + draw.uniform(0.7, plan.walk * 0.7)), draw.uniform(6, 16)
            for i in range(draw.integer(1, 2)):
                items.append(two_wheeler(scene, x, 0.14, z + 1.2 * i, "bicycle", ridden=False, sideways=True))
    if draw.chance(0.85 if city else 0.45):
        z = draw.uniform(11, 22)
        for side, edge in plan.sides:
            if draw.chance(0.85):
                items.append(traffic_light(scene, edge + side * 0.6, z + 0.3 * side, arm=draw.chance(0.5)))
    items += _on_the_road(scene)
    if "crowd" in plan.wants:
        side, edge = draw.pick(plan.sides)
        items += crowd(scene, edge + side * (inner + plan.walk * 0.5), 0.14, draw.uniform(10, 22))
    return items


def _on_the_road(scene: Scene) -> list[Layer]:
    """Riders next to the traffic, and people and riders that cross."""
    plan, draw = scene.plan, scene.draw
    items: list[Layer] = []
    right = max([0.0, *plan.own_lanes]) + 1.65
    for kind in ("bicycle", "motorcycle"):
        if kind not in plan.wants:
            continue
        ridden = draw.chance(0.8)
        if draw.chance(0.55):
            x = right - 0.35 if draw.chance(0.6) else plan.left + 2.9
            items.append(two_wheeler(scene, x, 0.0, draw.uniform(7, 17), kind))
        else:
            x, z = draw.uniform(-6, 4), draw.uniform(7.5, 9)
            items.append(two_wheeler(scene, x, 0.0, z, kind, ridden=ridden, sideways=True))
        if kind == "motorcycle" and draw.chance(0.5):
            x, z = plan.right + 0.2 + plan.verge + draw.uniform(0.9, 1.5), draw.uniform(7, 15)
            items.append(two_wheeler(scene, x, 0.14, z, kind, ridden=False, sideways=True))
    for _ in range(draw.integer(0, 3)):
        items.append(pedestrian(scene, draw.uniform(plan.left, plan.right), 0.0, draw.uniform(7, 16)))
    return items


def _highway_things(scene: Scene) -> list[Layer]:
    plan, draw = scene.plan, scene.draw
    items: list[Layer] = []
    if draw.chance(0.75):
        items.append(board(scene, draw.uniform(22, 45)))
    z = draw.uniform(8, 16)
    while z < 60:
        side, edge = draw.pick(plan.sides)
        items.append((lamp_post if draw.chance(0.6) else sign)(scene, edge + side * 1.2, z))
        z += draw.uniform(9, 18)
    for kind in ("motorcycle", "bicycle"):
        if kind in plan.wants:
            x = plan.right - 0.7 if kind == "bicycle" else draw.pick([0.0, *plan.own_lanes]) + 1.5
            items.append(two_wheeler(scene, x, 0.0, draw.uniform(7, 15), kind))
    return items


def _bonnet(scene: Scene) -> None:
    """In some frames the camera sees its own car, which nobody labels."""
    canvas, draw = scene.canvas, scene.draw
    if draw.chance(0.4):
        own = canvas.surface(VOID, 1.0)
        tall = draw.uniform(28, 62)
        paint = draw.pick([(40, 42, 46), (70, 72, 78), (96, 30, 34), (110, 114, 120)])
        canvas.shape(
            ellipse(WIDTH / 2 + draw.around(0, 60), HEIGHT + 46, WIDTH * 0.56, tall + 46), own, paint
        )
        low = HEIGHT - 14
        canvas.detail(
            quad((200, low), (WIDTH - 200, low), (WIDTH - 150, HEIGHT), (150, HEIGHT)), (58, 60, 66)
        )
