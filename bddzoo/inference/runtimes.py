"""Run a network of semantic segmentation, or a detector, in another runtime than PyTorch, on the CPU.

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
    import numpy.typing as npt
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
    """Let a runner's network be computed by a runtime; windows, resizing and masks stay as they are.

    Raises:
        UsageError: It is neither a network of semantic segmentation nor a detector.
    """
    if runner.gives not in ("class map", "detections"):
        raise UsageError(
            f"--runtime {name} runs semantic segmentation and detectors; {runner.model.id} is neither",
            hint="leave it out",
        )
    network = RuntimeNetwork(runner, name)
    runner.network = network.logits if runner.gives == "class map" else network


class RuntimeNetwork:
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
        self._sessions: dict[tuple[Any, ...], Session] = {}

    def logits(self, x: Tensor) -> Tensor:
        """Logits (N, C, h, w) float32 for (N, 3, h, w) float32."""
        import torch

        return torch.from_numpy(self(x)[0])

    def __call__(self, x: Tensor, image_size: tuple[int, int] | None = None) -> list[npt.NDArray[Any]]:
        """The outputs for (N, 3, h, w) float32.

        Args:
            x: The input; of a detector that of one image.
            image_size: Of a detector: height and width of the image in it, without padding.

        Raises:
            UsageError: It cannot be converted whole.
        """
        import torch

        key = (tuple(x.shape), image_size)
        if key not in self._sessions:
            self._sessions[key] = Session(self._file(*key), self._name, torch.get_num_threads())
        return self._sessions[key](x.contiguous().numpy())

    def _file(self, shape: tuple[int, ...], image_size: tuple[int, int] | None) -> Path:
        folder, key = user_folder("cache") / "converted", self._key(shape, image_size)
        for path in folder.glob(f"{key}-*.onnx"):
            if _digest(path) == path.stem.partition("-")[2]:
                return path
            path.unlink(missing_ok=True)
        draft = folder / f"{key}.onnx"
        done = export(self._runner, draft, shape[2:], batch=shape[0], image_size=image_size)  # type: ignore[arg-type]
        if done.left_out:
            draft.unlink()
            raise UsageError(
                f"--runtime {self._name} cannot run {self._runner.model.id}: left out is the {done.left_out}",
                hint="leave it out",
            )
        return draft.replace(folder / f"{key}-{_digest(draft)}.onnx")

    def _key(self, shape: tuple[int, ...], image_size: tuple[int, int] | None) -> str:
        versions = {name: metadata.version(name) for name in ("torch", *PACKAGES["onnx"])}
        versions["bddzoo"] = __version__
        # Thresholds of detectors are in the file, too.
        parts = self._runner.module.modules()
        settings = [str(part.test_cfg) for part in parts if hasattr(part, "test_cfg")]
        basis = [self._weights, self._runner.model.id, shape, image_size, settings, OPSET, versions]
        return hashlib.sha256(json.dumps(basis).encode()).hexdigest()[:DIGITS]


def _digest(path: Path) -> str:
    return hash_file(path)["sha256"][:DIGITS]
