"""What a checkpoint of openseg's trainer says about itself: iterations, and the best mIoU in training.

The zoo's files hold the trainer's whole configuration next to the weights. It is read here without PyTorch
and without executing anything: every class or function that the file names is replaced by one that keeps
nothing, and no tensor's data is looked at.
"""

from __future__ import annotations

import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from bddzoo.engines.checkpoint import IgnoredObject

# A configuration and the names of two thousand tensors are some hundred kilobytes.
_MAX_BYTES = 64 << 20
# A legacy file begins with three small pickles: a number, a version, and what kind of machine it was.
_PREFACE = 3


@dataclass(frozen=True)
class TrainingFacts:
    """What the trainer wrote; None where it did not.

    Attributes:
        best: Best mIoU of the validations during training, a fraction of one.
        last: mIoU of the last of them.
        iters: Iterations done.
        epoch: Epochs done.
        network: The configuration's model_name and backbone.
        dataset: The configuration's name of the data set.
    """

    best: float | None = None
    last: float | None = None
    iters: int | None = None
    epoch: int | None = None
    network: str | None = None
    dataset: str | None = None


def read_training_facts(path: Path) -> TrainingFacts | None:
    """The claim in a checkpoint file; None where there is none, or the file is of another kind."""
    try:
        with path.open("rb") as file:
            content = _read(file)
    # Whatever a broken or hostile file makes of the unpickler: nothing was claimed. Loading says what it is.
    except Exception:
        return None
    config = content.get("config_dict") if isinstance(content, Mapping) else None
    if not isinstance(config, Mapping):
        return None
    network = config.get("network")
    names = [network.get(key) for key in ("model_name", "backbone")] if isinstance(network, Mapping) else []
    return TrainingFacts(
        best=_fraction(config.get("max_performance")),
        last=_fraction(config.get("performance")),
        iters=_count(config.get("iters")),
        epoch=_count(config.get("epoch")),
        network=" on ".join(n for n in names if isinstance(n, str)) or None,
        dataset=config["dataset"] if isinstance(config.get("dataset"), str) else None,
    )


def _read(file: IO[bytes]) -> Any:
    if file.read(2) == b"PK":
        with zipfile.ZipFile(file) as archive:
            name = next(n for n in archive.namelist() if n.partition("/")[2] == "data.pkl")
            with archive.open(name) as inner:
                return _Reader(_Limited(inner)).load()
    file.seek(0)
    limited = _Limited(file)
    for _ in range(_PREFACE):
        _Reader(limited).load()
    return _Reader(limited).load()


class _Reader(pickle.Unpickler):
    """Reads plain data; imports nothing."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """An ordered dict as it is, and an `IgnoredObject` for everything else."""
        return OrderedDict if (module_name, global_name) == ("collections", "OrderedDict") else IgnoredObject

    def persistent_load(self, pid: Any) -> Any:
        """Tensors' data: nothing."""
        return None


class _Limited:
    """A file of which only so much is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._left = _MAX_BYTES

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        return self._spend(self._file.read(self._left + 1 if size < 0 else min(size, self._left + 1)))

    def readline(self) -> bytes:
        """The next line."""
        return self._spend(self._file.readline(self._left + 1))

    def _spend(self, data: bytes) -> bytes:
        self._left -= len(data)
        if self._left < 0:
            raise EOFError("too large")
        return data


def _fraction(value: object) -> float | None:
    if isinstance(value, float) and math.isfinite(value) and 0 < value <= 1:
        return value
    return None


def _count(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None
