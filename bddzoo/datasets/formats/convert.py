"""Label files from one format to another: a writer for each format, and nothing left of a failure."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bddzoo.datasets.classes import CLASS_SETS, ClassSet
from bddzoo.datasets.formats.boxes import convert_boxes, open_boxes
from bddzoo.datasets.formats.coco import CocoFrames, write_coco
from bddzoo.datasets.formats.frames import JsonFrames
from bddzoo.datasets.formats.labels import MAX_ID, FrameLabels, Item, flag_attributes
from bddzoo.datasets.formats.mask import write_mask, write_rgba
from bddzoo.datasets.formats.other_task import TRACKS_LOST, are_videos
from bddzoo.datasets.formats.png import encode_palette, encode_png
from bddzoo.datasets.formats.readers import LabelSet, PngLabels, open_labels
from bddzoo.datasets.formats.scalabel import FrameWriter, RleJsonWriter, label_dict
from bddzoo.errors import MissingError, UsageError
from bddzoo.files import cannot_write, write_bytes
from bddzoo.text import number_of

# Formats of each task: class maps or bitmasks as PNG, RLE or boxes in Scalabel JSON, COCO JSON, colour maps.
FORMATS = {
    "sem_seg": ("masks", "rle", "color"),
    "drivable": ("masks", "rle", "color"),
    "ins_seg": ("bitmasks", "rle", "coco", "color"),
    "det": ("boxes", "coco"),
}


@dataclass(frozen=True)
class Converted:
    """What was converted.

    Attributes:
        kind: Format that was read.
        frames: Number of frames.
        remarks: What was left out, a line each.
    """

    kind: str
    frames: int
    remarks: tuple[str, ...] = ()


def convert(
    task: str,
    source: Path,
    target: Path,
    to: str,
    *,
    origin: str | None = None,
    score_file: Path | None = None,
) -> Converted:
    """Convert labels.

    Args:
        task: `sem_seg`, `drivable`, `ins_seg` or `det`.
        source: Folder of PNGs, JSON file, or a zip of either.
        target: Folder or JSON file to write.
        to: A format of the task.
        origin: Format of `source`; guessed when not given.
        score_file: Bitmasks of detections: scores, read if `source` is bitmasks, written if they are made.

    Raises:
        UsageError: A format that the task does not have, or cannot be read back.
        MissingError: Labels that cannot be read; nothing is written.
    """
    formats = FORMATS[task]
    for name in (to, origin):
        if name is not None and name not in formats:
            raise UsageError(f"{task} has no format {name!r}", hint="it has " + ", ".join(formats))
    if target.is_dir() and source.is_dir() and target.samefile(source):
        raise UsageError(f"{source} would be overwritten by its own conversion", hint="name another folder")
    if origin == "color" and task == "ins_seg":
        raise UsageError("colour maps of instances do not say which instance a pixel belongs to")
    if score_file and "bitmasks" not in (origin or "bitmasks", to):
        raise UsageError("--score-file belongs to bitmasks")
    if task == "det":
        boxes = open_boxes(source)
        kind = "coco" if isinstance(boxes, CocoFrames) else "boxes"
        _refuse_other_format(source, kind, origin)
        lost = isinstance(boxes, JsonFrames) and are_videos(boxes)
        return Converted(kind, convert_boxes(boxes, target, to), (TRACKS_LOST,) * lost)
    labels = open_labels(source, task, score_file, origin)
    _refuse_other_format(source, labels.kind, origin)
    if score_file and "bitmasks" not in (labels.kind, to):
        raise UsageError("--score-file belongs to bitmasks")
    classes = CLASS_SETS[task]
    frames = _scored(labels, score_file) if labels.kind == "bitmasks" else labels.frames()
    said: list[str] = []
    if to == "masks":
        count = write_masks(frames, target)
    elif to == "color":
        count = write_colours(frames, target, classes)
    elif to == "bitmasks":
        count, hidden = write_bitmasks(frames, target, score_file if labels.kind != "bitmasks" else None)
        if hidden:
            said.append(
                f"{number_of(hidden, 'object')} without a pixel in the bitmasks: empty, or behind others"
            )
    elif to == "coco":
        count = write_coco(frames, target, classes)
    else:
        count = write_rle(frames, target, classes)
    return Converted(labels.kind, count, (*labels.warnings(), *said))


def _refuse_other_format(source: Path, kind: str, origin: str | None) -> None:
    if origin not in (None, kind):
        raise UsageError(f"{source} holds {kind}, not {origin}", hint="leave out --input-format")


def _scored(labels: LabelSet, score_file: Path | None) -> Iterator[FrameLabels]:
    """Frames of bitmasks; with a file of scores, the objects that have one, in its order."""
    assert isinstance(labels, PngLabels)
    for key in labels.keys:
        if score_file is not None:
            yield scored_frame(labels, key)
            continue
        frame = labels.read(key)
        for item in frame.items:
            item.score = None
        yield frame


def scored_frame(labels: PngLabels, key: str) -> FrameLabels:
    """The objects of a bitmask that have a score, in the order of the file of scores.

    Raises:
        MissingError: It has none for the frame.
    """
    frame, scores = labels.read(key), labels.scores_of(key)
    if scores is None:
        raise MissingError(f"no scores for the bitmask {frame.where}", hint="give them with --score-file")
    order = {ident: place for place, ident in enumerate(scores)}
    frame.items = sorted((i for i in frame.items if i.ident in order), key=lambda i: order[i.ident])
    return frame


@contextmanager
def _whole_files(target: Path) -> Iterator[Path]:
    """A folder whose files move into the target when the block ends without an error.

    Files of the same names are replaced, others in the target stay.

    Raises:
        MissingError: The target cannot be written to.
    """
    new = not target.exists()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
    except OSError as error:
        raise cannot_write(target, error) from error
    try:
        yield fresh
        if new:
            fresh.chmod(0o755)
            fresh.rename(target)
        else:
            for path in sorted(fresh.iterdir()):
                path.replace(target / path.name)
    except OSError as error:
        raise cannot_write(target, error) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _once(frames: Iterable[FrameLabels], folder: Path) -> Iterator[tuple[Path, FrameLabels]]:
    """Frames with their files; a second frame of the same name would overwrite the first."""
    seen: set[str] = set()
    for frame in frames:
        if frame.name in seen:
            raise MissingError(f"two frames are called {frame.name}", hint="they would overwrite each other")
        seen.add(frame.name)
        yield folder / f"{frame.name}.png", frame


def write_masks(frames: Iterable[FrameLabels], target: Path) -> int:
    """Class maps as 8-bit grey PNGs; returns the number of frames."""
    count = 0
    with _whole_files(target) as folder:
        for path, frame in _once(frames, folder):
            assert frame.class_map is not None
            write_mask(path, frame.class_map)
            count += 1
    return count


def write_colours(frames: Iterable[FrameLabels], target: Path, classes: ClassSet) -> int:
    """Colour maps: class maps as palette PNGs (the index is the class), objects as RGB by category."""
    palette = np.array(classes.palette, np.uint8)
    colours = np.concatenate((np.zeros((1, 3), np.uint8), palette))
    count = 0
    with _whole_files(target) as folder:
        for path, frame in _once(frames, folder):
            if frame.class_map is not None:
                write_bytes(path, encode_palette(frame.class_map, palette, path))
            else:
                write_bytes(path, encode_png(colours[frame.bitmask()[..., 0]], path))
            count += 1
    return count


def write_bitmasks(frames: Iterable[FrameLabels], target: Path, score_file: Path | None) -> tuple[int, int]:
    """Bitmasks as RGBA PNGs and, where objects have scores, the file of them.

    Returns:
        The number of frames, and of objects no pixel of which is seen.
    """
    count = hidden = 0
    with ExitStack() as stack:
        scores = stack.enter_context(FrameWriter(score_file, bare=True)) if score_file else None
        folder = stack.enter_context(_whole_files(target))
        for path, frame in _once(frames, folder):
            write_rgba(path, frame.bitmask())
            count += 1
            seen = np.bincount(frame.ids.ravel(), minlength=MAX_ID + 1)
            hidden += sum(not seen[item.ident] for item in frame.items)
            if scores:
                scores.add(f"{frame.name}.jpg", [_score(i, frame.name) for i in frame.items])
            elif any(i.score is not None for i in frame.items):
                raise MissingError(
                    f"{frame.name} has scores, which bitmasks cannot hold",
                    hint="name a --score-file for them",
                )
    return count, hidden


def _score(item: Item, name: str) -> dict[str, Any]:
    if item.score is None:
        raise MissingError(f"{name}: an object without a score", hint="leave out --score-file")
    return label_dict(index=item.ident, score=item.score)


def write_rle(frames: Iterable[FrameLabels], target: Path, classes: ClassSet) -> int:
    """Scalabel JSON with RLE labels."""
    with RleJsonWriter(target, classes) as writer:
        for frame in frames:
            if frame.class_map is not None:
                writer.add_mask(f"{frame.name}.jpg", frame.class_map)
                continue
            frame.need_rles()
            labels = [
                label_dict(
                    index=item.ident or None,
                    score=item.score,
                    category=classes.names[item.category],
                    attributes=flag_attributes(item.flags),
                    rle=item.rle,
                )
                for item in frame.items
            ]
            writer.add(f"{frame.name}.jpg", labels)
    return writer.frames
