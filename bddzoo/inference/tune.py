"""What makes a network faster on a CPU without changing what it computes.

Each measure only changes the order in which products are summed, so results move in the last bits:

- Channels-last layout for networks without dilated convolutions. oneDNN, which runs PyTorch's
  convolutions, then need not convert the input and output of each one; that is a quarter of the CPU time
  of thin networks (HRNet-48: 4.1 s a picture, 3.1 s so). Networks with dilation spend their time in wide
  convolutions at high resolution, which are as fast or a little faster in the usual layout, and their
  dilated depthwise convolutions three times as fast (DeepLabV3+, PSPNet).
- Batch normalisations folded into convolutions, see `bddzoo.inference.fuse`. Not in detectors: they gain
  little, and their cascade of choices (which proposal, which box) turns last bits into other results.
- Convolutions over pyramids at each level's own size, see `bddzoo.inference.pyramid`.
- What openseg's networks have of their own, see `bddzoo.inference.openseg`.
- oneDNN's matrix product for linear layers, see `bddzoo.inference.linear`.
"""

from __future__ import annotations

import torch
from torch import nn

from bddzoo.inference.fuse import can_fuse, fuse
from bddzoo.inference.linear import has_fast_linear, replace_linear
from bddzoo.inference.pyramid import replace_heads


def tune_for_cpu(module: nn.Module) -> None:
    """Prepare a network on the CPU, in place; its inputs may stay as they are.

    Its weights have to be in it already, and it can no longer be trained: some of its parts become others,
    and its state dict with them.
    """
    dilated = any(isinstance(part, nn.Conv2d) and max(part.dilation) > 1 for part in module.modules())
    if not dilated:
        module.to(memory_format=torch.channels_last)
    if can_fuse() and not hasattr(module, "roi_head"):
        fuse(module)
        replace_heads(module)
        if type(module).__name__ == "OpensegNetwork":
            from bddzoo.inference.openseg import tune_openseg

            tune_openseg(module)  # type: ignore[arg-type]
    if has_fast_linear():
        replace_linear(module)
