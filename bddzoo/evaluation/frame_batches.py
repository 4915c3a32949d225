"""Many pairs of frames matched at once, straight from their JSON."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence

from bddzoo.datasets.formats.frames import Frames
from bddzoo.datasets.native import Side
from bddzoo.evaluation.metrics.matching import match_sides
from bddzoo.evaluation.pairing import FramePair

Kinds = Mapping[str | None, tuple[int, bool]]


def match_batch(
    gt: Frames,
    pred: Frames,
    pairs: Sequence[FramePair],
    kinds: Kinds,
    classes: int,
    *,
    boxes: bool = False,
    near: float = 0,
    leading: int = 0,
) -> tuple[list[bytes | None], array[float]]:
    """Packed matches of pairs of frames, None for those that have to be read in Python; see `match_sides`.

    Args:
        gt: Ground truth.
        pred: Predictions.
        pairs: What belongs together.
        kinds: Class of each category, and whether its objects are ignored.
        classes: Number of classes.
        boxes: Compare boxes instead of masks.
        near: At this IoU and above, corners of boxes are compared.
        leading: In so many of the frames.
    """
    truth, predicted = _side(gt, [p.gt for p in pairs], kinds), _side(pred, [p.pred for p in pairs], kinds)
    found = match_sides(truth, predicted, classes, boxes=boxes, near=near, leading=leading)
    return ([None] * len(pairs), array("d")) if found is None else found


def _side(frames: Frames, indices: Sequence[int | None], kinds: Kinds) -> Side:
    known = {name: 2 * index + ignored for name, (index, ignored) in kinds.items() if name is not None}
    if frames.kind == "coco":
        numbers = {number: known[name] for number, name in frames.numbers.items() if name in known}
        return Side(*frames.contents(indices), array("q", numbers.values()), numbers=array("q", numbers))
    names = b"".join(name.encode() + b"\0" for name in known)
    return Side(*frames.contents(indices), array("q", known.values()), names)
