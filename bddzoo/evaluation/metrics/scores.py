"""The result of an evaluation: per-class tables, summaries, and the official toolkit's JSON shape.

Until then statistics are kept by frame, see `PerFrame`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from bddzoo.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import Self


_AP = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
_TRACK = ("MOTA", "MOTP", "IDF1", "FP", "FN", "IDSw", "MT", "PT", "ML", "FM")
_POSE = tuple(f"{short}{part}" for short in ("AP", "AR") for part in ("", "50", "75", "m", "l"))
# How the toolkit calls the mean over classes.
AVERAGE = "AVERAGE"
# Our metric name -> the toolkit's, in the toolkit's order, for each task.
OFFICIAL_METRICS: dict[str, dict[str, str]] = {
    "sem_seg": {"IoU": "IoU", "Precision": "Acc"},
    "drivable": {"IoU": "IoU", "Precision": "Acc"},
    "ins_seg": {m: m for m in _AP},
    "det": {f"box_{m}": m for m in _AP},
    "pan_seg": {m: m for m in ("PQ", "SQ", "RQ", "N")},
    # Scalabel's: the BDD100K toolkit has no evaluation of tagging.
    "tagging": {"Precision": "precision", "Recall": "recall", "F1": "f1_score"},
    "box_track": {m: m for m in _TRACK},
    "seg_track": {m: m for m in _TRACK},
    "pose": {f"pose_{m}": m for m in _POSE},
}
# What it calls them otherwise from RLE labels of pan_seg.
RLE_NAMES = {"N": "NUM"}
# How the toolkit calls the value over all classes.
OFFICIAL_TOTAL = {
    **dict.fromkeys(("sem_seg", "drivable", "tagging"), AVERAGE),
    **dict.fromkeys(("ins_seg", "pan_seg", "det", "box_track", "seg_track", "pose"), "OVERALL"),
}
# Metrics that are one number, without a value for each class.
OFFICIAL_PLAIN = {
    "sem_seg": ("fIoU", "pAcc"),
    "drivable": ("fIoU", "pAcc"),
    "tagging": ("accuracy",),
    "box_track": ("mMOTA", "mMOTP", "mIDF1"),
    "seg_track": ("mMOTA", "mMOTP", "mIDF1"),
}
# The summary name of a metric that has a table.
SUMMARY_NAMES = {"IoU": "mIoU", "Precision": "mPrecision", "Recall": "mRecall", "F1": "mF1"}

# Tables whose value over all classes is no mean over them: of tracking, where all objects count, and counts.
_NOT_MEANS = frozenset((*_TRACK, "HOTA", "DetA", "AssA", "N", RLE_NAMES["N"]))

# What is shown first of a task's metrics, over all classes and of each; and in one line.
SHOWN = {
    "sem_seg": ("mIoU", "fIoU", "pAcc", "PixelACC", "mPrecision", "mRecall"),
    "ins_seg": (
        *("AP", "AP50", "AP75", "APs", "APm", "APl"),
        *("AR1", "AR10", "AR100", "box_AP", "box_AP50", "box_AP75"),
    ),
    "pan_seg": ("PQ", "SQ", "RQ"),
}
SHOWN_OF_CLASSES = {
    "sem_seg": ("IoU", "Precision", "Recall"),
    "ins_seg": ("AP", "AP50", "AP75", "box_AP"),
    "pan_seg": ("PQ", "SQ", "RQ"),
}
HEADLINES = {
    "sem_seg": ("mIoU", "fIoU", "pAcc"),
    "drivable": ("mIoU", "fIoU", "pAcc"),
    "ins_seg": ("AP", "AP50", "AP75"),
    "det": ("box_AP", "box_AP50", "box_AP75"),
    "pan_seg": ("PQ", "SQ", "RQ"),
    "tagging": ("accuracy", "mF1"),
    "pose": ("pose_AP", "pose_AP50", "pose_AP75"),
    "box_track": ("mMOTA", "mIDF1", "IDSw", "mHOTA"),
    "seg_track": ("mMOTA", "mIDF1", "IDSw", "mHOTA"),
}
# The table that stands for a task where only one can be shown.
MAIN_TABLE = {
    "sem_seg": "IoU",
    "drivable": "IoU",
    "ins_seg": "AP",
    "det": "box_AP",
    "pan_seg": "PQ",
    "tagging": "F1",
    "pose": "pose_AP",
    "box_track": "MOTA",
    "seg_track": "MOTA",
}
# Metrics of a task that the official toolkit does not have.
OWN_METRICS = {"ins_seg": ("box_AP",)}

DEFINITIONS: dict[str, str] = {
    "IoU": "intersection over union of a class over all frames, percent",
    "mIoU": "mean IoU over the classes that occur in the ground truth",
    "fIoU": "IoU weighted by how often a class occurs in the ground truth",
    "pAcc": "share of counted ground-truth pixels that are predicted right",
    "Precision": "share of a class's predicted pixels (on counted ground truth) that are right; "
    "the official toolkit prints this under the name 'Acc'",
    "Recall": "share of a class's ground-truth pixels that are found",
    "AP": "average precision of masks, mean over IoU .50:.05:.95, 101 recall points",
    "box_AP": "average precision of detected boxes against the boxes of the ground-truth masks "
    "[x1, y1, x2-x1+1, y2-y1+1], COCO style, crowd or ignored ground truth as iscrowd; "
    "the official toolkit has no such metric",
    "pose_AP": "average precision of poses, mean over object keypoint similarity .50:.05:.95, 101 recall "
    "points, 20 people in a frame; the official toolkit prints this under the name 'AP'",
    "PQ": "panoptic quality: sum of matched IoU / (TP + FP/2 + FN/2), percent",
    "N": "number of classes that a mean is taken over",
}

# Where they mean something else in detection.
DET_DEFINITIONS: dict[str, str] = {
    "box_AP": "average precision of boxes, mean over IoU .50:.05:.95, 101 recall points; "
    "the official toolkit prints this under the name 'AP'"
}

# Where they are of frames, each of which is of one class.
TAG_DEFINITIONS: dict[str, str] = {
    "accuracy": "share of the frames whose class is predicted right (mmcls' accuracy_top-1); "
    "'undefined' is a class like the others",
    "Precision": "share of the frames predicted to be of a class that are",
    "Recall": "share of the frames of a class that are predicted so",
    "F1": "harmonic mean of precision and recall",
    "mF1": "mean over the classes in ground truth or predictions, as Scalabel has it (macro avg)",
}

TRACK_DEFINITIONS: dict[str, str] = {
    "MOTA": "1 - (FN + FP + IDSw) / objects, percent",
    "MOTP": "mean IoU of objects and the predictions that they are matched with",
    "IDF1": "F1 of objects and predictions under the one assignment of whole tracks that suits best",
    "IDSw": "how often an object changes the track it is matched with",
    "FP": "predictions that are matched with no object",
    "FN": "objects that are matched with no prediction",
    "MT": "objects found in at least 80% of their frames",
    "PT": "objects found in at least 20% of their frames, but in less than 80%",
    "ML": "objects found in less than 20% of their frames",
    "FM": "how often an object is lost and found again",
    "HOTA": "higher order tracking accuracy (Luiten et al., IJCV 2021): root of DetA times AssA, mean over "
    "IoU .05:.05:.95; the official toolkit does not have it",
    "DetA": "detection accuracy: TP / (TP + FN + FP), mean over IoU .05:.05:.95",
    "AssA": "association accuracy, mean over matches and IoU .05:.05:.95",
    **{
        f"m{m}": f"mean of {m} over all classes; a class that has none, or minus infinity, counts as 0"
        for m in ("MOTA", "MOTP", "IDF1", "HOTA")
    },
}

# Where the metrics follow openseg.pytorch's trainer.
OPENSEG_DEFINITIONS: dict[str, str] = {
    "mIoU": "mean IoU over the classes that occur in the ground truth or in the predictions",
    "PixelACC": "share of the ground-truth pixels of some class that are predicted right; void is left out",
    "mRecall": "mean over the classes that occur in the ground truth",
}


_OTHER_DEFINITIONS = {
    "det": DET_DEFINITIONS,
    "tagging": TAG_DEFINITIONS,
    "box_track": TRACK_DEFINITIONS,
    "seg_track": TRACK_DEFINITIONS,
}


@dataclass(frozen=True)
class Scores:
    """Metrics of one prediction set against one ground truth.

    Attributes:
        task: A key of `OFFICIAL_METRICS`.
        table: Metric -> class -> value in percent (`N` of pan_seg is a count). NaN where a class
            has no value.
        summary: Metric over all classes -> value in percent.
        frames: Number of frames that were scored.
        absent: Classes that do not occur in the ground truth (ins_seg: as an object that counts).
        groups: Metric -> group of classes -> value: STUFF and THING of pan_seg; of tracking human, vehicle,
            bike, and the mean over classes, `AVERAGE`.
        partial: Whether some frames were left out (see `--allow-partial`).
        renamed: Metrics that the toolkit gives another name for this kind of input.
        unit: What `frames` counts.
    """

    task: str
    table: Mapping[str, Mapping[str, float]]
    summary: Mapping[str, float]
    frames: int = 0
    absent: tuple[str, ...] = ()
    groups: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    partial: bool = False
    renamed: Mapping[str, str] = field(default_factory=dict)
    unit: str = "frame"

    def to_official(self) -> dict[str, Any]:
        """The official toolkit's result shape: same keys, same order, NaN as NaN.

        Returns:
            `{metric: [{class: value, ...}, {"AVERAGE" | "OVERALL": value}]}`, and plain numbers for
            fIoU and pAcc.
        """
        total = OFFICIAL_TOTAL[self.task]
        out: dict[str, Any] = {}
        plain = {n: self.summary[n] for n in OFFICIAL_PLAIN.get(self.task, ()) if n in self.summary}
        if self.unit == "video":  # there they come first
            out |= plain
        for ours, theirs in OFFICIAL_METRICS[self.task].items():
            if ours not in self.table:
                continue
            groups = dict(self.groups.get(ours, {}))
            last = {AVERAGE: groups.pop(AVERAGE)} if AVERAGE in groups else {}
            last[total] = self.summary[SUMMARY_NAMES.get(ours, ours)]
            # Of poses, which have one class, the toolkit has nothing but the total.
            classes = {} if self.task == "pose" else dict(self.table[ours])
            out[self.renamed.get(theirs, theirs)] = [row for row in (classes, groups, last) if row]
        return out | plain

    def to_json(self) -> dict[str, Any]:
        """Everything, in JSON's own types: NaN as null, absent classes named."""
        out: dict[str, Any] = {
            "task": self.task,
            "frames": self.frames,
            "partial": self.partial,
            "summary": _nulls(self.summary),
            "per_class": {m: _nulls(row) for m, row in self.table.items()},
            "absent_classes": list(self.absent),
        }
        if self.groups:
            out["groups"] = {m: _nulls(row) for m, row in self.groups.items()}
        known = dict(DEFINITIONS)
        if "PixelACC" in self.summary:
            known |= OPENSEG_DEFINITIONS
        elif self.task in _OTHER_DEFINITIONS:
            known |= _OTHER_DEFINITIONS[self.task]
        out["definitions"] = {k: v for k, v in known.items() if k in self.table or k in self.summary}
        return out

    def with_scores(self, other: Scores) -> Scores:
        """These scores plus the metrics of another evaluation of the same frames (box AP)."""
        return replace(self, table={**self.table, **other.table}, summary={**self.summary, **other.summary})


