"""Boxes of frames, from Scalabel JSON and COCO JSON, and from one to the other.

Scalabel's `box2d` has inclusive corners: x2 and y2 are the last pixels inside, so a box is x2 - x1 + 1 wide.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from bddzoo.datasets.classes import DET
from bddzoo.datasets.formats.coco import CocoFrames, coco_keys, write_annotations
from bddzoo.datasets.formats.frames import Frames, JsonFrames, Pixel, category_kinds, coco_kind, is_true
from bddzoo.datasets.formats.labels import FLAGS, SIZE, flag_attributes
from bddzoo.datasets.formats.other_task import refuse_other_task
from bddzoo.datasets.formats.scalabel import FrameWriter, label_dict
from bddzoo.datasets.sources import find_predictions, open_source
from bddzoo.errors import MissingError
from bddzoo.lazy_numpy import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Every category of detection: its class, and whether it is an ignored one.
Kinds = Mapping[str | None, tuple[int, bool]]
CLASS_OF: Kinds = category_kinds(DET.names)
# What only the labels of 2018 have.
_OF_2018 = frozenset({"lane", "drivable area"})


class Box2d(msgspec.Struct, gc=False):
    """Corners in pixels; x2 and y2 are the last pixels inside."""

    x1: Pixel
    y1: Pixel
    x2: Pixel
    y2: Pixel


class Flags(msgspec.Struct, gc=False):
    """Attributes of a label, as the file has them."""

    ignored: Any = None
    crowd: Any = None
    occluded: Any = None
    truncated: Any = None


class _BoxLabel(msgspec.Struct, gc=False):
    id: Any = None
    category: str | None = None
    box2d: Box2d | None = None
    score: float | None = None
    attributes: Flags | None = None
    rle: Any = None
    poly2d: Any = None


@dataclass(frozen=True, slots=True)
class Boxes:
    """Boxes of one frame.

    Attributes:
        categories: Category of each, as the file calls it.
        xywh: (N, 4) float64, left, top, width and height in pixels.
        flags: Bits of `FLAGS` of each.
        scores: Score of each, None for labels.
        boxless: Categories of the labels that have no box, and whether they have a mask.
        ids: Id of each in the file, unread.
    """

    categories: list[str | None]
    xywh: NDArray[np.float64]
    flags: list[int]
    scores: list[float | None]
    boxless: list[tuple[str | None, bool]] = field(default_factory=list)
    ids: list[Any] = field(default_factory=list)


def boxes_of(frames: Frames, index: int) -> Boxes:
    """Boxes of one frame of either format.

    Raises:
        MissingError: The frame cannot be read.
    """
    if isinstance(frames, CocoFrames):
        found = list(frames.boxes(index))
        xywh = np.array([box for _, box, _, _ in found], np.float64).reshape(-1, 4)
        return Boxes([f[0] for f in found], xywh, [f[2] for f in found], [f[3] for f in found])
    assert isinstance(frames, JsonFrames)
    labels = frames.labels(index, _BoxLabel)
    boxless = [(k.category, bool(k.rle or k.poly2d)) for k in labels if k.box2d is None]
    if boxless:
        labels = [label for label in labels if label.box2d is not None]
    return Boxes(
        [label.category for label in labels],
        xywh_of(label.box2d for label in labels),
        [0 if label.attributes is None else flag_bits(label.attributes) for label in labels],
        [label.score for label in labels],
        boxless,
        [label.id for label in labels],
    )


def xywh_of(boxes: Iterable[Box2d | None]) -> NDArray[np.float64]:
    """(N, 4) left, top, width and height in pixels, of those that there are."""
    xywh = np.array([(b.x1, b.y1, b.x2, b.y2) for b in boxes if b], np.float64).reshape(-1, 4)
    xywh[:, 2:] = xywh[:, 2:] - xywh[:, :2] + 1
    return xywh


def flag_bits(flags: Flags) -> int:
    """Bits of `FLAGS`."""
    values = (flags.ignored, flags.crowd, flags.occluded, flags.truncated)
    if not any(values):
        return 0
    return sum(bit for value, bit in zip(values, FLAGS.values(), strict=True) if value and is_true(value))


def class_of(category: str | None, where: str, kinds: Kinds = CLASS_OF) -> tuple[int, bool]:
    """Class that a category stands for, and whether its objects are ignored.

    Args:
        category: As the file calls it.
        where: File and frame, for messages.
        kinds: What the categories of the task are.

    Raises:
        MissingError: The task has no such category.
    """
    found = kinds.get(category)
    if found is None:
        hint = (
            "the labels of 2018 hold lanes and drivable areas, too: give those of det_20"
            if category in _OF_2018
            else "known are " + ", ".join(str(name) for name in kinds)
        )
        raise MissingError(f"{where}: unknown category {category!r}", hint=hint)
    return found


def check_boxes(found: Boxes, where: str, kinds: Kinds, hint: str) -> None:
    """Refuse what would be scored or drawn as if it were not there.

    Raises:
        MissingError: A label has a mask and no box, or no box and a category that is not one of `kinds`; or
            all of several boxes are in shares of the image, not in pixels.
    """
    # A box of the whole image in shares of it is 1 + 1 wide.
    if len(found.xywh) > 2 and found.xywh.max() <= 2:
        raise MissingError(
            f"{where}: not one box reaches beyond the first pixel",
            hint="coordinates are in pixels, not in shares of the image",
        )
    for category, masked in found.boxless:
        class_of(category, where, kinds)
        if masked:
            raise MissingError(f"{where}: a mask instead of a box (category {category})", hint=hint)


def open_boxes(path: Path) -> Frames:
    """Frames of Scalabel JSON, or of a whole COCO file.

    Raises:
        MissingError: There is no JSON file, or it cannot be read, or is of another task.
    """
    source = open_source(find_predictions(path, "det", None)[0])
    members = source.with_suffix(".json")
    if not members:
        raise MissingError(f"{path} has no JSON files", hint="boxes come as JSON")
    if len(members) == 1 and coco_kind(source, members[0]):
        return CocoFrames(source, members[0])
    frames = JsonFrames(source, members)
    for (_, name), count in Counter(zip(frames.videos, frames.names, strict=True)).items():
        if count > 1:
            raise MissingError(f"{path} has frame {name} more than once", hint="keep one of them")
    refuse_other_task("det", frames)
    return frames


def convert_boxes(frames: Frames, target: Path, to: str) -> int:
    """Write boxes in another format; returns the number of frames.

    Args:
        frames: What to write.
        target: JSON file to write.
        to: `boxes` (Scalabel) or `coco`.

    Raises:
        MissingError: A category that detection does not have; nothing is written.
    """
    if to == "coco":
        return write_annotations(_annotations(frames), target, DET)
    with FrameWriter(target) as writer:
        for at, name in enumerate(frames.names):
            labels = [
                label_dict(
                    score=score,
                    category=DET.names[category],
                    attributes=flag_attributes(flags),
                    box2d={"x1": x, "y1": y, "x2": x + w - 1, "y2": y + h - 1},
                )
                for category, (x, y, w, h), flags, score in labelled_boxes(frames, at)
            ]
            writer.add(name, labels)
    return writer.frames


def labelled_boxes(frames: Frames, index: int) -> list[tuple[int, list[float], int, float | None]]:
    """Class, x, y, w, h, flags and score of each box of a frame.

    Raises:
        MissingError: The frame cannot be read, or a label is not one of detection.
    """
    found, where = boxes_of(frames, index), frames.where(index)
    check_boxes(found, where, CLASS_OF, "masks are labels of -t ins_seg")
    entries = []
    for category, xywh, flags, score in zip(
        found.categories, found.xywh.tolist(), found.flags, found.scores, strict=True
    ):
        kind, ignored = class_of(category, where)
        entries.append((kind, xywh, flags | FLAGS["ignored"] * ignored, score))
    return entries


def _annotations(frames: Frames) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """COCO's image and annotations of each frame, without their ids."""
    height, width = SIZE
    for at, name in enumerate(frames.names):
        annotations = [
            {**coco_keys(category, flags, score), "bbox": xywh, "area": xywh[2] * xywh[3]}
            for category, xywh, flags, score in labelled_boxes(frames, at)
        ]
        yield {"file_name": name, "height": height, "width": width}, annotations
