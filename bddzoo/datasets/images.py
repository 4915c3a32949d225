"""Images and the files that belong to them: listed, matched by name, and paired.

Also the names of Cityscapes' and of BDD100K's older published files.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from bddzoo.errors import MissingError
from bddzoo.files import cannot_read, walk_once
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


def walk(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    """Files with one of those suffixes, as `walk_once` finds them; hidden ones are passed over.

    Raises:
        MissingError: A folder below it cannot be read: its files would be taken for absent.
    """

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            raise cannot_read(folder, error) from error

    wanted = frozenset(suffixes)
    return [
        Path(top, name)
        for top, names in walk_once(folder, refuse, hidden=False)
        for name in sorted(names)
        if not name.startswith(".") and Path(name).suffix.lower() in wanted
    ]


def files_by_stem(
    folder: Path, suffixes: Iterable[str], key: Callable[[Path], str | None]
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


def _count(stems: tuple[str, ...], noun: str, fault: str) -> str:
    return f"{number_of(len(stems), noun)} {fault} (first: {stems[0]})"


def need_pairs(
    images: Collection[str], labels: Collection[str], image_folder: Path, label_folder: Path
) -> None:
    """Refuse images of which none has a label.

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


class DataFolder:
    """The folder of a data set.

    Args:
        root: The folder.
        wanted: What the user should give, for messages.
        images: What its images are, for messages.

    Raises:
        MissingError: There is no such folder.
    """

    def __init__(self, root: Path, wanted: str, images: str) -> None:
        self.root, self._images = Path(root), images
        if not self.root.is_dir():
            what = "is not a folder" if self.root.exists() else "does not exist"
            raise MissingError(f"data root {self.root} {what}", hint=wanted)

    def image_folder(self, task: str, split: str) -> Path:
        """Folder of the images of a split, whether it is there or not."""
        raise NotImplementedError

    def labels(self, task: str, split: str) -> Path:
        """Folder of the labels of a split, or their one file; whether it is there or not."""
        raise NotImplementedError

    def listing(self, task: str, split: str, *, attributes: bool = True) -> Listing:
        """Everything that a task and split hold, mismatched names included.

        Args:
            task: A task whose labels the data set has.
            split: `train`, `val` or `test`, which needs no labels.
            attributes: Read the frame attributes, where the data set has them.

        Raises:
            MissingError: A folder is missing or empty, or no image has a label; the folder and
                what is expected in it are named.
        """
        image_folder, label_place = self.image_folder(task, split), self.labels(task, split)
        images = self._files(image_folder, LISTED_SUFFIXES, self._images)
        found = None
        if split != "test" or label_place.exists():
            found = self._labels(task, label_place)
            need_pairs(images, found, image_folder, label_place)
        return pair(images, found, self._attributes(task, split, images) if attributes else {})

    def _labels(self, task: str, place: Path) -> dict[str, Path]:
        """Label files by stem."""
        raise NotImplementedError

    def _attributes(self, task: str, split: str, stems: Iterable[str]) -> Mapping[str, Mapping[str, str]]:
        """Attributes of the frames by stem."""
        return {}

    def _missing(self, place: Path, kind: str, expected: str) -> MissingError:
        return MissingError(
            f"data root {self.root} has no {kind}{place.relative_to(self.root)} (expected: {expected})",
            hint=self._root_hint(place),
        )

    def _root_hint(self, place: Path) -> str:
        """What may be wrong with the folder that was given, where something in it is missing."""
        raise NotImplementedError

    def _files(self, folder: Path, suffixes: Iterable[str], expected: str, tail: str = "") -> dict[str, Path]:
        """Files below a folder by stem, ordered by stem; hidden files are passed over.

        Args:
            folder: Where to look.
            suffixes: Of the files.
            expected: What they are, for messages.
            tail: What the stems of their kind end with.
        """
        if not folder.is_dir():
            raise self._missing(folder, "folder ", expected)
        files = files_by_stem(
            folder, suffixes, lambda p: frame_stem(p.stem) if p.stem.endswith(tail) else None
        )
        if not files:
            raise MissingError(f"{folder} holds none of what is expected there: {expected}")
        return files


def frame_stem(stem: str) -> str:
    """A file's stem without what only tells the images, labels and predictions of one frame apart."""
    for tail in _TAILS:
        if stem.endswith(tail):
            return stem[: -len(tail)]
    return stem


def frame_path(name: str) -> str:
    """Path of a frame: that of its image, labels or prediction, without what tells these apart.

    Args:
        name: Path of the file without suffix, with `/`.
    """
    path = PurePosixPath(name)
    return str(path.with_name(frame_stem(path.name))) if path.name else name


def common_folder(members: Sequence[str]) -> str:
    """Folder, with its slash, that all members are in; empty where they are not in one."""
    folder = ""
    first, last = min(members), max(members)
    for part in PurePosixPath(first).parent.parts:
        if not last.startswith(f"{folder}{part}/"):
            break
        folder += part + "/"
    return folder


def bare_name(name: str) -> str:
    """A frame's name without the suffix of an image, which frames of JSON files have."""
    path = PurePosixPath(name.replace("\\", "/").lstrip("/"))
    known = (".jpg", ".jpeg", ".png")
    return str(path.with_suffix("")) if path.suffix.lower() in known else str(path)


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
