"""Run a semantic segmentation network in another runtime than PyTorch, on the CPU.

The network is converted once for each shape of its input. What was converted is kept in the user's cache
folder, under a name that holds the digest of everything that it depends on and of its own content: another
version of a library, or other weights, are another file, and a damaged one is made again.
"""

from __future__ import annotations

import hashlib
import json
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bddzoo.artifacts import hash_file
from bddzoo.engines.export import OPSET, PACKAGES, Session, export, need_packages
from bddzoo.errors import UsageError
from bddzoo.files import user_folder
from bddzoo.version import __version__

if TYPE_CHECKING:
    import torch
    from torch import Tensor

EAGER = "eager"
RUNTIMES = (EAGER, "onnxruntime", "openvino")
DIGITS = 32


def runtime_version(name: str) -> str:
    """Name and version of a runtime, as records have it.

    Raises:
        MissingError: It is not installed.
    """
    need_packages(name)
    return f"{name} {metadata.version(name)}"


def check_runtime(name: str, device: torch.device) -> None:
    """Refuse a runtime that cannot be used.

    Raises:
        UsageError: It is for a CPU.
        MissingError: It is not installed.
    """
    if device.type != "cpu":
        raise UsageError(f"--runtime {name} runs on a CPU", hint="give --device cpu, or leave it out")
    need_packages(name)


def use_runtime(runner: Any, name: str) -> None:
    """Let a runner's network be computed by a runtime; its windows and resizing stay as they are.

    Raises:
        UsageError: It is not a network of semantic segmentation.
    """
    if runner.gives != "class map":
        raise UsageError(
            f"--runtime {name} runs networks of semantic segmentation; {runner.model.id} is not one",
            hint="leave it out",
        )
    runner.network = RuntimeRunner(runner, name)


class RuntimeRunner:
    """A runner's network in another runtime.

    Args:
        runner: A runner as `load_model` makes it, not tuned.
        name: `onnxruntime` or `openvino`.
    """

    def __init__(self, runner: Any, name: str) -> None:
        from bddzoo.engines.recipe import state_sha256

        self._runner = runner
        self._name = name
        self._weights = state_sha256(runner.module.state_dict())
        self._sessions: dict[tuple[int, ...], Session] = {}

    def __call__(self, x: Tensor) -> Tensor:
        """Logits (N, C, h, w) float32 for (N, 3, h, w) float32."""
        import torch

        shape = tuple(x.shape)
        if shape not in self._sessions:
            path = self._file(shape)
            self._sessions[shape] = Session(path, self._name, torch.get_num_threads())
        return torch.from_numpy(self._sessions[shape](x.contiguous().numpy())[0])

    def _file(self, shape: tuple[int, ...]) -> Path:
        folder = user_folder("cache") / "converted"
        versions = {name: metadata.version(name) for name in ("torch", *PACKAGES["onnx"])}
        versions["bddzoo"] = __version__
        basis = [self._weights, self._runner.model.id, shape, OPSET, versions]
        key = hashlib.sha256(json.dumps(basis).encode()).hexdigest()[:DIGITS]
        for path in folder.glob(f"{key}-*.onnx"):
            if _digest(path) == path.stem.partition("-")[2]:
                return path
            path.unlink(missing_ok=True)
        draft = folder / f"{key}.onnx"
        export(self._runner, draft, shape[2:], batch=shape[0])  # type: ignore[arg-type]
        return draft.replace(folder / f"{key}-{_digest(draft)}.onnx")


def _digest(path: Path) -> str:
    return hash_file(path)["sha256"][:DIGITS]
