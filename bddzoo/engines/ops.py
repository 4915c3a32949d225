"""The one place that decides where mmcv's compiled operators come from.

mmsegmentation and mmdet import `mmcv.ops`, which wants the compiled module `mmcv._ext`. A compiled
mmcv is used where there is one. Otherwise a module that holds `bddzoo.engines.kernels` takes that
name in `sys.modules`; nothing else of mmcv is touched.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from bddzoo.engines.openmmlab import (
    OPENMMLAB,
    admit_mmcv_2_2,
    check_one_line,
    distribution_version,
    install_engines_hint,
    installed_packages,
    leave_out_language_models,
    line_in_use,
)
from bddzoo.errors import MissingError

EXTENSION = "mmcv._ext"
_unusable: list[str] = []  # why a compiled mmcv that is there cannot be used


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
                f"operator '{name}' of mmcv is not available", hint="install a compiled mmcv to use it"
            )

        return missing


def ensure_ops() -> str:
    """Make `import mmcv.ops` work, whatever was imported before.

    Returns:
        `mmcv` when a compiled mmcv is used, else `torchvision`.

    Raises:
        MissingError: torch or torchvision is not there or does not work, or two lines of OpenMMLab's
            libraries are mixed.
    """
    present = sys.modules.get(EXTENSION)
    if isinstance(present, StandIn):
        return "torchvision"
    # PyTorch's advice to mmdet's authors, whose anchors and priors call it so.
    warnings.filterwarnings("ignore", message="torch.meshgrid")
    check_one_line()
    leave_out_language_models()
    if present is not None or _load_compiled():
        admit_mmcv_2_2()
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
    admit_mmcv_2_2()
    return "torchvision"


def _load_compiled() -> bool:
    """Import a compiled `mmcv._ext` if there is one that works."""
    if not has_compiled_mmcv():
        return False
    import torch  # noqa: F401  (the extension links against libraries that torch loads)

    try:
        reason = _why_unusable(import_module(EXTENSION))
    except (ImportError, OSError) as error:  # built for another torch
        reason = _one_line(error)
    _unusable[:] = [reason] if reason else []
    if not reason:
        _give_contiguous_features(sys.modules[EXTENSION])
    return not reason


def _give_contiguous_features(extension: Any) -> None:
    # Of channels-last features RoIAlign makes something else without a word, deformable convolutions refuse
    # them. What these functions fill is contiguous already, and stays the caller's own.
    for name in ("roi_align_forward", "deform_conv_forward", "modulated_deform_conv_forward"):
        setattr(extension, name, _with_contiguous(getattr(extension, name)))


def _with_contiguous(compiled: Callable[..., Any]) -> Callable[..., Any]:
    def run(*tensors: Any, **named: Any) -> Any:
        return compiled(*(t.contiguous() if hasattr(t, "contiguous") else t for t in tensors), **named)

    return run


def _why_unusable(extension: ModuleType) -> str | None:
    """Why a compiled module that could be loaded is of no use here; None if it works.

    It may link against today's torch and fail in its first call all the same, and one that was compiled
    without CUDA refuses tensors on a GPU.
    """
    import torch

    boxes, scores = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2], [3, 3, 4, 4]]), torch.tensor([0.2, 0.9, 0.5])
    try:
        kept = extension.nms(boxes, scores, iou_threshold=0.5, offset=0)
        if kept.tolist() != [1, 2]:
            return f"its nms keeps boxes {kept.tolist()} where [1, 2] is right"
        if torch.cuda.is_available() and extension.get_compiling_cuda_version() == "not available":
            return "it is compiled without CUDA, and there is a GPU"
    except Exception as error:  # a module built for something else may raise anything
        return _one_line(error)
    return None


def _one_line(error: Exception) -> str:
    # The loader's message begins with the whole path of the extension.
    text = re.sub(r"^/\S*/", "", " ".join(str(error).split()))
    return (text or type(error).__name__)[:120]


def warn_of_mmcv() -> str | None:
    """A line for the user on a compiled mmcv that is installed and not used; None where there is none."""
    if not _unusable:
        return None
    return f"the compiled mmcv cannot be used, torchvision's operators are used instead: {_unusable[0]}"


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
        raise MissingError(f"cannot import torch: {error}", hint=install_engines_hint()) from error
    if _has_operators():
        return
    spec = find_spec("torchvision")
    if spec is None:
        raise MissingError("torchvision is not installed", hint=install_engines_hint())
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
    return f"install a torchvision made for torch {distribution_version('torch')}"


def _has_operators() -> bool:
    import torch

    try:
        return all(getattr(torch.ops.torchvision, n) for n in ("nms", "roi_align", "deform_conv2d"))
    except (AttributeError, RuntimeError):
        return False


def _mmcv_version() -> str:
    """The distribution that `mmcv` is of, and its version; a folder on the path may be of none."""
    found = installed_packages(line_in_use() or OPENMMLAB).get("mmcv", {})
    return next((f"{name} {version}" for name, version in found.items()), "mmcv of unknown version")


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
        return dict.fromkeys(names, f"{_mmcv_version()}, compiled")
    text = f"torchvision {distribution_version('torchvision')}"
    table = dict.fromkeys(names[:3], text) | {"psa_mask": f"torch {distribution_version('torch')}"}
    if _unusable:
        table = {k: f"{v} (the compiled mmcv cannot be used: {_unusable[0]})" for k, v in table.items()}
    return table
