"""Labels of many frames, found by name, from any of the formats and without unpacking archives.

What the files are is told by what they look like: class maps, colour maps, bitmasks, RLE JSON, COCO JSON.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from bddzoo.datasets.classes import IGNORED, TASKS, ClassSet, values_of_no_class
from bddzoo.datasets.formats.boxes import labelled_boxes, open_boxes
from bddzoo.datasets.formats.coco import CocoFrames, refuse_results
from bddzoo.datasets.formats.frames import (
    INS_ALIASES,
    INS_IGNORED,
    JsonFrames,
    Label,
    coco_kind,
    label_flag,
    one_size,
    refuse_without_mask,
)
from bddzoo.datasets.formats.json_index import OutlineError, frame_regions
from bddzoo.datasets.formats.labels import CLASSES, FLAGS, SEMANTIC, SIZE, FrameLabels, Item, read_items
from bddzoo.datasets.formats.mask import check_label, decode_bitmask, decode_mask
from bddzoo.datasets.formats.other_task import TRACKS_LOST, are_videos, held_by, refuse_other_task
from bddzoo.datasets.formats.png import RGB, RGBA, decode_rgb
from bddzoo.datasets.formats.rle import draw_poly2d, encode_rle, mask_runs, paint_masks
from bddzoo.datasets.images import (
    LABEL_IDS,
    TRAIN_IDS,
    bare_name,
    common_folder,
    frame_path,
    frame_stem,
    of_kind,
)
from bddzoo.datasets.openseg import DATA_SETS, could_be
from bddzoo.datasets.sources import Source, find_predictions, open_source
from bddzoo.errors import MissingError, UsageError
from bddzoo.files import is_inside
from bddzoo.lazy_numpy import np
from bddzoo.text import printable

if TYPE_CHECKING:
    import numpy.typing as npt

    from bddzoo.datasets.openseg import DataSet

    Plane = npt.NDArray[np.uint8]

SCORES = "score.json"


class LabelSet:
    """Labels of many frames, one of which is read at a time.

    Attributes:
        path: Where they are.
        task: Name of the task.
        kind: `masks`, `color`, `bitmasks`, `rle` or `coco`.
        keys: Name of each frame, without suffix, with its folders.
        unknown: Categories that are not a class of the task, with the number of their labels that were read.
        videos: Whether they are frames of videos, each of which is taken by itself.
    """

    kind = ""
    videos = False

    def __init__(self, path: Path, task: str, keys: list[str]) -> None:
        self.path, self.task, self.keys = path, task, keys
        self.unknown: Counter[str] = Counter()
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
        """Key of the labels of an image; None where there are none.

        Args:
            name: The image's path without suffix. Folders need not agree where the bare name is enough.

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

    def read(self, key: str) -> FrameLabels:
        """Labels of one frame; may be called from several threads.

        Raises:
            MissingError: They are damaged or of another kind than the rest.
        """
        raise NotImplementedError

    def frames(self) -> Iterator[FrameLabels]:
        """All frames in order."""
        return (self.read(key) for key in self.keys)

    def warnings(self) -> list[str]:
        """A line each about what is lost: tracks, and labels of unknown categories that were read."""
        lost = [TRACKS_LOST] if self.videos else []
        if not self.unknown:
            return lost
        names = ", ".join(f"{name} ({count})" for name, count in sorted(self.unknown.items()))
        return [*lost, f"labels of unknown categories are left out: {names}"]


