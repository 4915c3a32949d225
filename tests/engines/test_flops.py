"""Operations of networks, against counts that know nothing of PyTorch's counter."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from bddzoo.engines.flops import DETECTIONS, PROPOSALS, count_flops
from bddzoo.engines.load import build_network
from bddzoo.engines.registry_config import is_buildable
from bddzoo.registry import load_registry
from tests.engines.models import with_parts

REGISTRY = load_registry(None)


def by_hooks(module: nn.Module, run: Any) -> int:
    """Operations of the convolutions and linear layers that really run, from their real outputs."""
    total = 0

    def count(part: Any, inputs: Any, out: torch.Tensor) -> None:
        nonlocal total
        weight = part.weight
        if isinstance(part, nn.ConvTranspose2d):  # every input is spread over a window
            total += 2 * inputs[0].numel() * weight[0].numel()
        else:
            total += 2 * out.numel() * weight[0].numel()

    kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
    hooks = [part.register_forward_hook(count) for part in module.modules() if isinstance(part, kinds)]
    run()
    for hook in hooks:
        hook.remove()
    return total


def test_a_convolutional_network_layer_by_layer() -> None:
    model = REGISTRY.find("demo_semfpn_r18n_sem_seg")
    module = build_network(model)
    expected = by_hooks(module, lambda: module.encode_decode(torch.zeros(1, 3, 96, 160), [META]))
    assert count_flops(module, model, (96, 160)) == expected


META = {"img_shape": (96, 160), "ori_shape": (96, 160), "pad_shape": (96, 160), "padding_size": [0] * 4}


def test_a_detector_stage_by_stage() -> None:
    model = REGISTRY.find("demo_mask_rcnn_r18n_ins_seg")
    module: Any = build_network(model)

    def run() -> None:
        features = module.extract_feat(torch.zeros(1, 3, 96, 160))
        module.rpn_head(features)
        channels = module.roi_head.bbox_roi_extractor.out_channels
        module.roi_head.bbox_head(torch.zeros(PROPOSALS, channels, 7, 7))
        module.roi_head.mask_head(torch.zeros(DETECTIONS, channels, 14, 14))

    assert count_flops(module, model, (96, 160)) == by_hooks(module, run)


def test_attention_by_hand() -> None:
    """Swin-T: layers as they run, and two products in each window of each head.

    A window has 49 tokens; queries times keys and weights times values are 2 * 49 * 49 * channels each.
    """
    swin = REGISTRY.find("upernet_swin-t_512x1024_40k_sem_seg_bdd100k")
    model = with_parts(swin, decode_head={"channels": 32})
    module: Any = build_network(model)
    size = 224
    meta = {k: (size, size) if k != "padding_size" else [0] * 4 for k in META}
    layers = by_hooks(module, lambda: module.encode_decode(torch.zeros(1, 3, size, size), [meta]))
    products = 0
    for depth, channels, side in zip((2, 2, 6, 2), (96, 192, 384, 768), (56, 28, 14, 7), strict=True):
        windows = (side // 7) ** 2
        products += depth * windows * 2 * (2 * 49 * 49 * channels)
    assert count_flops(module, model, (size, size)) == layers + products


def test_deformable_convolutions_by_hand() -> None:
    """ResNet-50 with deformable 3x3 convolutions: those of the plain one, and the layers of the offsets."""
    plain = REGISTRY.find("mask_rcnn_r50_fpn_1x_ins_seg_bdd100k")
    deformed = REGISTRY.find("mask_rcnn_r50_fpn_dconv_1x_ins_seg_bdd100k")
    size = (64, 128)
    module = build_network(deformed)
    offsets = 0
    for name, part in module.named_modules():
        if name.endswith("conv_offset"):
            stage = int(name.split("layer")[1][0])
            area = (64 // 2 ** (stage + 1)) * (128 // 2 ** (stage + 1))
            offsets += 2 * area * part.out_channels * part.in_channels * 9
    assert offsets > 0
    difference = count_flops(module, deformed, size) - count_flops(build_network(plain), plain, size)
    assert difference == offsets


# The first of each kind; a method's networks differ in depth and width.
FIRST = {(m.task, m.network.arch): m for m in reversed(REGISTRY.models) if m.network and is_buildable(m)}


@pytest.mark.exhaustive
@pytest.mark.parametrize("model", FIRST.values(), ids=lambda m: m.id)
def test_every_kind_of_network_can_be_counted(model: Any) -> None:
    from bddzoo.cli.registry_edit import counts_of

    assert float(counts_of(model)["gflops"]) > 0.1


@pytest.mark.parametrize("model_id", ["demo_semfpn_r18n_sem_seg", "demo_mask_rcnn_r18n_ins_seg"])
def test_the_registry_holds_what_is_counted(model_id: str) -> None:
    from bddzoo.cli.registry_edit import counts_of

    network = REGISTRY.find(model_id).network
    assert network is not None
    found = counts_of(REGISTRY.find(model_id))
    assert (network.params, network.entries) == (found["params"], found["entries"])
    assert float(found["gflops"]) == pytest.approx(network.gflops, abs=0.006)
