"""Random draws that are the same on every machine and with every version of NumPy.

Only the raw 64-bit words of PCG64 are used (NumPy promises those; it does not promise the streams of
`Generator`), and only the four basic operations on floats, which IEEE 754 fixes to the last bit.

A camera, and a canvas that is painted far to near and remembers which surface owns each pixel.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.random import PCG64, SeedSequence
from numpy.typing import NDArray

T = TypeVar("T")
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
        self.surfaces.append(Surface(sem, depth_m, category, crowd, ignored))
        index = len(self.surfaces) - 1
        if category or sem in BOXED:
            self.outlines[index] = []
        return index

    def shape(self, points: Points, index: int, colour: Colour, glow: Colour | None = None) -> None:
        """Fill a polygon with a colour, and give its pixels to a surface."""
        rounded = _round(points)
        cv2.fillPoly(self.owner, [rounded], index)
        if index in self.outlines:
            self.outlines[index].append(rounded)
        cv2.fillPoly(self.glow, [rounded], glow or (0, 0, 0))
        self._paint([points], colour)

    def label(self, points: Points, index: int) -> None:
        """Give the pixels of a polygon to a surface and leave the image as it is."""
        rounded = _round(points)
        cv2.fillPoly(self.owner, [rounded], index)
        if index in self.outlines:
            self.outlines[index].append(rounded)

    def detail(self, polygons: Iterable[Points], colour: Colour, glow: Colour | None = None) -> None:
        """Colour polygons that lie within what was painted before; who owns the pixels stays."""
        items = list(polygons)
        if not items:
            return
        self._paint(items, colour)
        if glow is not None:
            for points in items:
                cv2.fillPoly(self.glow, [_round(points)], glow)

    def _paint(self, polygons: Sequence[Points], colour: Colour) -> None:
        fixed = [
            np.floor(np.clip(p, -_LIMIT, _LIMIT) * (1 << _SHIFT) + 0.5).astype(np.int32) for p in polygons
        ]
        for points in fixed:
            cv2.fillPoly(self.image, [points], colour, cv2.LINE_AA, _SHIFT)

    def sem(self) -> NDArray[np.uint8]:
        """(HEIGHT, WIDTH) uint8 semantic ids."""
        table = np.array([s.sem for s in self.surfaces], np.uint8)
        return table[self.owner]

    def depth(self, camera: Camera) -> NDArray[np.float32]:
        """(HEIGHT, WIDTH) float32 distance in metres of what is seen."""
        table = np.array([s.depth_m for s in self.surfaces], np.float32)
        depth = table[self.owner]
        return np.where(depth < 0, camera.row_depth()[:, None], depth)


def _round(points: Points) -> NDArray[np.int32]:
    return np.floor(np.clip(points, -_LIMIT, _LIMIT) + 0.5).astype(np.int32)


def quad(*corners: tuple[float, float]) -> Points:
    """A polygon from image points."""
    return np.array(corners, np.float64)


def ellipse(centre_x: float, centre_y: float, radius_x: float, radius_y: float) -> Points:
    """A polygon that follows an ellipse in the image."""
    return CIRCLE * (radius_x, radius_y) + (centre_x, centre_y)
