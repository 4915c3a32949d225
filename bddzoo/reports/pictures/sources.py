"""Opening label files: what they are is told from what they look like.

Labels of JSON files: RLE masks of frames, and COCO instances.

Labels of PNGs: class maps, colour maps, bitmasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from bddzoo.datasets.classes import DRIVABLE, INS_SEG, PAN_SEG, SEM_SEG
from bddzoo.datasets.formats.frames import JsonFrames, Label
from bddzoo.datasets.formats.json_index import OutlineError, frame_regions
from bddzoo.datasets.formats.png import GREY, GREY_ALPHA, PALETTE, RGBA
from bddzoo.datasets.formats.rle import decode_rle
from bddzoo.datasets.openseg import DATA_SETS
from bddzoo.datasets.openseg.classes import LABEL_IDS, TRAIN_IDS, of_kind
from bddzoo.datasets.sources import Source, open_source
from bddzoo.errors import MissingError, UsageError
from bddzoo.evaluation.bitmask import segments
from bddzoo.evaluation.fast.decode import decode_bitmask, decode_loose, decode_mask, header_of
from bddzoo.evaluation.labels import FLAGS, FrameLabels
from bddzoo.evaluation.metrics.insseg import score_entries
from bddzoo.evaluation.rle import class_runs
from bddzoo.evaluation.rle_frames import (
    INS_ALIASES,
    INS_IGNORED,
    decode_labels,
    label_flag,
    mask_pixels,
    with_masks,
)
from bddzoo.reports.pictures.labels import (
    IGNORED,
    SEMANTIC,
    FramePlanes,
    Item,
    LabelSet,
    bare_name,
    classes_of_labels,
    common_folder,
    refuse_other_labels,
)


class RleLabels(LabelSet):
    """Frames of Scalabel JSON with RLE masks."""

    def __init__(self, source: Source, task: str, frames: JsonFrames) -> None:
        self._frames = frames
        self._index = {bare_name(name): i for i, name in enumerate(frames.names)}
        super().__init__(source.path, task, list(self._index))
        if not frames.names:
            raise MissingError(f"{source.path} has no frames")

    def where(self, key: str) -> str:
        """File and frame."""
        return self._frames.where(self._index[key])

    def read(self, key: str) -> FramePlanes:
        """Labels of one frame."""
        where = self.where(key)
        labels = with_masks(self._frames.frame(self._index[key]), where)
        sizes = {label.rle.size for label in labels if label.rle}
        if len(sizes) > 1:
            raise MissingError(f"{where}: masks of different sizes: {sorted(sizes)}")
        height, width = sizes.pop() if sizes else (720, 1280)
        pixels = mask_pixels((height, width), where)
        if self.task in SEMANTIC:
            known = [label for label in labels if label.category in self.classes.names]
            indices = np.array([self.classes.index(label.category or "") for label in known], np.uint8)
            runs = class_runs(decode_labels(known, pixels, where), indices)
            flat = np.repeat(runs.values, np.diff(runs.starts, append=pixels))
            return FramePlanes(self.task, _upright(flat, height, width))
        items = [self._item(position, label, where) for position, label in enumerate(labels, 1)]
        masks = decode_labels(labels, pixels, where)
        ids = np.zeros(pixels, np.uint16)
        order = sorted(range(len(items)), key=lambda i: -1.0 if (s := items[i].score) is None else s)
        firsts = np.searchsorted(masks.masks, np.arange(len(items) + 1))
        for i in order:
            runs_of = slice(firsts[i], firsts[i + 1])
            ends = masks.ends[runs_of].tolist()
            for start, end in zip(masks.starts[runs_of].tolist(), ends, strict=True):
                ids[start:end] = items[i].ident
        return FramePlanes(self.task, ids=_upright(ids, height, width), items=tuple(items))

    def _item(self, ident: int, label: Label, where: str) -> Item:
        name = label.category or ""
        flags = sum(bit for key, bit in FLAGS.items() if label_flag(label, key))
        if self.task == "ins_seg":
            name = INS_ALIASES.get(name, name)
        if self.task == "ins_seg" and name in INS_IGNORED:
            name = INS_IGNORED[name]
            flags |= FLAGS["ignored"]
        if name not in self.classes.names:
            raise MissingError(f"{where}: unknown category {label.category!r}")
        return Item(ident, self.classes.index(name), flags, label.score)


class CocoLabels(LabelSet):
    """A COCO instance file; its masks are kept in their packed form."""

    def __init__(self, source: Source, task: str) -> None:
        from bddzoo.evaluation.label_readers import read_coco

        if task != "ins_seg":
            raise UsageError(f"{source.path} is a COCO file, which holds instances", hint="leave out -t")
        self._frames: dict[str, FrameLabels] = {f.name: f for f in read_coco(source, INS_SEG)}
        super().__init__(source.path, task, list(self._frames))

    def read(self, key: str) -> FramePlanes:
        """Labels of one picture."""
        frame = self._frames[key]
        ids = np.zeros(frame.size or (720, 1280), np.uint16)
        items = []
        objects = list(enumerate(frame.instances, 1))
        for ident, one in sorted(objects, key=lambda p: -1.0 if p[1].score is None else p[1].score):
            mask = decode_rle(one.rle, self.where(key))
            if mask.shape != ids.shape:
                raise MissingError(f"{self.where(key)}: masks of different sizes")
            ids[mask] = ident
            items.append(Item(ident, one.category, one.flags, one.score))
        return FramePlanes(self.task, ids=ids, items=tuple(items))


def _upright(flat: np.ndarray, height: int, width: int) -> np.ndarray:
    """Rows of pixels from columns of pixels."""
    import cv2

    return np.asarray(cv2.transpose(flat.reshape(width, height)), flat.dtype)


SCORES = "score.json"


class PngLabels(LabelSet):
    """A folder or archive of PNGs."""

    def __init__(self, source: Source, task: str, members: list[str], score_file: Path | None) -> None:
        self._source = source
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

    def read(self, key: str) -> FramePlanes:
        """Labels of one file."""
        member = self._members[key]
        content, path = self._source.read(member), self._source.where(member)
        if self.task not in SEMANTIC:
            return self._objects(key, content, path)
        header = header_of(content, path)
        if header.colour in (GREY, PALETTE):
            pixels = decode_mask(content, path)[0]
            if self.task in DATA_SETS:
                pixels = classes_of_labels(DATA_SETS[self.task], pixels, path)
            else:
                refuse_other_labels(self.classes, pixels, path)
            return FramePlanes(self.task, pixels)
        if header.colour == GREY_ALPHA:
            decode_mask(content, path)  # says what is wrong with it
        return FramePlanes(self.task, self._from_colours(decode_loose(content, path), path))

    def _from_colours(self, pixels: np.ndarray, path: Path) -> np.ndarray:
        """Class map of a colour map; black that is no class's colour is ignored."""
        packed = pixels[..., :3].astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
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

    def _objects(self, key: str, content: bytes, path: Path) -> FramePlanes:
        bitmask = decode_bitmask(content, path)
        found = segments(bitmask, str(path))
        scores = self._scores_of(key)
        items = []
        rows = (found.ids.tolist(), found.categories.tolist(), found.attributes.tolist())
        for ident, category, flags in zip(*rows, strict=True):
            if not 1 <= category <= len(self.classes):
                hint = "it may be panoptic: -t pan_seg" if self.task == "ins_seg" else None
                raise MissingError(
                    f"{path}: instance {ident} has category {category}, which is no class of {self.task}",
                    hint=hint,
                )
            items.append(Item(ident, category - 1, flags, scores.get(ident)))
        ids = np.ascontiguousarray(bitmask.view(">u2")[..., 1]).astype(np.uint16)
        return FramePlanes(self.task, ids=ids, items=tuple(items))

    def _find_scores(self, score_file: Path | None) -> None:
        inside = [m for m in self._source.with_suffix(".json") if PurePosixPath(m).name == SCORES]
        path = self._source.path
        beside = path.parent / SCORES
        if score_file is not None:
            source = open_source(score_file)
            self._scores = JsonFrames(source, source.members)
        elif len(inside) == 1:
            self._scores = JsonFrames(self._source, inside)
        elif path.is_dir() and beside.is_file():
            source = open_source(beside)
            self._scores = JsonFrames(source, source.members)
        if self._scores is not None:
            self._score_index = {bare_name(name): i for i, name in enumerate(self._scores.names)}

    def _scores_of(self, key: str) -> Mapping[int, float]:
        at = self._score_index.get(PurePosixPath(key).name)
        if self._scores is None or at is None:
            return {}
        entries = [(e.index, e.score) for e in self._scores.scores(at)]
        return dict(score_entries(entries, self._scores.where(at)))


