"""Deliberate mistakes, each of which the self-test has to find.

A mistake is made in a network of the registry, and the network compared with the golden that ships. What is
found goes to `results/mistakes.json`, which `page.py` shows. Exits with 1 if a mistake passes.

    python benchmarks/selftest/mistakes.py
    python benchmarks/selftest/mistakes.py 'swin: *'
"""

from __future__ import annotations

import copy
import fcntl
import json
import sys
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import torch
from msgspec.structs import replace
from torch import nn

from bddzoo.engines.selftest import instance, semantic
from bddzoo.engines.selftest.arithmetic import Check, judge
from bddzoo.engines.selftest.folder import GoldenFolder, packaged
from bddzoo.engines.selftest.measures import CheckResult
from bddzoo.engines.selftest.run import Selftest
from bddzoo.inference.batches import prepare
from bddzoo.registry import load_registry
from bddzoo.registry.model import Model

RESULTS = Path(__file__).parent / "results/mistakes.json"
MODELS = {
    "fcn": "fcn_r50-d8_512x1024_40k_sem_seg_bdd100k",
    "hrnet": "fcn_hr48_512x1024_40k_sem_seg_bdd100k",
    "ccnet": "ccnet_r50-d8_512x1024_40k_sem_seg_bdd100k",
    "convnext": "upernet_convnext-t_fp16_512x1024_40k_sem_seg_bdd100k",
    "swin": "upernet_swin-t_512x1024_40k_sem_seg_bdd100k",
    "vit": "upernet_vit-b_512x1024_80k_sem_seg_bdd100k",
    "deit": "upernet_deit-s_512x1024_80k_sem_seg_bdd100k",
    "nonlocal": "nonlocal_r50-d8_512x1024_40k_sem_seg_bdd100k",
    "dnl": "dnl_r50-d8_512x1024_40k_sem_seg_bdd100k",
    "emanet": "emanet_r50-d8_769x769_40k_sem_seg_bdd100k",
    "apcnet": "apcnet_r50-d8_512x1024_40k_sem_seg_bdd100k",
    "psanet": "psanet_r50-d8_512x1024_40k_sem_seg_bdd100k",
    "pspnet": "pspnet_r50-d8_512x1024_40k_sem_seg_bdd100k",
    "deeplabv3+": "deeplabv3+_r50-d8_512x1024_40k_sem_seg_bdd100k",
    "pointrend": "pointrend_r50_512x1024_40k_sem_seg_bdd100k",
    "fpn gn": "fpn_r50_gn_512x1024_40k_sem_seg_bdd100k",
    "mask rcnn": "mask_rcnn_r50_fpn_1x_ins_seg_bdd100k",
    "dcn": "mask_rcnn_r50_fpn_dconv_1x_ins_seg_bdd100k",
    "cascade": "cascade_mask_rcnn_r50_fpn_1x_ins_seg_bdd100k",
    "sparse": "sparse_rcnn_r50_fpn_1x_det_bdd100k",
    "dyhead": "atss_r50_fpn_dyhead_1x_det_bdd100k",
    "fcos": "fcos_r50_fpn_1x_det_bdd100k",
    "pvt": "retinanet_pvt-t_fpn_1x_det_bdd100k",
    "libra": "libra_faster_rcnn_r50_fpn_1x_det_bdd100k",
    "danet": "danet_r50-d8_512x1024_40k_drivable_bdd100k",
}


class Mistake(NamedTuple):
    """A mistake of one network: other constructor arguments, a change of the built one, or another input."""

    name: str
    model: str
    parts: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
    change: Callable[[Any], object] | None = None
    pixels: Callable[[Any], Any] | None = None


def set_all(kind: type | tuple[type, ...], **values: Any) -> Callable[[Any], None]:
    """Set attributes of all parts of a kind."""

    def change(module: nn.Module) -> None:
        for part in module.modules():
            if isinstance(part, kind):
                for name, value in values.items():
                    setattr(part, name, value)

    return change


def set_all_that_have(name: str, value: Any) -> Callable[[Any], None]:
    """Set an attribute wherever there is one of that name."""

    def change(module: nn.Module) -> None:
        for part in module.modules():
            if hasattr(part, name):
                setattr(part, name, value)

    return change


def swap_rows(name: str) -> Callable[[Any], None]:
    """Swap the first two output channels of a weight."""

    def change(module: nn.Module) -> None:
        weight = module.get_parameter(name).data
        weight[[0, 1]] = weight[[1, 0]].clone()

    return change


def swap_entries(name: str) -> Callable[[Any], None]:
    """Swap the first two numbers of a weight."""

    def change(module: nn.Module) -> None:
        flat = module.get_parameter(name).data.view(-1)
        flat[[0, 1]] = flat[[1, 0]].clone()

    return change


def _anchors_one_off(module: Any) -> None:
    generator = module.rpn_head.anchor_generator
    generator.base_anchors = [anchors + 1 for anchors in generator.base_anchors]