class RleLabels(LabelSet):
    """Frames of Scalabel JSON or of a COCO instance file, with RLE masks or polygons."""

    def __init__(self, source: Source, task: str, frames: JsonFrames | CocoFrames) -> None:
        self._frames, self.kind = frames, frames.kind
        self.videos = isinstance(frames, JsonFrames) and are_videos(frames)
        self._index: dict[str, int] = {}
        for i, name in enumerate(frames.names):
            if not is_inside(bare_name(name)):
                shown = printable(name, 80)
                raise MissingError(f"{source.path}, frame {i + 1}: '{shown}' cannot be the name of a file")
            if self._index.setdefault(bare_name(name), i) != i:
                raise MissingError(f"{source.path} has frame {name} more than once")
        super().__init__(source.path, task, list(self._index))
        if not frames.names:
            raise MissingError(f"{source.path} has no frames")

    def where(self, key: str) -> str:
        """File and frame."""
        return self._frames.where(self._index[key])

    def read(self, key: str) -> FrameLabels:
        """Labels of one frame; polygons are drawn, boxes and masks that are none refused."""
        where = self.where(key)
        frame = self._frames.frame(self._index[key])
        labels = frame.labels or []
        said = (frame.size.height, frame.size.width) if frame.size else None
        own = one_size(labels, where)
        # COCO gives the size of each image, which its masks must have.
        size = (said or own if self.kind == "coco" else own or said) or SIZE
        out = FrameLabels(PurePosixPath(key).name, self.task, size, where=where)
        if not labels and self.kind == "coco":
            out.size = said  # not invented where a file without one is written
        masks = []
        for label in labels:
            category = self._category(label, where)
            if category is None:
                continue
            if label.rle is not None:
                rle = {"counts": label.rle.counts, "size": list(label.rle.size)}
            elif label.poly2d:
                rle = encode_rle(draw_poly2d(label.poly2d, size, where))
            else:
                refuse_without_mask(label, where)
            masks.append((rle, category[0]))
            out.items.append(Item(label.index or 0, *category, label.score, rle))
        if self.task in SEMANTIC:
            out.class_map, out.items = paint_masks(masks, size, IGNORED, np.uint8, where), []
        else:
            # pycocotools crashes on what is no mask, so nothing else is passed on.
            mask_runs([rle for rle, _ in masks], size, where)
        return out

    def _category(self, label: Label, where: str) -> tuple[int, int] | None:
        """Class and attributes of a label; None where its category is to be left out."""
        name = label.category or ""
        flags = sum(bit for key, bit in FLAGS.items() if label_flag(label, key))
        if self.task == "ins_seg":
            name = INS_ALIASES.get(name, name)
            if name in INS_IGNORED:
                name, flags = INS_IGNORED[name], flags | FLAGS["ignored"]
        if name in self.classes.names:
            return self.classes.index(name), flags
        if self.task not in SEMANTIC:
            raise MissingError(f"{where}: unknown category {label.category!r}")
        self.unknown[str(label.category)] += 1
        return None


class BoxLabels(LabelSet):
    """Boxes of detection, from Scalabel JSON or COCO."""

    kind = "boxes"

    def __init__(self, path: Path) -> None:
        self._frames = open_boxes(path)
        self.videos = isinstance(self._frames, JsonFrames) and are_videos(self._frames)
        self._index = {bare_name(name): at for at, name in enumerate(self._frames.names)}
        super().__init__(path, "det", list(self._index))

    def where(self, key: str) -> str:
        """File and frame."""
        return self._frames.where(self._index[key])

    def read(self, key: str) -> FrameLabels:
        """Boxes of one frame, whose size such files do not say."""
        out = FrameLabels(PurePosixPath(key).name, self.task, where=self.where(key))
        for category, (x, y, w, h), flags, score in labelled_boxes(self._frames, self._index[key]):
            out.items.append(Item(0, category, flags, score, box=(x, y, x + w, y + h)))
        return out