def contradictions(
    summary: Mapping[str, float | None],
    table: Mapping[str, Mapping[str, float | None]],
    absent: Collection[str] = (),
    *,
    printed: bool = False,
) -> Iterator[str]:
    """Values over all classes that are not the mean of the classes' own, one sentence each.

    Args:
        summary: See `Scores`; None for what is not a number.
        table: See `Scores`.
        absent: See `Scores`.
        printed: They are from a file that rounds, and gives 0 to classes that do not occur.
    """
    counted = table.get("N") or table.get(RLE_NAMES["N"]) or {}
    for name, row in table.items():
        metric = SUMMARY_NAMES.get(name, name)
        total = summary.get(metric)
        values = [v for c, v in row.items() if v is not None and counted.get(c, c not in absent)]
        if name in _NOT_MEANS or total is None or not values:
            continue
        whole, most, step = sum(values), len(values), 1e-6
        fewest = most
        if printed:
            fewest = sum(v != 0 for v in values) or 1
            digits = (Decimal(repr(v)).normalize().as_tuple().exponent for v in (total, *values))
            # Two numbers that were rounded to the same digit are off by one of it together.
            step = max(step, 1.001 * 10.0 ** min(0, *(d for d in digits if isinstance(d, int))))
        if all(abs(whole / count - total) > step for count in range(fewest, most + 1)):
            yield f"{metric} is {total:.2f}, and the mean of its classes {whole / most:.2f}"


