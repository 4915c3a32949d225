"""Words on images, readable on any background."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from bddzoo.datasets.classes import Colour
from bddzoo.painting.colours import ink

Image = npt.NDArray[np.uint8]

Box = tuple[int, int, int, int]
"""Corners `x1, y1, x2, y2` in pixels; the second one is outside."""


def plate_size(text: str, shape: tuple[int, ...]) -> tuple[int, int]:
    """Width and height of the plate that `write_plate` would put on an image of that shape."""
    return _measure(text, shape)[:2]


def write_plate(
    image: Image,
    text: str,
    places: Sequence[tuple[int, int]],
    colour: Colour,
    taken: Sequence[Box] = (),
    *,
    must: bool = False,
) -> Box | None:
    """Write text on a plate of its own, with a rim that sets it off from whatever is around it.

    Args:
        image: (H, W, 3) uint8 BGR; written on.
        text: What; the fonts know ASCII.
        places: Points `(x, y)` for the plate's lower left corner, best first; moved into the image.
        colour: Of the plate. The ink is black or white, at a contrast of at least 4.5.
        taken: Plates not to cover.
        must: Write at the first place even if it is taken.

    Returns:
        The plate, or None where every place is taken: a name under another one helps nobody.
    """
    height, width = image.shape[:2]
    box_width, box_height, scale, weight, baseline = _measure(text, image.shape)
    boxes = []
    for x, y in places:
        left = max(0, min(x, width - box_width))
        top = max(0, min(y - box_height, height - box_height))
        boxes.append((left, top, left + box_width, top + box_height))
    free = next((box for box in boxes if not any(_overlap(box, other) for other in taken)), None)
    if free is None:
        if not must:
            return None
        free = boxes[0]
    x1, y1, x2, y2 = free
    dark = ink(colour)
    cv2.rectangle(image, (x1, y1), (x2 - 1, y2 - 1), colour[::-1], -1)
    cv2.rectangle(image, (x1, y1), (x2 - 1, y2 - 1), dark, 1)
    at = (x1 + _pad(scale), y2 - _pad(scale) - baseline)
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, dark, weight, cv2.LINE_AA)
    return free


def _measure(text: str, shape: tuple[int, ...]) -> tuple[int, int, float, int, int]:
    """Width and height of the plate, scale and weight of the font, room below its baseline."""
    # 0.51 at 1280x720: small letters are then six pixels high.
    scale = min(max(min(shape[:2]) / 1400, 0.36), 1.6)
    weight = 1 if scale < 0.9 else 2
    (width, height), baseline = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, weight)
    baseline = max(1, baseline // 2)
    pad = _pad(scale)
    return width + 2 * pad, height + baseline + 2 * pad, scale, weight, baseline


def _pad(scale: float) -> int:
    return max(2, round(5 * scale))


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
