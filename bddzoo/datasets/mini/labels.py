"""Labels that follow from what was painted: instances with their flags, and boxes."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from bddzoo.datasets.classes import INS_SEG
from bddzoo.datasets.mini.canvas import BOXED, HEIGHT, WIDTH, Canvas

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
