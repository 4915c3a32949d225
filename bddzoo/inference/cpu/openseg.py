"""What makes openseg's networks faster on a CPU: the part of `tune_for_cpu` that only they need.

- The norms of their own heads' blocks are folded, as `bddzoo.inference.cpu.fuse` does it for mmcv's.
- Convolutions over HRNet's four maps, which are three quarters of the work of HRNet-48 with OCR, take the
  products at each map's own size (`bddzoo.inference.cpu.pyramid`); the concatenation is never made.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from bddzoo.engines.openseg.heads import ConvBlock
from bddzoo.engines.openseg.network import OpensegNetwork
from bddzoo.inference.cpu.fuse import adopt, can_fold, fold
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
        if isinstance(part, ConvBlock) and can_fold(part.conv, part.bn):
            fold(part.conv, part.bn)
            part.bn = nn.Identity()  # type: ignore[assignment]
            if adopt(part.conv, part.activate):
                part.activate = nn.Identity()
    if network.spec.arch in _PYRAMIDS:
        _see_maps(network)


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
            setattr(part, name, PyramidConv(block.conv, _WIDTHS, align_corners=True))
        network.concatenates = False
