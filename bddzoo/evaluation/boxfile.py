"""Box AP of a file of detections: the `det.json` that the zoo itself writes next to its bitmasks."""

from __future__ import annotations

import math
from pathlib import Path, PurePosixPath

import msgspec
import numpy as np
from numpy.typing import NDArray

from bddzoo.datasets.classes import INS_SEG
from bddzoo.datasets.formats.frames import JsonFrames
from bddzoo.datasets.formats.mask import decode_bitmask
from bddzoo.datasets.sources import Source, open_source
from bddzoo.errors import MissingError
from bddzoo.evaluation.jobs import listing
from bddzoo.evaluation.metrics.boxes import BoxAccumulator
from bddzoo.evaluation.metrics.scores import Scores
from bddzoo.evaluation.prediction_files import DETECTIONS


class Box(msgspec.Struct, gc=False):
    """Corners in pixels; x2 and y2 are the last pixels inside."""

    x1: float
    y1: float
    x2: float
    y2: float


class Detection(msgspec.Struct, gc=False):
    """One label of a frame of detections."""

    category: str
    score: float
    box2d: Box


class _Frame(msgspec.Struct, gc=False):
    name: str | int
    labels: list[Detection] | None = None


_DECODER = msgspec.json.Decoder(_Frame)


def find_detections(predictions: Path) -> tuple[Source, str] | None:
    """The file of detections of a prediction set: in the folder or archive, or next to the folder.

    Returns:
        Where it is and its name there, or None.

    Raises:
        MissingError: There is no such prediction set, or several files are meant.
    """
    source = open_source(predictions)
    if (
        predictions.is_dir()
        and DETECTIONS not in source.members
        and (predictions.parent / DETECTIONS).is_file()
    ):
        return open_source(predictions.parent / DETECTIONS), DETECTIONS
    found = [m for m in source.members if PurePosixPath(m).name == DETECTIONS]
    if len(found) > 1:
        raise MissingError(f"{predictions} holds several files of detections: {listing(found, 3)}")
    return (source, found[0]) if found else None


def score_detections(gt: Path, source: Source, member: str) -> Scores:
    """Box AP of a file of detections against the boxes of ground-truth bitmasks.

    Args:
        gt: Ground-truth bitmasks of the split.
        source: Where the file is.
        member: Its name there.

    Raises:
        MissingError: A file cannot be read, a frame lacks on either side, or a detection is none.
    """
    frames = JsonFrames(source, [member])
    where = source.where(member)
    index = {PurePosixPath(name).stem: i for i, name in enumerate(frames.names)}
    if len(index) < len(frames):
        raise MissingError(f"{where} lists a frame more than once")
    truth = open_source(gt)
    stems = {PurePosixPath(m).stem: m for m in truth.with_suffix(".png")}
    without, unknown = stems.keys() - index.keys(), index.keys() - stems.keys()
    if without:
        raise MissingError(f"{where} lacks {len(without)} of {len(stems)} frames: {listing(sorted(without))}")
    if unknown:
        raise MissingError(f"{where} has {len(unknown)} unknown frames: {listing(sorted(unknown))}")
    boxes = BoxAccumulator(INS_SEG.names)
    for stem, png in stems.items():
        at = index[stem]
        bitmask = decode_bitmask(truth.read(png), truth.where(png), "gt")
        _add(boxes, bitmask, frames.decode(at, _DECODER).labels or [], frames.where(at))
    return boxes.compute()


def _add(boxes: BoxAccumulator, bitmask: NDArray[np.uint8], labels: list[Detection], where: str) -> None:
    unknown = {d.category for d in labels} - set(INS_SEG.names)
    if unknown:
        raise MissingError(f"{where}: no such class: {listing(sorted(unknown), 3)}")
    if any(not math.isfinite(v) for d in labels for v in (d.score, d.box2d.x2, d.box2d.y2)):
        raise MissingError(f"{where}: a box or score is not a finite number")
    corners = [(d.box2d.x1, d.box2d.y1, d.box2d.x2 + 1, d.box2d.y2 + 1) for d in labels]
    # Detectors and their scores are float32, and so are the boxes that bddzoo itself scores.
    boxes.update(
        bitmask,
        np.asarray(corners, np.float32).reshape(-1, 4),
        np.asarray([d.score for d in labels], np.float64),
        np.asarray([INS_SEG.names.index(d.category) for d in labels], np.int64),
        where,
    )
