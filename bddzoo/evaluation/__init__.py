"""Exact BDD100K metrics: streaming accumulators and evaluation of files.

Accumulators take one frame at a time, keep a few hundred bytes of each, can be merged across
workers, and give the official toolkit's numbers:

    scores = SemSegAccumulator(class_names)
    scores.update(gt, pred, "frame-1")
    scores.compute().summary["mIoU"]
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bddzoo.evaluation.metrics.detection import BoxAccumulator, InsSegAccumulator
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

_MODULES = {
    "BoxAccumulator": "detection",
    "InsSegAccumulator": "detection",
    "PanSegAccumulator": "panseg",
    "DEFINITIONS": "scores",
    "Scores": "scores",
    "SemSegAccumulator": "semseg",
}


def __getattr__(name: str) -> Any:
    """Each is imported when it is asked for: a command starts faster without the rest."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"bddzoo.evaluation.metrics.{_MODULES[name]}"), name)
