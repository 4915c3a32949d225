"""Random draws that are the same on every machine and with every version of NumPy.

Only the raw 64-bit words of PCG64 are used (NumPy promises those; it does not promise the streams of
`Generator`), and only the four basic operations on floats, which IEEE 754 fixes to the last bit.

Then a camera, and a canvas that is painted far to near and remembers which surface owns each pixel; the
painter of flat things, which are tables of outlines and colours; and a frame's plan, chosen from the seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import cv2
import numpy as np
from numpy.random import PCG64, SeedSequence
from numpy.typing import NDArray

T = TypeVar("T")
Layer = tuple[float, Callable[[], None]]
"""What is painted far to near: its distance in metres, and what paints it."""
Colour = tuple[int, int, int]


class Draw:
    """A stream of random draws that belongs to one purpose.

    Args:
        *key: Non-negative integers that name the stream; equal keys give equal streams.
    """

    def __init__(self, *key: int) -> None:
        self._bits = PCG64(SeedSequence(list(key)))

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """A float in [low, high)."""
        word = int(self._bits.random_raw())
        return low + (high - low) * ((word >> 11) * (1.0 / (1 << 53)))

    def integer(self, low: int, high: int) -> int:
        """An integer in low..high, both ends included."""
        return low + int(self._bits.random_raw()) % (high - low + 1)

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self.uniform() < probability

    def pick(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[int(self._bits.random_raw()) % len(items)]

    def around(self, centre: float, spread: float) -> float:
        """A bell-shaped draw in [centre - spread, centre + spread] (mean of three uniforms)."""
        return centre + spread * ((self.uniform() + self.uniform() + self.uniform()) * (2.0 / 3.0) - 1.0)

    def vary(self, colour: Colour, spread: int) -> Colour:
        """A colour near the given one."""
        grey = self.integer(-spread, spread)
        r, g, b = (c + grey + self.integer(-spread, spread) // 3 for c in colour)
        return (clip(r), clip(g), clip(b))

    def noise(self, height: int, width: int) -> NDArray[np.uint8]:
        """(height, width) uint8 of white noise."""
        count = height * width
        words = self._bits.random_raw(-(-count // 8))
        return np.asarray(words, dtype="<u8").view(np.uint8)[:count].reshape(height, width)


def clip(value: float) -> int:
    """The value as a grey level, 0..255."""
    return 0 if value < 0 else 255 if value > 255 else int(value)


def shade(colour: Colour, factor: float) -> Colour:
    """The colour made brighter or darker."""
    return (clip(colour[0] * factor), clip(colour[1] * factor), clip(colour[2] * factor))


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """`one` blended with `other`, which gets the given share."""
    r, g, b = (clip(a + (c - a) * share) for a, c in zip(one, other, strict=True))
    return (r, g, b)


HEIGHT, WIDTH = 720, 1280
VOID = 255
# Traffic light and traffic sign: no instances, but they have boxes.
BOXED = {6: "traffic light", 7: "traffic sign"}
NEAR_M = 1.3
GROUND = -1.0
_SHIFT = 4
_LIMIT = 30000.0

# Unit circle, 20 points; rounded, so that no machine's cosine can move a label's edge.
_ANGLES = [2.0 * np.pi * i / 20 for i in range(20)]
CIRCLE = np.array([[round(float(np.cos(a)), 6), round(float(np.sin(a)), 6)] for a in _ANGLES])

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Camera:
    """A pinhole camera above a flat road that bends sideways.

    World: x metres to the right of the camera, y up from the road, z ahead.

    Attributes:
        focal_px: Focal length in pixels.
        height_m: Height above the road.
        centre_x: Column of the vanishing point.
        horizon_y: Row of the horizon.
        bend: Sideways bend of the world, in 1/m: x grows by bend * z**2.
    """

    focal_px: float
    height_m: float
    centre_x: float
    horizon_y: float
    bend: float

    def project(self, x: object, y: object, z: object) -> Points:
        """Image points (N, 2) of world points; z is held at the near plane."""
        xs, ys, zs = np.broadcast_arrays(
            np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64), np.asarray(z, dtype=np.float64)
        )
        zs = np.maximum(zs, NEAR_M)
        u = self.centre_x + self.focal_px * (xs + self.bend * zs * zs) / zs
        v = self.horizon_y + self.focal_px * (self.height_m - ys) / zs
        return np.stack([u, v], axis=-1)

    def scale(self, z: float) -> float:
        """Pixels per metre at a distance."""
        return self.focal_px / max(z, NEAR_M)

    def row_depth(self) -> NDArray[np.float32]:
        """(HEIGHT,) float32 distance in metres of the road seen in each row; 250 at and above the horizon."""
        below = np.arange(HEIGHT, dtype=np.float64) + 0.5 - self.horizon_y
        depth = self.focal_px * self.height_m / np.maximum(below, 1e-3)
        return np.where(below > 0, np.minimum(depth, 250.0), 250.0).astype(np.float32)


@dataclass
class Surface:
    """What a painted thing is.

    Attributes:
        sem: Semantic class id, 255 for none.
        depth_m: Distance; GROUND where it follows from the image row.
        category: Instance category 1..8, 0 for stuff.
        crowd: A group that is labelled as one.
        ignored: Not to be counted.
    """

    sem: int
    depth_m: float
    category: int = 0
    crowd: bool = False
    ignored: bool = False


class Canvas:
    """Image, light and ownership of one frame, painted far to near.

    Attributes:
        image: (HEIGHT, WIDTH, 3) uint8, RGB.
        glow: (HEIGHT, WIDTH, 3) uint8, RGB light that things give off themselves.
        owner: (HEIGHT, WIDTH) uint16, index into `surfaces`.
        surfaces: What each index is; index 0 is nothing.
        outlines: For instances, lights and signs: index to its polygons, hidden parts included.
    """

    def __init__(self) -> None:
        self.image: NDArray[np.uint8] = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        self.glow: NDArray[np.uint8] = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        self.owner: NDArray[np.uint16] = np.zeros((HEIGHT, WIDTH), np.uint16)
        self.surfaces: list[Surface] = [Surface(VOID, 250.0)]
        self.outlines: dict[int, list[NDArray[np.int32]]] = {}

    def surface(
        self, sem: int, depth_m: float, category: int = 0, *, crowd: bool = False, ignored: bool = False
    ) -> int:
        """Make a new surface; returns its index."""
        index = len(self.surfaces)
        self.surfaces.append(Surface(sem, depth_m, category, crowd, ignored))
        if category or sem in BOXED:
            self.outlines[index] = []
        return index

    def shape(self, points: Points, index: int, colour: Colour, glow: Colour | None = None) -> None:
        """Fill a polygon with a colour, and give its pixels to a surface."""
        self.label(points, index)
        self.detail(points, colour, glow or (0, 0, 0))

    def label(self, points: Points, index: int) -> None:
        """Give the pixels of a polygon to a surface and leave the image as it is."""
        rounded = _round(points)
        cv2.fillPoly(self.owner, [rounded], index)
        if index in self.outlines:
            self.outlines[index].append(rounded)

    def detail(self, points: Points, colour: Colour, glow: Colour | None = None) -> None:
        """Colour a polygon that lies within what was painted before; who owns the pixels stays."""
        self._colour(points, colour)
        if glow is not None:
            cv2.fillPoly(self.glow, [_round(points)], glow)

    def details(self, polygons: Iterable[Points], colour: Colour, glow: Colour | None = None) -> None:
        """`detail` for many polygons."""
        for points in polygons:
            self.detail(points, colour, glow)

    def _colour(self, points: Points, colour: Colour) -> None:
        fixed = np.floor(np.clip(points, -_LIMIT, _LIMIT) * (1 << _SHIFT) + 0.5).astype(np.int32)
        cv2.fillPoly(self.image, [fixed], colour, cv2.LINE_AA, _SHIFT)

    def sem(self) -> NDArray[np.uint8]:
        """(HEIGHT, WIDTH) uint8 semantic ids."""
        return np.array([s.sem for s in self.surfaces], np.uint8)[self.owner]

    def depth(self, camera: Camera) -> NDArray[np.float32]:
        """(HEIGHT, WIDTH) float32 distance in metres of what is seen."""
        depth = np.array([s.depth_m for s in self.surfaces], np.float32)[self.owner]
        return np.where(depth < 0, camera.row_depth()[:, None], depth)


def _round(points: Points) -> NDArray[np.int32]:
    return np.floor(np.clip(points, -_LIMIT, _LIMIT) + 0.5).astype(np.int32)


def quad(*corners: tuple[float, float]) -> Points:
    """A polygon from image points."""
    return np.array(corners, np.float64)


def ellipse(centre_x: float, centre_y: float, radius_x: float, radius_y: float) -> Points:
    """A polygon that follows an ellipse in the image."""
    return CIRCLE * (radius_x, radius_y) + (centre_x, centre_y)


# BDD100K's own words for its frame attributes (those that the mini set uses).
WEATHER = ("clear", "partly cloudy", "overcast", "rainy", "snowy", "foggy")
SCENES = ("city street", "residential", "highway")
TIMES = ("daytime", "night", "dawn/dusk")

# Rounds that frames walk through, so that even a small set holds every value.
_WEATHER_ROUND = (0, 2, 0, 1, 3, 0, 4, 2, 0, 5, 1, 3)
_SCENE_ROUND = (0, 1, 0, 2, 0, 1, 0)
_TIME_ROUND = (0, 0, 1, 0, 2, 0, 0, 1, 0, 2)
LANE_M = 3.3


@dataclass
class Plan:
    """One frame's plan. Lengths in metres, x to the right of the camera, z ahead.

    Attributes:
        left, right: Edges of the carriageway.
        own_lanes, oncoming_lanes: Lane centres besides the camera's own (which is 0).
        parking_right, parking_left: Centre of the parking lane, or None.
        track: Centre of the tram track, or None.
        walk: Width of the sidewalks, 0 for none.
        verge: Width of the strip of grass between carriageway and sidewalk.
        yard: Distance from the sidewalk to the houses.
        wants: Rare things that this frame has to show.
    """

    weather: str
    scene: str
    timeofday: str
    camera: Camera
    left: float
    right: float
    own_lanes: list[float] = field(default_factory=list)
    oncoming_lanes: list[float] = field(default_factory=list)
    parking_right: float | None = None
    parking_left: float | None = None
    track: float | None = None
    walk: float = 3.0
    verge: float = 0.0
    yard: float = 0.0
    wants: frozenset[str] = frozenset()

    @property
    def night(self) -> bool:
        """Whether it is dark."""
        return self.timeofday == "night"

    @property
    def sides(self) -> list[tuple[float, float]]:
        """Left and right: the direction outwards as -1 or 1, and the edge of the carriageway."""
        return [(-1.0, self.left), (1.0, self.right)]

    @property
    def lamps(self) -> bool:
        """Whether vehicles and street lamps have their light on."""
        return self.timeofday != "daytime"

    @property
    def attributes(self) -> dict[str, str]:
        """The frame attributes as BDD100K writes them."""
        return {"weather": self.weather, "scene": self.scene, "timeofday": self.timeofday}


@dataclass
class Scene:
    """What every painter works with: the canvas, the frame's plan, and a stream of draws."""

    canvas: Canvas
    plan: Plan
    draw: Draw

    def stream(self, purpose: int) -> Draw:
        """A stream of its own for something that is painted later."""
        return Draw(self.draw.integer(0, 1 << 30), purpose)


