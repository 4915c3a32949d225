"""A model, ready to predict."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bddzoo.engines.load import load_model
from bddzoo.inference.device import resolve_device
from bddzoo.inference.speedups import Speedups
from bddzoo.registry.types import Model

if TYPE_CHECKING:
    import torch

    from bddzoo.engines.load import Runner


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
        IntegrityError: The file is no checkpoint, or not this model's.
    """
    from bddzoo.inference.tune import tune_for_cpu

    place = resolve_device(device)
    if speedups is not None:
        speedups.check(place)
    runner = load_model(model, weights, place)
    if place.type == "cpu":
        tune_for_cpu(runner.module)
    if speedups is not None:
        speedups.apply(runner)
    return runner, place
