"""Class maps over images."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from bddzoo.datasets.classes import SEM_SEG, ClassSet
from bddzoo.painting.text import Box, plate_size, write_plate

Image = npt.NDArray[np.uint8]

ALPHA = 0.5
# A class is named where one piece of it covers at least this share of the image.
MIN_NAMED = 0.004
# Where names stand is found on a smaller map, of about this many rows.
ROUGH_ROWS = 180
BACKGROUND = "background"


def draw_class_map(
    image: Image,
    class_map: Image,
    *,
    alpha: float = ALPHA,
    classes: ClassSet = SEM_SEG,
    outlines: bool = True,
    names: bool = True,
) -> Image:
    """Blend the colours of a class map over an image, outline the regions, and name the large ones.

    Args:
        image: (H, W, 3) uint8, BGR.
        class_map: (H, W) uint8; values that are not a class, and a class called background, stay uncoloured.
        alpha: 0 shows only the image, 1 only colours.
        classes: Names and colours.
        outlines: Whether to draw borders of regions, in white.
        names: Whether to name the regions.

    Returns:
        (H, W, 3) uint8, BGR.
    """
    table = np.zeros((256, 3), np.uint8)
    table[: len(classes)] = np.array(classes.palette, np.uint8)[:, ::-1]
    unknown = np.ones(256, np.uint8)
    shown = [i for i, name in enumerate(classes.names) if name != BACKGROUND]
    unknown[shown] = 0
    blended = cv2.addWeighted(image, 1 - alpha, np.take(table, class_map, axis=0), alpha, 0)
    drawn = np.asarray(blended, np.uint8)
    blank = np.take(unknown, class_map)
    if blank.any():
        cv2.copyTo(image, blank, drawn)
    if outlines:
        drawn[_borders(class_map)] = 255
    if names:
        _name(drawn, class_map, shown, classes)
    return drawn


def _borders(class_map: Image) -> npt.NDArray[np.bool_]:
    """Pixels whose right or lower neighbour is of another class."""
    border = np.zeros(class_map.shape, np.bool_)
    border[:, :-1] = class_map[:, :-1] != class_map[:, 1:]
    border[:-1] |= class_map[:-1] != class_map[1:]
    return border


def _name(drawn: Image, class_map: Image, shown: list[int], classes: ClassSet) -> None:
    step = max(1, min(class_map.shape) // ROUGH_ROWS)
    rough = np.ascontiguousarray(class_map[step // 2 :: step, step // 2 :: step])
    counts = np.bincount(rough.ravel(), minlength=256)
    taken: list[Box] = []
    # The smallest first: a large region has other places left.
    for index in sorted((i for i in shown if counts[i]), key=lambda i: int(counts[i])):
        if counts[index] < MIN_NAMED * rough.size:
            continue
        spot = _largest_piece(rough == index)
        if spot is None:
            continue
        x, y = (step * v + step // 2 for v in spot)
        name = classes.names[index]
        width, height = plate_size(name, drawn.shape)
        left, low = x - width // 2, y + height // 2
        places = [(left, low), (left, low - height), (left, low + height), (left - width, low)]
        box = write_plate(drawn, name, places, classes.palette[index], taken)
        if box is not None:
            taken.append(box)


def _largest_piece(mask: npt.NDArray[np.bool_]) -> tuple[int, int] | None:
    """A point (x, y) well inside the largest connected piece; None where it is too small to be named."""
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=4)
    if len(stats) < 2:
        return None
    best = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    if stats[best, cv2.CC_STAT_AREA] < MIN_NAMED * mask.size:
        return None
    left, top, width, height = (int(v) for v in stats[best, :4])
    # The border of the window counts as an edge, so that the point is not at it.
    window = pieces[top : top + height, left : left + width]
    piece = np.pad((window == best).view(np.uint8), 1)
    distance = cv2.distanceTransform(piece, cv2.DIST_L2, 3)[1:-1, 1:-1]
    y, x = np.unravel_index(int(np.argmax(distance)), distance.shape)
    return left + int(x), top + int(y)
