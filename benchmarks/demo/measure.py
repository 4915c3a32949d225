"""Score a demo network on the held-back split, with the evaluation that `bddzoo eval` uses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from bddzoo.datasets.classes import INS_SEG, SEM_SEG
from bddzoo.datasets.formats.mask import paint_bitmask, read_bitmask, read_mask, score_entries
from bddzoo.datasets.images import BddLayout
from bddzoo.engines.instance import DetectionRunner
from bddzoo.engines.semantic import SemSegRunner
from bddzoo.evaluation import BoxAccumulator, InsSegAccumulator, Scores, SemSegAccumulator
from bddzoo.inference.pipeline import predict_frames
from bddzoo.registry.model import Model


def measure(module: torch.nn.Module, model: Model, root: Path, split: str = "val") -> list[Scores]:
    """Scores of a network on a split: masks, and for instances boxes too."""
    frames = {f.name: f for f in BddLayout(root).frames(model.task, split)}
    images = [(name, frame.image) for name, frame in frames.items()]
    runner: Any = (SemSegRunner if model.task == "sem_seg" else DetectionRunner)(module.eval(), model)
    results = predict_frames(runner, model, images, batch_size=1)
    if model.task == "sem_seg":
        maps = SemSegAccumulator(SEM_SEG.names)
        for name, found in results:
            maps.update(read_mask(frames[name].label), found, name)
        return [maps.compute()]
    masks, boxes = InsSegAccumulator(INS_SEG.names), BoxAccumulator(INS_SEG.names)
    for name, found in results:
        truth = read_bitmask(frames[name].label)
        masks.update(truth, paint_bitmask(found), score_entries(found), name)
        boxes.update(truth, found.boxes, found.scores, found.labels, name)
    return [masks.compute(), boxes.compute()]


def report(scores: list[Scores]) -> str:
    """The numbers as text."""
    lines = []
    for score in scores:
        lines.append("  ".join(f"{name} {value:.2f}" for name, value in score.summary.items()))
        first = "IoU" if "IoU" in score.table else next(iter(score.table))
        for metric in (first, "AP50"):
            if metric in score.table:
                cells = (f"{name} {value:.1f}" for name, value in score.table[metric].items())
                lines.append(f"{metric}: " + ", ".join(cells))
    return "\n".join(lines)
