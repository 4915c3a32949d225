"""Labels of one frame, whatever file format they come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bddzoo.datasets.rle import encode_rle
from bddzoo.errors import MissingError
from bddzoo.evaluation.bitmask import words

# Attribute of a label -> its bit in the G channel of a bitmask.
FLAGS = {"ignored": 1, "crowd": 2, "occluded": 4, "truncated": 8}
MAX_ID = 0xFFFF


@dataclass
class Instance:
    """One object.

    Attributes:
        category: Class index from 0.
        rle: `{"counts": str, "size": [H, W]}`.
        flags: Bits of `FLAGS`.
        ident: Instance id from 1, unique in its frame.
        score: Of a detection.
    """

    category: int
    rle: dict[str, Any]
    flags: int = 0
    ident: int = 0
    score: float | None = None


@dataclass
class FrameLabels:
    """Labels of one frame.

    Attributes:
        name: File name without folders and suffix, as it was.
        size: (H, W), or None where a file does not say it.
        class_map: sem_seg and drivable: (H, W) uint8.
        instances: ins_seg: objects, in file order.
    """

    name: str
    size: tuple[int, int] | None = None
    class_map: NDArray[np.uint8] | None = None
    instances: list[Instance] = field(default_factory=list)


def instances_of_bitmask(
    bitmask: NDArray[np.uint8], scores: dict[int, float] | None, classes: int, where: str
) -> list[Instance]:
    """Objects of a bitmask by ascending id; with scores, only those that have one.

    Raises:
        MissingError: An instance has two categories, or one that is no class.
    """
    word = words(bitmask).astype(np.int64)
    ids = (((word >> 16) & 0xFF) << 8 | word >> 24).reshape(bitmask.shape[:2])
    out = []
    for ident in np.unique(ids).tolist():
        if not ident or (scores is not None and ident not in scores):
            continue
        mask = ids == ident
        kinds = np.unique(bitmask[mask][:, :2], axis=0)
        if len(kinds) > 1:
            raise MissingError(f"{where}: instance {ident} has pixels of two categories or attribute sets")
        category, flags = int(kinds[0, 0]) - 1, int(kinds[0, 1])
        if not 0 <= category < classes:
            raise MissingError(f"{where}: instance {ident} has category {category + 1}, which is no class")
        score = scores[ident] if scores is not None else None
        out.append(Instance(category, encode_rle(mask), flags, ident, score))
    return out


def paint_instances(frame: FrameLabels, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Bitmask (H, W, 4) of a frame's objects; where they overlap the higher score wins, then the later.

    Instance ids are kept where all of them are valid and unique, and given anew otherwise.

    Raises:
        MissingError: Masks of another size, or more objects than ids.
    """
    from bddzoo.datasets.rle import decode_rle

    number(frame)
    out = np.zeros((*size, 4), np.uint8)
    order = sorted(frame.instances, key=lambda i: -np.inf if i.score is None else i.score)
    for item in order:
        mask = decode_rle(item.rle, f"{frame.name}, instance {item.ident}")
        if mask.shape != size:
            raise MissingError(f"{frame.name}: masks of different sizes, {mask.shape} and {size}")
        out[mask] = (item.category + 1, item.flags, item.ident >> 8, item.ident & 0xFF)
    return out


def number(frame: FrameLabels) -> None:
    """Give the objects of a frame valid ids, keeping those they have if these can be kept."""
    idents = [i.ident for i in frame.instances]
    if len(idents) > MAX_ID:
        raise MissingError(f"{frame.name}: {len(idents)} objects; a bitmask holds {MAX_ID}")
    if len(set(idents)) < len(idents) or not all(1 <= i <= MAX_ID for i in idents):
        for position, item in enumerate(frame.instances, 1):
            item.ident = position
