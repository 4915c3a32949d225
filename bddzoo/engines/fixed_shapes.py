"""Whole detectors with shapes that do not depend on the image, so that they can be written as files.

mmdet's own prediction cuts its tensors down to what is left after each choice. Here everything keeps its
length: what a threshold or suppression drops gets a score that ranks it behind all others, and RoIs are
pooled from every level of the pyramid, those of other levels shrunk to nothing. The networks' own parts
compute the rest, and the detections are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bddzoo.engines.instance import Size, learnt_proposals, stage_parts
from bddzoo.errors import UsageError

# Score of what was dropped.
DROPPED = -1.0


class FixedShapeDetector(nn.Module):
    """A detector for one image of one size.

    Follows `predict` of mmdet's heads (mmdet/models/dense_heads/base_dense_head.py, rpn_head.py,
    roi_heads/standard_roi_head.py, cascade_roi_head.py, sparse_roi_head.py; 3.3.0).

    Args:
        module: A detector of one stage, of two, or with learnt proposals.
        image_size: Height and width of the image in the input, without padding, in pixels.

    Raises:
        UsageError: It chooses in a way that is not written here.
    """

    def __init__(self, module: Any, image_size: Size) -> None:
        super().__init__()
        self.network = module
        self.image_size = image_size
        self.roi_head: Any = getattr(module, "roi_head", None)
        self.with_mask: bool = bool(self.roi_head is not None and self.roi_head.with_mask)
        self.outputs = ("boxes", "scores", "labels", *(["masks"] if self.with_mask else []))
        heads = [head for head in (getattr(module, name, None) for name in ("rpn_head", "bbox_head")) if head]
        choices = [getattr(part, "test_cfg", None) or {} for part in (*heads, self.roi_head)]
        for kind in {choice["nms"].get("type", "nms") for choice in choices if choice.get("nms")} - {"nms"}:
            raise UsageError(f"suppression of kind {kind} is in the way")

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Detect the objects in (1, 3, h, w) float32, normalised and padded as for `detect` of a runner.

        Returns:
            Boxes (K, 4), x1, y1, x2, y2 in pixels of the input; scores (K,); labels (K,), best first; behind
            the last detection zeros, and -1 for labels. With masks their probabilities (K, h, w), spread over
            the box.
        """
        features = self.network.extract_feat(image)
        if learnt_proposals(self.network) is not None:
            boxes, scores, labels = self._refined(features)
        elif self.roi_head is not None:
            boxes, scores, labels = self._classified(features, *self._proposals(features))
        else:
            boxes, scores, labels = self._of_one_stage(features)
        there = scores > 0
        boxes = torch.where(there[:, None], boxes, 0.0)
        found = boxes, torch.where(there, scores, 0.0), torch.where(there, labels, -1)
        return (*found, self._masks(features, boxes, labels)) if self.with_mask else found

    def _candidates(self, head: Any, features: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Boxes, scores, classes and levels of the best of each level; below the threshold `DROPPED`."""
        outputs = head(features)
        sizes = [tuple(scores.shape[-2:]) for scores in outputs[0]]
        priors = head.prior_generator.grid_priors(sizes, outputs[0][0].dtype, outputs[0][0].device)
        found = []
        for level, (prior, logits, deltas, *factor) in enumerate(zip(priors, *outputs, strict=True)):
            raw = _rows(logits, head.cls_out_channels)
            every = raw.sigmoid() if head.use_sigmoid_cls else raw.softmax(-1)[:, :-1]
            classes = every.shape[1]
            scores, place = every.flatten().topk(min(head.test_cfg.nms_pre, every.numel()))
            there = scores > head.test_cfg.get("score_thr", DROPPED)
            row = place // classes
            if factor:
                scores = scores * _rows(factor[0], 1).flatten().sigmoid()[row]
            boxes = self._decode(head.bbox_coder, prior[row], _rows(deltas, 4)[row])
            scores = torch.where(there, scores, DROPPED)
            found.append((boxes, scores, place % classes, torch.full_like(row, level)))
        boxes, scores, labels, levels = (torch.cat(parts) for parts in zip(*found, strict=True))
        return boxes, scores, labels, levels

    def _of_one_stage(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        head = self.network.bbox_head
        boxes, scores, labels, _ = self._candidates(head, features)
        scores, chosen = _strongest(boxes, scores, labels, head.test_cfg)
        return boxes[chosen], scores, labels[chosen]

    def _proposals(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Boxes (N, 4), and which of them are proposals, (N,) bool."""
        head = self.network.rpn_head
        boxes, scores, _, levels = self._candidates(head, features)
        smallest = (boxes[:, 2:] - boxes[:, :2]).amin(dim=1)
        scores = torch.where(smallest > head.test_cfg.get("min_bbox_size", DROPPED), scores, DROPPED)
        scores, chosen = _strongest(boxes, scores, levels, head.test_cfg)
        there = scores > DROPPED
        return torch.where(there[:, None], boxes[chosen], 0.0), there

    def _classified(
        self, features: Sequence[Tensor], boxes: Tensor, there: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The second stage, or the stages of a cascade, on proposals."""
        settings = self.roi_head.test_cfg
        stages = list(
            zip(*(stage_parts(self.roi_head, n) for n in ("bbox_roi_extractor", "bbox_head")), strict=True)
        )
        logits = []
        for number, (extractor, head) in enumerate(stages, 1):
            raw, deltas = head(_pool(extractor, features, boxes))
            logits.append(raw)
            if number < len(stages):
                refined = head.regress_by_class(boxes, raw[:, :-1].argmax(1), deltas, {"img_shape": None})
                boxes = self._clip(head.bbox_coder, refined)
        every = (sum(logits) / len(logits)).softmax(-1)[:, :-1]
        count, classes = every.shape
        each = deltas.shape[1] // 4  # 1, or the number of classes
        boxes = boxes[:, None].expand(count, each, 4).reshape(-1, 4)
        boxes = self._decode(head.bbox_coder, boxes, deltas.reshape(-1, 4))
        boxes = boxes.reshape(count, each, 4).expand(count, classes, 4).reshape(-1, 4)
        there = there[:, None] & (every > settings.score_thr)
        scores = torch.where(there, every, DROPPED).flatten()
        labels = torch.arange(classes, device=boxes.device).expand(count, classes).flatten()
        scores, chosen = _strongest(boxes, scores, labels, settings)
        return boxes[chosen], scores, labels[chosen]

    def _refined(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """The stages of Sparse R-CNN on its learnt proposals."""
        from mmdet.structures.bbox import bbox_cxcywh_to_xyxy

        learnt, (height, width) = self.network.rpn_head, self.image_size
        boxes = bbox_cxcywh_to_xyxy(learnt.init_proposal_bboxes.weight)
        boxes = boxes * boxes.new_tensor([width, height, width, height])
        objects = learnt.init_proposal_features.weight[None]
        for extractor, head in zip(self.roi_head.bbox_roi_extractor, self.roi_head.bbox_head, strict=True):
            raw, deltas, objects, _ = head(_pool(extractor, features, boxes), objects)
            boxes = self._decode(head.bbox_coder, boxes, deltas[0])
        every = raw[0].sigmoid() if head.loss_cls.use_sigmoid else raw[0].softmax(-1)[:, :-1]
        scores, place = every.flatten().topk(self.roi_head.test_cfg.max_per_img)
        return boxes[place // every.shape[1]], scores, place % every.shape[1]

    def _masks(self, features: Sequence[Tensor], boxes: Tensor, labels: Tensor) -> Tensor:
        """Probabilities (K, h, w); of a cascade the mean over its stages."""
        extractors, heads = (stage_parts(self.roi_head, n) for n in ("mask_roi_extractor", "mask_head"))
        masks = [
            head(_pool(extractor, features, boxes)).sigmoid()
            for extractor, head in zip(extractors, heads, strict=True)
        ]
        every = torch.stack(masks).mean(dim=0)
        if heads[-1].class_agnostic:
            return every[:, 0]
        at = labels[:, None, None, None].expand(-1, 1, *every.shape[2:])
        return every.gather(1, at)[:, 0]

    def _decode(self, coder: Any, priors: Tensor, deltas: Tensor) -> Tensor:
        return self._clip(coder, coder.decode(priors, deltas))

    def _clip(self, coder: Any, boxes: Tensor) -> Tensor:
        if not coder.clip_border:
            return boxes
        height, width = self.image_size
        return boxes.clamp(min=0).minimum(boxes.new_tensor([width, height, width, height]))


def _rows(values: Tensor, width: int) -> Tensor:
    """What a head gives for one image, (1, A * width, h, w), as (h * w * A, width)."""
    return values[0].permute(1, 2, 0).reshape(-1, width)


def _strongest(boxes: Tensor, scores: Tensor, groups: Tensor, settings: Any) -> tuple[Tensor, Tensor]:
    """Suppression within each group, as mmcv's `batched_nms` does it, and the best of what it keeps.

    Args:
        boxes: (N, 4).
        scores: (N,), `DROPPED` where there is no box.
        groups: (N,) int64.
        settings: `nms` and `max_per_img` of mmdet's test configuration.

    Returns:
        Scores (K,), best first, and rows (K,); the score `DROPPED` where fewer than K are kept.
    """
    there = scores > DROPPED
    shift = torch.where(there[:, None], boxes, 0.0).max() + 1
    apart = boxes + (groups * shift)[:, None]
    # What is not there lies on one spot outside, where the first suppresses all others.
    apart = torch.where(there[:, None], apart, apart.new_tensor([-2.0, -2.0, -1.0, -1.0]))
    kept = torch.ops.torchvision.nms(apart, scores, settings.nms.iou_threshold)
    marked = torch.zeros_like(scores).scatter(0, kept, 1.0)
    ranked = torch.where(marked > 0, scores, DROPPED)
    best, chosen = ranked.topk(min(settings.max_per_img, len(ranked)))
    return best, chosen


def _pool(extractor: Any, features: Sequence[Tensor], boxes: Tensor) -> Tensor:
    """RoIAlign of each of (K, 4) boxes on its level of the pyramid, (K, C, h, w)."""
    image = boxes.new_zeros(len(boxes), 1)
    levels = extractor.map_roi_levels(torch.cat([image, boxes], dim=1), extractor.num_inputs)
    pooled: Tensor | None = None
    for level, (layer, values) in enumerate(zip(extractor.roi_layers, features, strict=False)):
        own = levels == level
        rois = torch.cat([image, torch.where(own[:, None], boxes, 0.0)], dim=1)
        height, width = layer.output_size
        numbers = (layer.spatial_scale, height, width, layer.sampling_ratio, layer.aligned)
        found = torch.ops.torchvision.roi_align(values, rois, *numbers)
        pooled = found if pooled is None else torch.where(own[:, None, None, None], found, pooled)
    assert pooled is not None
    return pooled
