"""Check operators against golden vectors of a compiled mmcv, on any device."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from msgspec.structs import replace
from torch import Tensor

from bddzoo.engines.recipe import Variant, recipe_state
from bddzoo.engines.selftest.folder import Arrays
from bddzoo.engines.selftest.measures import Measure, Stages
from bddzoo.engines.selftest.semantic import Prepare
from bddzoo.registry.model import Protocol

Place = torch.device


class Vectors:
    """The arrays of one golden file as tensors on a device, with what was compared so far."""

    def __init__(self, arrays: Arrays, device: Place) -> None:
        self.arrays = arrays
        self.device = device
        self.stages = Stages(None)
        self.apart = 0
        self.indices = 0

    def tensor(self, name: str) -> Tensor:
        """One array on the device."""
        return torch.from_numpy(self.arrays[name]).to(self.device)

    def close(self, name: str, mine: Tensor, key: str | None = None) -> None:
        """Compare values."""
        self.stages.compare(f"{name} values", mine.detach().cpu().numpy(), self.arrays[key or name])

    def same(self, mine: Tensor, key: str, *, ordered: bool = True) -> None:
        """Compare indices, in order or as sets."""
        self.indices += 1
        golden = self.arrays[key].astype(np.int64)
        own = mine.detach().cpu().numpy().astype(np.int64)
        if not ordered:
            self.apart += len(set(own.tolist()) ^ set(golden.tolist()))
        elif own.shape != golden.shape:
            self.apart += max(abs(own.size - golden.size), 1)
        else:
            self.apart += int((own != golden).sum())

    def measures(self) -> list[Measure]:
        """The worst deviation and the number of wrong indices."""
        values = self.stages.measures() if self.stages.worst or not self.indices else []
        return [*values, Measure("indices", self.apart, 0, "count")]


def check_operator(name: str, arrays: Arrays, device: Place, prepare: Prepare) -> list[Measure] | None:
    """Check the operators of one golden file; None when nothing is known about it.

    Raises:
        NothingKnown: Nothing in the file could be compared.
    """
    vectors = Vectors(arrays, device)
    if name == "image_ops":
        _image_ops(vectors, prepare)
    elif name in CHECKS:
        with torch.no_grad():
            CHECKS[name](vectors)
    else:
        return None
    return vectors.measures()


def _image_ops(v: Vectors, prepare: Prepare) -> None:
    """Resizing, normalising and padding, through the preprocessing that every prediction goes through."""
    image = v.arrays["crop_uint8_bgr"]
    raw = Protocol("raw", "raw", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    for key in v.arrays:
        if not key.endswith(("_u8", "_f32")):
            continue
        width, height = (int(n) for n in key.split("_")[1].split("x"))
        ready = prepare(image, replace(raw, scale=(width, height), float_resize=key.endswith("_f32")))
        v.stages.compare(
            f"{key} values", ready.pixels[::-1].transpose(1, 2, 0), v.arrays[key].astype(np.float32)
        )
    ready = prepare(image, Protocol("plain", "plain", pad_divisor=32))
    height, width = image.shape[:2]
    v.stages.compare(
        "normalize_rgb values", ready.pixels[:, :height, :width].transpose(1, 2, 0), v.arrays["normalize_rgb"]
    )
    v.apart += int(ready.pixels.shape[1:] != tuple(v.arrays["pad32"].tolist())[:2])


def _psa_mask(v: Vectors) -> None:
    from mmcv.ops.psa_mask import PSAMask

    for index in _cases(v, "_type"):
        size = tuple(int(n) for n in v.arrays[f"{index}_mask_size"])
        mask = PSAMask(str(v.arrays[f"{index}_type"]), size)
        v.close(f"{index}_out", mask(v.tensor(f"{index}_in")))


def _deform_conv(v: Vectors) -> None:
    from mmcv.ops.deform_conv import DeformConv2dPack, deform_conv2d
    from mmcv.ops.modulated_deform_conv import ModulatedDeformConv2dPack, modulated_deform_conv2d

    for index in _cases(v, "_cfg"):
        c = json.loads(str(v.arrays[f"{index}_cfg"]))
        x, offset, mask, weight, bias = (v.tensor(f"{index}_{k}") for k in ("x", "offset", "mask", "w", "b"))
        geometry = (c["stride"], c["padding"], c["dilation"], c["groups"], c["dg"])
        v.close(f"{index}_v1_out", deform_conv2d(x, offset, weight, *geometry))
        v.close(f"{index}_v2_out", modulated_deform_conv2d(x, offset, mask, weight, bias, *geometry))
    for kind, pack in (("dcnv1pack", DeformConv2dPack), ("dcnv2pack", ModulatedDeformConv2dPack)):
        for stride in (1, 2):
            name = f"{kind}_s{stride}"
            if f"{name}_x" in v.arrays:
                layer = pack(6, 8, 3, stride=stride, padding=1)
                v.close(f"{name}_out", _with_recipe(layer, v.device)(v.tensor(f"{name}_x")))


def _roi_align(v: Vectors) -> None:
    from mmcv.ops.roi_align import roi_align

    x, scale = v.tensor("x"), float(v.arrays["spatial_scale"])
    for name in v.arrays:
        if not name.startswith(("out_", "outneg_")):
            continue
        kind, aligned, ratio, size, mode = name.split("_")
        rois = v.tensor("neg_rois" if kind == "outneg" else "rois")
        found = roi_align(x, rois, int(size[1:]), scale, int(ratio[2:]), mode, aligned == "aligned1")
        v.close(name, found)


def _nms(v: Vectors) -> None:
    from mmcv.ops.nms import batched_nms, nms, soft_nms

    boxes, scores, groups = v.tensor("boxes"), v.tensor("scores"), v.tensor("idxs")
    hard = {"type": "nms", "iou_threshold": 0.5}
    runs: dict[str, Callable[[], tuple[Tensor, Tensor]]] = {
        "nms_st0.4_max10": lambda: nms(boxes, scores, 0.5, score_threshold=0.4, max_num=10),
        "soft_linear": lambda: soft_nms(boxes, scores, 0.5, min_score=1e-3, method="linear"),
        "soft_gauss": lambda: soft_nms(boxes, scores, 0.5, min_score=1e-3, method="gaussian"),
        "batched_ag0": lambda: batched_nms(boxes, scores, groups, hard),
        "batched_ag1": lambda: batched_nms(boxes, scores, groups, hard, class_agnostic=True),
        "batched_max20": lambda: batched_nms(boxes, scores, groups, {**hard, "max_num": 20}),
        "batched_none": lambda: batched_nms(boxes, scores, groups, None),
        "batched_split100": lambda: batched_nms(boxes, scores, groups, {**hard, "split_thr": 100}),
        "batched_split100_max20": lambda: batched_nms(
            boxes, scores, groups, {**hard, "split_thr": 100, "max_num": 20}
        ),
        "batched_soft": lambda: batched_nms(
            boxes, scores, groups, {"type": "soft_nms", "iou_threshold": 0.5, "min_score": 0.05}
        ),
    }
    for threshold in ("0.3", "0.5", "0.7"):
        for offset in (0, 1):
            runs[f"nms_{threshold}_off{offset}"] = lambda t=float(threshold), o=offset: nms(  # type: ignore[misc]
                boxes, scores, t, offset=o
            )
    for name, run in runs.items():
        if f"{name}_keep" in v.arrays:
            dets, keep = run()
            v.same(keep, f"{name}_keep")
            v.close(f"{name}_dets", dets)


def _nms_big(v: Vectors) -> None:
    from mmcv.ops.nms import batched_nms

    boxes, scores, groups = v.tensor("boxes"), v.tensor("scores"), v.tensor("idxs").long()
    for key, split in (("split_keep", 10000), ("nosplit_keep", 100000)):
        cfg = {"type": "nms", "iou_threshold": 0.5, "split_thr": split}
        v.same(batched_nms(boxes, scores, groups, cfg)[1], key, ordered=False)


def _criss_cross(v: Vectors) -> None:
    from mmcv.ops.cc_attention import CrissCrossAttention

    for index in _cases(v, "_gamma"):
        x = v.tensor(f"{index}_x")
        layer = _with_recipe(CrissCrossAttention(x.shape[1]), v.device)
        layer.gamma.scale.fill_(float(v.arrays[f"{index}_gamma"]))
        v.close(f"{index}_out", layer(x))


def _point_sample(v: Vectors) -> None:
    from mmcv.ops.point_sample import (
        point_sample,
        rel_roi_point_to_abs_img_point,
        rel_roi_point_to_rel_img_point,
    )

    x = v.tensor("x")
    for aligned in (0, 1):
        for size, where in (("", "points"), ("4", "points4")):
            key = f"out{size}_align{aligned}"
            v.close(key, point_sample(x, v.tensor(where), align_corners=bool(aligned)))
    if "rel_img_points" in v.arrays:
        rois, points = v.tensor("rois"), v.tensor("rel_roi_points")
        rel_roi_point_to_abs_img_point(rois, points)
        v.close("rel_img_points", rel_roi_point_to_rel_img_point(rois, points, x, 1.0))


def _mmdet_misc(v: Vectors) -> None:
    from mmdet.models.layers import multiclass_nms
    from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask
    from mmdet.models.task_modules.coders.delta_xywh_bbox_coder import delta2bbox
    from mmdet.models.task_modules.prior_generators import AnchorGenerator
    from mmdet.structures.bbox import bbox_overlaps

    rois = v.tensor("d2b_rois")
    v.close("d2b_rpn", delta2bbox(rois, v.tensor("d2b_deltas"), max_shape=(720, 1280)))
    stds = (0.1, 0.1, 0.2, 0.2)
    v.close("d2b_rcnn", delta2bbox(rois, v.tensor("d2b_deltas32"), stds=stds, max_shape=(720, 1280)))
    v.close("iou", bbox_overlaps(rois[:10], rois[10:30]))
    dets, labels = multiclass_nms(
        v.tensor("mc_boxes"), v.tensor("mc_scores"), 0.05, {"type": "nms", "iou_threshold": 0.5}, 100
    )
    v.close("mc_dets", dets)
    v.same(labels, "mc_labels")
    generator = AnchorGenerator(strides=[4, 8, 16, 32, 64], ratios=[0.5, 1.0, 2.0], scales=[8])
    sizes = [(4, 6), (3, 4), (2, 3), (2, 2), (1, 1)]
    for level, anchors in enumerate(generator.grid_priors(sizes, device=v.device)):
        v.close(f"anchors{level}", anchors)
        v.close(f"base_anchors{level}", generator.base_anchors[level])
    masks, boxes = v.tensor("paste_masks"), v.tensor("paste_boxes")
    v.close("paste_out", _do_paste_mask(masks, boxes, 60, 80, skip_empty=False)[0])
    v.close("paste_skip_out", _do_paste_mask(masks[:1], boxes[:1], 60, 80, skip_empty=True)[0])


def _priors_dense(v: Vectors) -> None:
    from mmdet.models.task_modules.prior_generators import AnchorGenerator, MlvlPointGenerator

    strides = [8, 16, 32, 64, 128]
    generators = {
        "retina": AnchorGenerator(strides, [0.5, 1.0, 2.0], octave_base_scale=4, scales_per_octave=3),
        "atss": AnchorGenerator(strides, [1.0], octave_base_scale=8, scales_per_octave=1),
        "points": MlvlPointGenerator(strides),
    }
    sizes = [tuple(size) for size in v.arrays["sizes"].tolist()]
    for name, generator in generators.items():
        for level, priors in enumerate(generator.grid_priors(sizes, device=v.device)):
            v.close(f"{name}{level}", priors)


def _box_codings(v: Vectors) -> None:
    from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder
    from mmdet.structures.bbox import bbox2distance, bbox_cxcywh_to_xyxy, distance2bbox

    points, distance, boxes = v.tensor("points"), v.tensor("distance"), v.tensor("boxes")
    height, width = (int(n) for n in v.arrays["max_shape"])
    v.close("bbox", distance2bbox(points, distance))
    v.close("bbox_clipped", distance2bbox(points, distance, max_shape=(height, width)))
    v.close("bbox2distance", bbox2distance(points, boxes))
    v.close("bbox2distance_max16", bbox2distance(points, boxes, max_dis=16))
    coders = {
        "atss": DeltaXYWHBBoxCoder(target_stds=(0.1, 0.1, 0.2, 0.2)),
        "retina": DeltaXYWHBBoxCoder(),
        "sparse": DeltaXYWHBBoxCoder(target_stds=(0.5, 0.5, 1.0, 1.0), clip_border=False),
    }
    for name, coder in coders.items():
        decoded = coder.decode(v.tensor("priors"), v.tensor("deltas"), max_shape=(height, width))
        v.close(f"decode_{name}", decoded)
    corners = bbox_cxcywh_to_xyxy(v.tensor("cxcywh"))
    v.close("xyxy", corners)
    v.close("sparse_init", corners * corners.new_tensor([width, height, width, height]))


def _filter_topk(v: Vectors) -> None:
    from mmdet.models.utils import filter_scores_and_topk

    scores = v.tensor("logits").sigmoid()
    v.close("sigmoid", scores)
    for key in v.arrays:
        if key.endswith("_scores"):
            case = key.removesuffix("_scores")
            threshold, most = (float(part.lstrip("thrk")) for part in case.split("_")[1:])
            found, labels, keep, _ = filter_scores_and_topk(scores, threshold, int(most))
            v.close(key, found)
            v.same(labels, f"{case}_labels")
            v.same(keep, f"{case}_keep")


def _multiclass_nms(v: Vectors) -> None:
    from mmdet.models.layers import multiclass_nms

    hard, soft = {"type": "nms", "iou_threshold": 0.5}, {"type": "soft_nms", "iou_threshold": 0.5}
    runs: dict[str, tuple[float, dict[str, Any], int, Tensor | None]] = {
        "iou0.6_max20": (0.05, {**hard, "iou_threshold": 0.6}, 20, v.tensor("factors")),
        "soft": (0.05, {**soft, "min_score": 0.05}, 100, None),
    }
    for name, factors in (("plain", None), ("factors", v.tensor("factors"))):
        for agnostic in (0, 1):
            settings = {**hard, "class_agnostic": bool(agnostic)}
            for threshold in (0.05, 0.15):
                runs[f"{name}_ag{agnostic}_thr{threshold}"] = (threshold, settings, 100, factors)
    for name, (threshold, settings, most, factors) in runs.items():
        boxes, scores = v.tensor("boxes"), v.tensor("scores")
        found, labels = multiclass_nms(boxes, scores, threshold, settings, most, factors)
        v.close(f"{name}_dets", found)
        v.same(labels, f"{name}_labels")


def _necks(v: Vectors) -> None:
    from mmdet.models.necks import BFP, DyHead

    for name, neck in (
        ("bfp", BFP(16, 5, refine_level=2, refine_type="non_local")),
        ("dyhead", DyHead(64, 64, num_blocks=2)),
    ):
        levels = [v.tensor(key) for key in sorted(v.arrays) if key.startswith(f"{name}_x")]
        for level, found in enumerate(_with_recipe(neck, v.device, "b")(levels)):
            v.close(f"{name}_y{level}", found)


def _dii_head(v: Vectors) -> None:
    from mmdet.models.roi_heads.bbox_heads import DIIHead

    conv = {"in_channels": 32, "feat_channels": 8, "out_channels": 32, "input_feat_shape": 7}
    head = DIIHead(
        10, feedforward_channels=64, in_channels=32, dynamic_conv_cfg={"type": "DynamicConv", **conv}
    )
    outputs = _with_recipe(head, v.device, "b")(v.tensor("roi_feat"), v.tensor("proposal_feat"))
    for name, found in zip(("cls", "bbox", "obj", "attn"), outputs, strict=True):
        v.close(name, found)


def _panoptic_fusion(v: Vectors) -> None:
    from mmdet.models.seg_heads.panoptic_fusion_heads import HeuristicFusionHead
    from mmengine import ConfigDict
    from mmengine.structures import InstanceData

    detections, masks, semantic = v.tensor("det"), v.tensor("masks") > 0.5, v.tensor("seg")
    things = InstanceData(
        bboxes=detections[:, :4], scores=detections[:, 4], labels=v.tensor("labels"), masks=masks
    )
    head: Any = HeuristicFusionHead(10, len(semantic) - 1, ConfigDict(mask_overlap=0.5))
    ids, labels = head._lay_masks(things, 0.5)
    v.same(ids, "lay_ids")
    v.same(labels, "lay_labels")
    for key, instances, limit in (
        ("pan", things, 150),
        ("pan_empty", things[:0], 150),
        ("pan_limit4096", things, 4096),
    ):
        head.test_cfg.stuff_area_limit = limit
        v.same(head._predict_single(instances, semantic).sem_seg[0], key)


def _cases(v: Vectors, suffix: str) -> Iterator[str]:
    """Leading numbers of the arrays with that suffix."""
    yield from sorted(n.removesuffix(suffix) for n in v.arrays if n.endswith(suffix) and n[0].isdigit())


def _with_recipe(layer: torch.nn.Module, device: Place, variant: Variant = "base") -> Any:
    layer.load_state_dict(recipe_state(layer, 1.0, variant))
    return layer.to(device).eval()


CHECKS: dict[str, Callable[[Vectors], None]] = {
    "psa_mask": _psa_mask,
    "deform_conv": _deform_conv,
    "roi_align": _roi_align,
    "nms": _nms,
    "nms_big": _nms_big,
    "criss_cross": _criss_cross,
    "point_sample": _point_sample,
    "mmdet_misc": _mmdet_misc,
    "priors_dense": _priors_dense,
    "box_codings": _box_codings,
    "filter_topk": _filter_topk,
    "multiclass_nms2": _multiclass_nms,
    "necks": _necks,
    "dii_head": _dii_head,
    "panoptic_fusion": _panoptic_fusion,
}
