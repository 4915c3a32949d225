"""Measure how fast networks are: each in a process of its own that runs when it is told to.

The parent decides how often and in what turns, so that one model, or two in turns, are measured by the same
loop. A process that dies of too little memory, or Ctrl-C, loses nothing that was measured before.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from bddzoo.errors import BddzooError, MissingError
from bddzoo.registry.model import Model
from bddzoo.results.environment import Environment, collect_environment, peak_memory_bytes
from bddzoo.results.record import TIME_FORMAT
from bddzoo.results.speed import Device, SpeedRecord, Timing, median_interval
from bddzoo.runs.machine import Watch, describe_device, static_warnings
from bddzoo.runs.workers import no_interrupts

# A median's 95 % interval within 2 % ends a measurement.
PRECISION = 0.02
FEWEST, MOST = 6, 1000
WARM_UP_RUNS = (3, 20)
STEADY = 0.05
NETWORK, FILES = "network", "file to file"
INTERRUPTED = "interrupted"
# What a measuring process gets to end by itself.
PATIENCE_S = 3.0


@dataclass(frozen=True)
class BenchOptions:
    """What is measured.

    Attributes:
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        batch_sizes: Images of one run.
        precision: `fp32`, `amp-fp16` or `amp-bf16`.
        runtime: `eager`, `compile`, `onnxruntime` or `openvino`.
        size: Height and width of the image that is run, in pixels.
        with_io: Also from file to file.
        seconds: Limit for the runs of one timing. At least six are made, within three times the limit.
    """

    device: str = "auto"
    batch_sizes: tuple[int, ...] = (1,)
    precision: str = "fp32"
    runtime: str = "eager"
    size: tuple[int, int] = (720, 1280)
    with_io: bool = True
    seconds: float = 20.0


@dataclass(frozen=True)
class BenchTarget:
    """A model and its weights.

    Attributes:
        model: The model.
        weights: Checkpoint file; None for weights by the recipe.
        source: For the record: `random`, `zoo` or `file`.
    """

    model: Model
    weights: Path | None = None
    source: str = "random"


class ReadyNetwork(msgspec.Struct, frozen=True):
    """What a process says when its network is ready."""

    load_s: float
    params: int
    flops: int | None
    second_stage: dict[str, int]
    device: Device
    environment: Environment


@dataclass
class _Series:
    """One timing while it grows."""

    what: str
    batch_size: int
    times: list[float] = field(default_factory=list)
    warm_up: list[float] = field(default_factory=list)
    peak: int | None = None
    failure: str | None = None

    def finished(self) -> Timing:
        """As it is kept: times to a hundredth of a millisecond."""
        return Timing(
            what=self.what,
            batch_size=self.batch_size,
            times_ms=_milliseconds(self.times),
            warm_up_ms=_milliseconds(self.warm_up),
            peak_device_bytes=self.peak,
            failure=self.failure,
        )


def _milliseconds(seconds: Sequence[float]) -> tuple[float, ...]:
    return tuple(max(round(s * 1000, 3), 0.001) for s in seconds)


class Died(MissingError):
    """A measuring process ended by itself."""


class _Process:
    """A process that holds one network."""

    def __init__(self, subject: BenchTarget, options: BenchOptions) -> None:
        self.subject = subject
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(subject, options, theirs), daemon=True)
        # The parent gets Ctrl-C as well and ends the process in order.
        with no_interrupts():
            self._process.start()
        theirs.close()

    def ask(self, *question: Any) -> Any:
        """Send a question and wait for its answer.

        Raises:
            Died: The process ended, most often because the system lacked memory.
            BddzooError: What went wrong there.
        """
        try:
            self._pipe.send(question)
            answer = self._pipe.recv()
        except (EOFError, OSError) as error:
            self._process.join()
            code = self._process.exitcode
            killed = code is not None and code < 0
            how = f"signal {-(code or 0)}: too little memory?" if killed else f"status {code}"
            raise Died(f"the measuring process ended with {how}") from error
        if isinstance(answer, BddzooError):
            raise answer
        return answer

    def close(self) -> None:
        """End it: by itself, so that nothing of it is left behind, or else whatever it does."""
        self._pipe.close()
        self._process.join(PATIENCE_S)
        self._process.kill()
        self._process.join()


def bench(
    subjects: Sequence[BenchTarget],
    options: BenchOptions,
    *,
    command: Sequence[str] = (),
    step: Callable[[str], None] = lambda text: None,
    warn: Callable[[str], None] = lambda text: None,
) -> list[SpeedRecord]:
    """Measure models; several of them in turns, run by run.

    Args:
        subjects: One model, or some that are to be compared.
        options: What is measured.
        command: Command line, for the records.
        step: Told what is being done.
        warn: Told what disturbs the measurement.

    Returns:
        A record for each. After Ctrl-C, those timings that were whole.

    Raises:
        BddzooError: A network cannot be built, or the device is not there.
        KeyboardInterrupt: Nothing had been measured yet.
    """
    started = datetime.now(timezone.utc).strftime(TIME_FORMAT)
    done: list[list[Timing]] = [[] for _ in subjects]
    warnings: dict[str, None] = {}
    with ExitStack() as stack:
        step("loading the network")
        processes = [stack.enter_context(_running(subject, options)) for subject in subjects]
        loaded: list[ReadyNetwork] = [process.ask("load") for process in processes]
        memory: list[int | None] = [None] * len(subjects)
        for text in static_warnings(loaded[0].device):
            warnings[text] = None
        try:
            with Watch(loaded[0].device) as watch:
                for what, size in _plan(options):
                    step(f"{what}, batch size {size}")
                    for index, timing in enumerate(_in_turns(processes, what, size, options)):
                        done[index].append(timing)
                    for index, process in enumerate(processes):
                        memory[index] = process.ask("memory")
        except Died as error:
            warnings[error.message] = None
        except KeyboardInterrupt:
            if not any(done):
                raise
            warnings[INTERRUPTED] = None
        warnings |= dict.fromkeys(watch.findings())
    for text in warnings:
        warn(text)
    return [
        SpeedRecord(
            model=subject.model.id,
            zoo=subject.model.zoo.id,
            task=subject.model.task,
            size=options.size,
            precision=options.precision,
            runtime=options.runtime,
            weights=subject.source,
            second_stage=ready.second_stage,
            device=ready.device,
            environment=ready.environment,
            started=started,
            command=tuple(command),
            load_s=round(ready.load_s, 3),
            params=ready.params,
            flops=ready.flops,
            peak_memory_bytes=peak,
            timings=tuple(timings),
            warnings=(*warnings, *_unsteady(timings)),
            in_turns_with=tuple(other.model.id for other in subjects if other is not subject),
        )
        for subject, ready, timings, peak in zip(subjects, loaded, done, memory, strict=True)
    ]


def _plan(options: BenchOptions) -> Iterator[tuple[str, int]]:
    for size in options.batch_sizes:
        yield NETWORK, size
    if options.with_io:
        yield FILES, 1


@contextmanager
def _running(subject: BenchTarget, options: BenchOptions) -> Iterator[_Process]:
    process = _Process(subject, options)
    try:
        yield process
    finally:
        process.close()


def _in_turns(processes: Sequence[_Process], what: str, size: int, options: BenchOptions) -> list[Timing]:
    """Warm up, then run in turns until every median is known well enough, or the time is up."""
    series = [_Series(what, size) for _ in processes]
    alive = [one for one in zip(processes, series, strict=True) if _warm_up(*one, options.seconds)]
    begun = time.monotonic()
    while alive:
        for process, one in alive:
            one.times.append(process.ask(what, size))
        spent, runs = time.monotonic() - begun, len(alive[0][1].times)
        known = all(is_precise(one.times) for _, one in alive)
        if runs >= MOST or (runs >= FEWEST and (known or spent >= options.seconds)):
            break
        if spent >= 3 * options.seconds:
            break
    for process, one in alive:
        one.peak = process.ask("device memory")
    return [one.finished() for one in series]


def _warm_up(process: _Process, one: _Series, seconds: float) -> bool:
    """Run until three runs take as long as the three before, within 5 %; whether memory sufficed."""
    fewest, most = WARM_UP_RUNS
    begun = time.monotonic()
    while len(one.warm_up) < most:
        taken = process.ask(one.what, one.batch_size)
        if isinstance(taken, str):
            one.failure = taken
            return False
        one.warm_up.append(taken)
        before, last = one.warm_up[-6:-3], one.warm_up[-3:]
        if len(before) == 3 and abs(median(last) / median(before) - 1) <= STEADY:
            break
        if len(one.warm_up) >= fewest and time.monotonic() - begun > seconds:
            break
    return True


def is_precise(times: Sequence[float]) -> bool:
    """Whether the median's 95 % interval lies within 2 % of it on either side."""
    interval = median_interval(times)
    if interval is None:
        return False
    middle = median(times)
    return max(interval[1] - middle, middle - interval[0]) <= PRECISION * middle


