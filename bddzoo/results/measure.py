"""Measure a model: run it over a split, score what comes out, and write down how.

Nothing is held that grows with the number of pictures but a few hundred bytes of counts for each:
pictures are read ahead of the network, and a thread behind it scores and writes predictions as
they come.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bddzoo.datasets.identity import dataset_id, split_size
from bddzoo.datasets.layout import BddLayout, Frame, Listing
from bddzoo.errors import BddzooError, MissingError, UsageError
from bddzoo.registry.types import Model
from bddzoo.results.digests import digest_files, digest_names
from bddzoo.results.environment import collect_environment, peak_memory_bytes
from bddzoo.results.record import Fingerprint, Record, RunInfo, WeightsUsed, new_record

if TYPE_CHECKING:
    from bddzoo.evaluation import Scores

EVALUATOR = "bdd100k"


@dataclass(frozen=True)
class Options:
    """How a model is measured.

    Attributes:
        split: Split of the data set.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        batch_size: Pictures per forward pass; None for the default of the device.
        limit: Use only the first so many pictures.
        out: Folder for the predictions; None to write none.
        overwrite: Replace predictions that are there.
        skip_bad: Leave out pictures that cannot be used instead of failing.
    """

    split: str = "val"
    device: str = "auto"
    batch_size: int | None = None
    limit: int | None = None
    out: Path | None = None
    overwrite: bool = False
    skip_bad: bool = False


@dataclass
class Watcher:
    """Told what happens during a measurement; from the caller's thread.

    Attributes:
        step: Called with a phase in words: `loading the network`, `running`.
        progress: Called with (pictures done, pictures in all).
        warn: Called with a line worth reading.
    """

    step: Callable[[str], None] = lambda text: None
    progress: Callable[[int, int], None] = lambda done, total: None
    warn: Callable[[str], None] = lambda text: None


@dataclass(frozen=True)
class Measurement:
    """What came of it.

    Attributes:
        scores: Metrics over the pictures that could be used.
        record: The record; None where pictures failed and were not to be skipped, because a number
            over an accidental part of the set is not a result.
        failures: Name and reason of each picture that could not be used.
        total: Pictures that were to be used.
        statistics: What was counted on each picture, to be written beside the record.
    """

    scores: Scores
    record: Record | None
    failures: tuple[tuple[str, str], ...]
    total: int
    statistics: Mapping[str, bytes] = field(default_factory=dict)


def measure(
    model: Model,
    data: Path,
    weights: Path,
    used: WeightsUsed,
    options: Options | None = None,
    watcher: Watcher | None = None,
    command: Sequence[str] = (),
) -> Measurement:
    """Run a model over a split of a data set and score it with the official metrics.

    Args:
        model: A model with network facts and a test protocol.
        data: Root of the data set.
        weights: Checkpoint file.
        used: Where the weights are from, for the record.
        options: See `Options`.
        watcher: See `Watcher`.
        command: Command line, for the record.

    Raises:
        MissingError: The data set is not as expected, a label has no image, or no picture could be used.
        IntegrityError: The weights are not this model's.
        UsageError: The model cannot be run, or an option makes no sense.
    """
    from bddzoo.engines.ops import ops_in_use
    from bddzoo.inference.device import default_batch_size, resolve_device
    from bddzoo.inference.load import load_runner
    from bddzoo.inference.pipeline import protocol_of

    options, watcher = options or Options(), watcher or Watcher()
    started, clock = datetime.now(timezone.utc), time.monotonic()
    protocol_of(model)
    resolve_device(options.device)
    listing = check_listing(
        BddLayout(data).listing(model.task, options.split, attributes=False), options, watcher
    )
    frames = list(listing.frames)[: options.limit]
    limit = options.limit if len(frames) < len(listing.frames) else None
    watcher.step("loading the network")
    runner, device = load_runner(model, weights, options.device)
    batch_size = options.batch_size or default_batch_size(device)
    watcher.step("running")
    loop = time.monotonic()
    run = _Loop(model, frames, options, watcher)
    run.go(runner, device, batch_size)
    seconds = time.monotonic() - loop
    failures = [*((name, "its image is missing") for name in listing.without_image), *run.failures]
    if not run.scored:
        reason = f": {failures[0][0]}: {failures[0][1]}" if failures else ""
        raise MissingError(f"no picture of {data} could be used{reason}")
    scores = run.scorer.compute()
    record: Record | None = None
    statistics: dict[str, bytes] = {}
    if not failures or options.skip_bad:
        counted = [frame for frame in frames if frame.name in run.scored]
        dataset = dataset_id(data)
        on_disk = len(listing.frames) + len(listing.without_image)
        fingerprint = Fingerprint.of(
            model,
            dataset=dataset,
            split=options.split,
            images=len(counted),
            split_images=split_size(data, model.task, options.split) or on_disk,
            limit=limit,
            partial=bool(failures) or limit is not None,
            skipped=tuple(sorted(name for name, _ in failures)),
            image_list=digest_names(frame.name for frame in counted),
            ground_truth=digest_files((frame.name, frame.label) for frame in counted),
            device=device.type,
            precision="fp32",
            batch_size=run.batch_size or batch_size,
            evaluator=EVALUATOR,
        )
        statistics = run.scorer.statistics()
        record = new_record(
            model,
            summary=scores.summary,
            per_class=scores.table,
            absent_classes=scores.absent,
            protocol=fingerprint,
            weights=used,
            environment=collect_environment(ops_in_use()),
            statistics=statistics,
            run=RunInfo(
                started=started.strftime("%Y-%m-%dT%H:%M:%SZ"),
                duration_s=round(time.monotonic() - clock, 3),
                command=tuple(command),
                images_per_s=round(len(counted) / seconds, 4) if seconds > 0 else None,
                peak_memory_bytes=peak_memory_bytes(),
                peak_device_memory_bytes=_peak_device_memory(device),
                sweep=os.environ.get("BDDZOO_SWEEP"),
            ),
        )
    total = len(frames) + len(listing.without_image)
    return Measurement(scores, record, tuple(failures), total, statistics)


def check_listing(listing: Listing, options: Options, watcher: Watcher) -> Listing:
    """Refuse a split without labels, or with labels whose image is missing (unless those are skipped)."""
    if options.limit is not None and options.limit < 1:
        raise UsageError(f"limit {options.limit} is less than 1")
    if listing.frames and listing.frames[0].label is None:
        raise MissingError(
            f"split '{options.split}' has no labels, so there is nothing to score against",
            hint="'bddzoo predict' runs a model on pictures without labels",
        )
    if listing.without_image:
        if not options.skip_bad:
            raise MissingError(
                f"the data set is incomplete: {listing.mismatch()}",
                hint="complete it, or leave those out with --skip-bad",
            )
        watcher.warn(f"{listing.mismatch()}; left out")
    elif listing.without_label:
        watcher.warn(f"{listing.mismatch()}; not used")
    return listing


@dataclass
class _Loop:
    """One pass over the frames: predictions in, scores and files out."""

    model: Model
    frames: list[Frame]
    options: Options
    watcher: Watcher
    failures: list[tuple[str, str]] = field(default_factory=list)
    scored: set[str] = field(default_factory=set)
    batch_size: int | None = None

    def __post_init__(self) -> None:
        from bddzoo.results.scorers import make_scorer

        self.scorer = make_scorer(self.model)
        self._by_name = {frame.name: frame for frame in self.frames}
        self._writer: Any = None

    def go(self, runner: Any, device: Any, batch_size: int) -> None:
        """Run everything."""
        from contextlib import ExitStack

        from bddzoo.inference.background import Sink
        from bddzoo.inference.outputs import PredictionSet
        from bddzoo.inference.pipeline import Events, predict_frames

        events = Events(error=self._bad, remark=self._remark, smaller_batch=self._smaller)
        with ExitStack() as stack:
            if self.options.out is not None:
                self._writer = stack.enter_context(
                    PredictionSet(self.options.out, self.model.task, overwrite=self.options.overwrite)
                )
            sink = stack.enter_context(Sink(self._consume, depth=2 * batch_size))
            images = [(frame.name, frame.image) for frame in self.frames]
            predictions = predict_frames(
                runner, self.model, images, device=device, batch_size=batch_size, events=events
            )
            for done, prediction in enumerate(predictions, start=1):
                sink.put(prediction)
                self.watcher.progress(done + len(self.failures), len(self.frames))
        for line in self.scorer.remarks():
            self.watcher.warn(line)

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


def _peak_device_memory(device: Any) -> int | None:
    if device.type != "cuda":
        return None
    import torch

    return int(torch.cuda.max_memory_allocated(device))
