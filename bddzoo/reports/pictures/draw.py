"""One frame to one picture: colour maps and overlays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bddzoo.datasets.classes import IGNORED, Colour
from bddzoo.datasets.formats.labels import CLASSES, FrameLabels, Item, is_thing
from bddzoo.datasets.formats.png import encode_palette, encode_png
from bddzoo.painting.class_map import draw_class_map
from bddzoo.painting.colours import object_colour
from bddzoo.painting.objects import Shown, draw_objects

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Style:
    """How labels are drawn.

    Attributes:
        alpha: How much colour covers the picture, 0..1.
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


def overlay(picture: Image, planes: FrameLabels, style: Style) -> Image:
    """Labels over their picture.

    Args:
        picture: (H, W, 3) uint8, BGR.
        planes: Labels of the same size.
        style: How.

    Returns:
        (H, W, 3) uint8, BGR.
    """
    classes = CLASSES[planes.task]
    if planes.class_map is not None:
        return draw_class_map(
            picture,
            planes.class_map,
            alpha=style.alpha,
            classes=classes,
            outlines=style.outlines,
            names=style.names,
        )
    planes.number()
    shown = [
        Shown(
            item.ident,
            _name(item, classes.names[item.category]),
            item.score,
            colour_of(planes.task, item, style.seed),
        )
        for item in planes.items
        if item.score is None or item.score >= style.min_score
    ]
    return draw_objects(
        picture,
        planes.ids,
        shown,
        alpha=style.alpha,
        outlines=style.outlines,
        boxes=style.boxes,
        names=style.names,
        scores=style.scores,
    )


def _name(item: Item, name: str) -> str:
    return name if item.counts else f"({name})"


def colour_of(task: str, item: Item, seed: int) -> Colour:
    """Colour of an object: its class's for stuff, its own for things."""
    if is_thing(task, item.category):
        return object_colour(item.ident, seed)
    return CLASSES[task].palette[item.category]


def colour_map(planes: FrameLabels, seed: int, path: Path) -> bytes:
    """PNG of labels in colours: the official palettes for classes, one colour each for objects.

    Ignored pixels and the background of objects are black. A palette PNG where that holds all colours,
    which is several times smaller and faster to write, else RGB.

    Args:
        planes: Labels of a frame.
        seed: Of the colours of objects.
        path: Name of the file, for messages.
    """
    import numpy as np

    if planes.class_map is not None:
        palette = np.zeros((256, 3), np.uint8)
        palette[: len(CLASSES[planes.task])] = CLASSES[planes.task].palette
        palette[IGNORED] = 0
        return encode_palette(planes.class_map, palette, path)
    planes.number()
    colours = [(0, 0, 0), *(colour_of(planes.task, item, seed) for item in planes.items)]
    idents = [item.ident for item in planes.items]
    if len(colours) <= 256:
        table = np.zeros(1 << 16, np.uint8)
        table[idents] = np.arange(1, len(colours))
        return encode_palette(np.take(table, planes.ids), np.array(colours, np.uint8), path)
    wide = np.zeros((1 << 16, 3), np.uint8)
    wide[idents] = np.array(colours[1:], np.uint8)
    return encode_png(np.take(wide, planes.ids, axis=0), path)