def _unsteady(timings: Sequence[Timing]) -> list[str]:
    """What the times themselves say of the machine."""
    found = []
    for timing in timings:
        if timing.times_ms and not is_precise(timing.times_ms):
            found.append(f"{timing.what}, batch size {timing.batch_size}: the median is not known within 2 %")
    return found


# In the measuring process.


def serve(subject: BenchTarget, options: BenchOptions, pipe: Connection) -> None:
    """Entry point of a measuring process: answer questions until the pipe is closed."""
    import signal

    from bddzoo.engines.openmmlab import failed_import

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    network: _Network | None = None
    with suppress(EOFError, BrokenPipeError):
        while True:
            question = pipe.recv()
            found: Any
            try:
                if question[0] == "load":
                    network = _Network(subject, options)
                    found = network.loaded
                else:
                    assert network is not None
                    found = network.answer(*question)
            except BddzooError as error:
                found = error
            except Exception as error:
                found = failed_import(error)
                if found is None:
                    raise
            pipe.send(found)


class _Network:
    """A network ready to run, and an image for it."""

    def __init__(self, subject: BenchTarget, options: BenchOptions) -> None:
        import cv2
        import torch

        from bddzoo.datasets.mini.frame import render
        from bddzoo.engines.flops import count_flops
        from bddzoo.engines.load import build_network
        from bddzoo.engines.recipe import GAIN, recipe_state
        from bddzoo.inference.batches import prepare
        from bddzoo.inference.load import load_runner, resolve_device
        from bddzoo.inference.pipeline import protocol_of
        from bddzoo.inference.speedups import Speedups

        resolve_device(options.device)  # before anything that takes long
        self.model = model = subject.model
        protocol = protocol_of(model)
        height, width = options.size
        scene = render(0, "val", 0).image
        image: Any = cv2.cvtColor(cv2.resize(scene, (width, height)), cv2.COLOR_RGB2BGR)
        self.jpeg = cv2.imencode(".jpg", image)[1].tobytes()
        self.prepared = prepare(image, protocol)
        bare = build_network(model)
        flops = count_flops(bare, model, self.prepared.pixels.shape[1:])
        weights = subject.weights or recipe_state(bare, GAIN)
        params = sum(p.numel() for p in bare.parameters())
        del bare
        begun = time.perf_counter()
        speedups = Speedups(
            precision=options.precision,
            compile=options.runtime == "compile",
            runtime="eager" if options.runtime == "compile" else options.runtime,
            amp="--precision amp",
        )
        self.runner, self.device = load_runner(model, weights, options.device, speedups)
        load_s = time.perf_counter() - begun
        module = self.runner.module
        second_stage = fix_second_stage(module) if hasattr(module, "roi_head") else {}
        self.loaded = ReadyNetwork(
            load_s,
            params,
            flops,
            second_stage,
            describe_device(self.device, torch.get_num_threads()),
            collect_environment(),
        )

    def answer(self, what: str, batch_size: int = 1) -> Any:
        """Seconds of one run, or why there is too little memory; or peaks of memory in bytes."""
        import torch

        from bddzoo.engines.load import is_out_of_memory

        if what == "memory":
            return peak_memory_bytes()
        on_gpu = self.device.type == "cuda"
        if what == "device memory":
            peak = torch.cuda.max_memory_allocated(self.device) if on_gpu else None
            if on_gpu:
                torch.cuda.reset_peak_memory_stats(self.device)
            return peak
        run = self._files if what == FILES else self._run
        if on_gpu:
            torch.cuda.synchronize(self.device)
        begun = time.perf_counter()
        try:
            run(batch_size)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return "too little memory"
        return time.perf_counter() - begun

    def _run(self, batch_size: int) -> Any:
        from bddzoo.inference.batches import start_batch

        return start_batch(self.runner, self.model, self.device, [self.prepared] * batch_size)()

    def _files(self, batch_size: int) -> None:
        """From a JPEG to a PNG, both in memory: what a disk takes is the disk's."""
        from bddzoo.datasets.decode import decode_image
        from bddzoo.datasets.formats.mask import paint_bitmask
        from bddzoo.datasets.formats.png import encode_png
        from bddzoo.datasets.formats.scalabel import Detections, Instances, PanopticMap, Tag
        from bddzoo.inference.batches import prepare, start_batch
        from bddzoo.inference.pipeline import protocol_of

        name = Path("scene.jpg")
        prepared = prepare(decode_image(self.jpeg, name).pixels, protocol_of(self.model))
        for result in start_batch(self.runner, self.model, self.device, [prepared])():
            if isinstance(result, Instances):
                encode_png(paint_bitmask(result), name)
            elif isinstance(result, PanopticMap):
                encode_png(result.bitmask(), name)
            elif not isinstance(result, Detections | Tag):
                encode_png(result, name)


def fix_second_stage(module: Any) -> dict[str, int]:
    """Let a detector's second stage do the same work whatever an image shows: upstream's largest.

    With random weights the number of proposals and detections means nothing, and with real ones it is
    another in each image.

    Returns:
        Proposals and detections of an image.
    """
    import torch

    from bddzoo.engines.instance import learnt_proposals

    detections = int(module.test_cfg.rcnn.max_per_img)
    learnt = learnt_proposals(module)
    if learnt is not None:  # as many in each image, and the best of them are kept
        return {"proposals": learnt, "detections": detections}
    proposals = int(module.test_cfg.rpn.max_per_img)
    predict = module.rpn_head.predict

    def filled(*arguments: Any, **named: Any) -> Any:
        results = predict(*arguments, **named)
        for number, found in enumerate(results):
            if len(found):
                results[number] = found[torch.arange(proposals, device=found.bboxes.device) % len(found)]
        return results

    module.rpn_head.predict = filled
    # Every class of every proposal is then a candidate: far more than are kept.
    module.roi_head.test_cfg.score_thr = 0.0
    return {"proposals": proposals, "detections": detections}
