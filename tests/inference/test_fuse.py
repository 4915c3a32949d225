"""Fused layers compute what the layers did, and what cannot be fused is left alone."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bddzoo.inference.cpu.fuse import can_fuse, fuse

pytestmark = pytest.mark.skipif(not can_fuse(), reason="this PyTorch has no oneDNN")


def lively(module: nn.Module) -> nn.Module:
    """Statistics and factors as after a training, so that a mistake in any of them shows."""
    torch.manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d) and part.track_running_stats:
            part.running_mean.normal_()
            part.running_var.uniform_(0.2, 3)
            if part.affine:
                part.weight.data.normal_()
                part.bias.data.normal_()
    return module.eval().requires_grad_(False)


def assert_fused_equal(module: nn.Module, x: torch.Tensor) -> nn.Module:
    fused = copy.deepcopy(module)
    fuse(fused)
    with torch.inference_mode():
        torch.testing.assert_close(fused(x), module(x), rtol=1e-4, atol=2e-5)
    return fused


@settings(max_examples=30, deadline=None)
@given(
    kernel=st.sampled_from([1, 3, 5]),
    stride=st.integers(1, 2),
    dilation=st.integers(1, 3),
    groups=st.sampled_from([1, 2, 8]),
    bias=st.booleans(),
    affine=st.booleans(),
    active=st.booleans(),
    layout=st.sampled_from([torch.contiguous_format, torch.channels_last]),
    batch=st.integers(0, 3),
)
def test_sequences(kernel, stride, dilation, groups, bias, affine, active, layout, batch):
    window = {"stride": stride, "dilation": dilation, "padding": kernel // 2 * dilation, "groups": groups}
    layers = [nn.Conv2d(8, 16, kernel, bias=bias, **window), nn.BatchNorm2d(16, affine=affine)]
    module = lively(nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if active else [])))
    module = module.to(memory_format=layout)
    fused = assert_fused_equal(module, torch.randn(batch, 8, 13, 17))
    assert not any(isinstance(part, nn.BatchNorm2d | nn.ReLU) for part in fused.modules())


def block(**options):
    from bddzoo.engines.ops import ensure_ops

    ensure_ops()
    from mmseg.models.backbones.resnet import BasicBlock, Bottleneck

    kind = {"basic": BasicBlock, "bottleneck": Bottleneck}[options.pop("kind")]
    planes = options.pop("planes")
    norm = {"type": "BN"}
    down = nn.Sequential(
        nn.Conv2d(16, planes * kind.expansion, 1, bias=False), nn.BatchNorm2d(planes * kind.expansion)
    )
    same = planes * kind.expansion == 16
    return kind(16, planes, norm_cfg=norm, downsample=None if same else down, **options)


@pytest.mark.parametrize("kind", ["basic", "bottleneck"])
@pytest.mark.parametrize("same", [True, False])
def test_residual_blocks_leave_their_input_as_it_was(kind, same):
    planes = {"basic": 16, "bottleneck": 4}[kind] if same else 8
    module = lively(block(kind=kind, planes=planes))
    x = torch.randn(2, 16, 9, 11)
    before = x.clone()
    assert_fused_equal(module, x)
    assert torch.equal(x, before)


def test_plugins_are_run():
    plugin = {"cfg": {"type": "ContextBlock", "ratio": 0.25}, "position": "after_conv3"}
    assert_fused_equal(
        lively(block(kind="bottleneck", planes=4, plugins=[plugin])), torch.randn(1, 16, 9, 11)
    )


def test_other_convolutions_stay():
    module = lively(block(kind="bottleneck", planes=8, dcn={"type": "DCNv2", "deform_groups": 1}))
    fused = assert_fused_equal(module, torch.randn(1, 16, 9, 11))
    assert isinstance(fused.bn2, nn.BatchNorm2d)
    assert isinstance(fused.bn3, nn.Identity)


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3)),
        nn.Sequential(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8, track_running_stats=False)),
        nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(8)),
        nn.Sequential(nn.ConvTranspose2d(8, 8, 3), nn.BatchNorm2d(8)),
        nn.Sequential(nn.Conv2d(8, 8, 3), nn.ReLU(), nn.BatchNorm2d(8)),
    ],
)
def test_what_is_not_a_convolution_followed_by_a_fixed_normalisation(module):
    fused = assert_fused_equal(lively(module), torch.randn(2, 8, 9, 9))
    assert any(isinstance(part, nn.BatchNorm2d) for part in fused.modules())


@pytest.mark.parametrize(
    "options",
    [
        {"norm_cfg": {"type": "BN"}},
        {"norm_cfg": {"type": "BN"}, "act_cfg": None},
        {"norm_cfg": {"type": "BN"}, "act_cfg": {"type": "LeakyReLU"}},
        {"norm_cfg": None},
        {"norm_cfg": {"type": "GN", "num_groups": 2}},
        {"norm_cfg": {"type": "BN"}, "order": ("norm", "conv", "act")},
        {"norm_cfg": {"type": "BN"}, "padding_mode": "reflect"},
        {"norm_cfg": {"type": "BN"}, "with_spectral_norm": True},
    ],
)
def test_conv_modules(options):
    from mmcv.cnn import ConvModule

    assert_fused_equal(lively(ConvModule(8, 8, 3, padding=1, **options)), torch.randn(2, 8, 9, 9))
