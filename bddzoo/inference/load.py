"""Where a network runs, and a model made ready to predict there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bddzoo.engines.load import find_device, load_model, use_full_float32
from bddzoo.inference.speedups import Speedups
from bddzoo.registry.model import Model

if TYPE_CHECKING:
    import torch

    from bddzoo.engines.load import Runner


def resolve_device(name: str) -> torch.device:
    """The device of a name; `auto` is the first GPU, or the CPU where there is none.

    The process is made ready for it: float32 means float32 (see `use_full_float32`), and a GPU that
    is named becomes the current one, so that nothing is held on another.

    Raises:
        UsageError: The name makes no sense.
        MissingError: There is no such device on this machine.
    """
    import torch

    device = find_device(name)
    use_full_float32()
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    return device


def default_batch_size(device: torch.device) -> int:
    """Images per forward pass by default.

    One on the CPU, where larger batches only cost memory; some on a GPU, to keep it busy.
    """
    return 1 if device.type == "cpu" else 4


def load_runner(
    model: Model,
    weights: str | Path | Mapping[str, torch.Tensor],
    device: str = "auto",
    speedups: Speedups | None = None,
) -> tuple[Runner, torch.device]:
    """Load a model for `predict_frames`: on its device, and on a CPU tuned for it.

    Args:
        model: A model with network facts.
        weights: Checkpoint file or state dict.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        speedups: What may change the numbers a little; nothing by default.

    Returns:
        The runner and its device.

    Raises:
        UsageError: The registry's facts make no network, the device's name makes no sense, or it cannot do
            one of the speedups.
        MissingError: There is no such file or device.
        IntegrityError: The file is not a checkpoint, or not this model's.
    """
    from bddzoo.inference.cpu import keep_freed_memory, tune_for_cpu

    place = resolve_device(device)
    if speedups is not None:
        speedups.check(place)
    runner = load_model(model, weights, place)
    if place.type != "cpu":
        # Masks of 100 detections, 90 MB, came from a GPU in 60 ms into new pages, and in 6 ms into kept ones.
        keep_freed_memory()
    elif speedups is None or speedups.runtime == "eager":
        tune_for_cpu(runner.module)
    if speedups is not None:
        speedups.apply(runner)
    return runner, place
