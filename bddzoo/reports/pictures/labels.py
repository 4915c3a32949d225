"""Labels of single frames, found by name, from any of the formats and without unpacking archives.

What frames are called: by the paths of their files.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from bddzoo.datasets.classes import DRIVABLE, INS_SEG, PAN_SEG, PAN_STUFF, SEM_SEG, ClassSet
from bddzoo.datasets.openseg import DATA_SETS, DataSet, class_set
from bddzoo.datasets.openseg.classes import frame_stem
from bddzoo.errors import MissingError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Plane = npt.NDArray[np.uint8]


def frame_path(name: str) -> str:
    """Path of a frame: that of its picture, labels or prediction, without what tells these apart.

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
    """A frame's name without the suffix of a picture, which frames of JSON files have."""
    path = PurePosixPath(name)
    known = (".jpg", ".jpeg", ".png")
    return str(path.with_suffix("")) if path.suffix.lower() in known else name


class _ClassSets(dict[str, ClassSet]):
    """Classes by task, or by data set where that is not BDD100K; the latter are read when asked for."""

    def __missing__(self, name: str) -> ClassSet:
        return class_set(name)


CLASSES: Mapping[str, ClassSet] = _ClassSets({c.task: c for c in (SEM_SEG, INS_SEG, DRIVABLE, PAN_SEG)})
SEMANTIC = ("sem_seg", "drivable", *DATA_SETS)
# Values of `FrameLabels.classes` that are no class.
NOTHING, IGNORED = 254, 255
IGNORE_BIT, CROWD_BIT = 1, 2


@dataclass(frozen=True)
class Item:
    """An object of a frame.

    Attributes:
        ident: Its value in the map of ids.
        category: Class index from 0.
        flags: Bits of its attributes: ignored 1, crowd 2, occluded 4, truncated 8.
        score: Of a detection.
    """

    ident: int
    category: int
    flags: int = 0
    score: float | None = None

    @property
    def counts(self) -> bool:
        """Whether scoring takes notice of it: it is neither ignored nor a crowd."""
        return not self.flags & (IGNORE_BIT | CROWD_BIT)


@dataclass(frozen=True)
class FramePlanes:
    """Labels of one frame as planes of pixels.

    Attributes:
        task: Name of the task.
        class_map: sem_seg, drivable: (H, W) uint8; None for objects.
        ids: ins_seg, pan_seg: (H, W) uint16, 0 for none; None for class maps.
        items: The objects in `ids`.
    """

    task: str
    class_map: Plane | None = None
    ids: npt.NDArray[np.uint16] | None = None
    items: tuple[Item, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        plane = self.class_map if self.class_map is not None else self.ids
        assert plane is not None
        return int(plane.shape[0]), int(plane.shape[1])

    def classes(self, min_score: float = 0.0) -> Plane:
        """Class of each pixel: (H, W) uint8, `IGNORED` where it does not count, `NOTHING` for none.

        Args:
            min_score: Detections below this score are left out.
        """
        import numpy as np

        if self.class_map is not None:
            known = len(CLASSES[self.task].names)
            table = np.full(256, IGNORED, np.uint8)
            table[:known] = np.arange(known)
            if self.task == "drivable":
                table[DRIVABLE.index("background")] = NOTHING
            return np.take(table, self.class_map)
        assert self.ids is not None
        table = np.full(1 << 16, NOTHING, np.uint8)
        for item in self.items:
            if item.score is None or item.score >= min_score:
                table[item.ident] = item.category if item.counts else IGNORED
        return np.take(table, self.ids)


class LabelSet:
    """Labels of many frames, one of which is read at a time.

    Attributes:
        path: Where they are.
        task: Name of the task.
        keys: Name of each frame, without suffix, with its folders.
    """

    def __init__(self, path: Path, task: str, keys: list[str]) -> None:
        self.path, self.task, self.keys = path, task, keys
        self._by_path: dict[str, list[str]] = {}
        self._by_stem: dict[str, list[str]] = {}
        for key in keys:
            frame = frame_path(key)
            self._by_path.setdefault(frame, []).append(key)
            self._by_stem.setdefault(PurePosixPath(frame).name, []).append(key)

    @property
    def stems(self) -> Collection[str]:
        """Bare names of the frames."""
        return self._by_stem.keys()

    @property
    def classes(self) -> ClassSet:
        """Classes of the task."""
        return CLASSES[self.task]

    def find(self, name: str) -> str | None:
        """Key of the labels of a picture; None where there are none.

        Args:
            name: The picture's path without suffix. Folders need not agree where the bare name is enough.

        Raises:
            MissingError: Several frames have that name.
        """
        frame = frame_path(name)
        bare = PurePosixPath(frame).name
        found = self._by_path.get(frame) or self._by_stem.get(bare, [])
        if len(found) > 1:
            raise MissingError(
                f"{self.path} has {bare} more than once: {found[0]}, {found[1]}",
                hint="give the folder of one kind of labels",
            )
        return found[0] if found else None

    def where(self, key: str) -> str:
        """How the labels of a frame are called in messages."""
        return f"{self.path}, {key}"

    def read(self, key: str) -> FramePlanes:
        """Labels of one frame; may be called from several threads.

        Raises:
            MissingError: They are damaged or of another kind than the rest.
        """
        raise MissingError(f"{self.path} has no {key}")


def thing(task: str, category: int) -> bool:
    """Whether a class has single objects, which differ in colour."""
    return task == "ins_seg" or (task == "pan_seg" and category >= PAN_STUFF)


def classes_of_labels(dataset: DataSet, pixels: Plane, path: Path) -> Plane:
    """The classes of a label file that holds a data set's own ids.

    Raises:
        MissingError: It holds others.
    """
    import numpy as np

    values = np.flatnonzero(np.bincount(pixels.ravel(), minlength=256)).tolist()
    foreign = dataset.foreign(values)
    # The void of predictions that were made elsewhere.
    if set(foreign) - {IGNORED}:
        guess = dataset.explain(values)
        raise MissingError(
            f"{path} is no label file of {dataset.title} ({dataset.labels}): it holds {foreign[0]}",
            hint=f"{guess}; say what it is with -t" if guess else "say what it is with -t",
        )
    return dataset.to_classes(pixels)


def refuse_other_labels(classes: ClassSet, pixels: Plane, path: Path) -> None:
    """Refuse a class map that holds something else than the classes of a task of BDD100K.

    Raises:
        MissingError: A value is no class; what it could be is told.
    """
    import numpy as np

    count = len(classes)
    # Below the number of classes the difference wraps around, so that one comparison looks at both ends.
    if not ((pixels - np.uint8(count)) < IGNORED - count).any():
        return
    values = np.unique(pixels).tolist()
    first = next(v for v in values if count <= v < IGNORED)
    fitting = [d.id for d in DATA_SETS.values() if not d.foreign(set(values) - {IGNORED})]
    hint = f"say what it is: -t {' or -t '.join(fitting)} would fit" if fitting else None
    raise MissingError(f"{path} holds {first}, which is no class of {classes.task}", hint=hint)
