"""The one place that decides where mmcv's compiled operators come from.

mmsegmentation and mmdet import `mmcv.ops`, which wants the compiled module `mmcv._ext`. A compiled
mmcv is used where there is one. Otherwise a module that holds `bddzoo.engines.kernels` takes that
name in `sys.modules`; nothing else of mmcv is touched.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from bddzoo.errors import MissingError, install_hint

EXTENSION = "mmcv._ext"
INSTALL = install_hint("run")
_broken: list[str] = []  # why a compiled mmcv that is there cannot be used


class StandIn(ModuleType):
    """Takes the place of mmcv's compiled module.

    mmcv asks for every operator by name when it is imported, so every name is here; those that no
    network of the zoos needs say so when they are called.
    """

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*_: object, **__: object) -> None:
            raise MissingError(
                f"operator '{name}' of mmcv is not available", hint="install a compiled mmcv 2.1 to use it"
            )

        return missing


def ensure_ops() -> str:
    """Make `import mmcv.ops` work, whatever was imported before.

    Returns:
        `mmcv` when a compiled mmcv is used, else `torchvision`.

    Raises:
        MissingError: torch or torchvision is not there or does not work.
    """
    present = sys.modules.get(EXTENSION)
    if isinstance(present, StandIn):
        return "torchvision"
    if present is not None or _load_compiled():
        return "mmcv"
    load_torchvision()
    from bddzoo.engines import kernels

    module = StandIn(EXTENSION, "Operators of bddzoo.engines.kernels in place of mmcv's compiled ones.")
    # Without a spec, looking for the module (mmengine does when it reverts SyncBN) raises an error; one
    # without a loader says truly that no compiled module can be loaded.
    module.__spec__ = ModuleSpec(EXTENSION, None)
    for name, function in kernels.functions().items():
        setattr(module, name, function)
    sys.modules[EXTENSION] = module
    return "torchvision"


def _load_compiled() -> bool:
    """Import a compiled `mmcv._ext` if there is one that works."""
    if not has_compiled_mmcv():
        return False
    import importlib

    import torch  # noqa: F401  (the extension links against libraries that torch loads)

    try:
        importlib.import_module(EXTENSION)
    except (ImportError, OSError) as error:
        # Built for another torch: better the operators that do work, and say so in `ops_in_use`.
        _broken[:] = [" ".join(str(error).split())[:120]]
        return False
    return True


def has_compiled_mmcv() -> bool:
    """Whether the installed mmcv has its compiled module; looks without importing anything."""
    try:
        package = find_spec("mmcv")
    except (ImportError, ValueError):
        return False
    folders = list(package.submodule_search_locations or ()) if package else []
    return PathFinder.find_spec(EXTENSION, folders) is not None


def load_torchvision() -> None:
    """Register torchvision's operators with torch.

    Only the shared library is loaded where it can be found: importing the whole of torchvision
    takes longer than importing torch.

    Raises:
        MissingError: torch or torchvision is missing, or they do not fit each other.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingError(f"cannot import torch: {error}", hint=INSTALL) from error
    if _has_operators():
        return
    spec = find_spec("torchvision")
    if spec is None:
        raise MissingError("torchvision is not installed", hint=INSTALL)
    for folder in spec.submodule_search_locations or ():
        for library in sorted(Path(folder).glob("_C*")):
            if library.suffix not in (".so", ".pyd", ".dylib"):
                continue
            try:
                torch.ops.load_library(str(library))  # type: ignore[no-untyped-call]
            except OSError:
                continue
            if _has_operators():
                return
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError) as error:
        text = " ".join(str(error).split())
        raise MissingError(f"torchvision does not work with this torch: {text}", hint=_pair_hint()) from error
    if not _has_operators():
        raise MissingError("torchvision has no operators for this torch", hint=_pair_hint())


def _pair_hint() -> str:
    return f"install a torchvision made for torch {_version('torch')}"


def _has_operators() -> bool:
    import torch

    try:
        return all(getattr(torch.ops.torchvision, n) for n in ("nms", "roi_align", "deform_conv2d"))
    except (AttributeError, RuntimeError):
        return False


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def ops_in_use() -> dict[str, str]:
    """Where each operator comes from on this machine, for `doctor` and for records.

    Returns:
        Operator name to a text such as `torchvision 0.29.2` or `mmcv 2.1.0, compiled`; the reason
        in words where it is unusable. Never raises for a missing package.
    """
    names = ("nms", "roi_align", "deform_conv2d", "psa_mask")
    try:
        source = ensure_ops()
    except MissingError as error:
        return dict.fromkeys(names, f"unusable: {error}")
    if source == "mmcv":
        return dict.fromkeys(names, f"mmcv {_version('mmcv') or _version('mmcv-full') or '?'}, compiled")
    text = f"torchvision {_version('torchvision')}"
    table = dict.fromkeys(names[:3], text) | {"psa_mask": f"torch {_version('torch')}"}
    if _broken:
        table = {k: f"{v} (the compiled mmcv cannot be loaded: {_broken[0]})" for k, v in table.items()}
    return table