class PngLabels(LabelSet):
    """A folder or archive of PNGs: class maps, colour maps or bitmasks."""

    def __init__(
        self, source: Source, task: str, members: list[str], score_file: Path | None, kind: str
    ) -> None:
        self._source = source
        self.kind = kind
        self.videos = are_videos(source)
        top = common_folder(members)
        self._members = {m[len(top) : -len(".png")]: m for m in members}
        super().__init__(source.path, task, list(self._members))
        self._scores: JsonFrames | None = None
        self._score_index: dict[str, int] = {}
        if task == "ins_seg":
            self._find_scores(score_file)

    def where(self, key: str) -> str:
        """Path of a file."""
        return str(self._source.where(self._members[key]))

    def read(self, key: str) -> FrameLabels:
        """Labels of one file."""
        member = self._members[key]
        content, path = self._source.read(member), self._source.where(member)
        out = FrameLabels(frame_stem(PurePosixPath(key).name), self.task, where=str(path))
        if self.task not in SEMANTIC:
            bitmask = decode_bitmask(content, path, "labels")
            out.items = read_items(bitmask, self.task, str(path))
            scores = self.scores_of(key) or {}
            for item in out.items:
                item.score = scores.get(item.ident)
            out.size = (bitmask.shape[0], bitmask.shape[1])
            out.painted = np.ascontiguousarray(bitmask.view(">u2")[..., 1]).astype(np.uint16)
            return out
        header = check_label(content, path)
        if header.colour in (RGB, RGBA):
            out.class_map = self._from_colours(decode_rgb(content, header, path), path)
        else:
            out.class_map = self._classes(decode_mask(content, path)[0], path)
        out.size = (out.class_map.shape[0], out.class_map.shape[1])
        return out

    def _classes(self, pixels: Plane, path: Path) -> Plane:
        if self.task in DATA_SETS:
            return classes_of_labels(DATA_SETS[self.task], pixels, path)
        refuse_other_labels(self.task, pixels, path)
        return pixels

    def _from_colours(self, pixels: Plane, path: Path) -> Plane:
        """Class map of a colour map; black that is not a class's colour is ignored."""
        packed = pixels.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
        out = np.full(packed.shape, IGNORED, np.uint8)
        known = packed == 0
        for index, (red, green, blue) in enumerate(self.classes.palette):
            here = packed == (red << 16 | green << 8 | blue)
            out[here] = index
            known |= here
        if not known.all():
            colour = int(packed[~known][0])
            raise MissingError(
                f"{path}: colour #{colour:06x} belongs to no class of {self.task}",
                hint="say what it is with -t",
            )
        return out

    def _find_scores(self, score_file: Path | None) -> None:
        inside = [m for m in self._source.with_suffix(".json") if PurePosixPath(m).name == SCORES]
        path = self._source.path
        next_to_it = path.parent / SCORES
        if score_file is None and len(inside) != 1 and path.is_dir() and next_to_it.is_file():
            score_file = next_to_it
        if score_file is not None:
            source = open_source(score_file)
            self._scores = JsonFrames(source, source.members)
        elif len(inside) == 1:
            self._scores = JsonFrames(self._source, inside)
        if self._scores is not None:
            self._score_index = {
                PurePosixPath(bare_name(name)).name: i for i, name in enumerate(self._scores.names)
            }

    def scores_of(self, key: str) -> Mapping[int, float] | None:
        """Scores of a frame's objects by their ids, in the order of the file; None where it has none."""
        at = self._score_index.get(PurePosixPath(key).name)
        if self._scores is None or at is None:
            return None
        return self._scores.scores(at)


