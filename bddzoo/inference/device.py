"""Where a network runs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bddzoo.errors import UsageError

if TYPE_CHECKING:
    import torch

DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")


def check_device_name(name: str) -> str:
    """The name, if it has the form of a device; needs no torch.

    Raises:
        UsageError: It has not.
    """
    if not DEVICE.fullmatch(name):
        raise UsageError(f"no device is called '{name}'", hint="use auto, cpu, cuda or cuda:N")
    return name


def resolve_device(name: str) -> torch.device:
    """The device of a name; `auto` is the first GPU, or the CPU where there is none.

    The process is made ready for it: float32 means float32 (see `bddzoo.engines.precision`); a GPU that is
    named becomes the current one, so that nothing is held on another; on the CPU, freed memory is kept (see
    `bddzoo.inference.allocator`).

    Raises:
        UsageError: The name makes no sense.
        MissingError: There is no such device on this machine.
    """
    import torch

    from bddzoo.engines.load import find_device
    from bddzoo.engines.precision import use_full_float32
    from bddzoo.inference.allocator import keep_freed_memory

    device = find_device(check_device_name(name))
    use_full_float32()
    if device.type == "cpu":
        keep_freed_memory()
    elif device.index is not None:
        torch.cuda.set_device(device)
    return device


def default_batch_size(device: torch.device) -> int:
    """Pictures per forward pass where nobody says otherwise.

    One on the CPU, where larger batches only cost memory; some on a GPU, to keep it busy.
    """
    return 1 if device.type == "cpu" else 4
