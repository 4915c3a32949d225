"""Build a network from registry facts, load weights safely and strictly, run it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bddzoo.engines.build import build_network
    from bddzoo.engines.ops import ops_in_use

__all__ = ["build_network", "ops_in_use"]

_HOMES = {
    "build_network": "build",
    "ops_in_use": "ops",
}


def __getattr__(name: str) -> Any:
    # Names are looked up late, so that importing this package does not import torch.
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
