"""Predictions in, scores out, one frame at a time; and on the way to disk what is asked for."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from bddzoo.datasets.attributes import UNKNOWN, read_attribute_files
from bddzoo.datasets.classes import DET, DRIVABLE, INS_SEG, PAN_SEG, SEM_SEG, ClassSet, values_of_no_class
from bddzoo.datasets.formats.boxes import open_boxes
from bddzoo.datasets.formats.frames import Frames
from bddzoo.datasets.formats.mask import paint_bitmask, read_bitmask, read_mask, score_entries
from bddzoo.datasets.formats.scalabel import Detections, Instances, PanopticMap, Tag
from bddzoo.datasets.identity import digest_pixels
from bddzoo.datasets.images import Sample
from bddzoo.datasets.layouts import labels_of
from bddzoo.datasets.openseg import DataSet, class_set_of
from bddzoo.errors import MissingError, UsageError
from bddzoo.evaluation import BoxAccumulator, InsSegAccumulator, Scores, SemSegAccumulator
from bddzoo.evaluation.det_frames import match_detections
from bddzoo.evaluation.disk import SILENT
from bddzoo.evaluation.labelled import accumulator_of, count_labels, foreign_labels
from bddzoo.evaluation.metrics.detection import DetAccumulator
from bddzoo.evaluation.metrics.panseg import PanSegAccumulator
from bddzoo.evaluation.statistics import dump
from bddzoo.evaluation.tagging import tag_counts
from bddzoo.registry.model import Model

if TYPE_CHECKING:
    from bddzoo.inference.outputs import PredictionSet


class _Scorer:
    """What all scorers have: the digest of each frame's label, see `bddzoo.datasets.identity`."""

    keeps_partial = False

    def __init__(self) -> None:
        self.labels: dict[str, str] = {}


Counts = TypeVar("Counts", SemSegAccumulator, DetAccumulator, PanSegAccumulator)


class _OneCount(_Scorer, ABC, Generic[Counts]):
    """What scorers share that keep one accumulator; `kind` is its name among the statistics."""

    kind = "masks"

    def __init__(self, counts: Counts) -> None:
        super().__init__()
        self._counts: Counts = counts

    def consume(self, frame: Sample, result: Any, writer: PredictionSet | None) -> None:
        """Count the prediction of a frame, and write it if there is a writer."""
        assert frame.label is not None
        self.labels[frame.name] = self._compare(frame, frame.label, result)
        if writer is not None:
            writer.add(frame.name, result)

    @abstractmethod
    def _compare(self, frame: Sample, label: Path, result: Any) -> str:
        """Compare the prediction of a frame with its label; returns the label's digest."""

    def compute(self) -> Scores:
        """Scores so far."""
        return self._counts.compute()

    def merge(self, other: _OneCount[Counts]) -> None:
        """Add what another process counted.

        Raises:
            UsageError: A frame was counted by both.
        """
        self._counts.merge(other._counts)
        self.labels.update(other.labels)

    def statistics(self) -> dict[str, bytes]:
        """What was counted on each frame, for `bddzoo.evaluation.statistics.load`."""
        return {self.kind: dump(self._counts)}


class SemSegScorer(_OneCount[SemSegAccumulator]):
    """Class maps against class maps."""

    def __init__(self, classes: ClassSet) -> None:
        counted = [name for name in classes.names if name not in SILENT.get(classes.task, ())]
        super().__init__(SemSegAccumulator(counted, classes.task))
        self._task = classes.task

    def _compare(self, frame: Sample, label: Path, class_map: npt.NDArray[np.uint8]) -> str:
        truth = read_mask(label)
        _same_size(label, truth.shape[:2], class_map.shape)
        if strange := values_of_no_class(self._task, truth):
            raise _no_class(label, strange)
        self._counts.update(truth, class_map, frame.name)
        return digest_pixels(truth)


class LabelledScorer(_OneCount[SemSegAccumulator]):
    """Class maps against label files of one of openseg.pytorch's data sets, by its trainer's definition."""

    def __init__(self, dataset: DataSet) -> None:
        super().__init__(accumulator_of(dataset))
        self._dataset = dataset

    def _compare(self, frame: Sample, label: Path, class_map: npt.NDArray[np.uint8]) -> str:
        truth = read_mask(label)
        _same_size(label, truth.shape[:2], class_map.shape)
        counts = count_labels(self._dataset, truth, self._dataset.to_files(class_map))
        if counts.foreign:
            raise foreign_labels(self._dataset, label, counts, lenient=False)
        self._counts.add(frame.name, counts.matrix)
        return digest_pixels(truth)


