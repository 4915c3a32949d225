"""Run a panoptic network: things and stuff in one map, at the original image's size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bddzoo.engines.instance import DetectionRunner, Size


class PanopticRunner(DetectionRunner):
    """A detector with a semantic head, whose results are laid over each other.

    Follows `predict` of mmdet's TwoStagePanopticSegmentor (mmdet/models/detectors, 3.3.0). mmdet 2.28 read
    the thresholds of its things from another place; the registry has them where 3.3 looks.
    """

    gives = "panoptic map"

    @torch.no_grad()
    def segment(
        self,
        x: Tensor,
        img_shapes: Sequence[Size],
        ori_shapes: Sequence[Size],
        scale_factors: Sequence[tuple[float, float]],
    ) -> list[Any]:
        """Segment a batch; arguments as those of `detect`.

        Returns:
            For each image (H, W) int32: the network's class, plus 1000 times the number of the thing, from 1;
            the number of classes where it says nothing.
        """
        found = self.module.predict(x, self.samples(x, img_shapes, ori_shapes, scale_factors), rescale=True)
        return [one.pred_panoptic_seg.sem_seg[0].int().cpu().numpy() for one in found]
