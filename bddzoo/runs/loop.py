"""One pass over frames: predictions in, scores and files out; in this process or in several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bddzoo.datasets.images import Sample
from bddzoo.errors import BddzooError
from bddzoo.inference.speedups import Speedups
from bddzoo.registry.model import Model

if TYPE_CHECKING:
    from bddzoo.inference.outputs import PredictionSet


@dataclass(frozen=True)
class MeasureOptions:
    """How a model is run.

    Attributes:
        split: Split of the data set.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        batch_size: Images per forward pass; None for the default of the device.
        limit: Use only the first so many images.
        out: Folder for the predictions; None to write none.
        overwrite: Replace predictions that are there.
        skip_bad: Leave out images that cannot be used instead of failing.
        processes: Processes that share the images, each on a GPU of its own, or all on the CPU.
        speedups: What may change the numbers a little.
    """

    split: str = "val"
    device: str = "auto"
    batch_size: int | None = None
    limit: int | None = None
    out: Path | None = None
    overwrite: bool = False
    skip_bad: bool = False
    processes: int = 1
    speedups: Speedups = field(default_factory=Speedups)


@dataclass
class Watcher:
    """Told what happens during a run; from the caller's thread.

    Attributes:
        step: Called with a phase in words: `loading the network`, `running`.
        progress: Called with (images done, images in all).
        warn: Called with a line worth reading.
        stopped: Asked after each image whether to leave out the rest.
    """

    step: Callable[[str], None] = lambda text: None
    progress: Callable[[int, int], None] = lambda done, total: None
    warn: Callable[[str], None] = lambda text: None
    stopped: Callable[[], bool] = lambda: False


class Consumer(Protocol):
    """What becomes of predictions: `bddzoo.runs.scorers`, `bddzoo.runs.predict`. It is pickled."""

    keeps_partial: bool
    """Whether what an interrupted run has done is of use."""

    def consume(self, frame: Sample, result: Any, writer: PredictionSet | None) -> None:
        """Take the prediction of a frame, and write it if there is a writer."""

    def merge(self, other: Any) -> None:
        """Add what another process has taken."""


@dataclass
class Loop:
    """One pass over the frames.

    Attributes:
        consumer: Takes the predictions.
        writer: Where predictions are written, or None.
        failures: Name and reason of each frame that could not be used.
        done: Names of the frames that were.
        batch_size: The smaller batch size that memory made necessary, or None.
        interrupted: Ctrl-C, where what was done before it is of use.
    """

    model: Model
    frames: Sequence[Sample]
    consumer: Consumer
    watcher: Watcher
    writer: PredictionSet | None = None
    failures: list[tuple[str, str]] = field(default_factory=list)
    done: set[str] = field(default_factory=set)
    batch_size: int | None = None
    interrupted: KeyboardInterrupt | None = None

    def __post_init__(self) -> None:
        self._by_name = {frame.name: frame for frame in self.frames}

    def go(self, runner: Any, device: Any, batch_size: int) -> None:
        """Run everything.

        Raises:
            KeyboardInterrupt: Ctrl-C, unless the consumer keeps what was done.
        """
        from bddzoo.inference.batches import Events
        from bddzoo.inference.pipeline import Sink, predict_frames

        events = Events(error=self._bad, remark=self._remark, smaller_batch=self._smaller)
        keep = (KeyboardInterrupt,) if self.consumer.keeps_partial else ()
        try:
            with Sink(self._consume, depth=2 * batch_size, finish_on=keep) as sink:
                images = [(frame.name, frame.image) for frame in self.frames]
                predictions = predict_frames(
                    runner, self.model, images, device=device, batch_size=batch_size, events=events
                )
                for done, prediction in enumerate(predictions, start=1):
                    sink.put(prediction)
                    self.watcher.progress(done + len(self.failures), len(self.frames))
                    if self.watcher.stopped():
                        break
        except keep as error:
            self.interrupted = error

    def _consume(self, prediction: tuple[str, Any]) -> None:
        name, result = prediction
        try:
            self.consumer.consume(self._by_name[name], result, self.writer)
        except BddzooError as error:
            self._bad(name, error)
        else:
            self.done.add(name)

    def _bad(self, name: str, error: BddzooError) -> None:
        self.failures.append((name, error.message))
        self.watcher.warn(f"{name}: {error.message}")

    def _remark(self, name: str, text: str) -> None:
        self.watcher.warn(f"{name}: {text}")

    def _smaller(self, size: int) -> None:
        self.batch_size = size
        self.watcher.warn(f"out of memory: going on with a batch size of {size}")


def peak_device_memory(device: Any) -> int | None:
    """Largest memory held on the device in bytes; None on a CPU."""
    if device.type != "cuda":
        return None
    import torch

    return int(torch.cuda.max_memory_allocated(device))
