"""What makes a network faster on a CPU without changing what it computes; `tune_for_cpu` does all of it.

Each measure only changes the order in which products are summed, so results move in the last bits:

- Channels-last layout for networks without dilated convolutions. oneDNN, which runs PyTorch's
  convolutions, then need not convert the input and output of each one; that is a quarter of the CPU time
  of thin networks (HRNet-48: 4.1 s an image, 3.1 s so). Networks with dilation spend their time in wide
  convolutions at high resolution, which are as fast or a little faster in the usual layout, and their
  dilated depthwise convolutions three times as fast (DeepLabV3+, PSPNet). openseg's HRNet-48 gains
  even with dilated heads.
- Batch normalisations folded into convolutions, see `bddzoo.inference.cpu.fuse`. Not in detectors: they gain
  little, and their cascade of choices (which proposal, which box) turns last bits into other results.
- Convolutions over pyramids at each level's own size, see `bddzoo.inference.cpu.pyramid`.
- oneDNN's matrix product for linear layers, see `bddzoo.inference.cpu.fuse`.
- Freed memory is kept, see `keep_freed_memory`; this changes no result at all.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

import torch
from torch import nn

from bddzoo.inference.cpu.fuse import can_fuse, fuse, has_fast_linear, replace_linear
from bddzoo.inference.cpu.pyramid import replace_heads


def tune_for_cpu(module: nn.Module) -> None:
    """Make a network and its process faster on the CPU, in place; inputs and outputs stay as they are.

    Its weights have to be in it already, and it can no longer be trained: some of its parts become others,
    and its state dict with them.
    """
    keep_freed_memory()
    network: Any = module
    fusible = can_fuse() and not hasattr(module, "roi_head")
    openseg = fusible and type(module).__name__ == "OpensegNetwork"
    if openseg:
        network.forget_original()
    dilated = any(isinstance(part, nn.Conv2d) and max(part.dilation) > 1 for part in module.modules())
    if not dilated or (openseg and network.spec.base.family == "hrnet48"):
        module.to(memory_format=torch.channels_last)
    if fusible:
        fuse(module)
        replace_heads(module)
    if has_fast_linear():
        replace_linear(module)


# Parameters of mallopt(3), from glibc's malloc.h.
M_TRIM_THRESHOLD = -1
M_TOP_PAD = -2
M_MMAP_MAX = -4
TOP_PAD_BYTES = 256 << 20
NEVER = (1 << 31) - 1


@cache
def keep_freed_memory() -> bool:
    """Tell the C library to keep freed memory for the rest of the process.

    A forward pass on a CPU frees and allocates tensors of tens of megabytes by the hundred. The C library
    returns each of them to the system at once, so that every page of the next one has to be mapped and
    cleared again; on the zoo's networks that is a quarter to a third of all CPU time. PyTorch has no cache
    for CPU memory, and the C library's own settings are usually made with environment variables, before
    the process starts. `mallopt` makes them later.

    Resident memory then stays near its peak, which it reaches within the first image; it does not grow
    with the number of images.

    Returns:
        Whether it was done: only GNU's C library knows these settings.
    """
    if not sys.platform.startswith("linux"):
        return False
    import ctypes

    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018  (musl has mallopt's name, without its effect)
        mallopt = libc.mallopt
    except (OSError, AttributeError):
        return False
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, NEVER), (M_TOP_PAD, TOP_PAD_BYTES))
    return all(mallopt(name, value) == 1 for name, value in settings)
