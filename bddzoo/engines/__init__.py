"""Build a network from registry facts, load weights safely and strictly, run it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bddzoo.engines.build import build_network
    from bddzoo.engines.checkpoint import read_checkpoint
    from bddzoo.engines.instance import InsSegRunner
    from bddzoo.engines.load import find_device, load_model, make_runner
    from bddzoo.engines.ops import ops_in_use
    from bddzoo.engines.semantic import SemSegRunner
    from bddzoo.engines.weights import LoadReport, load_weights

__all__ = [
    "InsSegRunner",
    "LoadReport",
    "SemSegRunner",
    "build_network",
    "find_device",
    "load_model",
    "load_weights",
    "make_runner",
    "ops_in_use",
    "read_checkpoint",
]

_MODULES = {
    "InsSegRunner": "instance",
    "LoadReport": "weights",
    "SemSegRunner": "semantic",
    "build_network": "build",
    "find_device": "load",
    "load_model": "load",
    "load_weights": "weights",
    "make_runner": "load",
    "ops_in_use": "ops",
    "read_checkpoint": "checkpoint",
}


def __getattr__(name: str) -> Any:
    # Names are looked up late, so that importing this package does not import torch.
    if name in _MODULES:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
