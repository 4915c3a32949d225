"""Objects over images: each with a colour of its own, an outline, a name and a score; panoptic maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from bddzoo.datasets.classes import INS_SEG, PAN_SEG, ClassSet, Colour
from bddzoo.datasets.formats.scalabel import Detections, Instances, PanopticMap
from bddzoo.painting.colouring import (
    COUNT,
    PLAIN,
    Box,
    Style,
    draw_class_map,
    lighter,
    object_colour,
    write_plate,
)

Image = npt.NDArray[np.uint8]
Ids = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class Shown:
    """An object that is to be drawn.

    Attributes:
        ident: Its value in the map of ids, from 1.
        name: What is written on it; nothing is where it is empty.
        score: Of a detection, 0..1; objects with a higher one are named first.
        colour: Of the object; its id's in the palette where None.
        box: Its box; the box of its pixels where None.
    """

    ident: int
    name: str = ""
    score: float | None = None
    colour: Colour | None = None
    box: tuple[float, float, float, float] | None = None


def draw_objects(image: Image, ids: Ids, shown: Sequence[Shown], style: Style = PLAIN) -> Image:
    """Draw objects over an image.

    Args:
        image: (H, W, 3) uint8, BGR.
        ids: (H, W) uint16, which object a pixel belongs to; 0 for none.
        shown: The objects to draw; pixels of others stay as they are.
        style: How.

    Returns:
        (H, W, 3) uint8, BGR. A name that would cover another one is left out.
    """
    colours = {item.ident: item.colour or object_colour(item.ident, style.seed) for item in shown}
    fill, edge = np.zeros((COUNT, 3), np.uint8), np.zeros((COUNT, 3), np.uint8)
    known = np.zeros(COUNT, np.uint8)
    for ident, colour in colours.items():
        fill[ident], edge[ident], known[ident] = colour[::-1], lighter(colour)[::-1], 1
    drawn = image.copy()
    if shown:
        where = np.take(known, ids)
        blended = cv2.addWeighted(image, 1 - style.alpha, np.take(fill, ids, axis=0), style.alpha, 0)
        cv2.copyTo(blended, where, drawn)
        if style.outlines:
            rim = _rims(ids) & where.view(np.bool_)
            drawn[rim] = np.take(edge, ids[rim], axis=0)
    if not shown or not (style.boxes or style.names):
        return drawn
    found = bounds(ids)
    places = {item.ident: item.box or found.get(item.ident) for item in shown}
    thickness = max(1, round(min(image.shape[:2]) / 500))
    if style.boxes:
        for ident, box in places.items():
            if box is not None:
                x1, y1, x2, y2 = (round(v) for v in box)
                light = lighter(colours[ident])[::-1]
                cv2.rectangle(drawn, (x1, y1), (x2 - 1, y2 - 1), light, thickness, cv2.LINE_AA)
    if style.names:
        _name(drawn, shown, places, colours, style.scores)
    return drawn


def _name(
    drawn: Image,
    shown: Sequence[Shown],
    places: dict[int, tuple[float, float, float, float] | None],
    colours: dict[int, Colour],
    scores: bool,
) -> None:
    """Names last, so that nothing covers them; the best and the largest first, for the best places."""

    def rank(item: Shown) -> tuple[float, float]:
        box = places[item.ident]
        area = (box[2] - box[0]) * (box[3] - box[1]) if box else 0.0
        return (-(item.score if item.score is not None else 1.0), -area)

    taken: list[Box] = []
    for item in sorted(shown, key=rank):
        box = places[item.ident]
        words = [item.name] if item.name else []
        if scores and item.score is not None:
            words.append(f"{item.score:.2f}")
        if box is None or not words:
            continue
        plate = write_plate(drawn, " ".join(words), _corners(box), colours[item.ident], taken)
        if plate is not None:
            taken.append(plate)


def _rims(ids: Ids) -> npt.NDArray[np.bool_]:
    """Pixels with a neighbour above, below, left or right that belongs to another object."""
    rim = np.zeros(ids.shape, np.bool_)
    across = ids[:, :-1] != ids[:, 1:]
    down = ids[:-1] != ids[1:]
    rim[:, :-1] = across
    rim[:, 1:] |= across
    rim[:-1] |= down
    rim[1:] |= down
    return rim


def bounds(ids: Ids) -> dict[int, Box]:
    """Box of the pixels of each object, background left out.

    Args:
        ids: (H, W) uint16; 0 is background.
    """
    height, width = ids.shape
    # Runs along the rows; their number is that of borders, not of pixels.
    change = np.ones((height, width), np.bool_)
    change[:, 1:] = ids[:, 1:] != ids[:, :-1]
    starts = np.flatnonzero(change)
    values = ids.reshape(-1)[starts]
    ends = np.append(starts[1:], ids.size)
    some = values > 0
    starts, ends, values = starts[some], ends[some], values[some]
    if not values.size:
        return {}
    order = np.argsort(values, kind="stable")
    starts, ends, values = starts[order], ends[order], values[order]
    firsts = np.flatnonzero(np.append(True, values[1:] != values[:-1]))
    rows = starts // width
    sides = (
        np.minimum.reduceat(starts % width, firsts),
        np.minimum.reduceat(rows, firsts),
        np.maximum.reduceat((ends - 1) % width, firsts) + 1,
        np.maximum.reduceat(rows, firsts) + 1,
    )
    boxes = zip(*(side.tolist() for side in sides), strict=True)
    return dict(zip(values[firsts].tolist(), boxes, strict=True))


def _corners(box: tuple[float, float, float, float]) -> list[tuple[int, int]]:
    """Where the name of an object may stand: above it, then further and further down its side."""
    x1, y1, x2, y2 = (int(v) for v in box)
    step = max(1, (y2 - y1) // 6)
    return [(x1, y1), *((x1, y) for y in range(y1 + step, y2 + 2 * step, step)), (x2, y1), (x2, y2)]


def draw_instances(
    image: Image, instances: Detections, classes: ClassSet = INS_SEG, style: Style = PLAIN
) -> Image:
    """Draw objects over an image: mask and outline, or box; class name and score, the best on top.

    Args:
        image: (H, W, 3) uint8, BGR.
        instances: At the image's size. The colour of each is that of its position in them, as in a
            drawing of the bitmask that is written of them.
        classes: Names of the classes.
        style: How; boxes are drawn of what has no masks.

    Returns:
        (H, W, 3) uint8, BGR.
    """
    from bddzoo.datasets.formats.mask import paint_ids

    boxes = instances.boxes.tolist()
    shown = [
        Shown(i + 1, classes.names[int(instances.labels[i])], float(instances.scores[i]), box=tuple(boxes[i]))
        for i in range(len(instances))
        if instances.scores[i] >= style.min_score
    ]
    # What is left out has the lower scores, so it covers nothing that is shown.
    ids = paint_ids(instances) if isinstance(instances, Instances) else np.zeros(image.shape[:2], np.uint16)
    return draw_objects(image, ids, shown, replace(style, boxes=not isinstance(instances, Instances)))


def draw_panoptic(image: Image, found: PanopticMap, style: Style = PLAIN) -> Image:
    """Draw a panoptic map over an image: stuff in the colours of its classes, things in ones of their own.

    Args:
        image: (H, W, 3) uint8, BGR.
        found: At the image's size.
        style: How.

    Returns:
        (H, W, 3) uint8, BGR.
    """
    things = np.append(False, found.things)[found.ids]
    stuff = np.where(things, np.uint8(255), found.class_map())
    drawn = draw_class_map(image, stuff, PAN_SEG, style)
    names = [PAN_SEG.names[index] for index in found.classes.tolist()]
    shown = [Shown(int(i) + 1, names[i]) for i in np.flatnonzero(found.things)]
    return draw_objects(drawn, found.ids * things, shown, style)
