"""Convolution, normalisation and activation in one step, on a CPU.

In evaluation mode a batch normalisation is a factor and an offset for each channel, so it can be folded
into the convolution before it; the activation behind it is then something that oneDNN does while it
writes the result. That saves passes over feature maps. More is saved by oneDNN's operator itself: for
kernels of one pixel it takes half the time of what `torch.conv2d` calls. (Its variant that also adds
another tensor is slower than an addition of its own, so the sums of residual blocks are that.)

Only those parts are touched whose order of execution is known: mmcv's `ConvModule`, openseg's `ConvBlock`,
the blocks and stems of ResNet and HRNet, and plain `nn.Sequential`. The network's state dict is another one
afterwards.

Linear layers go through oneDNN, too, on processors that MKL was not made for: its matrix product takes half
the time of MKL's there, which `torch.nn.functional.linear` calls.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_BLOCKS = ("BasicBlock", "Bottleneck")
_BACKBONES = ("ResNet", "ResNetV1c", "ResNetV1d", "HRNet")


def can_fuse() -> bool:
    """Whether this PyTorch has oneDNN's convolutions that also activate."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    try:
        torch.ops.mkldnn._convolution_pointwise  # noqa: B018
    except AttributeError:
        return False
    return True


def fuse(module: nn.Module) -> None:
    """Fuse what can be fused in a network in evaluation mode, in place; where `can_fuse()`."""
    for part in list(module.modules()):
        kind = type(part).__name__
        if isinstance(part, nn.Sequential) and type(part).forward is nn.Sequential.forward:
            _fuse_sequence(part)
        elif kind == "ConvModule":
            _fuse_conv_module(part)
        elif kind == "ConvBlock" and hasattr(part, "activate"):
            _fuse_conv_block(part)
        elif kind in _BLOCKS and hasattr(part, "norm1_name"):
            _fuse_block(part)
        elif kind in _BACKBONES:
            _fuse_stem(part)
    for part in module.modules():
        if is_plain(part) and part.groups == 1 and not hasattr(part, "after"):
            adopt(part)


def is_plain(part: Any) -> bool:
    """Whether it is a convolution of torch's own, padded with zeros."""
    return type(part) is nn.Conv2d and part.padding_mode == "zeros" and not isinstance(part.padding, str)


def convolve(layer: Any, x: Tensor) -> Tensor:
    """A convolution with what comes after it: the `forward` of a fused one."""
    if is_beyond(x):
        return activated(layer, nn.Conv2d.forward(layer, x))
    window = (layer.padding, layer.stride, layer.dilation, layer.groups)
    result: Tensor = torch.ops.mkldnn._convolution_pointwise(
        x, layer.weight, layer.bias, *window, layer.after, layer.slopes, ""
    )
    return result


def activated(layer: Any, x: Tensor) -> Tensor:
    """What the activation of a fused convolution makes of a result, in place."""
    if layer.after == "relu":
        return x.relu_()
    return functional.leaky_relu_(x, *layer.slopes) if layer.slopes else x


def is_beyond(x: Tensor) -> bool:
    """Whether oneDNN's operators are not made for an input: nothing in it, or not float32."""
    return x.dtype != torch.float32 or not x.numel() or torch.is_autocast_enabled("cpu")


def adopt(layer: Any, act: nn.Module | None = None) -> bool:
    """Let oneDNN compute a convolution, and the activation behind it if it can; whether it does."""
    layer.slopes = [act.negative_slope] if type(act) is nn.LeakyReLU else []
    layer.after = "relu" if type(act) is nn.ReLU else "leaky_relu" if layer.slopes else "none"
    layer.forward = MethodType(convolve, layer)
    return layer.after != "none"  # type: ignore[no-any-return]


def fold(layer: Any, norm: Any) -> None:
    """Make a convolution do what it and the normalisation behind it did; rounded to float32 once."""
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.double()
    offset = (0.0 if layer.bias is None else layer.bias.double()) - norm.running_mean.double()
    offset = offset * scale + (0.0 if norm.bias is None else norm.bias.double())
    weight = (layer.weight.double() * scale[:, None, None, None]).float()
    # The layout of the weights decides about that of the result.
    layer.weight = nn.Parameter(torch.empty_like(layer.weight).copy_(weight), requires_grad=False)
    layer.bias = nn.Parameter(offset.float(), requires_grad=False)


