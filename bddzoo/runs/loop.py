"""One pass over frames: predictions in, scores and files out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bddzoo.datasets.images import Frame
from bddzoo.errors import BddzooError
from bddzoo.inference.speedups import Speedups
from bddzoo.registry.model import Model


@dataclass(frozen=True)
class Options:
    """How a model is measured.

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
    """Told what happens during a measurement; from the caller's thread.

    Attributes:
        step: Called with a phase in words: `loading the network`, `running`.
        progress: Called with (images done, images in all).
        warn: Called with a line worth reading.
    """

    step: Callable[[str], None] = lambda text: None
    progress: Callable[[int, int], None] = lambda done, total: None
    warn: Callable[[str], None] = lambda text: None


@dataclass
class Loop:
    """One pass over the frames.

    Attributes:
        failures: Name and reason of each frame that could not be used.
        scored: Names of the frames that were.
        batch_size: The smaller batch size that memory made necessary, or None.
        scorer: What was counted.
    """

    model: Model
    frames: list[Frame]
    options: Options
    watcher: Watcher
    failures: list[tuple[str, str]] = field(default_factory=list)
    scored: set[str] = field(default_factory=set)
    batch_size: int | None = None

    def __post_init__(self) -> None:
        from bddzoo.runs.scorers import make_scorer

        self.scorer = make_scorer(self.model)
        self._by_name = {frame.name: frame for frame in self.frames}
        self._writer: Any = None

    def go(self, runner: Any, device: Any, batch_size: int) -> None:
        """Run everything."""
        from contextlib import ExitStack

        from bddzoo.datasets.layouts import labels_of
        from bddzoo.inference.background import Sink
        from bddzoo.inference.batches import Events
        from bddzoo.inference.outputs import PredictionSet
        from bddzoo.inference.pipeline import predict_frames

        events = Events(error=self._bad, remark=self._remark, smaller_batch=self._smaller)
        with ExitStack() as stack:
            if self.options.out is not None:
                self._writer = stack.enter_context(
                    PredictionSet(
                        self.options.out,
                        self.model.task,
                        overwrite=self.options.overwrite,
                        labels=labels_of(self.model),
                    )
                )
            sink = stack.enter_context(Sink(self._consume, depth=2 * batch_size))
            images = [(frame.name, frame.image) for frame in self.frames]
            predictions = predict_frames(
                runner, self.model, images, device=device, batch_size=batch_size, events=events
            )
            for done, prediction in enumerate(predictions, start=1):
                sink.put(prediction)
                self.watcher.progress(done + len(self.failures), len(self.frames))

    def _consume(self, prediction: tuple[str, Any]) -> None:
        name, result = prediction
        frame = self._by_name[name]
        assert frame.label is not None
        try:
            self.scorer.score(frame, result, self._writer)
        except BddzooError as error:
            self._bad(name, error)
        else:
            self.scored.add(name)

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
