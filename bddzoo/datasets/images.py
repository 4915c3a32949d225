"""The folders of a BDD100K data set.

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

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from bddzoo.datasets.attributes import read_attribute_files, read_attributes
from bddzoo.datasets.classes import BITMASK_TASKS
from bddzoo.errors import MissingError, UsageError
from bddzoo.files import cannot_read
from bddzoo.text import number_of

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
# Those, and kinds that are not read: they are named rather than passed over.
LISTED_SUFFIXES = IMAGE_SUFFIXES | {".heic", ".heif", ".avif", ".gif"}
SPLITS = ("train", "val", "test")

# Names of Cityscapes' published files: CITY/CITY_000000_000019_leftImg8bit.png, CITY/..._gtFine_labelIds.png.
IMAGE = "_leftImg8bit"
LABEL_IDS = "_gtFine_labelIds"
TRAIN_IDS = "_gtFine_labelTrainIds"
# What BDD100K's label files of 2018 end with.
OLD_TAILS = {"sem_seg": "_train_id", "drivable": "_drivable_id"}
_TAILS = (LABEL_IDS, IMAGE, TRAIN_IDS, *OLD_TAILS.values(), "_train_color", "_drivable_color")
_TRUTH = ("_gtFine_", "_gtCoarse_")

_IMAGES = {
    "sem_seg": "images/10k",
    "ins_seg": "images/10k",
    "drivable": "images/100k",
    "det": "images/100k",
    "pan_seg": "images/10k",
    "tagging": "images/100k",
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
    ("sem_seg", "train"): 7000,
    ("sem_seg", "val"): 1000,
    ("sem_seg", "test"): 2000,
    ("ins_seg", "train"): 7000,
    ("ins_seg", "val"): 1000,
    ("ins_seg", "test"): 2000,
    ("drivable", "train"): 70000,
    ("drivable", "val"): 10000,
    ("drivable", "test"): 20000,
    ("det", "train"): 69863,
    ("det", "val"): 10000,
    ("det", "test"): 20000,
    ("pan_seg", "train"): 7000,
    ("pan_seg", "val"): 1000,
    ("pan_seg", "test"): 2000,
    ("tagging", "train"): 69863,
    ("tagging", "val"): 10000,
    ("tagging", "test"): 20000,
}
"""Images of a task and split in the published data set."""


@dataclass(frozen=True)
class Sample:
    """One image of a data set.

    Attributes:
        name: File name of the image, as the official JSON files name frames.
        image: Image file.
        label: Label PNG, or JSON file of all frames, or None for a split without labels.
        attributes: `weather`, `scene`, `timeofday`, as far as known.
    """

    name: str
    image: Path
    label: Path | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def stem(self) -> str:
        """Name without its suffix: what an image and its label have in common."""
        return Path(self.name).stem


@dataclass(frozen=True)
class Listing:
    """What a task and split hold.

    Attributes:
        frames: Images with their labels, ordered by name.
        without_label: Stems of images that have no label although the split has labels.
        without_image: Stems of labels that have no image.
    """

    frames: tuple[Sample, ...]
    without_label: tuple[str, ...] = ()
    without_image: tuple[str, ...] = ()

    def mismatch(self) -> str | None:
        """What does not match, in words, or None."""
        parts = []
        if self.without_image:
            parts.append(_count(self.without_image, "label", "without an image"))
        if self.without_label:
            parts.append(_count(self.without_label, "image", "without a label"))
        return ", ".join(parts) or None


class BddLayout:
    """A BDD100K folder.

    Args:
        root: The folder that holds `images/` and `labels/`.

    Raises:
        MissingError: There is no such folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            what = "is not a folder" if self.root.exists() else "does not exist"
            raise MissingError(
                f"data root {self.root} {what}",
                hint="give the BDD100K folder that holds images/ and labels/, or make a small one with "
                "'bddzoo data mini'",
            )

    def _is_old(self, task: str) -> bool:
        """Whether it is the folder of 2018: seg/images and seg/labels, with `_train_id` behind the names."""
        old = task == "sem_seg" and (self.root / "seg" / "labels").is_dir()
        return old and not (self.root / _LABELS[task]).is_dir()

    def image_folder(self, task: str, split: str) -> Path:
        folder = self.root / ("seg/images" if self._is_old(task) else _known(_IMAGES, task)) / split
        # The mini set, and a set that somebody cut down, has the same images for all tasks.
        small = self.root / "images/10k" / split
        return small if small.is_dir() and not folder.parent.is_dir() else folder

    def labels(self, task: str, split: str) -> Path:
        """Folder of the labels of a split, or their one file; whether it is there or not."""
        files = [self.root / name.format(split=split) for name in _LABEL_FILES.get(task, ())]
        if files:
            return next((file for file in files if file.is_file()), files[-1])
        return self.root / ("seg/labels" if self._is_old(task) else _known(_LABELS, task)) / split

    def frames(self, task: str, split: str) -> list[Sample]:
        """Images that have a label, or all images where the split has no labels, ordered by name.

        Raises:
            MissingError: A folder is missing or empty, or no image has a label; the folder and
                what is expected in it are named.
        """
        return list(self.listing(task, split).frames)

    def listing(self, task: str, split: str, *, labels: bool = True, attributes: bool = True) -> Listing:
        """Everything that a task and split hold, mismatched names included.

        Args:
            task: `sem_seg`, `ins_seg`, `drivable`, `det`, `pan_seg` or `tagging`.
            split: `train`, `val` or `test`.
            labels: Require and match labels; `test` has none in the published data set.
            attributes: Read the frame attributes.

        Raises:
            MissingError: See `frames`.
        """
        images = self._files(self.image_folder(task, split), LISTED_SUFFIXES, "the images, *.jpg")
        found: dict[str, Path] = {}
        if task in _LABEL_FILES:
            return self._in_one_file(task, split, images, labels=labels, attributes=attributes)
        wanted = labels and (split != "test" or self.labels(task, split).is_dir())
        if wanted:
            what = "bitmasks, *.png" if task in BITMASK_TASKS else "class maps, *.png"
            found = self._files(self.labels(task, split), frozenset({".png"}), f"the {task} {what}")
            need_pairs(images, found, self.image_folder(task, split), self.labels(task, split))
        known = read_attributes(self.root, task, split, images) if attributes else {}
        return pair(images, found if wanted else None, known)

    def _in_one_file(
        self, task: str, split: str, images: Mapping[str, Path], *, labels: bool, attributes: bool
    ) -> Listing:
        """The listing of a task whose labels of a split are one JSON file."""
        file = self.labels(task, split)
        if not labels or (split == "test" and not file.is_file()):
            found = None
        elif not file.is_file():
            raise MissingError(
                f"data root {self.root} has no {file.relative_to(self.root)} (expected: the {task} labels)",
                hint=self._root_hint(file),
            )
        else:
            found = {frame_stem(Path(name).stem): file for name in _NAMES[task](file)}
            if not found:
                raise MissingError(f"{file} has no frames", hint="download it again")
            need_pairs(images, found, self.image_folder(task, split), file)
        known = read_attributes(self.root, task, split, images) if attributes else {}
        return pair(images, found, known)

    def _files(self, folder: Path, suffixes: frozenset[str], expected: str) -> dict[str, Path]:
        """Files below a folder by stem, ordered by stem; hidden files are passed over."""
        if not folder.is_dir():
            raise MissingError(
                f"data root {self.root} has no folder {folder.relative_to(self.root)} (expected: {expected})",
                hint=self._root_hint(folder),
            )
        files = files_by_stem(folder, suffixes, lambda path: frame_stem(path.stem))
        if not files:
            raise MissingError(f"{folder} holds none of what is expected there: {expected}")
        return files

    def _root_hint(self, folder: Path) -> str:
        relative = folder.relative_to(self.root)
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
    from bddzoo.datasets.formats.boxes import open_boxes

    return open_boxes(file).names