def can_fold(layer: Any, norm: Any) -> bool:
    """Whether a normalisation is known well enough to be folded into the convolution before it."""
    known = type(norm) is nn.BatchNorm2d and norm.running_mean is not None and not norm.training
    return is_plain(layer) and known


def _fuse_conv_module(part: Any) -> None:
    layer, norm = part.conv, part.norm
    act = part.activate if part.with_activation else None
    odd = (
        part.with_explicit_padding or part.with_spectral_norm or tuple(part.order) != ("conv", "norm", "act")
    )
    if odd or not is_plain(layer) or not (norm is None or can_fold(layer, norm)):
        return
    if norm is not None:
        fold(layer, norm)
        setattr(part, part.norm_name, nn.Identity())
    if adopt(layer, act):
        part.activate = nn.Identity()


def _fuse_conv_block(part: Any) -> None:
    """A block of openseg's own heads."""
    if can_fold(part.conv, part.bn):
        fold(part.conv, part.bn)
        part.bn = nn.Identity()
        if adopt(part.conv, part.activate):
            part.activate = nn.Identity()


def _fuse_sequence(part: nn.Sequential) -> None:
    """Convolution, batch normalisation and, where there is one, its activation."""
    layers = [*part]
    for at, (layer, norm) in enumerate(pairwise(layers)):
        if not can_fold(layer, norm):
            continue
        fold(layer, norm)
        part[at + 1] = nn.Identity()
        if adopt(layer, layers[at + 2] if at + 2 < len(layers) else None):
            part[at + 2] = nn.Identity()


def _fuse_block(part: Any) -> None:
    """A residual block of ResNet or HRNet; convolutions that are not torch's own stay as they are."""
    names = [(f"conv{n}", getattr(part, f"norm{n}_name")) for n in (1, 2, 3) if hasattr(part, f"conv{n}")]
    for place, (conv, norm) in enumerate(names, start=1):
        layer = getattr(part, conv)
        if can_fold(layer, getattr(part, norm)):
            fold(layer, getattr(part, norm))
            setattr(part, norm, nn.Identity())
            adopt(layer, part.relu if place < len(names) else None)
    part.stages = names
    part.forward = MethodType(_run_block, part)


def _run_block(part: Any, x: Tensor) -> Tensor:
    """The block's own computation: convolutions, plugins, and the sum with the way around them."""
    other = x if part.downsample is None else part.downsample(x)
    plugins = getattr(part, "with_plugins", False)
    for place, (conv, norm) in enumerate(part.stages, start=1):
        layer, last = getattr(part, conv), place == len(part.stages)
        own = getattr(part, f"after_conv{place}_plugin_names") if plugins else ()
        x = getattr(part, norm)(layer(x))
        if not last and not hasattr(layer, "after"):
            x = x.relu_()
        if own:
            x = part.forward_plugin(x, own)
    return x.add_(other).relu_()


def _fuse_stem(part: Any) -> None:
    """The first convolutions of a backbone, where they are not an `nn.Sequential`."""
    for n in (1, 2):
        layer = getattr(part, f"conv{n}", None)
        if layer is None or not can_fold(layer, getattr(part, f"norm{n}")):
            continue
        fold(layer, getattr(part, f"norm{n}"))
        setattr(part, getattr(part, f"norm{n}_name"), nn.Identity())
        # The backbone's own ReLU comes behind it and finds nothing left to do.
        adopt(layer, part.relu)


_WRAPPERS = "mmcv.cnn.bricks.wrappers"


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`functional.linear`, through oneDNN: (..., in) and (out, in) to (..., out)."""
    if not x.numel() or x.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
        return functional.linear(x, weight, bias)
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return result


def replace_linear(module: nn.Module) -> None:
    """Let a network's linear layers run through `linear`, in place."""
    for part in module.modules():
        # Other subclasses may do something of their own; mmcv's only guards against an old torch.
        if type(part) is nn.Linear or (isinstance(part, nn.Linear) and type(part).__module__ == _WRAPPERS):
            part.forward = MethodType(_forward, part)  # type: ignore[method-assign]


def _forward(layer: Any, x: Tensor) -> Tensor:
    return linear(x, layer.weight, layer.bias)


@cache
def has_fast_linear() -> bool:
    """Whether oneDNN's linear layer is there and this is not a processor that MKL was made for."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    try:
        torch.ops.mkldnn._linear_pointwise  # noqa: B018
        processor = Path("/proc/cpuinfo").read_text(errors="replace")
    except (AttributeError, OSError):
        return False
    return "vendor_id" in processor and "GenuineIntel" not in processor
