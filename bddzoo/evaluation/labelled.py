"""Scores of plain label folders of openseg.pytorch's six data sets, by its trainer's definition.

Files hold the data sets' own ids (`bddzoo.datasets.openseg`). One confusion matrix is counted over
the set; void ground truth is left out, a prediction that is not a class is a miss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from bddzoo.datasets.formats.mask import decode_mask
from bddzoo.datasets.images import LABEL_IDS, frame_stem, of_kind
from bddzoo.datasets.openseg import DataSet
from bddzoo.datasets.sources import Source, open_source
from bddzoo.errors import MissingError
from bddzoo.evaluation.jobs import FrameWarnings, listing, raise_all, run_jobs
from bddzoo.evaluation.metrics.semseg import Rule, SemSegAccumulator, pair_counts
from bddzoo.evaluation.options import Evaluation, Options
from bddzoo.evaluation.pairing import MaskPair, other_size

RULE: Rule = "openseg"
_SHOWN = 6


def accumulator_of(dataset: DataSet) -> SemSegAccumulator:
    """An empty accumulator of a data set's classes, with the trainer's metrics."""
    return SemSegAccumulator(dataset.classes.names, rule=RULE)


class ForeignLabelsError(MissingError):
    """A label file holds values that its data set does not have."""


@dataclass(frozen=True)
class LabelCounts:
    """What two label files have in common.

    Attributes:
        matrix: (classes, classes + 1) int64: rows ground truth, columns predictions, the last one for
            predictions that are not a class.
        foreign: Ground-truth values that the data set's label files cannot hold.
        values: All values in the ground truth.
        missed: Predicted values that are not a class, on ground truth that counts.
    """

    matrix: NDArray[np.int64]
    foreign: tuple[int, ...]
    values: tuple[int, ...]
    missed: tuple[int, ...]


def count_labels(dataset: DataSet, gt: NDArray[np.uint8], pred: NDArray[np.uint8]) -> LabelCounts:
    """Confusion of two maps in the values of files.

    Args:
        dataset: Whose values they are.
        gt: Ground truth (H, W) uint8.
        pred: Prediction (H, W) uint8.
    """
    pairs = pair_counts(gt, pred)
    ids = list(dataset.ids)
    counted = pairs[ids]
    found = counted[:, ids]
    misses = counted.sum(1, keepdims=True) - found.sum(1, keepdims=True)
    values = pairs.sum(1).nonzero()[0].tolist()
    predicted = counted.sum(0).nonzero()[0].tolist()
    return LabelCounts(
        np.concatenate((found, misses), axis=1),
        tuple(dataset.foreign(values)),
        tuple(values),
        tuple(sorted(set(predicted) - set(ids))),
    )


def foreign_labels(
    dataset: DataSet, path: Path, counts: LabelCounts, *, lenient: bool = True
) -> MissingError:
    """The error for a label file that holds values of something else.

    Args:
        dataset: What it should hold.
        path: The file.
        counts: What it holds.
        lenient: Whether the command at hand has `--lenient`.
    """
    shown = ", ".join(map(str, counts.foreign[:_SHOWN])) + (" ..." if len(counts.foreign) > _SHOWN else "")
    guess = dataset.explain(counts.values)
    return ForeignLabelsError(
        f"{path} is not a label file of {dataset.title} ({dataset.labels}): it holds {shown}"
        + (f"; {guess}" if guess else ""),
        hint="--lenient leaves these pixels out" if lenient else "give the data set that the model is of",
    )


def evaluate_labels(
    dataset: DataSet,
    gt: Path,
    pred: Path,
    *,
    options: Options | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Score a folder of prediction PNGs against a folder of label PNGs.

    Args:
        dataset: What both hold.
        gt: Ground truth: a folder of PNGs at any depth, or a zip of them; of Cityscapes' published
            `gtFine` the `labelIds` are taken.
        pred: Predictions: the same; named as the images or as the labels.
        options: How strictly; `official` is of no effect.
        progress: Called with frames done and frames in all.

    Raises:
        MissingError: Anything that cannot be scored; every bad file is named.
    """
    chosen = options or Options()
    truth, found = open_source(gt), open_source(pred)
    remarks, skipped = FrameWarnings(), []
    pairs = _pairs(truth, found, remarks)
    missing = [p.name for p in pairs if p.pred is None]
    if missing and not chosen.allow_partial:
        raise MissingError(
            f"{pred} has no prediction for {len(missing)} of {len(pairs)} frames: {listing(missing)}",
            hint="--allow-partial scores the rest and says so",
        )
    skipped += missing
    pairs = [p for p in pairs if p.pred is not None]
    work = _Work(dataset, truth, found, chosen)
    scores, errors = accumulator_of(dataset), list[MissingError]()
    missed: set[int] = set()
    for done, (pair, result) in enumerate(run_jobs(work.count, pairs, chosen.workers), 1):
        if isinstance(result, MissingError):
            errors.append(result)
            skipped.append(pair.name)
        else:
            scores.add(pair.name, result.matrix)
            missed.update(result.missed)
            if result.foreign:
                remarks.add("foreign", str(truth.where(pair.gt)))
        if progress:
            progress(done, len(pairs))
    if not chosen.allow_partial or (errors and len(errors) == len(pairs)):
        _raise_foreign(errors)
        raise_all(errors, "frames")
    for error in errors:
        remarks.add("bad", error.message)
    lines = remarks.lines() + _about_misses(dataset, sorted(missed))
    total = replace(scores.compute(), partial=bool(skipped))
    return Evaluation(total, scores, "labels", lines, skipped)


