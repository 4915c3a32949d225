"""The columns of a task's table: which there are, and what a row holds in each.

Whether a file is where the registry says, from the history that `bddzoo registry health` keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from bddzoo.artifacts.probe import History
from bddzoo.registry.model import Artifact, Model, Section
from bddzoo.reports.facts import TICK, UNKNOWN, gflops_text, number_text, params_text, rounded, step_of
from bddzoo.reports.site.evidence import Evidence
from bddzoo.reports.tables import metric_columns, speed_texts
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
    """Columns of one task's table, over all zoos; those that nothing stands in are left out.

    Args:
        sections: Sections of one task.
        evidence: By model id.
        history: What is known of the files' health.
    """
    models = [m for s in sections for m in s.models]
    metrics = list(dict.fromkeys(key for s in sections for key in metric_columns(s)))
    metrics.sort(key=lambda key: {"val": 0, "test": 1}.get(key[0], 2))
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
        SiteColumn("data", "Data set", "text", dataset, facet=True, shown=False),
    ]
    return [c for c in found if any(c.cell(m) not in ("", UNKNOWN) for m in models)]


def settings_of(evidence: Iterable[Evidence]) -> list[str]:
    """Names of the devices and settings that speeds were measured on."""
    return sorted({setting for known in evidence for setting in known.speeds})


def method_name(model: Model) -> str:
    """The method: the heading, or the row's own where headings are data sets."""
    own = next((model.settings[name] for name in METHOD_COLUMNS if model.settings.get(name)), None)
    return own or model.method.name


def dataset(model: Model) -> str:
    """The data set that the model's numbers are for."""
    return model.protocol.dataset if model.protocol else "unknown"


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
