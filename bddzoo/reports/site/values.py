"""What pages show, as plain values for their templates: columns of a task's table, and a model's own page.

Whether a file is where the registry says is from the history that `bddzoo registry health` keeps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from bddzoo.artifacts.probe import History
from bddzoo.datasets.openseg import in_order
from bddzoo.evaluation.metrics.scores import SUMMARY_NAMES
from bddzoo.files import path_part
from bddzoo.registry.model import Artifact, Model, Section
from bddzoo.reports.facts import (
    TICK,
    UNKNOWN,
    Number,
    dataset_name,
    digest_text,
    gflops_text,
    judged_number,
    number_text,
    params_text,
    protocol_rows,
    rounded,
    size_text,
    step_of,
    steps,
    training_rows,
)
from bddzoo.reports.info import bibliography
from bddzoo.reports.site.evidence import Evidence
from bddzoo.reports.site.render import PageBlock, template
from bddzoo.reports.tables import metric_columns, speed_texts
from bddzoo.results import Record
from bddzoo.results.verdict import measured_value

State = Literal["here", "alive", "unknown", "dead", "none"]
# Best first: a file is as reachable as its best source.
ORDER: tuple[State, ...] = ("here", "alive", "unknown", "dead", "none")


@dataclass(frozen=True)
class Health:
    """What is known of one source.

    Attributes:
        state: `here`: in the package; `alive`; `unknown`: nobody asked; `dead`; `none`: no source.
        text: The same in words, with the date.
    """

    state: State
    text: str


NO_SOURCE = Health("none", "no source")


def health_of(history: History, url: str) -> Health:
    """The health of one source."""
    if url.startswith("package:"):
        return Health("here", "in the package")
    seen = history.files.get(url)
    if seen is not None:
        if seen.state == "alive":
            return Health("alive", f"alive {seen.last_seen}")
        return Health("dead", f"dead, last alive {seen.last_seen}")
    host = history.hosts.get(urlsplit(url).netloc)
    if host is not None:
        # The history counts files that were never alive with their host only.
        return Health("dead", f"not there {host.probed}")
    return Health("unknown", "not probed")


def best_health(history: History, artifact: Artifact | None) -> Health:
    """The health of a file: that of its best source."""
    if artifact is None or not artifact.sources:
        return NO_SOURCE
    found = [health_of(history, url) for url in artifact.sources]
    return min(found, key=lambda health: ORDER.index(health.state))


# A zoo whose headings are data sets has its methods in a column of this name.
METHOD_COLUMNS = ("Methods", "Method")


@dataclass(frozen=True)
class SiteColumn:
    """A column.

    Attributes:
        key: Its name in the page's address.
        title: Its heading.
        kind: `text`, `number`, or `verdict`.
        cell: Text of a model's cell; empty or a dash where there is nothing.
        facet: Whether rows can be filtered by its values.
        shown: Whether it is shown until somebody chooses otherwise.
        help: What it holds, where the heading does not say.
        less: Whether less of it is better, so that a plot over it has a front.
    """

    key: str
    title: str
    kind: Literal["text", "number", "verdict"]
    cell: Callable[[Model], str]
    facet: bool = False
    shown: bool = True
    help: str = ""
    less: bool = False


def columns(
    sections: Sequence[Section], evidence: Mapping[str, Evidence], history: History
) -> list[SiteColumn]:
    """Columns of one task's table, over all zoos; those that nothing stands in are left out."""
    models = [m for s in sections for m in s.models]
    metrics = metric_columns(*sections)
    names = dict.fromkeys(name for m in models for name in m.settings)
    settings = [name for name in names if name not in METHOD_COLUMNS]
    flags = [s for s in settings if all(m.settings.get(s, "") in ("", "-", TICK) for m in models)]
    # The numbers first: on a phone nothing else fits next to the name.
    found = [
        *[_reported(split, metric) for split, metric in metrics],
        *[_measured(metric, evidence) for split, metric in metrics if split == "val"],
        SiteColumn("verdict", "Verdict", "verdict", lambda m: str(evidence[m.id].verdict), facet=True),
        SiteColumn("method", "Method", "text", method_name, facet=True),
        SiteColumn("backbone", "Backbone", "text", lambda m: m.backbone, facet=True),
        SiteColumn("params", "Params", "number", params_text, help="Number of parameters", less=True),
        SiteColumn(
            "gflops",
            "GFLOP",
            "number",
            gflops_text,
            help="Operations of one 1280x720 image, in 10^9",
            less=True,
        ),
        *[_latency(setting, evidence) for setting in settings_of(evidence[m.id] for m in models)],
        SiteColumn(
            "speed",
            "Images/s",
            "number",
            lambda m: _speed(evidence[m.id]),
            help="Measured from reading to scoring, on the device of the record",
        ),
        *[_setting(name) for name in settings if name not in flags],
        # A column of ticks is wide and says little: they share one.
        SiteColumn("options", "Options", "text", lambda m: _ticked(m, flags)),
        SiteColumn(
            "weights",
            "Weights",
            "text",
            lambda m: _reach(m, history),
            facet=True,
            shown=False,
            help="Whether the weights can be had",
        ),
        SiteColumn("zoo", "Zoo", "text", lambda m: m.zoo.id, facet=True, shown=False),
        SiteColumn("data", "Data set", "text", dataset_name, facet=True, shown=False),
    ]
    return [c for c in found if any(c.cell(m) not in ("", UNKNOWN) for m in models)]


