"""Colouring: class maps over images, names on plates, and the colours of both.

Objects without a colour of their own get one of a fixed palette. OKLab is Björn Ottosson's (2020) perceptual
space: distances in it are about what an eye sees, 0.02 being just visible. Contrast and relative luminance
are those of WCAG 2.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from bddzoo.datasets.classes import SEM_SEG, ClassSet, Colour

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


# A class is named where one piece of it covers at least this share of the image.
MIN_NAMED = 0.004
# Where names stand is found on a smaller map, of about this many rows.
ROUGH_ROWS = 180
BACKGROUND = "background"


@dataclass(frozen=True)
class Style:
    """How labels are drawn.

    Attributes:
        alpha: How much colour covers the image, 0..1.
        outlines: Whether to outline regions and objects.
        names: Whether to write class names.
        scores: Whether to write scores.
        boxes: Whether to draw boxes.
        min_score: Detections below it are not drawn.
        seed: Of the colours of objects.
    """

    alpha: float = 0.5
    outlines: bool = True
    names: bool = True
    scores: bool = True
    boxes: bool = False
    min_score: float = 0.3
    seed: int = 0


PLAIN = Style()


def draw_class_map(
    image: Image, class_map: Image, classes: ClassSet = SEM_SEG, style: Style = PLAIN
) -> Image:
    """Blend the colours of a class map over an image, outline the regions, and name the large ones.

    Args:
        image: (H, W, 3) uint8, BGR.
        class_map: (H, W) uint8; values that are not a class, and a class called background, stay uncoloured.
        classes: Names and colours.
        style: How; outlines of regions are white.

    Returns:
        (H, W, 3) uint8, BGR.
    """
    table = np.zeros((256, 3), np.uint8)
    table[: len(classes)] = np.array(classes.palette, np.uint8)[:, ::-1]
    unknown = np.ones(256, np.uint8)
    shown = [i for i, name in enumerate(classes.names) if name != BACKGROUND]
    unknown[shown] = 0
    blended = cv2.addWeighted(image, 1 - style.alpha, np.take(table, class_map, axis=0), style.alpha, 0)
    drawn = np.asarray(blended, np.uint8)
    blank = np.take(unknown, class_map)
    if blank.any():
        cv2.copyTo(image, blank, drawn)
    if style.outlines:
        drawn[_borders(class_map)] = 255
    if style.names:
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


Floats = npt.NDArray[np.float64]

BLACK: Colour = (0, 0, 0)
WHITE: Colour = (255, 255, 255)
COUNT = 1 << 16
"""Colours of a palette: one for each id that a bitmask can hold."""

# Steps of the R2 sequence (Roberts 2018), 1/p and 1/p^2 for the plastic number p: it fills a plane evenly, so
# that ids that are near each other get colours that are not.
HUE_STEP = 0.5698402909980532
LIGHTNESS_STEP = 0.7548776662466927
# The golden angle spreads seeds over the wheel of hues.
GOLDEN_TURN = 0.6180339887498949
# Lightness changes too, so that the palette holds up in grey and for colour-blind eyes.
LIGHTNESS = (0.52, 0.84)
CHROMA = 0.16


@lru_cache(maxsize=8)
def object_palette(seed: int = 0) -> npt.NDArray[np.uint8]:
    """Colours by object id: (65536, 3) uint8 RGB, read-only; id 0, the background, is black.

    The same seed gives the same colours on every machine. In OKLab, any two ids less than 12 apart differ by
    at least 0.08, and any two less than 128 apart by more than the 0.02 that can just be seen.

    Args:
        seed: Turns the wheel of hues.
    """
    number = np.arange(COUNT, dtype=np.float64)
    dark, bright = LIGHTNESS
    lightness = dark + (bright - dark) * (LIGHTNESS_STEP * number % 1)
    turn = (0.08 + GOLDEN_TURN * (seed % 10_000) + HUE_STEP * number) % 1
    palette = _in_gamut(lightness, CHROMA, 2 * np.pi * turn)
    palette[0] = 0
    palette.setflags(write=False)
    return palette


def object_colour(ident: int, seed: int = 0) -> Colour:
    """Colour of one object."""
    red, green, blue = object_palette(seed)[ident % COUNT].tolist()
    return red, green, blue


def lighter(colour: Colour) -> Colour:
    """Half way to white: for outlines, which must be seen on dark images too."""
    red, green, blue = (c + (255 - c) // 2 for c in colour)
    return red, green, blue


def ink(colour: Colour) -> Colour:
    """Black or white, whichever can be read on a colour: the contrast is at least 4.5."""
    return max(BLACK, WHITE, key=lambda candidate: contrast(candidate, colour))


def contrast(a: Colour, b: Colour) -> float:
    """Contrast ratio of two colours, 1..21 (WCAG 2.1)."""
    bright, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def luminance(colour: Colour) -> float:
    """Relative luminance of an sRGB colour, 0..1 (WCAG 2.1)."""
    parts = [c / 255 for c in colour]
    red, green, blue = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _in_gamut(lightness: Floats, chroma: float, hue: Floats) -> npt.NDArray[np.uint8]:
    """OKLCH colours as sRGB, (N, 3) uint8; chroma is lowered where sRGB cannot show it."""
    low, high = np.zeros_like(hue), np.full_like(hue, chroma)
    for _ in range(12):
        middle = (low + high) / 2
        linear = _linear(lightness, middle, hue)
        inside = ((linear >= 0) & (linear <= 1)).all(axis=1)
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    linear = np.clip(_linear(lightness, low, hue), 0, 1)
    share = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    found: npt.NDArray[np.uint8] = np.rint(255 * share).astype(np.uint8)
    return found


def _linear(lightness: Floats, chroma: Floats, hue: Floats) -> Floats:
    lab = np.stack((lightness, chroma * np.cos(hue), chroma * np.sin(hue)), axis=1)
    roots = lab @ np.linalg.inv(_matrix("lab")).T
    found: Floats = roots**3 @ np.linalg.inv(_matrix("lms")).T
    return found


def _matrix(name: str) -> Floats:
    """Linear sRGB to cone responses (`lms`), and their cube roots to OKLab (`lab`)."""
    if name == "lms":
        rows = (
            (0.4122214708, 0.5363325363, 0.0514459929),
            (0.2119034982, 0.6806995451, 0.1073969566),
            (0.0883024619, 0.2817188376, 0.6299787005),
        )
    else:
        rows = (
            (0.2104542553, 0.7936177850, -0.0040720468),
            (1.9779984951, -2.4285922050, 0.4505937099),
            (0.0259040371, 0.7827717662, -0.8086757660),
        )
    return np.array(rows)
