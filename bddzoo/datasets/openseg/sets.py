"""What the pixels of label and prediction files mean, by data set.

Files hold the data sets' own ids, networks predict classes from 0; `DataSet.ids` leads from one to the
other. Measured on openseg.pytorch's loaders, testers and trainers at aefc755.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bddzoo.datasets.classes import IGNORED, ClassSet
from bddzoo.datasets.openseg.classes import class_set
from bddzoo.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_CITYSCAPES = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
# COCO-Stuff numbers 91 things and 91 stuff classes, of which these were never used.
_COCO_UNUSED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)


@dataclass(frozen=True)
class DataSet:
    """One data set, as its files spell it.

    Attributes:
        id: Name in the registry and on the command line.
        title: Name for people.
        ids: Value of each class in label and prediction files.
        void: Values of label files that are known to be no class.
        labels: What a label file holds, for messages.
        images: Pictures of each split as published; splits whose number is not known are absent.
    """

    id: str
    title: str
    ids: tuple[int, ...]
    void: frozenset[int]
    labels: str
    images: Mapping[str, int] = field(default_factory=dict)

    @property
    def classes(self) -> ClassSet:
        """Names and colours."""
        return class_set(self.id)

    def foreign(self, values: Iterable[int]) -> list[int]:
        """Those values that a label file of this data set cannot hold, in order."""
        known = self.void | set(self.ids)
        return sorted({int(v) for v in values} - known)

    def explain(self, values: Iterable[int]) -> str:
        """Whose label files hold such values, in words; empty when nobody's do.

        Args:
            values: All the values of a label file.
        """
        seen = {int(v) for v in values}
        if self.id == "cityscapes" and IGNORED in seen and seen <= {*range(19), IGNORED}:
            return "it looks like labelTrainIds; openseg reads labelIds"
        others = [d.title for d in could_be(seen) if d.id != self.id]
        return f"it could be of {' or '.join(others)}" if others else ""

    def to_files(self, class_map: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """A map of classes in the values of files.

        Args:
            class_map: (H, W) uint8 class ids.

        Returns:
            (H, W) uint8; what is no class stays 255.
        """
        import numpy as np

        table = np.full(256, IGNORED, np.uint8)
        table[: len(self.ids)] = self.ids
        return table[class_map]

    def to_classes(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """A label or prediction file's pixels as classes.

        Args:
            pixels: (H, W) uint8 as read from the file.

        Returns:
            (H, W) uint8 class ids; 255 for everything that is no class.
        """
        import numpy as np

        table = np.full(256, IGNORED, np.uint8)
        table[list(self.ids)] = np.arange(len(self.ids))
        return table[pixels]


DATA_SETS: dict[str, DataSet] = {
    found.id: found
    for found in (
        DataSet(
            "cityscapes",
            "Cityscapes",
            _CITYSCAPES,
            frozenset(range(34)) - set(_CITYSCAPES),
            "labelIds, 0 to 33",
            {"train": 2975, "val": 500, "test": 1525},
        ),
        DataSet(
            "ade20k",
            "ADE20K",
            tuple(range(1, 151)),
            frozenset({0}),
            "class + 1, 0 for void",
            {"train": 20210, "val": 2000},
        ),
        DataSet("lip", "LIP", tuple(range(20)), frozenset({IGNORED}), "class, 255 for void", {"val": 10000}),
        DataSet(
            "pascal_voc",
            "Pascal-VOC",
            tuple(range(21)),
            frozenset({IGNORED}),
            "class, 255 for void",
            {"val": 1449},
        ),
        DataSet(
            "pascal_context",
            "Pascal-Context",
            tuple(range(1, 60)),
            frozenset({0}),
            "class + 1, 0 for background",
            {"train": 4998, "val": 5105},
        ),
        DataSet(
            "coco_stuff",
            "COCO-Stuff-10K",
            tuple(i for i in range(1, 183) if i not in _COCO_UNUSED),
            frozenset({0}),
            "COCO-Stuff's ids, 0 for unlabelled",
            {"train": 9000, "val": 1000},
        ),
    )
}
"""The six data sets by id."""


def could_be(values: Iterable[int]) -> list[DataSet]:
    """The data sets whose label files may hold all these values, and 255, which many write for void."""
    seen = {int(v) for v in values} - {IGNORED}
    return [found for found in DATA_SETS.values() if not found.foreign(seen)]


def scheme_hint(values: Iterable[int]) -> str | None:
    """Whose ids a label file with such values could hold, for a message; None where nobody's fit."""
    fitting = [f"{found.title} ({found.labels})" for found in could_be(values)]
    return f"it could hold ids of {' or '.join(fitting)}" if fitting else None


def data_set(name: str) -> DataSet:
    """The data set of that id.

    Raises:
        UsageError: There is none.
    """
    found = DATA_SETS.get(name)
    if found is None:
        raise UsageError(f"no layout is known for data set '{name}'", hint=f"known: {', '.join(DATA_SETS)}")
    return found
