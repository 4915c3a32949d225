"""Label files from one format to another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bddzoo.datasets.classes import CLASS_SETS, ClassSet
from bddzoo.datasets.sources import Source, open_source
from bddzoo.errors import MissingError, UsageError
from bddzoo.evaluation import label_readers as readers
from bddzoo.evaluation import label_writers as writers
from bddzoo.evaluation.labels import FrameLabels

# Formats of each task: class maps or bitmasks as PNG, RLE in Scalabel JSON, COCO JSON, colour maps.
FORMATS = {
    "sem_seg": ("masks", "rle", "color"),
    "drivable": ("masks", "rle", "color"),
    "ins_seg": ("bitmasks", "rle", "coco", "color"),
}


def convert(
    task: str,
    source: Path,
    target: Path,
    to: str,
    *,
    origin: str | None = None,
    score_file: Path | None = None,
) -> tuple[str, int]:
    """Convert labels.

    Args:
        task: `sem_seg`, `drivable` or `ins_seg`.
        source: Folder of PNGs, JSON file, or a zip of either.
        target: Folder or JSON file to write.
        to: A format of the task.
        origin: Format of `source`; guessed when not given.
        score_file: Bitmasks of detections: scores, read if `source` is bitmasks, written if they are made.

    Returns:
        The format that was read, and the number of frames.

    Raises:
        UsageError: A format that the task does not have, or cannot be read back.
        MissingError: Labels that cannot be read.
    """
    formats = FORMATS[task]
    for name in (to, origin):
        if name is not None and name not in formats:
            raise UsageError(f"{task} has no format {name!r}", hint="it has " + ", ".join(formats))
    files = open_source(source)
    if target.is_dir() and source.is_dir() and target.samefile(source):
        raise UsageError(f"{source} would be overwritten by its own conversion", hint="name another folder")
    kind = origin or guess(task, files)
    if kind == "color" and task == "ins_seg":
        raise UsageError("colour maps of instances do not say which instance a pixel belongs to")
    if score_file and "bitmasks" not in (kind, to):
        raise UsageError("--score-file belongs to bitmasks")
    classes = CLASS_SETS[task]
    reading = score_file if kind == "bitmasks" else None
    frames = read(kind, files, classes, reading)
    if to == "masks":
        return kind, writers.write_masks(frames, target, classes)
    if to == "color":
        return kind, writers.write_colours(frames, target, classes)
    if to == "bitmasks":
        return kind, writers.write_bitmasks(frames, target, score_file if reading is None else None)
    if to == "coco":
        return kind, writers.write_coco(frames, target, classes)
    return kind, writers.write_rle(frames, target, classes)


def read(
    kind: str, source: Source, classes: ClassSet, score_file: Path | None = None
) -> Iterator[FrameLabels]:
    """Frames of labels of one format."""
    if kind == "masks":
        return readers.read_masks(source, classes)
    if kind == "color":
        return readers.read_colours(source, classes)
    if kind == "bitmasks":
        return readers.read_bitmasks(source, classes, score_file)
    if kind == "coco":
        return readers.read_coco(source, classes)
    return readers.read_rle(source, classes)


def guess(task: str, source: Source) -> str:
    """Format of label files, from what they look like.

    Raises:
        MissingError: There are none.
    """
    pngs = source.with_suffix(".png")
    texts = source.with_suffix(".json")
    if pngs:
        if task == "ins_seg":
            return "bitmasks"
        from bddzoo.datasets.formats.png import RGB, RGBA
        from bddzoo.evaluation.fast.decode import header_of

        header = header_of(source.read(pngs[0]), source.where(pngs[0]))
        return "color" if header.colour in (RGB, RGBA) else "masks"
    if not texts:
        raise MissingError(f"{source.path} has no PNG and no JSON files")
    if task == "ins_seg":
        from bddzoo.datasets.formats.json_index import OutlineError, frame_regions

        try:
            frame_regions(source.chunks(texts[0], 1 << 22))
        except OutlineError:
            return "coco"
    return "rle"
