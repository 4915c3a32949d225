"""Run a detector: boxes, masks, or things and stuff in one map, at the original image's size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bddzoo.datasets.formats.scalabel import Detections, Instances
from bddzoo.engines.semantic import NetworkRunner
from bddzoo.registry.model import Model

Size = tuple[int, int]


class DetectionRunner(NetworkRunner):
    """A detector with the test configuration of its model.

    Follows `predict` of mmdet's detectors (mmdet/models/detectors/two_stage.py, single_stage.py, 3.3.0; 2.28
    computes the same).

    Attributes:
        network: A runtime that computes a whole detector's outputs, from the input of one image and the
            image's size in it; None for PyTorch.
    """

    gives = "detections"

    def __init__(self, module: nn.Module, model: Model) -> None:
        super().__init__(module, model)
        self.network: Callable[[Tensor, Size], list[npt.NDArray[Any]]] | None = None

    @torch.no_grad()
    def detect(
        self,
        x: Tensor,
        img_shapes: Sequence[Size],
        ori_shapes: Sequence[Size],
        scale_factors: Sequence[tuple[float, float]],
    ) -> list[Detections]:
        """Detect the objects in a batch.

        Args:
            x: (N, 3, h, w) float32, normalised, padded right and bottom with zeros to a
                multiple of 32, on the network's device.
            img_shapes: Height and width of each resized image before padding.
            ori_shapes: Height and width of each original image.
            scale_factors: Resized by original size, of width and height.

        Returns:
            For each image its detections, best first, in pixels of the original; `Instances` where the
            network gives masks.
        """
        if self.network is not None:
            each = zip(x[:, None], img_shapes, ori_shapes, scale_factors, strict=True)
            return [
                read_outputs(self.module, self.network(image, size), original, scale)
                for image, size, original, scale in each
            ]
        samples = self.samples(x, img_shapes, ori_shapes, scale_factors)
        return [as_detections(s.pred_instances) for s in self.module.predict(x, samples, rescale=True)]

    def samples(
        self, x: Tensor, img_shapes: Sequence[Size], ori_shapes: Sequence[Size], scale_factors: Sequence[Any]
    ) -> list[Any]:
        """What mmdet wants to know of each image of a batch."""
        pad = tuple(x.shape[2:])
        return [
            self.sample(pad, tuple(img), tuple(ori), tuple(scale))
            for img, ori, scale in zip(img_shapes, ori_shapes, scale_factors, strict=True)
        ]

    def sample(self, pad: tuple[int, ...], img: tuple[int, ...], ori: tuple[int, ...], scale: Any) -> Any:
        from mmdet.structures import DetDataSample

        return DetDataSample(
            metainfo={
                "img_shape": img,
                "ori_shape": ori,
                "scale_factor": scale,
                "pad_shape": pad,
                "batch_input_shape": pad,
            }
        )


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


def stage_parts(roi_head: Any, name: str) -> list[Any]:
    """The parts of that name of all stages; one of a head without stages."""
    part = getattr(roi_head, name)
    return list(part) if isinstance(part, nn.ModuleList) else [part]


def read_outputs(
    module: Any, outputs: Sequence[npt.NDArray[Any]], original: Size, scale_factor: tuple[float, float]
) -> Detections:
    """Detections, at the original image's size, from the outputs of a whole detector in a file.

    Args:
        module: The detector, whose own code pastes its masks.
        outputs: The outputs, in order.
        original: Height and width of the original image in pixels.
        scale_factor: Input by original size, of width and height.
    """
    from mmengine.structures import InstanceData

    boxes, scores, labels, *masks = (torch.from_numpy(np.ascontiguousarray(array)) for array in outputs)
    there = scores > 0
    found = InstanceData(bboxes=boxes[there], scores=scores[there], labels=labels[there].long())
    if not masks:
        found.bboxes = found.bboxes / found.bboxes.new_tensor(scale_factor).repeat(2)
        return as_detections(found)
    head = stage_parts(module.roi_head, "mask_head")[-1]
    probabilities = masks[0][there][:, None].expand(
        -1, 1 if head.class_agnostic else head.num_classes, -1, -1
    )
    sizes = {"ori_shape": original, "scale_factor": scale_factor}
    settings = {"rcnn_test_cfg": module.roi_head.test_cfg, "rescale": True, "activate_map": True}
    return as_detections(head.predict_by_feat([probabilities], [found], [sizes], **settings)[0])


def learnt_proposals(module: Any) -> int | None:
    """How many proposals a detector has learnt (Sparse R-CNN), in place of a network that makes them."""
    found: int | None = getattr(getattr(module, "rpn_head", None), "num_proposals", None)
    return found


def dense_outputs(module: Any, features: Sequence[Tensor]) -> dict[str, Tensor]:
    """What a detector's dense head gives for every anchor or point, by name and level of the pyramid.

    Args:
        module: A detector.
        features: What its `extract_feat` gives.

    Returns:
        `scores`, `boxes` and, where the head has it, `centerness`, each with the level's number behind it,
        (N, channels, h, w); nothing for learnt proposals.
    """
    if learnt_proposals(module) is not None:
        return {}
    head = getattr(module, "rpn_head", None) or module.bbox_head
    found: dict[str, Tensor] = {}
    for name, levels in zip(("scores", "boxes", "centerness"), head(features), strict=False):
        found |= {f"{name}{level}": values for level, values in enumerate(levels)}
    return found


def as_detections(found: Any) -> Detections:
    """Results of mmdet for one image."""
    # What chooses without suppression (Sparse R-CNN) leaves its choice in any order.
    found = found[found.scores.sort(descending=True, stable=True).indices]
    parts = (
        found.bboxes.float().cpu().numpy(),
        found.scores.float().cpu().numpy(),
        found.labels.long().cpu().numpy(),
    )
    return Instances(*parts, found.masks.bool().cpu().numpy()) if "masks" in found else Detections(*parts)