def _gamma_off(module: Any) -> None:
    for name, parameter in module.named_parameters():
        if name.endswith("gamma.scale"):
            parameter.data.zero_()


def _no_relative_bias(module: Any) -> None:
    for name, parameter in module.named_parameters():
        if name.endswith("relative_position_bias_table"):
            parameter.data.zero_()


def _no_shift(module: Any) -> None:
    for part in module.modules():
        if type(part).__name__ == "ShiftWindowMSA":
            part.shift_size = 0


def _bilinear_pyramid(module: Any) -> None:
    module.neck.upsample_cfg = {"mode": "bilinear"}


def _cut_out(module: Any) -> None:
    """Offsets and masks of a larger map are cut to the size of the output, rather than read on."""
    for part in module.modules():
        if type(part).__name__ == "ModulatedDeformConv2d":

            def forward(x: Any, offset: Any, mask: Any, part: Any = part, whole: Any = part.forward) -> Any:
                height, width = (-(-size // part.stride[0]) for size in x.shape[2:])
                return whole(x, *(v[..., :height, :width].contiguous() for v in (offset, mask)))

            part.forward = forward


BN, LN, GELU = nn.BatchNorm2d, nn.LayerNorm, nn.GELU
STD = np.array([58.395, 57.12, 57.375], np.float32)[:, None, None]
MEAN = np.array([123.675, 116.28, 103.53], np.float32)[:, None, None]
CAFFE = np.array([102.9801, 115.9465, 122.7717], np.float32)[:, None, None]
MISTAKES = (
    # Those of the list that came with the goldens.
    Mistake("BGR instead of RGB", "fcn", pixels=lambda x: ((x * STD + MEAN)[::-1] - MEAN) / STD),
    Mistake("contract_dilation=False", "fcn", {"backbone": {"contract_dilation": False}}),
    Mistake("align_corners=True", "fcn", change=set_all_that_have("align_corners", True)),
    Mistake("align_corners=True", "hrnet", change=set_all_that_have("align_corners", True)),
    Mistake("style=caffe", "fcn", {"backbone": {"style": "caffe"}}),
    Mistake("BN eps 1e-3", "fcn", change=set_all(BN, eps=1e-3)),
    Mistake("BN eps 1e-4", "fcn", change=set_all(BN, eps=1e-4)),
    Mistake("attention off (gamma=0)", "ccnet", change=_gamma_off),
    Mistake("recurrence=1", "ccnet", {"decode_head": {"recurrence": 1}}),
    Mistake("LayerNorm eps 1e-5", "convnext", change=set_all(LN, eps=1e-5)),
    Mistake("GELU tanh", "convnext", change=set_all(GELU, approximate="tanh")),
    Mistake("no relative bias", "swin", change=_no_relative_bias),
    Mistake("no shifted windows", "swin", change=_no_shift),
    Mistake("LayerNorm eps 1e-6", "swin", change=set_all(LN, eps=1e-6)),
    Mistake("GELU tanh", "swin", change=set_all(GELU, approximate="tanh")),
    Mistake("use_scale=False", "nonlocal", {"decode_head": {"use_scale": False}}),
    Mistake("temperature 1 (not 0.05)", "dnl", {"decode_head": {"temperature": 1.0}}),
    Mistake("num_stages 2", "emanet", {"decode_head": {"num_stages": 2}}),
    Mistake("fusion=False", "apcnet", {"decode_head": {"fusion": False}}),
    Mistake("psa_softmax=False", "psanet", {"decode_head": {"psa_softmax": False}}),
    Mistake("subdivision_steps=1", "pointrend", {"test_cfg": {"subdivision_steps": 1}}),
    Mistake("bilinear pos_embed", "vit", {"backbone": {"interpolate_mode": "bilinear"}}),
    Mistake("LayerNorm eps 1e-5", "vit", change=set_all(LN, eps=1e-5)),
    # More.
    Mistake("standard deviation left out", "fcn", pixels=lambda x: x * STD / 57.63),
    Mistake("mean of another data set", "deeplabv3+", pixels=lambda x: x + 0.02),
    Mistake("align_corners=True", "pspnet", change=set_all_that_have("align_corners", True)),
    Mistake("GELU tanh", "deit", change=set_all(GELU, approximate="tanh")),
    Mistake("LayerNorm eps 1e-5", "deit", change=set_all(LN, eps=1e-5)),
    Mistake("GroupNorm eps 1e-4", "fpn gn", change=set_all(nn.GroupNorm, eps=1e-4)),
    Mistake("two channels swapped", "fcn", change=swap_rows("backbone.layer4.2.conv3.weight")),
    Mistake("two numbers swapped in a weight", "fcn", change=swap_entries("backbone.stem.0.weight")),
    Mistake("two numbers swapped in a weight", "swin", change=swap_entries("decode_head.conv_seg.weight")),
    Mistake("max pooling with ceil_mode", "fcn", change=set_all(nn.MaxPool2d, ceil_mode=True)),
    Mistake("anchors one pixel off", "mask rcnn", change=_anchors_one_off),
    Mistake("anchor ratios in reverse", "mask rcnn",
            {"rpn_head": {"anchor_generator": {"type": "AnchorGenerator", "scales": [8],
             "ratios": [2.0, 1.0, 0.5], "strides": [4, 8, 16, 32, 64]}}}),
    Mistake("NMS of proposals at 0.6", "mask rcnn",
            change=lambda m: m.rpn_head.test_cfg.nms.update(iou_threshold=0.6)),
    Mistake("NMS of proposals at 0.69", "mask rcnn",
            change=lambda m: m.rpn_head.test_cfg.nms.update(iou_threshold=0.69)),
    Mistake("RoIAlign not aligned", "mask rcnn", change=set_all_that_have("aligned", False)),
    Mistake("RoIAlign with two samples", "mask rcnn", change=set_all_that_have("sampling_ratio", 2)),
    Mistake("pyramid enlarged bilinearly", "mask rcnn", change=_bilinear_pyramid),
    Mistake("BN eps 1e-4", "mask rcnn", change=set_all(BN, eps=1e-4)),
    Mistake("deformable groups' offsets halved", "dcn",
            change=lambda m: [p.data.mul_(0.5) for n, p in m.named_parameters() if "conv_offset" in n]),
    Mistake("RoI levels of stage 0 by another finest scale", "cascade",
            change=lambda m: setattr(m.roi_head.bbox_roi_extractor[0], "finest_scale", 28)),
    Mistake("4 heads of attention (not 8)", "sparse",
            change=set_all(nn.MultiheadAttention, num_heads=4, head_dim=64)),
    Mistake("LayerNorm eps 1e-4", "sparse", change=set_all(LN, eps=1e-4)),
    Mistake("offsets of a larger level cut out", "dyhead", change=_cut_out),
    Mistake("RGB instead of BGR", "fcos", pixels=lambda x: (x + CAFFE)[::-1] - CAFFE),
    Mistake("boxes without area dropped", "pvt",
            change=lambda m: m.bbox_head.test_cfg.update(min_bbox_size=0)),
    Mistake("gathered at level 1 (not 2)", "libra", change=set_all_that_have("refine_level", 1)),
    Mistake("attention off (gamma=0)", "danet", change=_gamma_off),
)  # fmt: skip


def changed(model: Model, mistake: Mistake) -> Model:
    """The model with other constructor arguments."""
    assert model.network is not None
    parts = copy.deepcopy(model.network.parts)
    for role, arguments in mistake.parts.items():
        parts.setdefault(role, {}).update(arguments)
    return replace(model, network=replace(model.network, parts=parts, params=None, entries=None))


def find(mistake: Mistake, folder: GoldenFolder) -> dict[str, Any]:
    """What the self-test says of a network with that mistake."""

    def judge_changed(finding: CheckResult, module: nn.Module, check: Check, prefix: str) -> None:
        if mistake.change is not None:
            mistake.change(module)
        judge(finding, module, check, prefix)

    model = changed(load_registry(None).find(MODELS[mistake.model]), mistake)
    normalise, pixels = semantic.normalise, mistake.pixels
    wrong = normalise if pixels is None else lambda *a: pixels(normalise(*a)).astype(np.float32).copy()
    with patch.object(semantic, "normalise", wrong), patch.object(instance, "normalise", wrong):
        test = Selftest(folder, [model], torch.device("cpu"), prepare, judge=judge_changed)
        finding = test.model(model)[-1]
    worst = max(finding.measures, key=lambda m: m.value / m.limit if m.limit else m.value)
    return {
        "model": MODELS[mistake.model],
        "made": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M"),
        "status": finding.status,
        "note": finding.note,
        **{key: getattr(worst, key) for key in ("name", "value", "limit", "unit")},
    }


def main() -> int:
    """Make every mistake whose name is asked for."""
    patterns = sys.argv[1:] or ["*"]
    chosen = [m for m in MISTAKES if any(fnmatchcase(f"{m.model}: {m.name}", p) for p in patterns)]
    passed = 0
    with packaged() as root:
        for mistake in chosen:
            found = find(mistake, GoldenFolder(root))
            passed += found["status"] != "differs"
            print(f"{found['status']:8} {mistake.model}: {mistake.name}: {found['note']}", flush=True)
            RESULTS.parent.mkdir(exist_ok=True)
            with RESULTS.open("a+") as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # others may be looked for at the same time
                file.seek(0)
                kept = json.loads(file.read() or "{}")
                kept[f"{mistake.model}: {mistake.name}"] = found
                file.truncate(0)
                file.write(json.dumps(kept, indent=1, sort_keys=True) + "\n")
    return int(passed > 0)


if __name__ == "__main__":
    sys.exit(main())
