"""Full float32 precision, whatever the process had set before.

GPUs may multiply float32 numbers rounded to TF32's 10 bits, and do so in convolutions unless that is
switched off; oneDNN may use TF32 or bfloat16 on processors that have them, if that is switched on. From
PyTorch 2.9 on there are two sets of switches. The older ones no longer reach what was set with the newer
ones, and cannot even be read then, so that all are set here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

_PARTS = ("cuda.matmul", "cudnn.conv", "cudnn.rnn", "mkldnn.matmul", "mkldnn.conv", "mkldnn.rnn")


def use_full_float32() -> Callable[[], None]:
    """Let no operator of this process round float32 to fewer bits.

    Returns:
        A function that puts everything back as it was.
    """
    import torch

    matmul = _or_none(torch.get_float32_matmul_precision)
    convolutions = _or_none(lambda: torch.backends.cudnn.allow_tf32)
    newer = hasattr(torch.backends.cudnn, "conv")
    parts: list[Any] = [attrgetter(name)(torch.backends) for name in _PARTS] if newer else []
    before = [part.fp32_precision for part in parts]
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    for part in parts:
        part.fp32_precision = "ieee"

    def undo() -> None:
        if matmul is not None:
            torch.set_float32_matmul_precision(matmul)
        if convolutions is not None:
            torch.backends.cudnn.allow_tf32 = convolutions
        for part, value in zip(parts, before, strict=True):
            part.fp32_precision = value

    return undo


@contextmanager
def full_float32() -> Iterator[None]:
    """`use_full_float32` for a while."""
    undo = use_full_float32()
    try:
        yield
    finally:
        undo()


def _or_none(read: Callable[[], Any]) -> Any:
    """What a switch says; None where PyTorch refuses, because the newer ones were used."""
    try:
        return read()
    except RuntimeError:
        return None
