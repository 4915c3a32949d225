"""Labels of one frame, whatever file format they come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bddzoo.datasets.formats.rle import encode_values
from bddzoo.errors import MissingError
from bddzoo.evaluation.bitmask import words
from bddzoo.evaluation.rle import RleError, decode_runs

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
    found: dict[int, Instance] = {}
    for word, rle in encode_values(words(bitmask).reshape(bitmask.shape[:2])).items():
        ident = (word >> 16 & 0xFF) << 8 | word >> 24
        if not ident or (scores is not None and ident not in scores):
            continue
        if ident in found:
            raise MissingError(f"{where}: instance {ident} has pixels of two categories or attribute sets")
        category, flags = (word & 0xFF) - 1, word >> 8 & 0xFF
        if not 0 <= category < classes:
            raise MissingError(f"{where}: instance {ident} has category {category + 1}, which is no class")
        score = scores[ident] if scores is not None else None
        found[ident] = Instance(category, rle, flags, ident, score)
    return [found[ident] for ident in sorted(found)]


def paint_instances(frame: FrameLabels, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Bitmask (H, W, 4) of a frame's objects; where they overlap the higher score wins, then the later.

    Instance ids are kept where all of them are valid and unique, and given anew otherwise.

    Raises:
        MissingError: Masks of another size, or more objects than ids.
    """
    number(frame)
    height, width = size
    order = sorted(frame.instances, key=lambda i: -np.inf if i.score is None else i.score)
    for item in order:
        if tuple(item.rle["size"]) != tuple(size):
            raise MissingError(f"{frame.name}: masks of different sizes, {item.rle['size']} and {size}")
    try:
        runs = decode_runs([i.rle["counts"].encode() for i in order], height * width)
    except RleError as error:
        bad = order[int(error.args[0])]
        raise MissingError(
            f"{frame.name}, instance {bad.ident}: the RLE does not describe {height}x{width} pixels"
        ) from None
    colours = [(i.category + 1) | i.flags << 8 | (i.ident >> 8) << 16 | (i.ident & 0xFF) << 24 for i in order]
    # Runs lie mask by mask, and go down the columns.
    canvas = np.zeros(height * width, "<u4")
    for start, end, mask in zip(runs.starts.tolist(), runs.ends.tolist(), runs.masks.tolist(), strict=True):
        canvas[start:end] = colours[mask]
    return np.ascontiguousarray(canvas.reshape(width, height).T).view(np.uint8).reshape(height, width, 4)


def number(frame: FrameLabels) -> None:
    """Give the objects of a frame valid ids, keeping those they have if these can be kept."""
    idents = [i.ident for i in frame.instances]
    if len(idents) > MAX_ID:
        raise MissingError(f"{frame.name}: {len(idents)} objects; a bitmask holds {MAX_ID}")
    if len(set(idents)) < len(idents) or not all(1 <= i <= MAX_ID for i in idents):
        for position, item in enumerate(frame.instances, 1):
            item.ident = position