# Frames that are looked at to learn which task RLE labels are of.
LOOKED_AT = 50
# Classes of panoptic segmentation that no other task has; the rest may be semantic classes, too.
ONLY_PANOPTIC = frozenset(PAN_SEG.names) - {*SEM_SEG.names, *INS_SEG.names, *INS_IGNORED, *INS_ALIASES}


def open_labels(path: Path, task: str | None = None, score_file: Path | None = None) -> LabelSet:
    """Open labels or predictions.

    Args:
        path: Folder or archive of PNGs (class maps, colour maps, bitmasks), or JSON (RLE, COCO).
        task: A task, or one of openseg.pytorch's data sets, whose label files hold its own ids. Told by the
            files where None; class maps of others than BDD100K's sem_seg cannot be told.
        score_file: Scores of the instances of bitmasks; looked for beside them where None.

    Raises:
        MissingError: Nothing there that is labels.
        UsageError: The task does not come in such files.
    """
    source = open_source(path)
    pngs, texts = source.with_suffix(".png"), source.with_suffix(".json")
    if pngs:
        pngs, task = _published(path, pngs, task)
        header = header_of(source.read(pngs[0]), source.where(pngs[0]))
        objects = header.colour == RGBA and header.depth == 8
        chosen = task or (_object_task(source, pngs[0]) if objects else "sem_seg")
        found = PngLabels(source, chosen, pngs, score_file)
        if objects == (chosen in SEMANTIC):
            # The wrong kind of files is said once, not for each of them; colour maps may be RGBA.
            found.read(found.keys[0])
        return found
    if not texts:
        raise MissingError(f"{path} has no labels: neither PNG nor JSON files")
    try:
        frame_regions(source.chunks(texts[0], 1 << 22))
    except OutlineError:
        try:
            return CocoLabels(source, task or "ins_seg")
        except MissingError as error:
            raise MissingError(
                f"{source.where(texts[0])} is neither a list of frames nor a COCO file", hint=error.message
            ) from None
    frames = JsonFrames(source, texts)
    _require_masks(frames)
    return RleLabels(source, task or _task_of(frames), frames)


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


def _object_task(source: Source, member: str) -> str:
    bitmask = decode_bitmask(source.read(member), source.where(member))
    return "ins_seg" if bitmask[..., 0].max(initial=0) <= len(INS_SEG) else "pan_seg"


def _require_masks(frames: JsonFrames) -> None:
    """Refuse boxes and scores: drawn as masks they would be nothing at all.

    Raises:
        MissingError: The first frames with labels have not one mask.
    """
    labels = [label for at in range(min(len(frames), LOOKED_AT)) for label in frames.frame(at).labels or []]
    if labels and not any(label.rle or label.poly2d for label in labels):
        raise MissingError(
            f"{frames.source.path} holds no masks", hint="boxes and scores alone cannot be drawn"
        )


def _task_of(frames: JsonFrames) -> str:
    """Task of RLE labels, by what their categories are called."""
    found = "ins_seg"
    for at in range(min(len(frames), LOOKED_AT)):
        for label in frames.frame(at).labels or []:
            if label.category in DRIVABLE.names:
                return "drivable"
            if label.category in ONLY_PANOPTIC:
                return "pan_seg"
            if label.category in SEM_SEG.names[:11]:
                found = "sem_seg"
    return found
