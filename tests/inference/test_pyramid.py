"""A convolution over a pyramid equals resizing, concatenating and convolving."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from bddzoo.inference.cpu.fuse import can_fuse, fuse
from bddzoo.inference.cpu.pyramid import PyramidConv

pytestmark = pytest.mark.skipif(not can_fuse(), reason="this PyTorch has no oneDNN")

sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))


@settings(max_examples=60, deadline=None)
@given(
    levels=st.lists(st.tuples(st.integers(1, 5), sizes), min_size=1, max_size=4),
    target=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    at_target=st.booleans(),
    kernel=st.sampled_from([(1, 1), (3, 3), (5, 3)]),
    align_corners=st.booleans(),
    batch=st.integers(1, 3),
    active=st.booleans(),
)
def test_equal_to_resize_concatenate_convolve(
    levels, target, at_target, kernel, align_corners, batch, active
):
    torch.manual_seed(0)
    if at_target:
        levels = [(2, target), *levels]
    channels = [count for count, _ in levels]
    layers = [nn.Conv2d(sum(channels), 6, kernel, padding=tuple(k // 2 for k in kernel))]
    module = nn.Sequential(*layers).eval().requires_grad_(False)
    features = [torch.randn(batch, count, *size) for count, size in levels]
    resized = [
        functional.interpolate(f, size=target, mode="bilinear", align_corners=align_corners) for f in features
    ]
    expected = module(torch.cat(resized, dim=1))
    fuse(module)
    layer = module[0]
    if active:
        expected, layer.after = expected.relu(), "relu"
    with torch.inference_mode():
        found = PyramidConv(layer, channels, align_corners)(features, target)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
