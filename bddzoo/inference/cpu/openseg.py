"""What makes openseg's networks faster on a CPU: the part of `tune_for_cpu` that only they need.

- Their heads' LeakyReLU is done by oneDNN while it writes a convolution's result, as ReLU is elsewhere.
- Convolutions over HRNet's four maps, which are three quarters of the work of HRNet-48 with OCR, take the
  products at each map's own size (`bddzoo.inference.cpu.pyramid`); the concatenation is never made.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from bddzoo.engines.openseg.heads import ConvBlock, WideBlock
from bddzoo.engines.openseg.network import OpensegNetwork
from bddzoo.inference.cpu.fuse import can_fold, fold, is_beyond, is_plain
from bddzoo.inference.cpu.pyramid import PyramidConv

# Channels of HRNet-W48's maps.
_WIDTHS = (48, 96, 192, 384)
# Networks whose heads see the four maps through 3x3 convolutions that are not dilated.
_PYRAMIDS = ("hrnet_w48", "hrnet_w48_ocr", "hrnet_w48_ocr_b", "hrnet_w48_isa")


def tune_openseg(network: OpensegNetwork) -> None:
    """Fuse what is openseg's own, in place; after `fuse`, which sees to mmsegmentation's parts.

    The network gives up the zoo's state: `state_dict` is refused from then on.
    """
    network.forget_original()
    if network.spec.base.family == "hrnet48":  # also with dilated heads
        network.to(memory_format=torch.channels_last)
    for part in list(network.modules()):
        if isinstance(part, ConvBlock):
            _fuse_pair(part, "conv", "bn", "activate")
        elif type(part).__name__ == "ConvModule":
            _activate(part, part.conv, "activate")
        elif isinstance(part, WideBlock):
            _fuse_wide(part)
    if network.spec.arch in _PYRAMIDS:
        _see_maps(network)


def _fuse_pair(part: Any, conv: str, norm: str, activation: str) -> None:
    layer = getattr(part, conv)
    if can_fold(layer, getattr(part, norm)):
        fold(layer, getattr(part, norm))
        setattr(part, norm, nn.Identity())
        _activate(part, layer, activation)


def _fuse_wide(block: WideBlock) -> None:
    """The norms inside a block of the wide ResNet; the one that it begins with stays."""
    steps: Any = block.convs
    for number in (1, 2):
        if hasattr(steps, f"bn{number + 1}"):
            layer = getattr(steps, f"conv{number}")
            if can_fold(layer, getattr(steps, f"bn{number + 1}")):
                fold(layer, getattr(steps, f"bn{number + 1}"))
                setattr(steps, f"bn{number + 1}", nn.Identity())
                _activate(steps, layer, f"act{number + 1}")


def _activate(part: Any, layer: Any, name: str) -> None:
    """Let the convolution do the activation behind it, if that is a leaky ReLU or a plain one."""
    act = getattr(part, name, None)
    if not is_plain(layer) or layer.bias is None:
        return
    if isinstance(act, nn.LeakyReLU):
        layer.after, layer.slopes = "leaky_relu", [act.negative_slope]
    elif isinstance(act, nn.ReLU):
        layer.after, layer.slopes = "relu", []
    else:
        return
    layer.forward = MethodType(_convolve, layer)
    setattr(part, name, nn.Identity())


def _convolve(layer: Any, x: Tensor) -> Tensor:
    if is_beyond(x):
        return _act(layer, nn.Conv2d.forward(layer, x))
    window = (layer.padding, layer.stride, layer.dilation, layer.groups)
    found: Tensor = torch.ops.mkldnn._convolution_pointwise(
        x, layer.weight, layer.bias, *window, layer.after, layer.slopes, ""
    )
    return found


def _act(layer: Any, x: Tensor) -> Tensor:
    return nn.functional.leaky_relu_(x, layer.slopes[0]) if layer.slopes else x.relu_()


class MapsConv(nn.Module):
    """A block over the concatenation of maps, each resized to the first, without making it.

    Args:
        layer: The block's convolution, with norm and activation fused.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.slopes: list[float] = getattr(layer, "slopes", [])
        self.conv = PyramidConv(layer, _WIDTHS, align_corners=True)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Four (N, C_i, h_i, w_i) to (N, C, h_0, w_0)."""
        height, width = maps[0].shape[2:]
        found: Tensor = self.conv(maps, (int(height), int(width)))
        return nn.functional.leaky_relu_(found, self.slopes[0]) if self.slopes else found


def _see_maps(network: OpensegNetwork) -> None:
    main, aux = network.decode_head, network.auxiliary_head
    places: list[tuple[Any, str]] = []
    for head in (main, aux):
        if type(head).__name__ == "FCNHead":
            places.append((head.convs, "0"))  # type: ignore[union-attr]
        elif head is not None:
            places.append((head, "bottleneck" if hasattr(head, "bottleneck") else "in_conv"))
    blocks = [(part, name, getattr(part, name)) for part, name in places]
    if all(hasattr(block.conv, "after") for _, _, block in blocks):
        for part, name, block in blocks:
            setattr(part, name, MapsConv(block.conv))
        network.concatenates = False
