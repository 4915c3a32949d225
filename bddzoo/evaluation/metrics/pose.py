"""Streaming AP of poses: COCO's, by the similarity of their joints, as the official toolkit has it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bddzoo.evaluation.metrics.insseg import MatchAccumulator

JOINTS = 18
# How far annotators disagree about a joint, as a share of the person's size (the toolkit's `poseSigmas`).
SIGMAS = np.array(
    (
        *(0.079, 0.079, 0.079, 0.072, 0.062, 0.079, 0.072, 0.062, 0.107),
        *(0.087, 0.089, 0.107, 0.087, 0.089, 0.062, 0.062, 0.062, 0.062),
    )
)
MOST_PEOPLE = 20
"""Predictions that count in a frame."""


class PoseAccumulator(MatchAccumulator):
    """Pose AP as in the official toolkit (`scalabel.eval.pose`)."""

    prefix = "pose_"
    task = "pose"


def oks(
    pred: NDArray[np.float64], gt: NDArray[np.float64], boxes: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Object keypoint similarity (predictions, people) of joints.

    As `computeOks` of pycocotools with the areas of boxes, step by step: also values that lie on a threshold
    are the same.

    Args:
        pred: (N, 18, 2) x and y of each joint.
        gt: (M, 18, 3) x, y and visibility; a joint of visibility 0 is left out.
        boxes: (M, 4) x, y, width and height of the people.
    """
    out = np.zeros((len(pred), len(gt)))
    spread = (SIGMAS * 2) ** 2
    for column, (joints, box) in enumerate(zip(gt, boxes, strict=True)):
        seen = joints[:, 2] > 0
        away = pred - joints[:, :2]
        if not seen.any():
            # How far joints lie outside of a box three times as large.
            low, high = box[:2] - box[2:], box[:2] + box[2:] * 2
            away = np.maximum(0, low - pred) + np.maximum(0, pred - high)
            seen[:] = True
        error = (away[..., 0] ** 2 + away[..., 1] ** 2) / spread / (box[2] * box[3] + np.spacing(1)) / 2
        out[:, column] = np.exp(-np.ascontiguousarray(error[:, seen])).sum(axis=1) / np.count_nonzero(seen)
    return out
