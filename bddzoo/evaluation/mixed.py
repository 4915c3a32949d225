"""Class maps in RLE JSON against ground truth in PNG files: how zoos publish, and how the data set comes."""

from __future__ import annotations

from pathlib import Path

from bddzoo.datasets.classes import SEM_SEG, label_values
from bddzoo.datasets.formats.readers import open_labels
from bddzoo.datasets.sources import open_source
from bddzoo.errors import MissingError
from bddzoo.evaluation.decode import decode_mask
from bddzoo.evaluation.jobs import listing
from bddzoo.evaluation.metrics.semseg import SemSegAccumulator
from bddzoo.evaluation.options import Evaluation
from bddzoo.evaluation.pairing import stem


def kinds_differ(gt: Path, pred: Path) -> bool:
    """Whether the predictions are JSON files and the ground truth is PNG files.

    Raises:
        MissingError: One of them does not exist.
    """
    truth, found = open_source(gt), open_source(pred)
    return bool(found.with_suffix(".json") and not found.with_suffix(".png") and truth.with_suffix(".png"))


def score_rle_against_masks(gt: Path, pred: Path) -> Evaluation:
    """Score semantic predictions in RLE JSON against class maps, as if they had been PNG files.

    A pixel without a label is a miss, as is one whose label's category is not a class.

    Args:
        gt: Folder or archive of class maps.
        pred: JSON file, or a folder or archive of them.

    Raises:
        MissingError: Files that cannot be read, a frame that lacks or occurs twice, sizes that differ.
    """
    truth = open_source(gt)
    members = {stem(m): m for m in truth.with_suffix(".png")}
    scores = SemSegAccumulator(SEM_SEG.names)
    seen: set[str] = set()
    extra: list[str] = []
    labels = open_labels(pred, "sem_seg", kind="rle")
    for frame in labels.frames():
        if frame.name in seen:
            raise MissingError(f"{pred} has frame {frame.name} more than once")
        seen.add(frame.name)
        member = members.get(frame.name)
        if member is None:
            extra.append(frame.name)
            continue
        pixels, _ = decode_mask(truth.read(member), truth.where(member), "gt")
        if unknown := scores.update(pixels, frame.class_map, member, label_values("sem_seg")):
            raise MissingError(f"{truth.where(member)}: {unknown} pixels are of no class")
    missing = sorted(members.keys() - seen)
    if missing:
        raise MissingError(
            f"{pred} has no prediction for {len(missing)} of {len(members)} frames: {listing(missing)}"
        )
    warnings = labels.remarks()
    warnings += [f"{len(extra)} predictions without ground truth: {listing(extra, 3)}"] if extra else []
    return Evaluation(scores.compute(), scores, "rle", warnings)
