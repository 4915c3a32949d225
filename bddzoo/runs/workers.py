"""One model over frames, in this process or in several: each frame once, the result the same bit for bit.

Several processes get the frames in whole batches, so that every batch is one that a single process would
have run, too (if all images have one size, as BDD100K's have, or for batches of one). Each sends what it has
done to the parent, which merges it in the order of the frames. The parent ends all of them if one dies,
reports an error or stops reporting, and if it is interrupted itself; where what was done by then is of use,
it lets the others finish the image they are at.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from bddzoo.datasets.images import Sample
from bddzoo.errors import BddzooError, MissingError, UsageError
from bddzoo.registry.model import Model
from bddzoo.results.environment import peak_memory_bytes
from bddzoo.runs.loop import Consumer, Loop, MeasureOptions, Watcher, peak_device_memory
from bddzoo.text import number_of

if TYPE_CHECKING:
    from bddzoo.inference.outputs import PredictionSet


@dataclass
class Shared:
    """What all processes have done together.

    Attributes:
        consumer: What became of the predictions, merged.
        done: Names of the frames that were used, in order.
        failures: Name and reason of each frame that could not be used.
        batch_size: Smallest batch size that memory made necessary, or None.
        processes: Number of processes that ran frames.
        peak_memory: Largest resident memory of a process, in bytes.
        peak_device: Largest memory held on a GPU, in bytes.
        seconds: From the first process that was ready to the last that had finished.
        trouble: What kept the rest of the frames from being run, where what was done is of use.
    """

    consumer: Any
    done: list[str]
    failures: list[tuple[str, str]]
    batch_size: int | None = None
    processes: int = 1
    peak_memory: int | None = None
    peak_device: int | None = None
    seconds: float = 0.0
    trouble: BaseException | None = None


@dataclass
class WorkerTask:
    """The part of one process; it is pickled.

    Attributes:
        rank: Number of the process, from 0.
        model: The model.
        weights: Checkpoint file.
        frames: The part.
        options: How it is run, on this process's device.
        batch_size: Images per forward pass.
        consumer: Takes the predictions.
        writer: Where they are written, or None.
    """

    rank: int
    model: Model
    weights: Path
    frames: Sequence[Sample]
    options: MeasureOptions
    batch_size: int
    consumer: Consumer
    writer: PredictionSet | None = None

    def run(self, watcher: Watcher) -> Shared:
        """Load the model and run the part.

        Raises:
            KeyboardInterrupt: Ctrl-C, unless the consumer keeps what was done.
        """
        from bddzoo.inference.load import load_runner

        runner, device = load_runner(self.model, self.weights, self.options.device, self.options.speedups)
        watcher.step("running")
        clock = time.monotonic()
        loop = Loop(self.model, self.frames, self.consumer, watcher, self.writer)
        loop.go(runner, device, self.batch_size)
        return Shared(
            consumer=loop.consumer,
            done=[frame.name for frame in self.frames if frame.name in loop.done],
            failures=loop.failures,
            batch_size=loop.batch_size,
            peak_memory=peak_memory_bytes(),
            peak_device=peak_device_memory(device),
            seconds=time.monotonic() - clock,
            trouble=loop.interrupted,
        )


def work(task: WorkerTask, pipe: Connection) -> None:
    """Entry point of a process: run the part, and send how it ended."""
    watcher = Watcher(
        step=lambda text: _send(pipe, "step", text),
        progress=lambda done, total: _send(pipe, "progress", done),
        warn=lambda text: _send(pipe, "warn", text),
        stopped=pipe.poll,
    )
    try:
        with task.writer or ExitStack():
            done = task.run(watcher)
        _send(pipe, "done", done)
    except BddzooError as error:
        _send(pipe, "error", error)
    except Exception:  # the parent reports it as a bug
        _send(pipe, "bug", traceback.format_exc(limit=-4))
    pipe.close()


def _send(pipe: Connection, kind: str, value: object = None) -> None:
    try:
        pipe.send((kind, value))
    except OSError:  # the parent is gone
        os._exit(1)


def merge(parts: Sequence[Shared]) -> Shared:
    """Merge what several processes have done, in the order of their frames."""
    first, *others = parts
    for other in others:
        first.consumer.merge(other.consumer)
        first.done += other.done
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


def deal(frames: Sequence[Sample], count: int, batch_size: int) -> list[list[Sample]]:
    """Contiguous parts of whole batches, as equal as can be; none is empty."""
    batches = -(-len(frames) // batch_size)
    count = max(1, min(count, batches))
    edges = [batches * rank // count * batch_size for rank in range(count + 1)]
    return [list(frames[start:end]) for start, end in pairwise(edges)]


def run_frames(
    model: Model,
    frames: Sequence[Sample],
    weights: Path,
    options: MeasureOptions,
    batch_size: int,
    consumer: Consumer,
    watcher: Watcher,
    writer: PredictionSet | None = None,
) -> Shared:
    """Run a model over frames with `options.processes` processes, or in this one.

    Args:
        model: The model.
        frames: Each is run once.
        weights: Checkpoint file.
        options: How it is run.
        batch_size: Images per forward pass.
        consumer: Takes the predictions; empty, because every process gets a copy.
        watcher: Told what happens.
        writer: An open set that predictions are written to.

    Raises:
        BddzooError: A process reported it, unless the consumer keeps what was done.
        MissingError: A process died or stopped reporting, likewise.
    """
    whole = WorkerTask(0, model, weights.resolve(), frames, options, batch_size, consumer, writer)
    if options.processes == 1:
        return whole.run(watcher)
    parts = deal(frames, options.processes, batch_size)
    devices = process_devices(options.device, options.processes)
    tasks = [
        replace(
            whole,
            rank=rank,
            frames=part,
            options=replace(options, device=devices[rank]),
            writer=writer.part(f"part{rank}") if writer is not None else None,
        )
        for rank, part in enumerate(parts)
    ]
    shared, ended = _Team(tasks, len(frames), watcher).run()
    if shared.trouble is None:
        _check_once(frames, shared)
    if writer is not None:
        for rank in ended:
            writer.absorb(f"part{rank}")
    return shared


def _check_once(frames: Sequence[Sample], shared: Shared) -> None:
    """Check that every frame was used or failed, once; anything else is a bug."""
    seen = sorted([*shared.done, *(name for name, _ in shared.failures)])
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
    done: dict[int, int] = field(default_factory=dict)
    parts: dict[int, Shared] = field(default_factory=dict)
    trouble: BaseException | None = None

    def run(self) -> tuple[Shared, list[int]]:
        """Run all processes to the end.

        Returns:
            What they have done together, and the ranks of those that came to their end.
        """
        try:
            with no_interrupts():
                for task in self.tasks:
                    self._start(task)
            seconds = self._follow()
        finally:
            self._end()
        ranks = sorted(self.parts)
        if not ranks:
            assert self.trouble is not None
            raise self.trouble
        shared = merge([self.parts[rank] for rank in ranks])
        shared.seconds, shared.processes, shared.trouble = seconds, len(self.tasks), self.trouble
        return shared, ranks

    def _start(self, task: WorkerTask) -> None:
        # A fresh interpreter for each: a fork would inherit the threads' locks and the GPU's context.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(task, theirs), daemon=True, name=f"bddzoo-{task.rank}")
        process.start()
        theirs.close()
        self.pipes.append(ours)
        self.processes.append(process)

    def _follow(self) -> float:
        """Listen until all have ended; returns the seconds that they ran."""
        running = dict(enumerate(self.pipes))
        first: float | None = None

        def stop(trouble: BaseException) -> None:
            self.trouble = self.trouble or trouble
            for pipe in running.values():
                with suppress(OSError):
                    pipe.send("stop")

        keep = self.tasks[0].consumer.keeps_partial
        with on_interrupt(lambda: stop(KeyboardInterrupt())) if keep else nullcontext():
            while running:
                try:
                    ready = wait(list(running.values()), timeout=SILENCE_S)
                    if not ready:
                        running.clear()
                        raise MissingError(
                            f"no process has reported anything for {SILENCE_S / 60:.0f} minutes; all were "
                            "ended",
                            hint="run with fewer --gpus, or with one to see what holds it up",
                        )
                    for rank in [rank for rank, pipe in running.items() if pipe in ready]:
                        kind, value = self._receive(rank, running)
                        if kind == "step" and first is None:
                            first = time.monotonic()
                            self.watcher.step(value)
                        elif kind == "progress":
                            self.done[rank] = value
                            self.watcher.progress(sum(self.done.values()), self.total)
                        elif kind == "warn":
                            self.watcher.warn(value)
                        elif kind == "done":
                            self.parts[rank] = value
                except BddzooError as error:
                    if not keep:
                        raise
                    stop(error)
        return time.monotonic() - (first or time.monotonic())

    def _receive(self, rank: int, running: dict[int, Connection]) -> tuple[str, Any]:
        """What a process says; one that has ended is taken out of those that run."""
        try:
            kind, value = running[rank].recv()
        except (EOFError, ConnectionError):
            del running[rank]
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
        if kind in ("done", "error", "bug"):
            del running[rank]
        if kind == "error":
            raise value
        if kind == "bug":
            raise RuntimeError(f"process {rank}: {value}")
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


@contextmanager
def no_interrupts() -> Iterator[None]:
    """Ignore Ctrl-C meanwhile, in processes started meanwhile too; does nothing outside of the main thread.

    For the short time in which results are put in their place, or in which workers are started whose parent
    gets the signal too and ends them in order.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def on_interrupt(stop: Callable[[], None]) -> Iterator[None]:
    """Meanwhile the first Ctrl-C calls `stop`, and only a second one raises KeyboardInterrupt.

    For a process that listens to others: an exception in the middle of a message would cost the message. Does
    nothing outside of the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def press(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        stop()

    before = signal.signal(signal.SIGINT, press)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
