"""Exact BDD100K metrics: streaming accumulators and evaluation of files.

Accumulators take one frame at a time, keep a few hundred bytes of each, can be merged across
workers, and give the official toolkit's numbers:

    scores = SemSegAccumulator(class_names)
    scores.update(gt, pred, "frame-1")
    scores.compute().summary["mIoU"]
"""

from bddzoo.evaluation.metrics.boxes import BoxAccumulator
from bddzoo.evaluation.metrics.insseg import InsSegAccumulator
from bddzoo.evaluation.metrics.panseg import PanSegAccumulator
from bddzoo.evaluation.metrics.scores import DEFINITIONS, Scores
from bddzoo.evaluation.metrics.semseg import SemSegAccumulator

__all__ = [
    "DEFINITIONS",
    "BoxAccumulator",
    "InsSegAccumulator",
    "PanSegAccumulator",
    "Scores",
    "SemSegAccumulator",
]
