"""Preprocess, batch, run, and draw: from images to predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bddzoo.inference.batches import Events
    from bddzoo.inference.load import load_runner, resolve_device
    from bddzoo.inference.pipeline import predict_frames
    from bddzoo.inference.preprocess import prepare

__all__ = ["Events", "load_runner", "predict_frames", "prepare", "resolve_device"]

_MODULES = {
    "Events": "batches",
    "load_runner": "load",
    "predict_frames": "pipeline",
    "prepare": "preprocess",
    "resolve_device": "load",
}


def __getattr__(name: str) -> Any:
    # Looked up late, so that importing this package imports neither torch nor OpenCV.
    if name in _MODULES:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
