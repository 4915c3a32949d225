"""What there is to know of a task and of a metric before any model: names, and what stands first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Task = Literal["sem_seg", "ins_seg", "drivable", "det", "pan_seg", "tagging", "pose", "mot", "mots"]
Metric = Literal[
    "mIoU", "AP", "box_AP", "PixelACC", "PQ", "accuracy", "pose_AP", "mMOTA", "mMOTSA", "mIDF1", "IDSw"
]
# What is counted and has no upper end; every other metric is a percentage.
COUNTS = frozenset({"IDSw"})


@dataclass(frozen=True)
class TaskFacts:
    """A task in words, and the metric that stands first for it."""

    title: str
    metric: Metric


# In the order in which tables, the site and plots show them.
TASKS: dict[Task, TaskFacts] = {
    "sem_seg": TaskFacts("Semantic segmentation", "mIoU"),
    "ins_seg": TaskFacts("Instance segmentation", "AP"),
    "pan_seg": TaskFacts("Panoptic segmentation", "PQ"),
    "det": TaskFacts("Object detection", "box_AP"),
    "drivable": TaskFacts("Drivable area", "mIoU"),
    "tagging": TaskFacts("Image tagging", "accuracy"),
    "pose": TaskFacts("Pose estimation", "pose_AP"),
    "mot": TaskFacts("Multiple object tracking", "mMOTA"),
    "mots": TaskFacts("Multiple object tracking and segmentation", "mMOTSA"),
}
# How zoos head the columns of a metric; lower case, without the split.
COLUMNS: dict[str, Metric] = {
    "miou": "mIoU",
    "mask ap": "AP",
    "box ap": "box_AP",
    "ap": "AP",
    "pixelacc": "PixelACC",
    "pq": "PQ",
    "acc": "accuracy",
    "pose ap": "pose_AP",
    "mmota": "mMOTA",
    "mmotsa": "mMOTSA",
    "midf1": "mIDF1",
    "id sw.": "IDSw",
}
