"""Linear layers through oneDNN, on processors that MKL was not made for.

There oneDNN's matrix product takes half the time of MKL's, which `torch.nn.functional.linear` calls.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

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