def open_labels(
    path: Path, task: str | None = None, score_file: Path | None = None, kind: str | None = None
) -> LabelSet:
    """Open labels or predictions.

    Args:
        path: Folder or archive of PNGs (class maps, colour maps, bitmasks), JSON (RLE, COCO), or of a task
            that is given what `predict` wrote.
        task: A task, or one of openseg.pytorch's data sets, whose label files hold its own ids. Told by the
            files where None; class maps of others than BDD100K's sem_seg cannot be told.
        score_file: Scores of the instances of bitmasks; looked for next to them where None.
        kind: `masks`, `color`, `bitmasks`, `rle` or `coco`; told by the files where None.

    Raises:
        MissingError: Nothing there that is labels.
        UsageError: The task does not come in such files.
    """
    if task == "det":
        return BoxLabels(path)
    if task is not None:
        path = find_predictions(path, task, score_file)[0]
    source = open_source(path)
    pngs, texts = source.with_suffix(".png"), source.with_suffix(".json")
    if kind in ("rle", "coco"):
        pngs = []
    if pngs:
        pngs, task = _published(path, pngs, task)
        header = check_label(source.read(pngs[0]), source.where(pngs[0]))
        objects = header.colour == RGBA and header.depth == 8
        if task is None:
            task = _task_of(source) if objects else "sem_seg"
        looks = "color" if header.colour in (RGB, RGBA) else "masks"
        found = PngLabels(source, task, pngs, score_file, kind or (looks if task in SEMANTIC else "bitmasks"))
        if objects == (task in SEMANTIC):
            # The wrong kind of files is said once, not for each of them; colour maps may be RGBA.
            found.read(found.keys[0])
        if found.kind != "color" and task in TASKS:
            refuse_other_task(task, source)
        return found
    if not texts:
        raise MissingError(f"{path} has no labels: neither PNG nor JSON files")
    if kind != "rle":
        try:
            frame_regions(source.chunks(texts[0], 1 << 22))
        except OutlineError:
            kind = "coco"
    if kind == "coco":
        head = next(iter(source.chunks(texts[0], 1 << 16)), b"")
        if task is None and b'"bbox"' in head and b'"segmentation"' not in head:
            return BoxLabels(path)
        try:
            coco = CocoFrames(source, texts[0])
        except MissingError as error:
            if "is not a COCO file" not in error.message:
                raise
            raise MissingError(
                f"{source.where(texts[0])} is neither a list of frames nor a COCO file", hint=error.message
            ) from None
        if task not in (None, "ins_seg"):
            raise UsageError(f"{path} is a COCO file, which holds instances", hint="leave out -t")
        return RleLabels(source, "ins_seg", coco)
    if coco_kind(source, texts[0]) == "results":
        refuse_results(source.where(texts[0]))
    frames = JsonFrames(source, texts)
    task = task or _task_of(frames)
    if task == "det":
        return BoxLabels(path)
    refuse_other_task(task, frames)
    return RleLabels(source, task, frames)


def _published(path: Path, pngs: list[str], task: str | None) -> tuple[list[str], str | None]:
    """Of Cityscapes' published folders the files that hold the task, and the task; else all, as given.

    Raises:
        UsageError: The folder has no files of the task.
    """
    ids, trained = of_kind(pngs, LABEL_IDS), of_kind(pngs, TRAIN_IDS)
    if ids and task in (None, "cityscapes"):
        return ids, "cityscapes"
    # Their train ids are the classes of BDD100K, in the same order.
    if trained and task in (None, "sem_seg"):
        return trained, "sem_seg"
    if ids or trained:
        held = " and ".join(
            f"{tail[1:]} ({found})"
            for tail, found, files in ((LABEL_IDS, "cityscapes", ids), (TRAIN_IDS, "sem_seg", trained))
            if files
        )
        raise UsageError(f"{path} holds no labels of {task} but {held}", hint="leave out -t")
    return pngs, task


def _task_of(files: JsonFrames | Source) -> str:
    """Task of JSON labels or bitmasks, by what they hold."""
    held = held_by(files).tasks
    return next(
        (task for task in ("ins_seg", "drivable", "sem_seg", "pan_seg", "det") if task in held), "ins_seg"
    )


def classes_of_labels(dataset: DataSet, pixels: Plane, path: Path) -> Plane:
    """The classes of a label file that holds a data set's own ids.

    Raises:
        MissingError: It holds others.
    """
    values = np.flatnonzero(np.bincount(pixels.ravel(), minlength=256)).tolist()
    foreign = dataset.foreign(values)
    # The void of predictions that were made elsewhere.
    if set(foreign) - {IGNORED}:
        guess = dataset.explain(values)
        raise MissingError(
            f"{path} is not a label file of {dataset.title} ({dataset.labels}): it holds {foreign[0]}",
            hint=f"{guess}; say what it is with -t" if guess else "say what it is with -t",
        )
    return dataset.to_classes(pixels)


def refuse_other_labels(task: str, pixels: Plane, path: Path) -> None:
    """Refuse a class map that holds something else than the classes of a task of BDD100K.

    Raises:
        MissingError: A value is not a class; what it could be is told.
    """
    if strange := values_of_no_class(task, pixels):
        fitting = [d.id for d in could_be(np.unique(pixels).tolist())]
        hint = f"say what it is: -t {' or -t '.join(fitting)} would fit" if fitting else None
        raise MissingError(f"{path} holds {strange[0]}, which is not a class of {task}", hint=hint)
