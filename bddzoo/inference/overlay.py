"""Predictions drawn over the picture, to be looked at; the painting itself is `bddzoo.painting`'s."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bddzoo.datasets.classes import INS_SEG, ClassSet
from bddzoo.datasets.formats.scalabel import Instances
from bddzoo.painting.class_map import ALPHA, draw_class_map
from bddzoo.painting.objects import Shown, draw_objects

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Image = npt.NDArray[np.uint8]

MIN_SCORE = 0.3

__all__ = ["ALPHA", "MIN_SCORE", "draw_class_map", "draw_instances"]


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
        instances: At the picture's size. The colour of each is that of its position in them, as in a
            drawing of the bitmask that is written of them.
        alpha: 0 shows only outlines, 1 hides what is below a mask.
        classes: Names of the classes.
        min_score: Instances below this score are not drawn.

    Returns:
        (H, W, 3) uint8, BGR.
    """
    from bddzoo.datasets.formats.mask import paint_ids

    boxes = instances.boxes.tolist()
    shown = [
        Shown(i + 1, classes.names[int(instances.labels[i])], float(instances.scores[i]), box=tuple(boxes[i]))
        for i in range(len(instances))
        if instances.scores[i] >= min_score
    ]
    # What is left out has the lower scores, so it covers nothing that is shown.
    return draw_objects(picture, paint_ids(instances), shown, alpha=alpha)