def settings_of(evidence: Iterable[Evidence]) -> list[str]:
    """Names of the devices and settings that speeds were measured on."""
    return sorted({setting for known in evidence for setting in known.speeds})


def method_name(model: Model) -> str:
    """The method: the heading, or the row's own where headings are data sets."""
    own = next((model.settings[name] for name in METHOD_COLUMNS if model.settings.get(name)), None)
    return own or model.method.name


def _reach(model: Model, history: History) -> str:
    health = best_health(history, model.artifact("weights"))
    return UNKNOWN if health.state == "unknown" else health.text


def _ticked(model: Model, flags: Sequence[str]) -> str:
    return ", ".join(name for name in flags if model.settings.get(name) == TICK)


def _setting(name: str) -> SiteColumn:
    def cell(model: Model) -> str:
        text = model.settings.get(name, "")
        return "" if text == "-" else text.replace(" * ", " × ")

    return SiteColumn(f"s.{name}", name, "text", cell)


def _reported(split: str, metric: str) -> SiteColumn:
    def cell(model: Model) -> str:
        return number_text(model, split, metric)

    text = f"Reported by the zoo on {split}, percent"
    title = f"{metric_title(metric)} {split}"
    return SiteColumn(f"{metric}-{split}", title, "number", cell, shown=split in ("val", "test"), help=text)


def _measured(metric: str, evidence: Mapping[str, Evidence]) -> SiteColumn:
    def cell(model: Model) -> str:
        record, reported = evidence[model.id].record, model.reported_value(metric)
        # What a zoo does not report has no place next to its numbers; it stands on the model's page.
        value = measured_value(record, metric) if record and reported is not None else None
        return UNKNOWN if value is None else rounded(value, step_of(reported))

    title = f"{metric_title(metric)} measured"
    return SiteColumn(f"m.{metric}", title, "number", cell, help="Measured here on val, percent")


def _latency(setting: str, evidence: Mapping[str, Evidence]) -> SiteColumn:
    def cell(model: Model) -> str:
        return speed_texts(evidence[model.id].speeds.get(setting))[0]

    text = "Milliseconds of one image through the network, measured"
    title = f"ms on {setting}"
    return SiteColumn(f"ms.{setting}", title, "number", cell, shown=False, help=text, less=True)


def metric_title(metric: str) -> str:
    """`Box AP` for `box_AP`: a metric as people write it."""
    head, _, tail = metric.partition("_")
    return f"{head.capitalize()} {tail}" if tail else metric


def _speed(evidence: Evidence) -> str:
    speed = evidence.record.run.images_per_s if evidence.record else None
    return UNKNOWN if speed is None else f"{speed:.1f}"


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
    total = tuple(_percent(record.summary.get(SUMMARY_NAMES.get(m, m))) for m in metrics)
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
        PageBlock("c", parts.cite(bibliography([model]))),
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
