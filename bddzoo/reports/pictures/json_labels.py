"""Labels of JSON files: RLE masks of frames, and COCO instances."""

from __future__ import annotations

import numpy as np

from bddzoo.datasets.classes import INS_SEG
from bddzoo.datasets.rle import decode_rle
from bddzoo.errors import MissingError, UsageError
from bddzoo.evaluation.frames import JsonFrames, Label
from bddzoo.evaluation.labels import FLAGS, FrameLabels
from bddzoo.evaluation.rle import class_runs
from bddzoo.evaluation.rle_frames import (
    INS_ALIASES,
    INS_IGNORED,
    decode_labels,
    label_flag,
    mask_pixels,
    with_masks,
)
from bddzoo.evaluation.sources import Source
from bddzoo.reports.pictures.labels import SEMANTIC, FramePlanes, Item, LabelSet
from bddzoo.reports.pictures.names import bare_name


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
