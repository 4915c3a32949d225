"""Panoptic maps over images: stuff in the colours of its classes, things each in one of its own."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bddzoo.datasets.classes import PAN_SEG
from bddzoo.datasets.formats.panoptic import PanopticMap
from bddzoo.painting.class_map import draw_class_map
from bddzoo.painting.objects import ALPHA, Shown, draw_objects

Image = npt.NDArray[np.uint8]


def draw_panoptic(image: Image, found: PanopticMap, *, alpha: float = ALPHA) -> Image:
    """Draw a panoptic map over an image.

    Args:
        image: (H, W, 3) uint8, BGR.
        found: At the image's size.
        alpha: 0 shows only outlines, 1 hides what is below.

    Returns:
        (H, W, 3) uint8, BGR.
    """
    things = np.append(False, found.things)[found.ids]
    stuff = np.where(things, np.uint8(255), found.class_map())
    drawn = draw_class_map(image, stuff, alpha=alpha, classes=PAN_SEG)
    names = [PAN_SEG.names[index] for index in found.classes.tolist()]
    shown = [Shown(int(i) + 1, names[i]) for i in np.flatnonzero(found.things)]
    return draw_objects(drawn, found.ids * things, shown, alpha=alpha)
