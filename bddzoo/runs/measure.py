"""Measure a model: run it over a split, score what comes out, and write down how.

Nothing is held that grows with the number of images but a few hundred bytes of counts for each:
images are read ahead of the network, and a thread behind it scores and writes predictions as
they come. The weights are a file of the user's, or one that is fetched.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bddzoo.datasets.formats.other_task import refuse_other_task
from bddzoo.datasets.identity import dataset_id, digest_files, digest_labels, digest_names, split_size
from bddzoo.datasets.images import Listing, Sample
from bddzoo.datasets.layouts import labels_of, layout_of
from bddzoo.datasets.sources import open_source
from bddzoo.errors import IntegrityError, MissingError, UsageError
from bddzoo.registry.model import DigestState, Model
from bddzoo.results.environment import collect_environment
from bddzoo.results.record import TIME_FORMAT, Fingerprint, Record, RunInfo, WeightsUsed, new_record
from bddzoo.runs.loop import MeasureOptions, Watcher
from bddzoo.text import picked

if TYPE_CHECKING:
    from bddzoo.artifacts import Fetcher
    from bddzoo.evaluation import Scores
    from bddzoo.runs.workers import Shared


__all__ = ["MeasureOptions", "Measurement", "Watcher", "check_listing", "measure"]

# Whose definition of the metrics a run is scored by.
EVALUATOR, LABELS_EVALUATOR = "bdd100k", "openseg"
_LOOKED_AT = 3


@dataclass(frozen=True)
class Measurement:
    """What came of it.

    Attributes:
        scores: Metrics over the images that could be used.
        record: The record; None where images failed and were not to be skipped, because a number
            over an accidental part of the set is not a result.
        failures: Name and reason of each image that could not be used.
        total: Images that were to be used.
        statistics: What was counted on each image, to be written next to the record.
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
    options: MeasureOptions | None = None,
    watcher: Watcher | None = None,
    command: Sequence[str] = (),
) -> Measurement:
    """Run a model over a split of a data set and score it with the official metrics.

    Args:
        model: A model with network facts and a test protocol.
        data: Root of the data set.
        weights: Checkpoint file.
        used: Where the weights are from, for the record.
        options: See `MeasureOptions`.
        watcher: See `Watcher`.
        command: Command line, for the record.

    Raises:
        MissingError: The data set is not as expected, a label has no image, or no image could be used.
        IntegrityError: The weights are not this model's.
        UsageError: The model cannot be run, or an option makes no sense.
    """
    from bddzoo.engines.ops import ops_in_use, warn_of_mmcv
    from bddzoo.inference.load import default_batch_size, resolve_device
    from bddzoo.inference.outputs import PredictionSet
    from bddzoo.runs.scorers import make_scorer
    from bddzoo.runs.workers import run_frames

    options, watcher = options or MeasureOptions(), watcher or Watcher()
    started, clock = datetime.now(timezone.utc), time.monotonic()
    device = resolve_device(options.device)
    listing = check_data(model, data, options, watcher)
    frames = list(listing.frames)[: options.limit]
    limit = options.limit if len(frames) < len(listing.frames) else None
    batch_size = options.batch_size or default_batch_size(device)
    watcher.step("loading the network")
    with ExitStack() as stack:
        writer = None
        if options.out is not None:
            labels, force = labels_of(model), options.overwrite
            writer = PredictionSet(options.out, model.task, overwrite=force, labels=labels)
            stack.enter_context(writer)
        run = run_frames(model, frames, weights, options, batch_size, make_scorer(model), watcher, writer)
    ops = ops_in_use()
    if line := warn_of_mmcv():
        watcher.warn(line)
    failures = [*((name, "its image is missing") for name in listing.without_image), *run.failures]
    if not run.done:
        reason = f": {failures[0][0]}: {failures[0][1]}" if failures else ""
        raise MissingError(f"no image of {data} could be used{reason}")
    scores = run.consumer.compute()
    record: Record | None = None
    statistics: dict[str, bytes] = {}
    if not failures or options.skip_bad:
        scored = set(run.done)
        counted = [frame for frame in frames if frame.name in scored]
        statistics = run.consumer.statistics()
        record = new_record(
            model,
            summary=scores.summary,
            per_class=scores.table,
            absent_classes=scores.absent,
            protocol=_fingerprint(
                model,
                data,
                options,
                listing,
                counted,
                failures,
                limit=limit,
                labels=digest_labels(run.consumer.labels),
                device=device.type,
                batch_size=run.batch_size or batch_size,
            ),
            weights=used,
            environment=collect_environment(ops),
            statistics=statistics,
            run=_run_info(run, len(counted), started, round(time.monotonic() - clock, 3), command),
        )
    total = len(frames) + len(listing.without_image)
    return Measurement(scores, record, tuple(failures), total, statistics)


def _run_info(
    run: Shared, images: int, started: datetime, duration_s: float, command: Sequence[str]
) -> RunInfo:
    """The circumstances of a run, none of which changes a number."""
    return RunInfo(
        started=started.strftime(TIME_FORMAT),
        duration_s=duration_s,
        command=tuple(command),
        images_per_s=round(images / run.seconds, 4) if run.seconds > 0 else None,
        peak_memory_bytes=run.peak_memory,
        peak_device_memory_bytes=run.peak_device,
        processes=run.processes,
        sweep=os.environ.get("BDDZOO_SWEEP"),
    )


