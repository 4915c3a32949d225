"""The folders of data sets, and images that a user names: files, and folders at any depth.

Those of BDD100K:

    images/10k/{train,val,test}/*.jpg
    labels/sem_seg/masks/{train,val}/*.png
    labels/ins_seg/bitmasks/{train,val}/*.png, labels/pan_seg/bitmasks/...
    images/100k/... and labels/drivable/masks/... for drivable area
    images/100k/... and labels/det_20/det_val.json for detection and image tagging, which also takes 2018's
    labels/bdd100k_labels_images_val.json
    seg/images/... and seg/labels/.../*_train_id.png as published in 2018

Frame attributes (weather, scene, time of day) are read from whichever official JSON is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from bddzoo.datasets.attributes import read_attribute_files, read_attributes
from bddzoo.datasets.classes import BDD_LAYOUT, BITMASK_TASKS
from bddzoo.datasets.images import IMAGE_SUFFIXES, LISTED_SUFFIXES, SPLITS, DataFolder, frame_stem, walk
from bddzoo.datasets.mini import read_marker
from bddzoo.datasets.openseg import DATA_SETS, NESTED, DataSet, OpensegLayout, data_set
from bddzoo.errors import MissingError, UsageError

if TYPE_CHECKING:
    from bddzoo.registry.model import Model

T = TypeVar("T")
# Folders of images, and how many of them each split has in the published data set.
_10K = ("images/10k", (7000, 1000, 2000))
_100K = ("images/100k", (70000, 10000, 20000))
_BOXES = ("images/100k", (69863, 10000, 20000))
_IMAGES = {
    "sem_seg": _10K,
    "ins_seg": _10K,
    "drivable": _100K,
    "det": _BOXES,
    "pan_seg": _10K,
    "tagging": _BOXES,
}
_LABELS = {
    "sem_seg": "labels/sem_seg/masks",
    "ins_seg": "labels/ins_seg/bitmasks",
    "drivable": "labels/drivable/masks",
    "pan_seg": "labels/pan_seg/bitmasks",
}
# Labels of all images of a split in one JSON file; the first that is there.
_DET_20 = "labels/det_20/det_{split}.json"
_LABEL_FILES = {"det": (_DET_20,), "tagging": ("labels/bdd100k_labels_images_{split}.json", _DET_20)}

OFFICIAL_COUNTS = {
    (task, split): count
    for task, (_, counts) in _IMAGES.items()
    for split, count in zip(SPLITS, counts, strict=True)
}
"""Images of a task and split in the published data set."""
TASKS = tuple(_IMAGES)
"""Tasks that the data set has a layout for."""


class BddLayout(DataFolder):
    """A BDD100K folder.

    Args:
        root: The folder that holds `images/` and `labels/`.

    Raises:
        MissingError: There is no such folder.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(
            root,
            "give the BDD100K folder that holds images/ and labels/, or make a small one with "
            "'bddzoo data mini'",
            "the images, *.jpg",
        )

    def _is_old(self, task: str) -> bool:
        """Whether it is the folder of 2018: seg/images and seg/labels, with `_train_id` behind the names."""
        old = task == "sem_seg" and (self.root / "seg" / "labels").is_dir()
        return old and not (self.root / _LABELS[task]).is_dir()

    def image_folder(self, task: str, split: str) -> Path:
        folder = self.root / ("seg/images" if self._is_old(task) else _known(_IMAGES, task)[0]) / split
        # The mini set, and a set that somebody cut down, has the same images for all tasks.
        small = self.root / "images/10k" / split
        return small if small.is_dir() and not folder.parent.is_dir() else folder

    def labels(self, task: str, split: str) -> Path:
        files = [self.root / name.format(split=split) for name in _LABEL_FILES.get(task, ())]
        if files:
            return next((file for file in files if file.is_file()), files[-1])
        return self.root / ("seg/labels" if self._is_old(task) else _known(_LABELS, task)) / split

    def _labels(self, task: str, place: Path) -> dict[str, Path]:
        if task not in _LABEL_FILES:
            what = "bitmasks, *.png" if task in BITMASK_TASKS else "class maps, *.png"
            return self._files(place, {".png"}, f"the {task} {what}")
        if not place.is_file():
            raise self._missing(place, "", f"the {task} labels")
        found = {frame_stem(Path(name).stem): place for name in _NAMES[task](place)}
        if not found:
            raise MissingError(f"{place} has no frames", hint="download it again")
        return found

    def _attributes(self, task: str, split: str, stems: Iterable[str]) -> Mapping[str, Mapping[str, str]]:
        return read_attributes(self.root, task, split, stems)

    def _root_hint(self, place: Path) -> str:
        relative = place.relative_to(self.root)
        if (self.root / "drivable_maps").is_dir() and {"drivable", "100k"} & set(relative.parts):
            return (
                "drivable_maps/ is of 2018: its values 0, 1, 2 mean background, direct, alternative, "
                "today's direct, alternative, background; download today's labels"
            )
        near = [
            self.root / "bdd100k",
            self.root / "bdd100k" / "bdd100k",
            self.root.parent,
            self.root.parent.parent,
        ]
        for other in near:
            if (other / relative).is_dir():
                return f"did you mean --data {other}?"
        present = sorted(p.name for p in self.root.iterdir() if p.is_dir() and not p.name.startswith("."))[:6]
        return f"it holds {', '.join(present)}" if present else "it is empty"


