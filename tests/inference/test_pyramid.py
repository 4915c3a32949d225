"""A convolution over a pyramid equals resizing, concatenating and convolving."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from bddzoo.inference.cpu.fuse import adopt, can_fuse, fuse
from bddzoo.inference.cpu.pyramid import PyramidConv

pytestmark = pytest.mark.skipif(not can_fuse(), reason="this PyTorch has no oneDNN")

sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))


@settings(max_examples=60, deadline=None)
@given(
    smaller=st.lists(st.tuples(st.integers(1, 5), sizes), max_size=4),
    target=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    again=st.booleans(),
    kernel=st.sampled_from([(1, 1), (3, 3), (5, 3)]),
    align_corners=st.booleans(),
    batch=st.integers(1, 3),
    act=st.sampled_from([None, nn.ReLU(), nn.LeakyReLU(0.1)]),
)
def test_equal_to_resize_concatenate_convolve(smaller, target, again, kernel, align_corners, batch, act):
    torch.manual_seed(0)
    levels = [(2, target), *smaller, *([(3, target)] if again else [])]
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
    if act is not None:
        expected = act(expected)
        assert adopt(layer, act)
    with torch.inference_mode():
        found = PyramidConv(layer, channels, align_corners)(features)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
