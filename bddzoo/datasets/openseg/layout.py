"""Folders of the six data sets: openseg.pytorch's flat layout, and Cityscapes as it is published.

ROOT/{train,val}/image/*            pictures; COCO-Stuff's generator calls the folder images/
ROOT/{train,val}/label/*.png        labels of the same stem
ROOT/leftImg8bit/SPLIT/CITY/*_leftImg8bit.png, ROOT/gtFine/SPLIT/CITY/*_gtFine_labelIds.png
"""

from __future__ import annotations

from pathlib import Path

from bddzoo.datasets.images import (
    LABEL_IDS,
    LISTED_SUFFIXES,
    Listing,
    files_by_stem,
    frame_stem,
    need_pairs,
    pair,
)
from bddzoo.datasets.openseg.sets import DataSet
from bddzoo.errors import MissingError, UsageError

IMAGE_FOLDERS = ("image", "images")
NESTED = ("leftImg8bit", "gtFine")


class OpensegLayout:
    """A folder of one of the six data sets.

    Args:
        root: The folder that holds `val/` (or, for Cityscapes, `leftImg8bit/` and `gtFine/`).
        dataset: Which data set it is; nothing in the folder says so.

    Raises:
        MissingError: There is no such folder, or it is laid out for something else.
    """

    def __init__(self, root: Path, dataset: DataSet) -> None:
        self.root = Path(root)
        self.dataset = dataset
        if not self.root.is_dir():
            what = "is not a folder" if self.root.exists() else "does not exist"
            raise MissingError(f"data root {self.root} {what}", hint=self._wanted())
        self.nested = dataset.id == "cityscapes" and (self.root / NESTED[0]).is_dir()
        self._refuse_other_layouts()

    def image_folder(self, task: str, split: str) -> Path:
        """Folder of the pictures."""
        self._only_semantic(task)
        if self.nested:
            return self.root / NESTED[0] / split
        found = [self.root / split / name for name in IMAGE_FOLDERS]
        return next((folder for folder in found if folder.is_dir()), found[0])

    def label_folder(self, task: str, split: str) -> Path:
        """Folder of the labels."""
        return self.root / NESTED[1] / split if self.nested else self.root / split / "label"

    def listing(self, task: str, split: str, *, labels: bool = True, attributes: bool = True) -> Listing:
        """Everything that a split holds, mismatched names included.

        Args:
            task: `sem_seg`.
            split: `train`, `val` or `test`.
            labels: Require and match labels; `test` may have none.
            attributes: Of no effect: these data sets have no frame attributes.

        Raises:
            MissingError: A folder is missing or empty, or no picture has a label; the folder and what
                is expected in it are named.
        """
        images = self._files(self.image_folder(task, split), LISTED_SUFFIXES, "pictures")
        found: dict[str, Path] = {}
        wanted = labels and (split != "test" or self.label_folder(task, split).is_dir())
        if wanted:
            found = self._labels(self.label_folder(task, split))
            need_pairs(images, found, self.image_folder(task, split), self.label_folder(task, split))
        return pair(images, found if wanted else None)

    def _only_semantic(self, task: str) -> None:
        if task != "sem_seg":
            raise UsageError(f"{self.dataset.title} has no labels for task '{task}'", hint="it has sem_seg")

    def _labels(self, folder: Path) -> dict[str, Path]:
        # The published gtFine/ holds several kinds of files beside each other.
        tail = LABEL_IDS if self.nested else ""
        return self._files(folder, frozenset({".png"}), f"labels ({self.dataset.labels})", tail)

    def _files(
        self, folder: Path, suffixes: frozenset[str], expected: str, tail: str = ""
    ) -> dict[str, Path]:
        if not folder.is_dir():
            raise MissingError(
                f"data root {self.root} has no folder {folder.relative_to(self.root)} "
                f"(expected: {self.dataset.title}'s {expected})",
                hint=self._root_hint(),
            )
        files = files_by_stem(
            folder, suffixes, lambda p: frame_stem(p.stem) if p.stem.endswith(tail) else None
        )
        if not files:
            raise MissingError(f"{folder} holds none of what is expected there: {expected}")
        return files

    def _refuse_other_layouts(self) -> None:
        if self._looks_right():
            return
        if (self.root / "images" / "10k").is_dir() or (self.root / "images" / "100k").is_dir():
            raise MissingError(
                f"{self.root} is a BDD100K folder, {self.dataset.title} is needed", hint=self._wanted()
            )
        if (self.root / NESTED[0]).is_dir() and self.dataset.id != "cityscapes":
            raise MissingError(
                f"{self.root} is a Cityscapes folder, {self.dataset.title} is needed", hint=self._wanted()
            )

    def _looks_right(self) -> bool:
        return self.nested or any((self.root / split).is_dir() for split in ("train", "val", "test"))

    def _wanted(self) -> str:
        flat = "the folder that holds val/image and val/label"
        nested = ", or leftImg8bit/ and gtFine/ as published" if self.dataset.id == "cityscapes" else ""
        return f"give {flat}{nested}; 'bddzoo data mini --dataset {self.dataset.id}' makes a small one"

    def _root_hint(self) -> str:
        for other in (self.root.parent, self.root / self.dataset.id):
            if any((other / "val" / name).is_dir() for name in IMAGE_FOLDERS):
                return f"did you mean --data {other}?"
        return self._wanted()
