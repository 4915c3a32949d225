"""Frames of either side of a comparison, from whatever files: RLE JSON, COCO JSON, masks or bitmasks."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from bddzoo.datasets.classes import IGNORED, INS_SEG, TRACKED
from bddzoo.datasets.formats.convert import scored_frame
from bddzoo.datasets.formats.frames import Frame, Label, Rle, encode_frame, joined
from bddzoo.datasets.formats.labels import flag_attributes
from bddzoo.datasets.formats.readers import PngLabels, open_labels
from bddzoo.datasets.formats.rle import encode_values
from bddzoo.datasets.images import frame_stem
from bddzoo.datasets.sources import Source


class MaskFrames:
    """Class maps or bitmasks as frames with RLE labels.

    Args:
        source: The PNG files.
        task: What they are of.
        score_file: Scores of the instances of bitmasks.
        scored: Whether the instances are detections: those without a score are left out.
    """

    kind = "masks"
    numbers: Mapping[int, str] = {}  # of COCO

    def __init__(self, source: Source, task: str, score_file: Path | None, *, scored: bool) -> None:
        # Bitmasks of tracks are those of instances, in a folder for each video.
        labels = open_labels(source.path, INS_SEG.task if task in TRACKED else task, score_file)
        assert isinstance(labels, PngLabels)
        self._labels, self._scored = labels, scored
        self.source = source
        # As frames of JSON files are called.
        self.names = [f"{frame_stem(PurePosixPath(key).name)}.jpg" for key in labels.keys]
        folders = [Path(labels.where(key)).parent.name for key in labels.keys]
        self.videos: list[str | None] = [name if task in TRACKED else None for name in folders]
        self.positions = range(len(self.names))

    def __len__(self) -> int:
        return len(self.names)

    def where(self, index: int) -> str:
        """Path of the file."""
        return self._labels.where(self._labels.keys[index])

    def frame(self, index: int) -> Frame:
        """Labels of one file.

        Raises:
            MissingError: It cannot be read, holds what is not a class, or there are no scores for it.
        """
        key, names = self._labels.keys[index], self._labels.classes.names
        found = scored_frame(self._labels, key) if self._scored else self._labels.read(key)
        if found.class_map is not None:
            masks = encode_values(found.class_map)
            labels = [Label(names[v], _rle(rle)) for v, rle in masks.items() if v != IGNORED]
            return Frame(self.names[index], labels)
        found.need_rles()
        return Frame(
            self.names[index],
            [
                Label(
                    names[item.category],
                    _rle(item.rle),
                    item.score,
                    attributes=flag_attributes(item.flags),
                    id=item.ident,
                )
                for item in found.items
            ],
        )

    def contents(self, indices: Sequence[int | None]) -> tuple[bytes, array[int]]:
        """Labels of files, as `JsonFrames` has them."""
        return joined(b"" if i is None else encode_frame(self.frame(i)) for i in indices)


def _rle(rle: dict[str, Any] | None) -> Rle:
    assert rle
    height, width = rle["size"]
    return Rle(rle["counts"], (height, width))
