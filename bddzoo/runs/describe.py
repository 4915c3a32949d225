"""What is in an image by a model's prediction: drawn over it, and as a row of data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from bddzoo.datasets.classes import ClassSet
from bddzoo.datasets.decode import read_image
from bddzoo.datasets.formats.scalabel import Detections, PanopticMap, Tag
from bddzoo.datasets.images import Sample
from bddzoo.painting.class_map import Style, draw_class_map, write_plate
from bddzoo.painting.objects import draw_instances, draw_panoptic

Image = npt.NDArray[np.uint8]


def describe(frame: Sample, result: Any, classes: ClassSet, style: Style) -> tuple[Image, dict[str, Any]]:
    """Draw a prediction over its image, and say what is in it.

    Args:
        frame: The image. It is read again rather than carried along: decoding costs less than a queue of
            images would hold.
        result: What the model predicted of it.
        classes: The classes of the model.
        style: How it is drawn.

    Returns:
        (H, W, 3) uint8, BGR; and name, width, height, and what there is: shares of classes, or numbers of
        objects, or both, or the frame's attribute.
    """
    image = read_image(frame.image).pixels
    draw = next(draw for kind, draw in _DRAWN.items() if isinstance(result, kind))
    drawn, found = draw(image, result, classes, style)
    return drawn, {"name": frame.name, "width": image.shape[1], "height": image.shape[0], **found}


def _class_map(
    image: Image, class_map: Image, classes: ClassSet, style: Style
) -> tuple[Image, dict[str, Any]]:
    drawn = draw_class_map(image, class_map, classes, style)
    return drawn, {"classes": _shares(class_map, classes)}


def _objects(
    image: Image, result: Detections, classes: ClassSet, style: Style
) -> tuple[Image, dict[str, Any]]:
    drawn = draw_instances(image, result, classes, style)
    shown = result.labels[result.scores >= style.min_score]
    return drawn, {"instances": len(result), "drawn": _numbers(shown, classes)}


def _panoptic(
    image: Image, result: PanopticMap, classes: ClassSet, style: Style
) -> tuple[Image, dict[str, Any]]:
    things = result.classes[result.things]
    found = {"classes": _shares(result.class_map(), classes), "drawn": _numbers(things, classes)}
    return draw_panoptic(image, result, style), {"instances": len(things), **found}


def _tag(image: Image, tag: Tag, classes: ClassSet, style: Style) -> tuple[Image, dict[str, Any]]:
    drawn = image.copy()
    colour = classes.palette[classes.index(tag.name)]
    write_plate(drawn, f"{tag.attribute}: {tag.name} {tag.score:.2f}", [(0, 0)], colour)
    return drawn, {"attributes": {tag.attribute: tag.name}, "score": round(tag.score, 4)}


def _shares(class_map: Image, classes: ClassSet) -> dict[str, float]:
    counts = np.bincount(class_map.ravel(), minlength=256)[: len(classes)]
    shares = counts / class_map.size
    return {classes.names[i]: round(float(shares[i]), 4) for i in np.argsort(-counts) if counts[i]}


def _numbers(labels: npt.NDArray[np.int64], classes: ClassSet) -> dict[str, int]:
    return {classes.names[i]: int((labels == i).sum()) for i in np.unique(labels)}


_DRAWN: dict[type, Callable[..., tuple[Image, dict[str, Any]]]] = {
    np.ndarray: _class_map,
    Detections: _objects,
    PanopticMap: _panoptic,
    Tag: _tag,
}