def _nulls(values: Mapping[str, float]) -> dict[str, float | None]:
    return {k: (float(v) if math.isfinite(v) else None) for k, v in values.items()}


def shown_summary(scores: Scores) -> list[str]:
    """Names of the metrics over all classes that are shown first, as far as they were measured."""
    return [name for name in SHOWN.get(scores.task, tuple(scores.summary)) if name in scores.summary]


def shown_classes(scores: Scores) -> list[str]:
    """Names of the metrics of single classes that are shown first, as far as they were measured."""
    return [name for name in SHOWN_OF_CLASSES.get(scores.task, tuple(scores.table)) if name in scores.table]


Stats = TypeVar("Stats")


class PerFrame(Generic[Stats]):
    """Statistics of single frames (of tracking: of single videos), by name."""

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names = tuple(class_names)
        self._frames: dict[str, Stats] = {}

    def __len__(self) -> int:
        return len(self._frames)

    def add(self, name: str, stats: Stats) -> None:
        """Add the statistics of one frame.

        Raises:
            UsageError: It was given before.
        """
        if name in self._frames:
            raise UsageError(f"frame {name} was given twice")
        self._frames[name] = stats

    def merge(self, other: Self) -> None:
        """Add the frames of another accumulator (another worker's)."""
        both = self._frames.keys() & other._frames.keys()
        if both:
            raise UsageError(f"frame {min(both)} was given twice")
        self._frames.update(other._frames)

    @property
    def names(self) -> list[str]:
        """Names of the frames, sorted."""
        return sorted(self._frames)

    def in_order(self, chosen: NDArray[np.bool_] | None = None) -> list[Stats]:
        """Statistics of each frame in the order of `names`; of the chosen ones, (frames,) bool, if given."""
        names = self.names
        if chosen is not None:
            names = [name for name, wanted in zip(names, chosen.tolist(), strict=True) if wanted]
        return [self._frames[name] for name in names]
