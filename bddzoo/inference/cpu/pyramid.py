"""A convolution over feature maps of several sizes, without making them one size first.

Heads such as UPerNet's enlarge the levels of a pyramid bilinearly to the size of the finest, concatenate
them and convolve: for UPerNet that is three quarters of the work of the whole network. Both steps are
linear, so they can change places. The products with the weights are then taken at each level's own size,
and what is enlarged, shifted and summed are their results; enlarging and shifting are a product with a
matrix along each axis. The result is the same but for the order of sums; the work of a level falls with
its area.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bddzoo.inference.cpu.fuse import activated, convolve, has_fast_linear, is_beyond, is_plain, linear

Size = tuple[int, int]

# Networks of openseg whose heads see HRNet-W48's four maps through 3x3 convolutions without dilation, three
# quarters of the work with OCR; and the channels of the maps.
_OPENSEG = ("hrnet_w48", "hrnet_w48_ocr", "hrnet_w48_ocr_b", "hrnet_w48_isa")
_OPENSEG_WIDTHS = (48, 96, 192, 384)


class PyramidConv(nn.Module):
    """`conv(cat([resize(f, size) for f in features]))`, with the size of the first.

    Args:
        layer: The fused convolution to stand in for: stride 1, not dilated, one group.
        channels: Channels of each feature map, in the order of the concatenation.
        align_corners: Of the bilinear resize.
    """

    layer: Any

    def __init__(self, layer: Any, channels: Sequence[int], align_corners: bool) -> None:
        super().__init__()
        self.layer = layer
        self.channels = tuple(channels)
        self.align_corners = align_corners
        self._linear = linear if has_fast_linear() else functional.linear
        ky, kx = layer.kernel_size
        parts = layer.weight.split(self.channels, dim=1)
        # For each row of the kernel a matrix (columns of the kernel and channels out, channels in).
        matrices = [p.permute(2, 3, 0, 1).reshape(ky, kx * p.shape[0], p.shape[1]) for p in parts]
        self._matrices = [m.contiguous() for m in matrices]

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """(N, C_i, h_i, w_i) float32 each to (N, C_out, h_0, w_0), in the channels-last layout."""
        size = _size(features[0])
        if is_beyond(features[0]):
            resized = [
                functional.interpolate(f, size, mode="bilinear", align_corners=self.align_corners)
                for f in features
            ]
            return convolve(self.layer, torch.cat(resized, dim=1))
        full = [i for i, f in enumerate(features) if _size(f) == size]
        total = self._at_full_size(features, full)
        for index, feature in enumerate(features):
            if index not in full:
                self._add_level(total, feature, self._matrices[index], size)
        return activated(self.layer, total.permute(0, 3, 1, 2))

    def _at_full_size(self, features: Sequence[Tensor], full: Sequence[int]) -> Tensor:
        """(N, H, W, C_out): the bias, and what needs no resizing."""
        x = torch.cat([features[i] for i in full], dim=1) if len(full) > 1 else features[full[0]]
        weight = torch.cat([self.layer.weight.split(self.channels, dim=1)[i] for i in full], dim=1)
        x = x.contiguous(memory_format=torch.channels_last)
        weight = weight.contiguous(memory_format=torch.channels_last)
        window = (self.layer.padding, (1, 1), (1, 1), 1)
        found: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, weight, self.layer.bias, *window, "none", [], ""
        )
        return found.permute(0, 2, 3, 1).contiguous()

    def _add_level(self, total: Tensor, feature: Tensor, matrices: Tensor, size: Size) -> None:
        count, channels, height, width = feature.shape
        ky, kx = self.layer.kernel_size
        across = _enlarge(width, size[1], kx, self.layer.padding[1], self.align_corners)
        down = _enlarge(height, size[0], ky, self.layer.padding[0], self.align_corners)
        rows = feature.permute(0, 2, 3, 1).reshape(-1, channels)
        # [W, kx, w] to [W, (w, kx)]: the order in which the products come.
        across = across.permute(0, 2, 1).reshape(size[1], width * kx)
        for row in range(ky):
            products = self._linear(rows, matrices[row]).view(count * height, width * kx, -1)
            wide = torch.matmul(across, products).view(count, height, -1)
            for image in range(count):
                total[image].view(size[0], -1).addmm_(down[:, row], wide[image])


@lru_cache(maxsize=64)
def _enlarge(source: int, target: int, taps: int, padding: int, align_corners: bool) -> Tensor:
    """Bilinear resizing along one axis, then shifting by each tap of a kernel with zeros beyond the edge.

    Returns:
        (target, taps, source) float32: the share of each source position in what a tap sees at a target
        position.
    """
    unit = torch.eye(source)[None, :, None, :]
    weights = functional.interpolate(unit, size=(1, target), mode="bilinear", align_corners=align_corners)
    found = torch.zeros(target, taps, source)
    for tap in range(taps):
        shift = tap - padding
        first, last = max(0, -shift), min(target, target - shift)
        if first < last:
            found[first:last, tap] = weights[0, :, 0, first + shift : last + shift].T
    return found


def replace_heads(module: nn.Module) -> None:
    """Give heads that convolve over a resized pyramid a `PyramidConv`, in place; after `fuse`."""
    for part in list(module.modules()):
        kind = type(part).__name__
        if kind == "UPerHead":
            _replace_uper(part)
        elif kind == "PSPHead":
            _replace_psp(part)
        elif kind == "FCNHead" and getattr(part, "input_transform", None) == "resize_concat":
            _replace_fcn(part)
        elif kind == "OpensegNetwork":
            _replace_openseg(part)


def _pyramid(conv_module: Any, channels: Sequence[int], align_corners: bool) -> PyramidConv | None:
    """The stand-in for a `ConvModule`; None where it is not one that can be replaced."""
    layer = conv_module.conv
    fused = is_plain(layer) and hasattr(layer, "after") and layer.bias is not None
    fused &= isinstance(getattr(conv_module, conv_module.norm_name or "", nn.Identity()), nn.Identity)
    fused &= not conv_module.with_activation or isinstance(conv_module.activate, nn.Identity)
    simple = fused and layer.stride == (1, 1) and layer.dilation == (1, 1) and layer.groups == 1
    same = simple and all(2 * p + 1 == k for p, k in zip(layer.padding, layer.kernel_size, strict=True))
    return (
        PyramidConv(layer, channels, align_corners) if same and sum(channels) == layer.in_channels else None
    )


def _pooling_channels(modules: Any) -> list[int]:
    return [int(part[-1].conv.out_channels) for part in modules]


def _replace_uper(head: Any) -> None:
    top = _pyramid(
        head.bottleneck, [head.in_channels[-1], *_pooling_channels(head.psp_modules)], head.align_corners
    )
    finest = _pyramid(head.fpn_bottleneck, [head.channels] * len(head.in_channels), head.align_corners)
    if top is None or finest is None:
        return
    head.bottleneck, head.fpn_bottleneck = top, finest
    head._forward_feature = MethodType(_run_uper, head)


def _run_uper(head: Any, inputs: Sequence[Tensor]) -> Tensor:
    """UPerNet (Xiao et al., ECCV 2018): pooling pyramid on top, top-down sums, one convolution over all."""
    chosen = [inputs[i] for i in head.in_index]
    top = head.bottleneck([chosen[-1], *(part(chosen[-1]) for part in head.psp_modules)])
    levels = [*(conv(x) for conv, x in zip(head.lateral_convs, chosen[:-1], strict=True)), top]
    for index in range(len(levels) - 1, 0, -1):
        above = functional.interpolate(
            levels[index], size=_size(levels[index - 1]), mode="bilinear", align_corners=head.align_corners
        )
        levels[index - 1] = levels[index - 1] + above
    outputs = [*(conv(x) for conv, x in zip(head.fpn_convs, levels[:-1], strict=True)), levels[-1]]
    found: Tensor = head.fpn_bottleneck(outputs)
    return found


def _replace_psp(head: Any) -> None:
    replaced = _pyramid(
        head.bottleneck, [head.in_channels, *_pooling_channels(head.psp_modules)], head.align_corners
    )
    if replaced is not None and head.input_transform is None:
        head.bottleneck = replaced
        head._forward_feature = MethodType(_run_psp, head)


def _run_psp(head: Any, inputs: Sequence[Tensor]) -> Tensor:
    """PSPNet (Zhao et al., CVPR 2017): a convolution over the features and their pooling pyramid."""
    x = inputs[head.in_index]
    found: Tensor = head.bottleneck([x, *(part(x) for part in head.psp_modules)])
    return found


def _replace_fcn(head: Any) -> None:
    if head.concat_input or not isinstance(head.convs, nn.Sequential) or len(head.convs) != 1:
        return
    only: Any = head.convs[0]
    # The head knows the sum of its input channels only; each feature map's own are known when it comes.
    replaced = _pyramid(only, [int(only.conv.in_channels)], head.align_corners)
    if replaced is not None:
        head.pyramids = {}
        head._forward_feature = MethodType(_run_fcn, head)


def _run_fcn(head: Any, inputs: Sequence[Tensor]) -> Tensor:
    """HRNet's head (Wang et al., TPAMI 2020): a convolution over all branches at the finest's size."""
    chosen = [inputs[i] for i in head.in_index]
    channels = tuple(int(x.shape[1]) for x in chosen)
    if channels not in head.pyramids:
        head.pyramids[channels] = _pyramid(head.convs[0], channels, head.align_corners)
    found: Tensor = head.pyramids[channels](chosen)
    return found


def _replace_openseg(network: Any) -> None:
    """Let openseg's heads see HRNet's four maps, whose concatenation is never made."""
    if network.spec.arch not in _OPENSEG:
        return
    places: list[tuple[Any, str]] = []
    for head in (network.decode_head, network.auxiliary_head):
        if type(head).__name__ == "FCNHead":
            places.append((head.convs, "0"))
        elif head is not None:
            places.append((head, "bottleneck" if hasattr(head, "bottleneck") else "in_conv"))
    blocks = [(part, name, getattr(part, name)) for part, name in places]
    if all(hasattr(block.conv, "after") for _, _, block in blocks):
        for part, name, block in blocks:
            setattr(part, name, PyramidConv(block.conv, _OPENSEG_WIDTHS, align_corners=True))
        network.concatenates = False


def _size(x: Tensor) -> Size:
    height, width = x.shape[2:]
    return int(height), int(width)