class InsSegScorer(_Scorer):
    """Bitmasks against bitmasks, and boxes against the boxes of bitmasks."""

    def __init__(self) -> None:
        super().__init__()
        self._masks = InsSegAccumulator(INS_SEG.names)
        self._boxes = BoxAccumulator(INS_SEG.names)

    def consume(self, frame: Sample, instances: Instances, writer: PredictionSet | None) -> None:
        """Match a frame, and write its instances if there is a writer."""
        assert frame.label is not None
        truth = read_bitmask(frame.label)
        _same_size(frame.label, truth.shape[:2], instances.size)
        if strange := values_of_no_class("ins_seg", truth[..., 0]):
            raise _no_class(frame.label, strange)
        bitmask = paint_bitmask(instances)
        self._masks.update(truth, bitmask, score_entries(instances), frame.name)
        self._boxes.update(truth, instances.boxes, instances.scores, instances.labels, frame.name)
        self.labels[frame.name] = digest_pixels(truth)
        if writer is not None:
            writer.add_instances(frame.name, instances, bitmask)

    def compute(self) -> Scores:
        """Scores so far: mask AP, and box AP next to it."""
        return self._masks.compute().with_scores(self._boxes.compute())

    def merge(self, other: InsSegScorer) -> None:
        """Add what another process counted.

        Raises:
            UsageError: A frame was counted by both.
        """
        self._masks.merge(other._masks)
        self._boxes.merge(other._boxes)
        self.labels.update(other.labels)

    def statistics(self) -> dict[str, bytes]:
        """What was counted on each frame, for `bddzoo.evaluation.statistics.load`."""
        return {"masks": dump(self._masks), "boxes": dump(self._boxes)}


class DetScorer(_OneCount[DetAccumulator]):
    """Boxes against the boxes of a split's label file."""

    kind = "boxes"

    def __init__(self, classes: ClassSet) -> None:
        super().__init__(DetAccumulator(classes.names))
        self._truth: tuple[Frames, dict[str, int]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_truth": None}  # each process opens the file for itself

    def _compare(self, frame: Sample, label: Path, found: Detections) -> str:
        if self._truth is None:
            frames = open_boxes(label)
            self._truth = frames, {Path(name).stem: at for at, name in enumerate(frames.names)}
        frames, places = self._truth
        matches, digest = match_detections(found, frames, places[frame.stem])
        self._counts.add(frame.name, matches)
        return digest


class PanSegScorer(_OneCount[PanSegAccumulator]):
    """Bitmasks against bitmasks."""

    def __init__(self, classes: ClassSet) -> None:
        super().__init__(PanSegAccumulator(classes.names))

    def _compare(self, frame: Sample, label: Path, found: PanopticMap) -> str:
        truth = read_bitmask(label)
        _same_size(label, truth.shape[:2], found.values.shape)
        if strange := values_of_no_class(PAN_SEG.task, truth[..., 0]):
            raise _no_class(label, strange)
        self._counts.update(truth, found.bitmask(), frame.name)
        return digest_pixels(truth)


class TagScorer(_OneCount[SemSegAccumulator]):
    """Predicted attributes against those of a split's label file."""

    kind = "attributes"

    def __init__(self, classes: ClassSet) -> None:
        super().__init__(SemSegAccumulator(classes.names, "tagging", "tagging"))
        self._attribute = classes.task
        self._truth: dict[str, dict[str, str]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_truth": None}  # each process reads the file for itself

    def _compare(self, frame: Sample, label: Path, tag: Tag) -> str:
        if self._truth is None:
            self._truth = read_attribute_files(label)
        actual = self._truth.get(frame.stem, {}).get(self._attribute, UNKNOWN)
        self._counts.add(frame.name, tag_counts(tag.classes.names, actual, tag.name, label, frame.name))
        return hashlib.sha256(f"{self._attribute} {actual}".encode()).hexdigest()


# Task to classes and scorer.
_SCORERS: dict[str, Callable[[ClassSet], Any]] = {
    SEM_SEG.task: SemSegScorer,
    DRIVABLE.task: SemSegScorer,
    INS_SEG.task: lambda _: InsSegScorer(),
    DET.task: DetScorer,
    PAN_SEG.task: PanSegScorer,
    "tagging": TagScorer,
}


def make_scorer(model: Model) -> Any:
    """The scorer of a model's task.

    Raises:
        UsageError: The network predicts another number of classes than the task has.
    """
    labels = labels_of(model)
    if labels is not None:
        class_set_of(model)
        return LabelledScorer(labels)
    if model.task not in _SCORERS:
        raise UsageError(
            f"model {model.id}: {model.task} networks cannot be evaluated here",
            hint=f"tasks are {', '.join(_SCORERS)}",
        )
    return _SCORERS[model.task](class_set_of(model))


def _no_class(label: Path, values: list[int]) -> MissingError:
    return MissingError(
        f"its label {label} has values that are not a class: {', '.join(map(str, values[:6]))}"
    )


def _same_size(label: Path, truth: tuple[int, ...], predicted: tuple[int, ...]) -> None:
    if tuple(truth) != tuple(predicted):
        raise MissingError(
            f"the image is {predicted[1]}x{predicted[0]} but its label {label} is {truth[1]}x{truth[0]}"
        )
