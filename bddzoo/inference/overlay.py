"""Predictions drawn over the picture, to be looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bddzoo.datasets.classes import INS_SEG, SEM_SEG, ClassSet, Colour
from bddzoo.datasets.instances import Instances

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Image = npt.NDArray[np.uint8]

Box = tuple[int, int, int, int]

ALPHA = 0.5
MIN_SCORE = 0.3
# A class is named where one piece of it covers at least this share of the picture.
MIN_NAMED = 0.004


def draw_class_map(
    picture: Image, class_map: Image, *, alpha: float = ALPHA, classes: ClassSet = SEM_SEG
) -> Image:
    """Blend the colours of a class map over a picture, outline the regions, and name the large ones.

    Args:
        picture: (H, W, 3) uint8, BGR.
        class_map: (H, W) uint8; values that are no class stay uncoloured.
        alpha: 0 shows only the picture, 1 only colours.
        classes: Names and colours.

    Returns:
        (H, W, 3) uint8, BGR.
    """
    import numpy as np

    table = np.zeros((256, 3), np.uint8)
    table[: len(classes)] = np.array(classes.palette, np.uint8)[:, ::-1]
    known = class_map < len(classes)
    drawn = _blend(picture, table[class_map], known, alpha)
    drawn[_borders(class_map)] = (255, 255, 255)
    for index in np.unique(class_map[known]):
        spot = _largest_piece(class_map == index)
        if spot is not None:
            _text(drawn, classes.names[index], [spot], classes.palette[index])
    return drawn


def draw_instances(
    picture: Image,
    instances: Instances,
    *,
    alpha: float = ALPHA,
    classes: ClassSet = INS_SEG,
    min_score: float = MIN_SCORE,
) -> Image:
    """Draw instances over a picture: mask, outline, class name and score, the best on top.

    Args:
        picture: (H, W, 3) uint8, BGR.
        instances: At the picture's size.
        alpha: 0 shows only outlines, 1 hides what is below a mask.
        classes: Names and colours; instances of a class differ in brightness.
        min_score: Instances below this score are not drawn.

    Returns:
        (H, W, 3) uint8, BGR.
    """
    import cv2
    import numpy as np

    shown = [i for i in np.argsort(instances.scores, kind="stable") if instances.scores[i] >= min_score]
    drawn = picture.copy()
    thickness = max(1, round(min(picture.shape[:2]) / 500))
    for i in shown:
        mask = instances.masks[i]
        colour = _vary(classes.palette[int(instances.labels[i])], int(i))
        if mask.any():
            # Lighter than the fill, to be seen on dark pictures too.
            edge = tuple(c + (255 - c) // 2 for c in colour[::-1])
            rows, columns = _window(mask)
            part = mask[rows, columns]
            fill = np.broadcast_to(np.array(colour[::-1], np.uint8), (*part.shape, 3))
            drawn[rows, columns] = _blend(drawn[rows, columns], fill, part, alpha)
            outlines, _ = cv2.findContours(part.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            for outline in outlines:
                shifted = outline + np.array([columns.start, rows.start])
                cv2.drawContours(drawn, [shifted], -1, edge, thickness, cv2.LINE_AA)
    # Names last, so that no mask covers them; the best first, so that it has the best place.
    taken: list[Box] = []
    for i in reversed(shown):
        name = f"{classes.names[int(instances.labels[i])]} {instances.scores[i]:.2f}"
        colour = _vary(classes.palette[int(instances.labels[i])], int(i))
        taken.append(_text(drawn, name, _corners(instances.boxes[i]), colour, taken))
    return drawn


def _blend(below: Image, above: Image, where: npt.NDArray[np.bool_], alpha: float) -> Image:
    import cv2
    import numpy as np

    mixed = cv2.addWeighted(below, 1 - alpha, np.ascontiguousarray(above), alpha, 0)
    return np.where(where[..., None], mixed, below).astype(np.uint8)


def _borders(class_map: Image) -> npt.NDArray[np.bool_]:
    """Pixels whose right or lower neighbour is of another class."""
    import numpy as np

    border = np.zeros(class_map.shape, np.bool_)
    border[:, :-1] |= class_map[:, :-1] != class_map[:, 1:]
    border[:-1] |= class_map[:-1] != class_map[1:]
    return border


def _largest_piece(mask: npt.NDArray[np.bool_]) -> tuple[int, int] | None:
    """A point (x, y) well inside the largest connected piece; None where it is too small to be named."""
    import cv2
    import numpy as np

    height, width = mask.shape
    if mask.sum() < MIN_NAMED * height * width:
        return None
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    if len(stats) < 2:
        return None
    best = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    if stats[best, cv2.CC_STAT_AREA] < MIN_NAMED * height * width:
        return None
    # The border of the picture counts as an edge, so that the point is not at it.
    piece = np.pad((pieces == best).astype(np.uint8), 1)
    distance = cv2.distanceTransform(piece, cv2.DIST_L2, 3)[1:-1, 1:-1]
    y, x = np.unravel_index(int(np.argmax(distance)), distance.shape)
    return int(x), int(y)


def _text(
    drawn: Image, text: str, places: Sequence[tuple[int, int]], colour: Colour, taken: Sequence[Box] = ()
) -> Box:
    """Write text on a box of its class's colour.

    Args:
        drawn: Written on.
        text: What.
        places: Points (x, y) for the box's lower left corner, best first; moved into the picture.
        colour: Of the box, RGB.
        taken: Boxes not to cover; where every place does, the first one is taken all the same.

    Returns:
        The box.
    """
    import cv2

    height, width = drawn.shape[:2]
    scale = min(max(min(height, width) / 1400, 0.32), 1.6)
    font, weight = cv2.FONT_HERSHEY_SIMPLEX, 1 if scale < 0.9 else 2
    (text_width, text_height), below = cv2.getTextSize(text, font, scale, weight)
    pad = max(1, round(3 * scale))
    box_width, box_height = text_width + 2 * pad, text_height + below + 2 * pad
    boxes = []
    for at in places:
        x = max(0, min(at[0], width - box_width))
        y = max(0, min(at[1] - box_height, height - box_height))
        boxes.append((x, y, x + box_width, y + box_height))
    free = (box for box in boxes if not any(_overlap(box, other) for other in taken))
    x1, y1, x2, y2 = box = next(free, boxes[0])
    red, green, blue = colour
    dark = 0.299 * red + 0.587 * green + 0.114 * blue < 140
    ink = (255, 255, 255) if dark else (0, 0, 0)
    cv2.rectangle(drawn, (x1, y1), (x2, y2), (blue, green, red), -1)
    cv2.putText(drawn, text, (x1 + pad, y1 + pad + text_height), font, scale, ink, weight, cv2.LINE_AA)
    return box


def _corners(box: npt.NDArray[np.float32]) -> list[tuple[int, int]]:
    """Where the name of an instance may stand: above it, then further and further down its side."""
    x1, y1, x2, y2 = (int(v) for v in box)
    step = max(1, (y2 - y1) // 6)
    return [(x1, y1), *((x1, y) for y in range(y1 + step, y2 + 2 * step, step)), (x2, y1), (x2, y2)]


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _vary(colour: Colour, number: int) -> Colour:
    """A lighter or darker shade, so that neighbours of one class can be told apart."""
    shift = (0, 70, -35, 110, 35)[number % 5]
    red, green, blue = (max(0, min(255, c + shift)) for c in colour)
    return red, green, blue


def _window(mask: npt.NDArray[np.bool_]) -> tuple[slice, slice]:
    import numpy as np

    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
