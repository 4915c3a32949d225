"""The six data sets of openseg.pytorch's zoo: classes, values in their files, and folders.

The names and colours of the classes are those that the data sets' authors and the field's toolboxes use; they
are in `openseg_classes.json`, in the order of the class ids. Label and prediction files hold the data sets'
own ids, networks predict classes from 0; `DataSet.ids` leads from one to the other. Measured on its
loaders, testers and trainers at aefc755. Its flat layout, and Cityscapes as it is published:

ROOT/{train,val}/image/*            images; COCO-Stuff's generator calls the folder images/
ROOT/{train,val}/label/*.png        labels of the same stem
ROOT/leftImg8bit/SPLIT/CITY/*_leftImg8bit.png, ROOT/gtFine/SPLIT/CITY/*_gtFine_labelIds.png
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bddzoo.datasets.classes import BDD_LAYOUT, CLASS_SETS, IGNORED, SEM_SEG, ClassSet
from bddzoo.datasets.images import LABEL_IDS, SPLITS, DataFolder
from bddzoo.errors import MissingError, UsageError

_FILE = Path(__file__).with_name("openseg_classes.json")


def class_set(dataset: str) -> ClassSet:
    """Classes and palette of a data set.

    Args:
        dataset: `cityscapes`, `ade20k`, `lip`, `pascal_voc`, `pascal_context`, `coco_stuff` or
            `mapillary` (classes alone).

    Raises:
        UsageError: No such data set.
    """
    found = _table().get(dataset)
    if found is None:
        raise UsageError(
            f"no classes are known for data set '{dataset}'", hint=f"known: {', '.join(_table())}"
        )
    names = tuple(str(name) for name, _ in found)
    palette = tuple((int(c[:2], 16), int(c[2:4], 16), int(c[4:], 16)) for _, c in found)
    return ClassSet("sem_seg", names, palette)


def class_set_of(model: Model) -> ClassSet:
    """Classes and palette of what a model predicts: its data set's, or BDD100K's.

    Raises:
        UsageError: Its protocol names a data set whose classes are not known, or its network
            predicts another number of classes.
    """
    dataset = model.dataset
    what = model.method.attribute or model.task
    if what not in CLASS_SETS:
        raise UsageError(f"model {model.id}: no image is labelled for {what} here")
    # Synthetic street scenes have BDD100K's classes, which in their order are Cityscapes'.
    street = what != SEM_SEG.task or dataset.startswith(BDD_LAYOUT)
    classes = CLASS_SETS[what] if street else class_set(dataset)
    if model.network is not None and model.network.num_classes != len(classes):
        raise UsageError(
            f"model {model.id} predicts {model.network.num_classes} classes, {dataset} has {len(classes)}",
            hint="it was trained for another data set",
        )
    return classes


def in_order(names: Collection[str]) -> list[str]:
    """Class names in the order of the data set that has them all; as they are where none has."""
    for classes in (*CLASS_SETS.values(), *map(class_set, _table())):
        if set(names) <= set(classes.names):
            return sorted(names, key=classes.names.index)
    return list(names)


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(_FILE.read_text(encoding="utf-8"))
    return table


if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from bddzoo.registry.model import Model

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
        images: Images of each split as published; splits whose number is not known are absent.
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
        """Whose label files hold such values, in words; empty when nobody's do."""
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
            (H, W) uint8; what is not a class stays 255.
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
            (H, W) uint8 class ids; 255 for everything that is not a class.
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


IMAGE_FOLDERS = ("image", "images")
NESTED = ("leftImg8bit", "gtFine")


class OpensegLayout(DataFolder):
    """A folder of one of the six data sets.

    Args:
        root: The folder that holds `val/` (or, for Cityscapes, `leftImg8bit/` and `gtFine/`).
        dataset: Which data set it is; nothing in the folder says so.

    Raises:
        MissingError: There is no such folder, or it is laid out for something else.
    """

    def __init__(self, root: Path, dataset: DataSet) -> None:
        self.dataset = dataset
        super().__init__(root, self._wanted(), f"{dataset.title}'s images")
        self.nested = dataset.id == "cityscapes" and (self.root / NESTED[0]).is_dir()
        self._refuse_other_layouts()

    def image_folder(self, task: str, split: str) -> Path:
        if task != "sem_seg":
            raise UsageError(f"{self.dataset.title} has no labels for task '{task}'", hint="it has sem_seg")
        if self.nested:
            return self.root / NESTED[0] / split
        found = [self.root / split / name for name in IMAGE_FOLDERS]
        return next((folder for folder in found if folder.is_dir()), found[0])

    def labels(self, task: str, split: str) -> Path:
        return self.root / NESTED[1] / split if self.nested else self.root / split / "label"

    def _labels(self, task: str, place: Path) -> dict[str, Path]:
        # The published gtFine/ holds several kinds of files next to each other.
        tail = LABEL_IDS if self.nested else ""
        return self._files(place, {".png"}, f"{self.dataset.title}'s labels ({self.dataset.labels})", tail)

    def _refuse_other_layouts(self) -> None:
        if self.nested or any((self.root / split).is_dir() for split in SPLITS):
            return
        if (self.root / "images" / "10k").is_dir() or (self.root / "images" / "100k").is_dir():
            raise MissingError(
                f"{self.root} is a BDD100K folder, {self.dataset.title} is needed", hint=self._wanted()
            )
        if (self.root / NESTED[0]).is_dir() and self.dataset.id != "cityscapes":
            raise MissingError(
                f"{self.root} is a Cityscapes folder, {self.dataset.title} is needed", hint=self._wanted()
            )

    def _wanted(self) -> str:
        flat = "the folder that holds val/image and val/label"
        nested = ", or leftImg8bit/ and gtFine/ as published" if self.dataset.id == "cityscapes" else ""
        return f"give {flat}{nested}; 'bddzoo data mini --dataset {self.dataset.id}' makes a small one"

    def _root_hint(self, place: Path) -> str:
        for other in (self.root.parent, self.root / self.dataset.id):
            if any((other / "val" / name).is_dir() for name in IMAGE_FOLDERS):
                return f"did you mean --data {other}?"
        return self._wanted()