def _fingerprint(
    model: Model,
    data: Path,
    options: MeasureOptions,
    listing: Listing,
    counted: Sequence[Sample],
    failures: Sequence[tuple[str, str]],
    *,
    limit: int | None,
    **more: Any,
) -> Fingerprint:
    """What a number depends on besides the weights."""
    layout = model.dataset
    on_disk = len(listing.frames) + len(listing.without_image)
    return Fingerprint.of(
        model,
        dataset=dataset_id(data, layout),
        split=options.split,
        images=len(counted),
        split_images=split_size(data, model.task, options.split, layout) or on_disk,
        limit=limit,
        partial=bool(failures) or limit is not None,
        skipped=tuple(sorted(name for name, _ in failures)),
        image_list=digest_names(frame.name for frame in counted),
        ground_truth=digest_files((frame.name, frame.label) for frame in counted),
        precision=options.speedups.precision,
        options=options.speedups.options,
        evaluator=LABELS_EVALUATOR if labels_of(model) else EVALUATOR,
        **more,
    )


def check_data(model: Model, data: Path, options: MeasureOptions, watcher: Watcher) -> Listing:
    """What a model's data set holds, checked before anything is fetched or run.

    Args:
        model: Whose protocol says which data set it is.
        data: Root of the data set.
        options: Split, and whether bad images are skipped.
        watcher: Told what is left out.

    Raises:
        MissingError: The folder is laid out for something else, or has no or other labels.
        UsageError: The model predicts the classes of another data set, or its data set has no layout.
    """
    from bddzoo.inference.pipeline import protocol_of
    from bddzoo.runs.scorers import make_scorer

    protocol_of(model)
    make_scorer(model)
    layout = layout_of(model, data)
    checked = check_listing(layout.listing(model.task, options.split, attributes=False), options, watcher)
    _check_labels(model, checked, layout.labels(model.task, options.split))
    return checked


def _check_labels(model: Model, listing: Listing, place: Path) -> None:
    """Refuse labels of another task or set, where the first say so: nothing else in the folder does."""
    labels = labels_of(model)
    if labels is None:
        if place.is_dir():  # who opens a file of labels looks at what it holds
            refuse_other_task(model.task, open_source(place), stills=True)
        return
    from bddzoo.datasets.formats.mask import read_mask
    from bddzoo.evaluation.labelled import count_labels, foreign_labels

    for frame in listing.frames[:_LOOKED_AT]:
        assert frame.label is not None
        try:
            pixels = read_mask(frame.label)
        except MissingError:
            continue  # a damaged file is told when its turn comes
        counts = count_labels(labels, pixels, pixels)
        if counts.foreign:
            raise foreign_labels(labels, frame.label, counts, lenient=False)


def check_listing(listing: Listing, options: MeasureOptions, watcher: Watcher) -> Listing:
    """Refuse a split without labels, or with labels whose image is missing (unless those are skipped)."""
    if options.limit is not None and options.limit < 1:
        raise UsageError(f"limit {options.limit} is less than 1")
    if listing.frames and listing.frames[0].label is None:
        raise MissingError(
            f"split '{options.split}' has no labels, so there is nothing to score against",
            hint="'bddzoo eval -o DIR' writes the predictions, for a test server",
        )
    if listing.without_image:
        if not options.skip_bad:
            raise MissingError(
                f"the data set is incomplete: {listing.mismatch()}",
                hint="complete it; 'bddzoo eval --skip-bad' leaves those out",
            )
        watcher.warn(f"{listing.mismatch()}; left out")
    elif listing.without_label:
        watcher.warn(f"{listing.mismatch()}; not used")
    return listing


def fetched_weights(model: Model, fetcher: Fetcher) -> tuple[Path, WeightsUsed]:
    """A model's own weights, from the cache or a source.

    Raises:
        MissingError: No source has them.
        IntegrityError: The file is not the one that the registry means.
        NetworkError: No source could be reached.
    """
    result = fetcher.fetch(model, rehash=True)
    return result.path, WeightsUsed(
        name=result.path.name, **picked(result, "size_bytes md5 sha256 source"), state=result.digest_state
    )


def given_weights(model: Model, path: Path, warn: Callable[[str], None]) -> tuple[Path, WeightsUsed]:
    """A file that the user names; one that is not the zoo's is welcome, but warned of.

    Raises:
        MissingError: There is no such file.
    """
    from bddzoo.artifacts import hash_file, verify_file

    if not path.is_file():
        raise MissingError(f"no such weights file: {path}")
    state: DigestState = "unknown"
    artifact = model.artifact("weights")
    if artifact is not None:
        try:
            state = verify_file(path, artifact)
        except IntegrityError as error:
            # The number is then not the zoo's.
            warn(f"not the zoo's file: {error.message}")
    hashes = hash_file(path)
    return path, WeightsUsed(
        name=path.name,
        size_bytes=path.stat().st_size,
        md5=hashes["md5"],
        sha256=hashes["sha256"],
        state=state,
    )