@dataclass(frozen=True)
class Disc:
    """An ellipse, in metres."""

    x: float
    y: float
    radius_x: float
    radius_y: float


Outline = Sequence[tuple[float, float]] | Disc
Part = tuple[Outline, Colour] | tuple[Outline, Colour, Colour | None]
"""Outline in metres, x to the right and y up; colour; the light it gives off."""


def box(x0: float, x1: float, y0: float, y1: float) -> Outline:
    """An upright rectangle."""
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def taper(half_below: float, half_above: float, y0: float, y1: float) -> Outline:
    """A trapezoid about x = 0, from half its width below to half its width above."""
    return [(-half_below, y0), (half_below, y0), (half_above, y1), (-half_above, y1)]


def limb(a: tuple[float, float], b: tuple[float, float], wide: float) -> Outline:
    """A straight bar between two points."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    length = float(np.sqrt(dx * dx + dy * dy)) or 1.0
    nx, ny = -dy / length * wide / 2, dx / length * wide / 2
    return [(a[0] + nx, a[1] + ny), (b[0] + nx, b[1] + ny), (b[0] - nx, b[1] - ny), (a[0] - nx, a[1] - ny)]


class Figure:
    """Paints a flat, upright thing at one distance, from outlines in metres around its foot point."""

    def __init__(self, scene: Scene, x: float, y: float, z: float, flip: float = 1.0) -> None:
        self.canvas = scene.canvas
        self.scale = scene.plan.camera.scale(z)
        self.foot = scene.plan.camera.project(x, y, z)
        self.flip = flip

    def place(self, outline: Outline) -> Points:
        """Image points of an outline."""
        if isinstance(outline, Disc):
            x, y = self.place([(outline.x, outline.y)])[0]
            return ellipse(x, y, *(max(r * self.scale, 0.7) for r in (outline.radius_x, outline.radius_y)))
        return np.array(outline, np.float64) * (self.flip, -1.0) * self.scale + self.foot

    def shape(self, index: int, *parts: Part) -> None:
        """Paint parts that belong to a surface."""
        for outline, *colours in parts:
            self.canvas.shape(self.place(outline), index, *colours)

    def detail(self, *parts: Part) -> None:
        """Paint parts within what was painted before."""
        for outline, *colours in parts:
            self.canvas.detail(self.place(outline), *colours)


def make_plan(seed: int, split_code: int, index: int) -> Plan:
    """Plan a frame; depends on nothing but its arguments."""
    offsets = Draw(seed, split_code, 0xA77)
    weather = WEATHER[_WEATHER_ROUND[(index + offsets.integer(0, 11)) % 12]]
    scene = SCENES[_SCENE_ROUND[(index + offsets.integer(0, 6)) % 7]]
    timeofday = TIMES[_TIME_ROUND[(index + offsets.integer(0, 9)) % 10]]
    draw = Draw(seed, split_code, index, 1)
    camera = Camera(
        focal_px=draw.uniform(860.0, 960.0),
        height_m=draw.uniform(1.3, 1.65),
        centre_x=WIDTH / 2 + draw.around(0.0, 90.0),
        horizon_y=HEIGHT * 0.45 + draw.around(0.0, 35.0),
        bend=draw.around(0.0, 0.0009),
    )
    wants = _wants(draw, scene, index)
    if scene == "highway":
        return _highway(draw, camera, weather, timeofday, wants)
    return _street(draw, camera, weather, scene, timeofday, wants)


def _wants(draw: Draw, scene: str, index: int) -> frozenset[str]:
    # One rare vehicle each in turn, and a few more by chance.
    turn = ("train", "bus", "truck", "motorcycle", "bus", "train", "truck", "bicycle")
    wants = {turn[index % len(turn)], ("wall", "fence")[index // 2 % 2]}
    rare = {
        "truck": 0.3,
        "bus": 0.2,
        "motorcycle": 0.45,
        "bicycle": 0.45,
        "wall": 0.3,
        "fence": 0.3,
        "train": 0.1,
    }
    for name, probability in {**rare, "trailer": 0.12, "crowd": 0.0 if scene == "highway" else 0.35}.items():
        if draw.chance(probability):
            wants.add(name)
    return frozenset(wants)


def _highway(draw: Draw, camera: Camera, weather: str, timeofday: str, wants: frozenset[str]) -> Plan:
    own = [-LANE_M * (i + 1) for i in range(draw.integer(1, 2))]
    own += [LANE_M * (i + 1) for i in range(draw.integer(0, 1))]
    left = min([0.0, *own]) - LANE_M / 2 - 1.0
    plan = Plan(weather, "highway", timeofday, camera, left, max([0.0, *own]) + LANE_M / 2, own, wants=wants)
    plan.right += draw.uniform(1.5, 2.8)
    plan.track = left - draw.uniform(4.5, 5.5) if "train" in wants else None
    plan.walk, plan.yard = 0.0, draw.uniform(12.0, 20.0)
    return plan


def _street(
    draw: Draw, camera: Camera, weather: str, scene: str, timeofday: str, wants: frozenset[str]
) -> Plan:
    city = scene == "city street"
    own = [-LANE_M] if city and draw.chance(0.35) else []
    own += [LANE_M] if city and draw.chance(0.35) else []
    left, right = min([0.0, *own]) - LANE_M / 2, max([0.0, *own]) + LANE_M / 2
    plan = Plan(weather, scene, timeofday, camera, left, right, own, wants=wants)
    if "train" in wants:
        plan.track = plan.left - 1.9
        plan.left -= 3.8
    plan.oncoming_lanes = [plan.left - LANE_M / 2]
    if city and draw.chance(0.4):
        plan.oncoming_lanes.append(plan.left - LANE_M * 1.5)
    plan.left -= LANE_M * len(plan.oncoming_lanes)
    if draw.chance(0.65):
        plan.parking_right = plan.right + 1.15
        plan.right += 2.3
    if draw.chance(0.5):
        plan.parking_left = plan.left - 1.15
        plan.left -= 2.3
    plan.walk = draw.uniform(2.2, 4.5) if city else draw.uniform(1.6, 2.6)
    plan.verge = draw.uniform(1.2, 2.4) if draw.chance(0.3 if city else 0.6) else 0.0
    plan.yard = draw.uniform(0.0, 0.6) if city else draw.uniform(3.0, 7.0)
    return plan
