"""Checkpoint registry and benchmarking CLI for the BDD100K model zoos.

A script uses the names of `__all__`, see docs/guides/python.md; everything else is private.
"""

from typing import TYPE_CHECKING, Any

from bddzoo.version import __version__

if TYPE_CHECKING:
    from bddzoo.api import BddzooError, LoadedModel, evaluate, fetch, judge, load_model, load_registry, score


__all__ = [
    "BddzooError",
    "LoadedModel",
    "__version__",
    "evaluate",
    "fetch",
    "judge",
    "load_model",
    "load_registry",
    "score",
]


def __getattr__(name: str) -> Any:
    """A name of `bddzoo.api`, imported when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module 'bddzoo' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module("bddzoo.api"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
