"""One model over several processes: each frame once, and the result of one process bit for bit.

The frames are dealt out in whole batches, so that every batch is one that a single process would have
run too. (That holds where pictures are of one size, as BDD100K's are, and for batches of one.) The
processes form a torch.distributed group (gloo: what travels are counts, never tensors of a GPU), whose
first member merges what the others counted. The parent process watches: it ends all of them when one
dies, reports an error, or falls silent, and when it is interrupted itself.

One of several processes that share a model: it runs its part of the frames and meets the others.

Its parent is in `bddzoo.runs.workers`; this module is what a fresh interpreter imports.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import pairwise
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from bddzoo.datasets.images import Frame
from bddzoo.errors import BddzooError, IntegrityError, MissingError, NetworkError, UsageError
from bddzoo.registry.model import Model
from bddzoo.runs.loop import Loop, Options, Watcher, peak_device_memory
from bddzoo.signals import no_interrupts
from bddzoo.text import number_of

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


SILENCE_S = 1800.0


def process_devices(name: str, count: int) -> list[str]:
    """A device for each of `count` processes: GPUs from the first on, or the CPU for all.

    Raises:
        UsageError: One GPU is named.
        MissingError: There are fewer GPUs.
    """
    from bddzoo.engines.load import gpu_count

    if name == "cpu":
        return ["cpu"] * count
    if ":" in name:
        raise UsageError(f"--device {name} is one GPU, not {count}", hint="use --device cuda with --gpus")
    there = gpu_count()
    if there < count:
        raise MissingError(
            f"--gpus {count}: this machine has {number_of(there, 'GPU')} that torch can use",
            hint="with --device cpu the processes run on the CPU",
        )
    return [f"cuda:{index}" for index in range(count)]


def deal(frames: Sequence[Frame], count: int, batch_size: int) -> list[list[Frame]]:
    """Contiguous parts of whole batches, as equal as can be; none is empty."""
    batches = -(-len(frames) // batch_size)
    count = max(1, min(count, batches))
    edges = [batches * rank // count * batch_size for rank in range(count + 1)]
    return [list(frames[start:end]) for start, end in pairwise(edges)]


def run_shared(
    model: Model, frames: list[Frame], weights: Path, options: Options, batch_size: int, watcher: Watcher
) -> Shared:
    """Run a model over frames with `options.processes` processes.

    Raises:
        BddzooError: A process reported it.
        MissingError: A process died or fell silent, or torch cannot run several.
    """
    import torch.distributed

    from bddzoo.datasets.layouts import labels_of
    from bddzoo.inference.outputs import PredictionSet

    if not (torch.distributed.is_available() and torch.distributed.is_gloo_available()):
        raise MissingError("this torch was built without gloo, so --gpus cannot share the work")
    parts = deal(frames, options.processes, batch_size)
    devices = process_devices(options.device, options.processes)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bddzoo-"))
        outs: list[Path | None] = [None] * len(parts)
        if options.out is not None:
            target = stack.enter_context(
                PredictionSet(options.out, model.task, overwrite=options.overwrite, labels=labels_of(model))
            )
            outs = [target.draft / f"part{rank}" for rank in range(len(parts))]
        jobs = [
            Job(
                rank=rank,
                count=len(parts),
                model=model,
                weights=weights.resolve(),
                frames=part,
                options=replace(options, device=devices[rank], out=outs[rank], processes=1),
                batch_size=batch_size,
                meeting=Path(folder, "meeting").as_uri(),
            )
            for rank, part in enumerate(parts)
        ]
        shared = _Team(jobs, len(frames), watcher).run()
        _check_once(frames, shared)
        for out in outs:
            if out is not None:
                target.absorb(out)
    return shared


def _check_once(frames: Sequence[Frame], shared: Shared) -> None:
    """Every frame was scored or failed, once. Anything else is a bug, and no result."""
    seen = sorted([*shared.scored, *(name for name, _ in shared.failures)])
    if seen != sorted(frame.name for frame in frames):
        raise RuntimeError(f"{len(seen)} frames came back from the processes, {len(frames)} were given out")


@dataclass
class _Team:
    """The processes, as their parent sees them."""

    jobs: list[Job]
    total: int
    watcher: Watcher
    pipes: list[Connection] = field(default_factory=list)
    processes: list[Any] = field(default_factory=list)

    def run(self) -> Shared:
        """Start them, follow them to the end, and leave none behind."""
        try:
            with no_interrupts():
                for job in self.jobs:
                    self._start(job)
            return self._follow()
        finally:
            self._end()

    def _start(self, job: Job) -> None:
        # A fresh interpreter for each: a fork would inherit the threads' locks and the GPU's context.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(job, theirs), daemon=True, name=f"bddzoo-{job.rank}")
        process.start()
        theirs.close()
        self.pipes.append(ours)
        self.processes.append(process)

    def _follow(self) -> Shared:
        count = len(self.jobs)
        done, ran = [0] * count, [False] * count
        shared: Shared | None = None
        first = last = time.monotonic()
        loaded = False
        finished = [False] * count
        while not all(finished):
            watched = [pipe for rank, pipe in enumerate(self.pipes) if not finished[rank]]
            ready = wait(watched, timeout=SILENCE_S)
            if not ready:
                raise MissingError(
                    f"no process has said anything for {SILENCE_S / 60:.0f} minutes; all were ended",
                    hint="run with fewer --gpus, or with one to see what holds it up",
                )
            for rank in [self.pipes.index(pipe) for pipe in ready]:  # type: ignore[arg-type]
                kind, value = self._receive(rank)
                if kind == "loaded" and not loaded:
                    loaded, first = True, time.monotonic()
                    self.watcher.step("running")
                elif kind == "progress":
                    done[rank] = value
                    self.watcher.progress(sum(done), self.total)
                elif kind == "warn":
                    self.watcher.warn(value)
                elif kind == "ran":
                    ran[rank], last = True, time.monotonic()
                    if all(ran):
                        # Only now: while they meet, nobody has to wait for a slower one.
                        for pipe in self.pipes:
                            pipe.send("meet")
                elif kind == "error":
                    raise value[0](value[1], hint=value[2])
                elif kind == "bug":
                    raise RuntimeError(f"process {rank}: {value}")
                elif kind == "done":
                    finished[rank] = True
                    shared = value if value is not None else shared
        assert shared is not None
        shared.seconds = last - first
        return shared

    def _receive(self, rank: int) -> tuple[str, Any]:
        try:
            kind, value = self.pipes[rank].recv()
        except (EOFError, ConnectionError):
            process = self.processes[rank]
            process.join(10)
            code = process.exitcode
            how = f"status {code}"
            if code is not None and code < 0:
                how = f"signal {-code}, {signal.Signals(-code).name}"
            raise MissingError(
                f"process {rank + 1} of {len(self.jobs)} ended before its work was done ({how})",
                hint="if memory ran out, use fewer --gpus or a smaller --batch-size",
            ) from None
        return kind, value

    def _end(self) -> None:
        for process in self.processes:
            if process.is_alive():
                process.terminate()
        for process in self.processes:
            process.join(5)
            if process.is_alive():
                process.kill()
                process.join(5)
        for pipe in self.pipes:
            pipe.close()