def _raise_foreign(errors: Sequence[MissingError]) -> None:
    """One example and a number where all that is wrong is labels of another data set."""
    foreign = [error for error in errors if isinstance(error, ForeignLabelsError)]
    if len(foreign) > 1 and len(foreign) == len(errors):
        more = f" (and so {'does 1 more' if len(foreign) == 2 else f'do {len(foreign) - 1} more'})"
        raise MissingError(foreign[0].message + more, hint=foreign[0].hint)


@dataclass(frozen=True)
class _Work:
    dataset: DataSet
    gt: Source
    pred: Source
    options: Options

    def count(self, pair: MaskPair) -> LabelCounts:
        assert pair.pred is not None
        path = self.gt.where(pair.gt)
        gt, _ = decode_mask(self.gt.read(pair.gt), path, "gt")
        pred, _ = decode_mask(self.pred.read(pair.pred), self.pred.where(pair.pred), "pred")
        if gt.shape != pred.shape:
            raise other_size(self.pred, pair, gt.shape, pred.shape)
        counts = count_labels(self.dataset, gt, pred)
        if counts.foreign and not self.options.lenient:
            raise foreign_labels(self.dataset, path, counts)
        return counts


def _pairs(gt: Source, pred: Source, remarks: FrameWarnings) -> list[MaskPair]:
    truth, found = (_by_frame(source) for source in (gt, pred))
    for name in sorted(found.keys() - truth.keys()):
        remarks.add("extra", str(pred.where(found[name])))
    if not found.keys() & truth.keys():
        raise MissingError(
            f"no prediction in {pred.path} belongs to a label in {gt.path} "
            f"(labels like {next(iter(truth))!r}, predictions like {next(iter(found))!r})",
            hint="a prediction has the name of its image",
        )
    return [MaskPair(name, truth[name], found.get(name)) for name in truth]


def _by_frame(source: Source) -> dict[str, str]:
    members = source.with_suffix(".png")
    if not members:
        raise MissingError(f"{source.path} has no PNG files", hint="label files are PNGs of one channel")
    frames: dict[str, str] = {}
    # Cityscapes' published folders hold several files of a frame; its ids are what is scored.
    for member in of_kind(members, LABEL_IDS) or members:
        other = frames.setdefault(frame_stem(PurePosixPath(member).stem), member)
        if other != member:
            raise MissingError(
                f"{source.path} has two files of one frame: {other} and {member}",
                hint="frames are matched by bare file name; one of them would be scored at random",
            )
    return dict(sorted(frames.items()))


def _about_misses(dataset: DataSet, values: Sequence[int]) -> list[str]:
    """What to say about predicted values that are not a class."""
    if not values:
        return []
    shown = ", ".join(map(str, values[:_SHOWN])) + (" ..." if len(values) > _SHOWN else "")
    held = f"{dataset.title}'s files ({dataset.labels})"
    line = f"predictions hold {shown}, no classes in {held}: counted as wrong"
    if dataset.id == "coco_stuff" and values == [0]:
        return [line + "; openseg.pytorch's own tester writes class 182 as 0"]
    if dataset.id == "cityscapes" and set(values) <= set(range(19)):
        return [line + "; do the files hold train ids?"]
    return [line]
