"""Labels of PNGs: class maps, colour maps, bitmasks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from bddzoo.datasets.openseg import DATA_SETS
from bddzoo.datasets.png import GREY, GREY_ALPHA, PALETTE
from bddzoo.errors import MissingError
from bddzoo.evaluation.bitmask import segments
from bddzoo.evaluation.decode import decode_bitmask, decode_loose, decode_mask, header_of
from bddzoo.evaluation.frames import JsonFrames
from bddzoo.evaluation.insseg import score_entries
from bddzoo.evaluation.sources import Source, open_source
from bddzoo.reports.pictures.labels import (
    IGNORED,
    SEMANTIC,
    FramePlanes,
    Item,
    LabelSet,
    classes_of_labels,
    refuse_other_labels,
)
from bddzoo.reports.pictures.names import bare_name, common_folder

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
