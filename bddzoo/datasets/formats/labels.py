"""Labels of one frame, whatever file format they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bddzoo.datasets.classes import CLASS_SETS, DRIVABLE, IGNORED, PAN_STUFF, ClassSet
from bddzoo.datasets.formats.rle import encode_values, paint_masks
from bddzoo.datasets.openseg import DATA_SETS, class_set
from bddzoo.errors import MissingError
from bddzoo.lazy_numpy import np

if TYPE_CHECKING:
    import numpy.typing as npt

# Attribute of a label -> its bit in the G channel of a bitmask.
FLAGS = {"ignored": 1, "crowd": 2, "occluded": 4, "truncated": 8}
NEUTRAL = FLAGS["ignored"] | FLAGS["crowd"]
"""Of an object with one of these bits nothing is counted."""
MAX_ID = 0xFFFF
# Value of `FrameLabels.classes` where there is neither a class nor `IGNORED`.
NOTHING = 254
SIZE = (720, 1280)
"""Height and width of BDD100K's images, for frames that do not say theirs."""


class _ClassSets(dict[str, ClassSet]):
    """Classes by task, or by data set where that is not BDD100K; the latter are read when asked for."""

    def __missing__(self, name: str) -> ClassSet:
        return class_set(name)


CLASSES: Mapping[str, ClassSet] = _ClassSets(CLASS_SETS)
SEMANTIC = ("sem_seg", "drivable", *DATA_SETS)


@dataclass
class Item:
    """One object of a frame.

    Attributes:
        ident: Its value in the map of ids, from 1; 0 where the file has none.
        category: Class index from 0.
        flags: Bits of `FLAGS`.
        score: Of a detection.
        rle: Its mask, `{"counts": str, "size": [H, W]}`; None where it is read off the map of ids.
        box: Its box in pixels, the second corner outside; None where it has a mask.
    """

    ident: int
    category: int
    flags: int = 0
    score: float | None = None
    rle: dict[str, Any] | None = None
    box: tuple[float, float, float, float] | None = None

    @property
    def counts(self) -> bool:
        """Whether it is scored: it is neither ignored nor a crowd."""
        return not self.flags & NEUTRAL


@dataclass
class FrameLabels:
    """Labels of one frame.

    Attributes:
        name: File name without folders and suffix.
        task: Task, or data set of openseg.pytorch.
        size: (H, W), or None where a file does not say it.
        class_map: sem_seg, drivable: (H, W) uint8; None for objects.
        items: ins_seg, pan_seg, det: objects, in file order.
        where: File and frame, for messages.
    """

    name: str
    task: str
    size: tuple[int, int] | None = None
    class_map: npt.NDArray[np.uint8] | None = None
    items: list[Item] = field(default_factory=list)
    where: str = ""
    painted: npt.NDArray[np.uint16] | None = field(default=None, repr=False)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.size or SIZE

    @property
    def ids(self) -> npt.NDArray[np.uint16]:
        """Id of the object at each pixel, (H, W) uint16, 0 for none.

        Where objects overlap the higher score wins, then the later one.

        Raises:
            MissingError: Masks of different sizes, or more objects than ids.
        """
        if self.painted is None:
            self.number()
            order = sorted(self.items, key=lambda i: -np.inf if i.score is None else i.score)
            masks = [(item.rle, item.ident) for item in order if item.rle is not None]
            self.painted = paint_masks(masks, self.shape, 0, np.uint16, self.where)
        return self.painted

    def number(self) -> None:
        """Give the objects valid ids, keeping those they have if all can be kept.

        Raises:
            MissingError: There are more objects than ids.
        """
        idents = [i.ident for i in self.items]
        if len(idents) > MAX_ID:
            raise MissingError(f"{self.where}: {len(idents)} objects; a bitmask holds {MAX_ID}")
        if len(set(idents)) < len(idents) or not all(1 <= i <= MAX_ID for i in idents):
            for position, item in enumerate(self.items, 1):
                item.ident = position

    def need_rles(self) -> None:
        """Encode the masks of the objects where they are not yet."""
        if any(item.rle is None for item in self.items):
            masks = encode_values(self.ids)
            for item in self.items:
                item.rle = item.rle or masks[item.ident]

    def bitmask(self) -> npt.NDArray[np.uint8]:
        """Bitmask (H, W, 4) uint8: R = category + 1, G = flags, B << 8 | A = id."""
        ids = self.ids
        table = np.zeros((MAX_ID + 1, 4), np.uint8)
        for item in self.items:
            table[item.ident] = item.category + 1, item.flags, item.ident >> 8, item.ident & 0xFF
        return np.take(table, ids, axis=0)

    def classes(self, min_score: float = 0.0) -> npt.NDArray[np.uint8]:
        """Class of each pixel: (H, W) uint8, `IGNORED` where it does not count, `NOTHING` for none.

        Args:
            min_score: Detections below this score are left out.
        """
        if self.class_map is not None:
            known = len(CLASSES[self.task])
            table = np.full(256, IGNORED, np.uint8)
            table[:known] = np.arange(known)
            if self.task == "drivable":
                table[DRIVABLE.index("background")] = NOTHING
            return np.take(table, self.class_map)
        table = np.full(MAX_ID + 1, NOTHING, np.uint8)
        ids = self.ids
        for item in self.items:
            if item.score is None or item.score >= min_score:
                table[item.ident] = item.category if item.counts else IGNORED
        return np.take(table, ids)


def flag_attributes(flags: int) -> dict[str, bool] | None:
    """Bits of `FLAGS` as the attributes of a label; None where there are none."""
    return {key: bool(flags & bit) for key, bit in FLAGS.items()} if flags else None


def is_thing(task: str, category: int) -> bool:
    """Whether a class has single objects, which differ in colour."""
    return task in ("ins_seg", "det") or (task == "pan_seg" and category >= PAN_STUFF)


def read_items(bitmask: npt.NDArray[np.uint8], task: str, where: str) -> list[Item]:
    """Objects of a bitmask (H, W, 4) by ascending id, without their masks.

    Raises:
        MissingError: An object has pixels of two categories or attribute sets, or of no class.
    """
    words = np.ascontiguousarray(bitmask).view("<u4").reshape(-1)
    starts = np.flatnonzero(np.append(True, words[1:] != words[:-1])) if words.size else words
    found: dict[int, Item] = {}
    for word in np.unique(words[starts]).tolist():
        ident, category, flags = (word >> 16 & 0xFF) << 8 | word >> 24, word & 0xFF, word >> 8 & 0xFF
        if not ident:
            continue
        if ident in found:
            raise MissingError(
                f"{where}: instance {ident} has pixels of two categories or attribute sets",
                hint="an id in B << 8 | A stands for one object",
            )
        if not 1 <= category <= len(CLASSES[task]):
            hint = "it may be panoptic: -t pan_seg" if task == "ins_seg" else None
            raise MissingError(
                f"{where}: instance {ident} has category {category}, which is not a class of {task}",
                hint=hint,
            )
        found[ident] = Item(ident, category - 1, flags)
    return [found[ident] for ident in sorted(found)]