def _with_boxes(file: Path) -> Iterable[str]:
    from bddzoo.datasets.formats.boxes import open_boxes  # it takes NumPy, which few commands need

    return open_boxes(file).names


# Names of the frames in a label file, which is refused where it is of another kind.
_NAMES: dict[str, Callable[[Path], Iterable[str]]] = {"det": _with_boxes, "tagging": read_attribute_files}


def _known(table: Mapping[str, T], task: str) -> T:
    if task not in table:
        raise UsageError(f"no data layout for task {task!r}", hint=f"known are {', '.join(table)}")
    return table[task]


Layout = BddLayout | OpensegLayout


def open_layout(root: Path, dataset: str = "bdd100k") -> Layout:
    """The folder of a data set.

    Args:
        root: The folder.
        dataset: Whose layout it should have, an id of the registry's protocols.

    Raises:
        MissingError: There is no such folder, or it is laid out for something else.
        UsageError: No layout is known for that data set.
    """
    return BddLayout(root) if dataset.startswith(BDD_LAYOUT) else OpensegLayout(root, data_set(dataset))


def guess_dataset(root: Path) -> str:
    """Which data set a folder seems to hold: what a mini set says, Cityscapes by its folders, else BDD100K.

    Five of the six data sets share one layout; which of them a folder holds cannot be told.
    """
    marker = read_marker(root) or {}
    nested = all((root / name).is_dir() for name in NESTED)
    return str(marker.get("dataset") or ("cityscapes" if nested else "bdd100k"))


def layout_of(model: Model, root: Path) -> Layout:
    """The folder of the data set that a model is tested on; see `open_layout`."""
    return open_layout(root, model.dataset)


def labels_of(model: Model) -> DataSet | None:
    """What a model's label files hold if it is of one of openseg.pytorch's six data sets, or None."""
    return DATA_SETS.get(model.dataset)


def find_images(inputs: Sequence[Path], out: Path) -> dict[str, Path]:
    """Images of files and folders by file name, in the order given.

    Args:
        inputs: Files and folders.
        out: Folder of the predictions; where it lies in one of the folders, it is passed over.

    Raises:
        MissingError: A file or folder is not there, or a folder holds no image.
        UsageError: The outputs of two images would have the same name.
    """
    images: dict[str, Path] = {}
    stems: dict[str, Path] = {}
    target = out.resolve()
    for item in inputs:
        if item.is_dir():
            paths = walk(item, LISTED_SUFFIXES)
            if item.resolve() in target.parents:
                paths = [path for path in paths if not path.parent.resolve().is_relative_to(target)]
            if not paths:
                raise MissingError(
                    f"no image in folder {item}", hint=f"looked for {', '.join(sorted(IMAGE_SUFFIXES))}"
                )
        elif item.exists():
            paths = [item]
        else:
            raise MissingError(f"no such file or folder: {item}")
        for path in paths:
            other = stems.setdefault(path.stem, path)
            if other is not path:
                same = other.resolve() == path.resolve()
                what = "is given twice" if same else f"and {other} would write outputs of the same name"
                raise UsageError(
                    f"{path} {what}", hint="give it once" if same else "rename one, or use two --out folders"
                )
            images[path.name] = path
    return images
