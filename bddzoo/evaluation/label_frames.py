"""Frames of either side of a comparison, from whatever files: RLE JSON, COCO JSON, masks or bitmasks."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from bddzoo.datasets.classes import IGNORED
from bddzoo.datasets.formats.coco import CocoFrames, coco_kind
from bddzoo.datasets.formats.convert import scored_frame
from bddzoo.datasets.formats.frames import Frame, Frames, JsonFrames, Label, Rle, encode_frame
from bddzoo.datasets.formats.labels import FLAGS
from bddzoo.datasets.formats.readers import PngLabels, open_labels
from bddzoo.datasets.formats.rle import encode_values
from bddzoo.datasets.images import frame_stem
from bddzoo.datasets.sources import Source, ZipSource
from bddzoo.errors import MissingError

# Tasks that come in COCO's form, too.
COCO_TASKS = ("ins_seg", "det")


class MaskFrames:
    """Class maps or bitmasks as frames with RLE labels.

    Args:
        source: The PNG files.
        task: What they are of.
        score_file: Scores of the instances of bitmasks.
        scored: Whether the instances are detections: those without a score are left out.
    """

    def __init__(self, source: Source, task: str, score_file: Path | None, *, scored: bool) -> None:
        labels = open_labels(source.path, task, score_file)
        assert isinstance(labels, PngLabels)
        self._labels, self._scored = labels, scored
        self.source = source
        # As frames of JSON files are called.
        self.names = [f"{frame_stem(PurePosixPath(key).name)}.jpg" for key in labels.keys]
        self.videos: list[str | None] = [None] * len(self.names)

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
                    attributes={key: True for key, bit in FLAGS.items() if item.flags & bit} or None,
                )
                for item in found.items
            ],
        )

    def content(self, index: int) -> bytes:
        """Labels of one file, as `JsonFrames` has them."""
        return encode_frame(self.frame(index))


def _rle(rle: dict[str, Any] | None) -> Rle:
    assert rle
    height, width = rle["size"]
    return Rle(rle["counts"], (height, width))


def json_members(source: Source) -> list[str]:
    """JSON files of labels.

    The toolkit looks for them in the folder itself only; archives often nest one folder.
    """
    found = source.with_suffix(".json")
    return found if isinstance(source, ZipSource) else [m for m in found if "/" not in m]


def open_frames(
    source: Source,
    task: str,
    *,
    score_file: Path | None = None,
    scored: bool = False,
    truth: Frames | None = None,
    official: bool = False,
) -> Frames:
    """Frames of one side.

    Args:
        source: Its files.
        task: What they are of.
        score_file: Scores of the instances of bitmasks.
        scored: Whether they are predictions.
        truth: Frames of the ground truth; a list of COCO results takes its images from them.
        official: Read nothing that the official toolkit does not.

    Raises:
        MissingError: There are no such files, or they are of another kind than the task's.
    """
    members = json_members(source)
    if not members and source.with_suffix(".png") and not official:
        if task == "det":
            raise MissingError(f"{source.path} has no JSON files", hint="boxes come as JSON")
        return MaskFrames(source, task, score_file, scored=scored and task == "ins_seg")
    kind = coco_kind(source, members[0]) if len(members) == 1 else ""
    if not kind:
        return JsonFrames(source, members)
    where = source.where(members[0])
    if official:
        raise MissingError(
            f"{where} is COCO JSON, which the official toolkit does not read",
            hint="'bddzoo convert-labels --to rle' makes what it reads",
        )
    if task not in COCO_TASKS:
        raise MissingError(f"{where} is COCO JSON, which holds instances, not {task}", hint="give another -t")
    return CocoFrames(source, members[0], truth if isinstance(truth, CocoFrames) else None)
