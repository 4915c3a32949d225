"""One model over several processes: each frame once, and the result of one process bit for bit.

The frames are divided in whole batches, so that every batch is one that a single process would have run,
too (if all images have one size, as BDD100K's have, or for batches of one). The processes form a
torch.distributed group (gloo: they exchange counts, never tensors of a GPU), and the first one merges what
the others have counted. The parent process ends all of them if one dies, reports an error or stops reporting,
and if it is interrupted itself.
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

EXCHANGE_S = 300.0
_KINDS: tuple[type[BddzooError], ...] = (UsageError, MissingError, IntegrityError, NetworkError)


@dataclass
class Shared:
    """What all processes have counted together.

    Attributes:
        scorer: Merged counts.
        scored: Names of the scored frames.
        failures: Name and reason of each frame that could not be used.
        batch_size: Smallest batch size that memory made necessary, or None.
        processes: Number of processes that ran frames.
        peak_memory: Largest resident memory of a process, in bytes.
        peak_device: Largest memory held on a GPU, in bytes.
        seconds: From the first process that was ready to the last that had finished.
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
class WorkerTask:
    """The part of one process; it is pickled."""

    rank: int
    count: int
    model: Model
    weights: Path
    frames: list[Frame]
    options: Options
    batch_size: int
    rendezvous: str


def work(task: WorkerTask, pipe: Connection) -> None:
    """Entry point of a process: run the part, and send how it ended."""
    try:
        _send(pipe, "done", _run(task, pipe))
    except BddzooError as error:
        kind = next((k for k in _KINDS if isinstance(error, k)), MissingError)
        _send(pipe, "error", (kind, error.message, error.hint))
    except Exception:  # the parent reports it as a bug
        _send(pipe, "bug", traceback.format_exc(limit=-4))
    pipe.close()


def _send(pipe: Connection, kind: str, value: object = None) -> None:
    try:
        pipe.send((kind, value))
    except OSError:  # the parent is gone
        os._exit(1)


def _run(task: WorkerTask, pipe: Connection) -> Shared | None:
    """Run the part, then exchange counts; the first process returns the merged ones."""
    import torch.distributed as dist

    from bddzoo.inference.load import load_runner
    from bddzoo.results.environment import peak_memory_bytes

    # All processes are on this machine: gloo needs no host name and no network.
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    runner, device = load_runner(task.model, task.weights, task.options.device, task.options.speedups)
    dist.init_process_group(
        "gloo",
        init_method=task.rendezvous,
        rank=task.rank,
        world_size=task.count,
        timeout=timedelta(seconds=EXCHANGE_S),
    )
    watcher = Watcher(
        progress=lambda done, total: _send(pipe, "progress", done),
        warn=lambda text: _send(pipe, "warn", text),
    )
    _send(pipe, "loaded")
    loop = Loop(task.model, task.frames, task.options, watcher)
    loop.go(runner, device, task.batch_size)
    _send(pipe, "ran")
    try:
        pipe.recv()
    except (EOFError, ConnectionError):
        os._exit(1)
    mine = Shared(
        scorer=loop.scorer,
        scored=[frame.name for frame in task.frames if frame.name in loop.scored],
        failures=loop.failures,
        batch_size=loop.batch_size,
        processes=task.count,
        peak_memory=peak_memory_bytes(),
        peak_device=peak_device_memory(device),
    )
    everyone: list[Any] | None = [None] * task.count if task.rank == 0 else None
    dist.gather_object(mine, everyone)
    dist.destroy_process_group()
    return merge(everyone) if everyone is not None else None


def merge(parts: Sequence[Shared]) -> Shared:
    """Merge what several processes have counted, in the order of their frames."""
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
        MissingError: A process died or stopped reporting, or this torch cannot run several.
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
        tasks = [
            WorkerTask(
                rank=rank,
                count=len(parts),
                model=model,
                weights=weights.resolve(),
                frames=part,
                options=replace(options, device=devices[rank], out=outs[rank], processes=1),
                batch_size=batch_size,
                rendezvous=Path(folder, "rendezvous").as_uri(),
            )
            for rank, part in enumerate(parts)
        ]
        shared = _Team(tasks, len(frames), watcher).run()
        _check_once(frames, shared)
        for out in outs:
            if out is not None:
                target.absorb(out)
    return shared


def _check_once(frames: Sequence[Frame], shared: Shared) -> None:
    """Check that every frame was scored or failed, once; anything else is a bug."""
    seen = sorted([*shared.scored, *(name for name, _ in shared.failures)])
    if seen != sorted(frame.name for frame in frames):
        raise RuntimeError(f"{len(seen)} frames came back from the processes, {len(frames)} were given out")


@dataclass
class _Team:
    """The parent's view of the processes."""

    tasks: list[WorkerTask]
    total: int
    watcher: Watcher
    pipes: list[Connection] = field(default_factory=list)
    processes: list[Any] = field(default_factory=list)

    def run(self) -> Shared:
        """Run all processes to the end."""
        try:
            with no_interrupts():
                for task in self.tasks:
                    self._start(task)
            return self._follow()
        finally:
            self._end()

    def _start(self, task: WorkerTask) -> None:
        # A fresh interpreter for each: a fork would inherit the threads' locks and the GPU's context.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(task, theirs), daemon=True, name=f"bddzoo-{task.rank}")
        process.start()
        theirs.close()
        self.pipes.append(ours)
        self.processes.append(process)

    def _follow(self) -> Shared:
        count = len(self.tasks)
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
                    f"no process has reported anything for {SILENCE_S / 60:.0f} minutes; all were ended",
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
                        # Only now, so that none waits for a slower one while they exchange counts.
                        for pipe in self.pipes:
                            pipe.send("exchange")
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
                f"process {rank + 1} of {len(self.tasks)} ended before its work was done ({how})",
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
