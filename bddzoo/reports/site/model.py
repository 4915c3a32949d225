"""What a model's own page shows, as plain values for its template."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from bddzoo.artifacts.probe import History
from bddzoo.datasets.openseg import in_order
from bddzoo.files import path_part
from bddzoo.registry.model import Artifact, Model
from bddzoo.reports.facts import (
    UNKNOWN,
    Number,
    digest_text,
    judged_number,
    protocol_rows,
    size_text,
    steps,
    training_rows,
)
from bddzoo.reports.info import bibtex
from bddzoo.reports.site.columns import Health, health_of
from bddzoo.reports.site.evidence import Evidence
from bddzoo.reports.site.render import PageBlock, template
from bddzoo.results import Record

# Over all classes a table's metric has another name; `IoU` of the classes is `mIoU` of all.
OVERALL = {"IoU": "mIoU", "Precision": "mPrecision", "Recall": "mRecall", "Acc": "mPrecision"}


@dataclass(frozen=True)
class ClassTable:
    """Scores of single classes.

    Attributes:
        metrics: Column titles.
        rows: Class and its values as text.
        total: The values over all classes, where they are known.
    """

    metrics: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    total: tuple[str, ...]


@dataclass(frozen=True)
class SourceRow:
    """One place of a file: its link, or None where it is none for a browser."""

    url: str | None
    text: str
    health: Health


@dataclass(frozen=True)
class File:
    """One file: kind, places, size and digests as text."""

    kind: str
    sources: tuple[SourceRow, ...]
    size: str
    digests: tuple[str, ...]
    digest_url: str | None


def numbers(model: Model, evidence: Evidence) -> list[tuple[Number, str]]:
    """Every number that the zoo reports, with its verdict (`missing` where nobody measured) and interval."""
    report = evidence.report
    judged = {(report.split, m.metric): m for m in report.metrics} if report else {}
    rows = []
    for entry in model.reported:
        found = judged.get((entry.split, entry.metric))
        if found is not None:
            rows.append((judged_number(found, entry.split), interval_text(evidence, entry.metric)))
        elif entry.value is not None:
            verdict = "missing" if entry.split == "val" else UNKNOWN
            rows.append((Number(entry.metric, entry.split, str(entry.value), verdict=verdict), UNKNOWN))
    return rows


def interval_text(evidence: Evidence, metric: str) -> str:
    """The 95 % interval of a metric, or a dash."""
    low, high = evidence.intervals.get(metric, (math.nan, math.nan))
    return f"{low:.2f} to {high:.2f}" if math.isfinite(low) and math.isfinite(high) else UNKNOWN


def other_metrics(model: Model, evidence: Evidence) -> list[tuple[str, str, str]]:
    """Metrics over all classes that were measured, but not reported: name, value, interval."""
    record = evidence.record
    if record is None:
        return []
    reported = {r.metric for r in model.reported if r.split == record.protocol.split}
    return [
        (name, _percent(value), interval_text(evidence, name))
        for name, value in record.summary.items()
        if name not in reported
    ]


def class_table(record: Record | None) -> ClassTable | None:
    """Scores of the classes as one table, or None where there are none."""
    if record is None or not record.per_class:
        return None
    metrics = tuple(record.per_class)
    names = in_order(dict.fromkeys(name for row in record.per_class.values() for name in row))
    rows = tuple((name, tuple(_percent(record.per_class[m].get(name)) for m in metrics)) for name in names)
    total = tuple(_percent(record.summary.get(OVERALL.get(m, m))) for m in metrics)
    return ClassTable(metrics, rows, total)


def _percent(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.2f}"


def files(model: Model, history: History) -> list[File]:
    """Every file of the model with its places and what is known of its content."""
    return [_file(artifact, history) for artifact in model.artifacts]


def _file(artifact: Artifact, history: History) -> File:
    sources = []
    for url in artifact.sources:
        web = url.startswith(("https://", "http://"))
        # A page that shows the file leads to its download, too.
        link = artifact.page if web and artifact.page and len(artifact.sources) == 1 else url
        place = urlsplit(link).netloc if web else url.partition(":")[0]
        sources.append(SourceRow(link if web else None, place, health_of(history, url)))
    size = "" if artifact.size_bytes is None else size_text(artifact)
    digests = tuple(digest_text(d) for d in artifact.digests)
    return File(artifact.kind, tuple(sources), size, digests, artifact.digest_url)


def provenance(evidence: Evidence) -> list[tuple[str, str]]:
    """How the record was made, by name."""
    if evidence.stored is None:
        return []
    record = evidence.stored.record
    run, where, protocol = record.run, record.environment, record.protocol
    device = where.cpu if protocol.device == "cpu" else ", ".join(dict.fromkeys(where.gpu)) or protocol.device
    images = f"{protocol.images:,} of split {protocol.split} of {protocol.dataset}"
    rows = [
        ("record", evidence.stored.id),
        ("date", run.started),
        ("images", images + (" (partial)" if protocol.partial else "")),
        (
            "scored",
            "a run of the weights" if protocol.source == "inference" else f"published {protocol.source}",
        ),
        ("device", device),
    ]
    if protocol.source == "inference":
        rows.append(("precision", f"{protocol.precision}, batch {protocol.batch_size}"))
    if run.images_per_s is not None:
        rows.append(("speed", f"{run.images_per_s:.1f} images/s"))
    if record.weights is not None:
        used = record.weights
        digest = f", sha256:{used.sha256}" if used.sha256 else ""
        rows.append(("weights", f"{used.name}, {used.state}{digest}"))
    versions = [f"bddzoo {where.bddzoo}", f"Python {where.python}"]
    versions += [f"{name} {where.packages[name]}" for name in ("torch",) if name in where.packages]
    return [*rows, ("software", ", ".join(versions))]


def speeds(evidence: Evidence) -> list[tuple[str, ...]]:
    """Of each timing its setting, images of a run, milliseconds of it, their interval, images a second."""
    rows: list[tuple[str, ...]] = []
    for setting, record in evidence.speeds.items():
        for timing in record.timings:
            if not timing.times_ms:
                continue
            low, high = timing.interval_ms or (timing.median_ms, timing.median_ms)
            what = "" if timing.what == "network" else f", {timing.what}"
            rows.append(
                (
                    setting + what,
                    str(timing.batch_size),
                    f"{timing.median_ms:.4g}",
                    f"{low:.4g} to {high:.4g}",
                    f"{timing.images_per_s:.3g}",
                )
            )
    return rows


def model_blocks(model: Model, history: History) -> list[PageBlock]:
    """Parts of the page that other models' pages may have, too, in order."""
    parts = template("blocks.html")
    return [
        PageBlock("k", parts.commands(steps(model))),
        PageBlock("p", parts.paper(model)),
        PageBlock("r", parts.rows("Protocol", protocol_rows(model))),
        PageBlock("t", parts.rows("Training", training_rows(model))),
        PageBlock("f", parts.files(files(model, history))),
        PageBlock("c", parts.cite(bibtex(model))),
    ]


def page_names(models: Sequence[Model]) -> dict[str, str]:
    """Model id -> file name of its page, different also where capitals do not count.

    An id may hold characters that a file name must not; two ids must not end up in one file.
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    for model in models:
        stem = name = path_part(model.id)
        count = 2
        while name.casefold() in taken:
            name, count = f"{stem}~{count}", count + 1
        taken.add(name.casefold())
        found[model.id] = f"{name}.html"
    return found
