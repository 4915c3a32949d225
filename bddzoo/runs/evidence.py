"""Locate the evidence that each link of a model's chain needs, and check it.

`bddzoo.results.links` has the checks themselves.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

from msgspec.structs import replace

from bddzoo.errors import BddzooError, MissingError
from bddzoo.registry.model import ArtifactKind, Model
from bddzoo.results.links import (
    Link,
    LinkResult,
    NotPublishedError,
    attempt,
    check_predictions,
    check_registry,
    check_scores,
    from_report,
)
from bddzoo.results.record import Record, WeightsUsed
from bddzoo.results.store import (
    best_stored,
    check_root,
    check_statistics,
    default_root,
    scan_records,
    write_record,
)
from bddzoo.results.verdict import Verdict, judge
from bddzoo.runs.loop import MeasureOptions

if TYPE_CHECKING:
    from bddzoo.artifacts import Fetcher


@dataclass(frozen=True)
class EvidenceChecker:
    """Finds what each link of a model needs, and checks it.

    Attributes:
        weights: Obtains a model's weights, and what is known of them for the record.
        warn: Called with warnings that do not affect a verdict.
        command: What is recorded as the command of a measurement.
        data: Data set with the ground truth, or None.
        documents: Documents of the zoo instead of the one that the registry names.
        from_scores: Scores file instead of the published one.
        from_preds: Predictions instead of the published ones.
        from_weights: Run the network even if there is a record.
        sources: Folders or URLs that are asked before the registry's.
        offline: Open no connection.
        cache: Cache folder; None for the default one.
        options: How a network is run; its split is the one whose numbers are checked.
        results: Results folder; None for the default one.
        accept_prefix: The first digits of the weights' digest are enough, even where a record says nothing.
    """

    weights: Callable[[Model], tuple[Path, WeightsUsed]]
    warn: Callable[[str], None]
    command: Sequence[str]
    data: Path | None = None
    documents: tuple[Path, ...] = ()
    from_scores: Path | None = None
    from_preds: Path | None = None
    from_weights: bool = False
    sources: tuple[str, ...] = ()
    offline: bool = False
    cache: Path | None = None
    options: MeasureOptions = field(default_factory=MeasureOptions)
    results: Path | None = None
    accept_prefix: bool = False

    def check(self, model: Model, link: Link) -> LinkResult:
        """Check one link of one model; whatever prevents it becomes the link's verdict."""
        checks: dict[str, Callable[[Model], LinkResult]] = {
            "registry": self._registry,
            "scores": self._scores,
            "predictions": self._predictions,
            "weights": self._weights,
        }
        return attempt(link, lambda: checks[link](model))

    def _registry(self, model: Model) -> LinkResult:
        if not self.documents and model.document is None:
            raise NotPublishedError("the registry knows no document of the zoo: --document FILE names one")
        documents = self.documents or (self._fetcher().fetch_document(model).path,)
        return check_registry(model, documents, self.options.split)

    def _scores(self, model: Model) -> LinkResult:
        file = self.from_scores or self._fetch(model, f"scores-{self.options.split}")
        return check_scores(model, file, self.options.split)

    def _predictions(self, model: Model) -> LinkResult:
        from bddzoo.datasets.layouts import layout_of

        if self.from_preds is None:
            self._check_published(model, "preds")
        if self.data is None:
            raise MissingError("no ground truth to score predictions against: give --data ROOT")
        truth = layout_of(model, self.data).labels(model.task, self.options.split)
        if not truth.exists():
            raise MissingError(f"{self.data} has no labels {truth.relative_to(self.data)}")
        predictions = self.from_preds or self._fetch(model, "preds")
        workers = min(4, os.cpu_count() or 1)
        return check_predictions(model, truth, predictions, self.data, self.options.split, workers)

    def _weights(self, model: Model) -> LinkResult:
        root = default_root(self.results)
        if not self.from_weights:
            known = scan_records(
                root, zoo=model.zoo.id, task=model.task, model=model.id, on_error=lambda e: self.warn(str(e))
            )
            own = [stored for stored in known if stored.record.protocol.source == "inference"]
            best = best_stored(model, own, self.options.split)
            if best is not None:
                check_statistics(best)
                found = self._judged(model, best.record, f"record of {best.record.run.started}")
                # One that cannot be compared, as of another set, says nothing where this one can be run.
                if self.data is None or found.verdict is not Verdict.INCOMPARABLE:
                    return found
            elif self.data is None:
                raise MissingError("never measured, and no data set to run on: give --data ROOT")
        if self.data is None:
            raise MissingError("no data set to run on: give --data ROOT")
        check_root(root)
        from bddzoo.runs.measure import Watcher, measure

        path, used = self.weights(model)
        watcher = Watcher(warn=self.warn)
        outcome = measure(model, self.data, path, used, self.options, watcher, command=self.command)
        if outcome.record is None:
            name, reason = outcome.failures[0]
            raise MissingError(f"{len(outcome.failures)} images could not be used: {name}: {reason}")
        try:
            write_record(outcome.record, root, outcome.statistics)
        except BddzooError as error:  # the numbers count all the same: they may have taken hours
            self.warn(str(error))
        return self._judged(model, outcome.record, str(self.data))

    def _judged(self, model: Model, record: Record, source: str) -> LinkResult:
        if self.accept_prefix and record.weights is not None:
            record = replace(record, weights=record.weights.with_accepted_prefix())
        return from_report("weights", judge(model, record), source)

    def _fetch(self, model: Model, kind: str) -> Path:
        wanted = cast(ArtifactKind, kind)
        self._check_published(model, wanted)
        return self._fetcher().fetch(model, wanted).path

    def _check_published(self, model: Model, kind: ArtifactKind) -> None:
        artifact = model.artifact(kind)
        if artifact is None or not (artifact.sources or self.sources):
            raise NotPublishedError(f"the zoo links no {kind} for this model")

    def _fetcher(self) -> Fetcher:
        from bddzoo.artifacts import Cache, Fetcher

        return Fetcher(Cache(self.cache), self.sources, offline=self.offline)