# Names of the frames in a label file, which is refused where it is of another kind.
_NAMES: dict[str, Callable[[Path], Iterable[str]]] = {"det": _with_boxes, "tagging": read_attribute_files}


def walk(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    """Files with one of those suffixes, at any depth, in a fixed order; hidden ones are passed over.

    Links are followed, and each folder is entered once, however many lead to it: they may go in circles.

    Raises:
        MissingError: A folder below it cannot be read: its files would be taken for absent.
    """

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            raise cannot_read(folder, error) from error

    wanted = frozenset(suffixes)
    paths: list[Path] = []
    entered: set[tuple[int, int]] = set()
    for top, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        try:
            place = Path(top).stat()
        except OSError as error:  # it was there a moment ago
            refuse(error)
            continue
        if (place.st_dev, place.st_ino) in entered:
            folders.clear()
            continue
        entered.add((place.st_dev, place.st_ino))
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        here = Path(top)
        paths += [
            here / n for n in sorted(names) if not n.startswith(".") and Path(n).suffix.lower() in wanted
        ]
    return paths


def files_by_stem(
    folder: Path, suffixes: Iterable[str], key: Callable[[Path], str | None] = lambda path: path.stem
) -> dict[str, Path]:
    """Files below a folder by what frames are matched by, in its order; hidden files are passed over.

    Args:
        folder: Where to look, at any depth.
        suffixes: Of the files.
        key: Name of a file's frame; None for a file that is of no interest.

    Raises:
        MissingError: Two files are of one frame.
    """
    files: dict[str, Path] = {}
    for path in walk(folder, suffixes):
        name = key(path)
        if name is None:
            continue
        other = files.setdefault(name, path)
        if other is not path:
            raise MissingError(
                f"two files named {name!r} below {folder}: {other.relative_to(folder)} and "
                f"{path.relative_to(folder)}",
                hint="names are matched without folder and suffix: keep one of them",
            )
    return dict(sorted(files.items()))


def _known(table: Mapping[str, str], task: str) -> str:
    if task not in table:
        raise UsageError(f"no data layout for task {task!r}", hint=f"known are {', '.join(table)}")
    return table[task]


def _count(stems: tuple[str, ...], noun: str, fault: str) -> str:
    return f"{number_of(len(stems), noun)} {fault} (first: {stems[0]})"


def need_pairs(
    images: Collection[str], labels: Collection[str], image_folder: Path, label_folder: Path
) -> None:
    """Refuse images of which none has a label.

    Args:
        images: Stems of images, at least one.
        labels: Stems of label files, at least one.
        image_folder: Where the images lie.
        label_folder: Where the labels lie.

    Raises:
        MissingError: No stem is in both.
    """
    if set(images).isdisjoint(labels):
        examples = f"images like {next(iter(images))!r}, labels like {next(iter(labels))!r}"
        raise MissingError(
            f"no image of {image_folder} has a label in {label_folder} ({examples})",
            hint="an image and its label share the file name up to the suffix",
        )


def pair(
    images: Mapping[str, Path],
    labels: Mapping[str, Path] | None,
    attributes: Mapping[str, Mapping[str, str]] | None = None,
) -> Listing:
    """Images with their labels, and the stems that have no partner.

    Args:
        images: Images by stem.
        labels: Label files by stem; None where labels are not wanted.
        attributes: Frame attributes by stem.
    """
    found, known = labels or {}, attributes or {}
    frames = tuple(
        Sample(path.name, path, found.get(stem), known.get(stem, {}))
        for stem, path in images.items()
        if labels is None or stem in found
    )
    return Listing(
        frames,
        tuple(s for s in images if s not in found) if labels is not None else (),
        tuple(s for s in found if s not in images),
    )


def frame_stem(stem: str) -> str:
    """A file's stem without what only tells the images, labels and predictions of one frame apart."""
    for tail in _TAILS:
        if stem.endswith(tail):
            return stem[: -len(tail)]
    return stem


def of_kind(paths: Iterable[str], tail: str) -> list[str]:
    """Files of one kind.

    Args:
        paths: Paths with `/`.
        tail: What the stems of that kind end with.

    Returns:
        Those that are of that kind, in their order; none where the names do not say.
    """
    return [path for path in paths if PurePosixPath(path).stem.endswith(tail)]


def without_truth(paths: Sequence[str]) -> list[str]:
    """Files without those that are ground truth by their names; all of them where nothing else is there.

    Args:
        paths: Paths with `/`.
    """
    rest = [p for p in paths if not any(word in PurePosixPath(p).stem for word in _TRUTH)]
    return rest or list(paths)
