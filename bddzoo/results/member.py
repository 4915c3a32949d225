"""One of several processes that share a model: it runs its part of the frames and meets the others.

Its parent is in `bddzoo.results.workers`; this module is what a fresh interpreter imports.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bddzoo.datasets.layout import Frame
from bddzoo.errors import BddzooError, IntegrityError, MissingError, NetworkError, UsageError
from bddzoo.registry.types import Model
from bddzoo.results.loop import Loop, Options, Watcher, peak_device_memory

MEETING_S = 300.0
_KINDS: tuple[type[BddzooError], ...] = (UsageError, MissingError, IntegrityError, NetworkError)


@dataclass
class Shared:
    """What the processes found together.

    Attributes:
        scorer: Merged counts.
        scored: Names of the scored frames.
        failures: Name and reason of each frame that could not be used.
        batch_size: Smallest batch size that memory made necessary, or None.
        processes: Processes that had something to do.
        peak_memory: Largest resident memory of a process, in bytes.
        peak_device: Largest memory held on a GPU, in bytes.
        seconds: From the first process that was ready to the last that was done.
    """

    scorer: Any
    scored: list[str]
    failures: list[tuple[str, str]]
    batch_size: int | None = None
    processes: int = 1
    peak_memory: int | None = None
    peak_device: int | None = None
    seconds: float = 0.0


@dataclass
class Job:
    """What a process is to do; it has to survive pickling."""

    rank: int
    count: int
    model: Model
    weights: Path
    frames: list[Frame]
    options: Options
    batch_size: int
    meeting: str


def work(job: Job, pipe: Connection) -> None:
    """The life of a process."""
    try:
        _send(pipe, "done", _run(job, pipe))
    except BddzooError as error:
        kind = next((k for k in _KINDS if isinstance(error, k)), MissingError)
        _send(pipe, "error", (kind, error.message, error.hint))
    except Exception:  # said by the parent, as the bug that it is
        _send(pipe, "bug", traceback.format_exc(limit=-4))
    pipe.close()


def _send(pipe: Connection, kind: str, value: object = None) -> None:
    try:
        pipe.send((kind, value))
    except OSError:  # the parent is gone, and nobody wants the rest
        os._exit(1)


def _run(job: Job, pipe: Connection) -> Shared | None:
    """Run the part, then meet the others; the first process returns what all have."""
    import torch.distributed as dist

    from bddzoo.inference.load import load_runner
    from bddzoo.results.environment import peak_memory_bytes

    # All are on this machine: no host name has to be looked up, and no network card to be there.
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    runner, device = load_runner(job.model, job.weights, job.options.device, job.options.speedups)
    dist.init_process_group(
        "gloo",
        init_method=job.meeting,
        rank=job.rank,
        world_size=job.count,
        timeout=timedelta(seconds=MEETING_S),
    )
    watcher = Watcher(
        progress=lambda done, total: _send(pipe, "progress", done),
        warn=lambda text: _send(pipe, "warn", text),
    )
    _send(pipe, "loaded")
    loop = Loop(job.model, job.frames, job.options, watcher)
    loop.go(runner, device, job.batch_size)
    _send(pipe, "ran")
    try:
        pipe.recv()
    except (EOFError, ConnectionError):
        os._exit(1)
    mine = Shared(
        scorer=loop.scorer,
        scored=[frame.name for frame in job.frames if frame.name in loop.scored],
        failures=loop.failures,
        batch_size=loop.batch_size,
        processes=job.count,
        peak_memory=peak_memory_bytes(),
        peak_device=peak_device_memory(device),
    )
    everyone: list[Any] | None = [None] * job.count if job.rank == 0 else None
    dist.gather_object(mine, everyone)
    dist.destroy_process_group()
    return merge(everyone) if everyone is not None else None


def merge(parts: Sequence[Shared]) -> Shared:
    """What several processes found, in the order of their frames."""
    first, *others = parts
    for other in others:
        first.scorer.merge(other.scorer)
        first.scored += other.scored
        first.failures += other.failures
    for name, choose in (("batch_size", min), ("peak_memory", max), ("peak_device", max)):
        values = [getattr(p, name) for p in parts if getattr(p, name) is not None]
        setattr(first, name, choose(values) if values else None)
    return first
