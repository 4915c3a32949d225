"""Result tables of the registry in our own style: compact, with absolute and pinned links.

Tables that put what was measured beside what is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from bddzoo.registry.model import Artifact, Model, Reported, Section, Zoo
from bddzoo.reports.text import markdown_table
from bddzoo.text import number_of

if TYPE_CHECKING:
    from bddzoo.errors import IntegrityError
    from bddzoo.results import Record

UNKNOWN = "–"
TICK = "✓"


def link(text: str, url: str | None) -> str:
    """A Markdown link, or the plain text where there is nothing to link."""
    if not url:
        return text
    return f"[{text}]({url.replace(' ', '%20').replace('(', '%28').replace(')', '%29')})"


def synthetic_mark(zoo: Zoo) -> str:
    """What is written behind the title of a zoo of synthetic data that does not say so itself."""
    return " (synthetic)" if zoo.synthetic and "synthetic" not in zoo.title.lower() else ""


def compact_table(section: Section, models: Sequence[Model] | None = None) -> str:
    """One table for a whole section: a row per model, its settings in one cell.

    Args:
        section: Which models, and which numbers they report.
        models: Only these; all of the section when None.
    """
    chosen = section.models if models is None else models
    metrics = metric_columns(section)
    numbers = [f"{metric} {split}" for split, metric in metrics]
    headers = ["Method", "Model", "Backbone", "Settings", *numbers, "Params", "Files", "Cannot be built"]
    rows = [
        [
            model.method.name,
            link(f"`{model.id}`", config_page(model)),
            model.backbone,
            settings_text(model),
            *[number_text(model, split, metric) for split, metric in metrics],
            params_text(model),
            files_text(model, ("weights",)),
            reason_text(model),
        ]
        for model in chosen
    ]
    right = [False] * 4 + [True] * (len(metrics) + 1) + [False, False]
    return _without_empty(headers, rows, right)


def section_tables(sections: Sequence[Section]) -> str:
    """Compact tables of several sections, each under its zoo and task."""
    blocks = []
    for section in sections:
        zoo = section.zoo
        name = link(zoo.title, section.page) + synthetic_mark(zoo)
        blocks.append(
            f"**{name}**, `{zoo.id}`, `{section.task}`, {number_of(len(section.models), 'model')}\n\n"
            + compact_table(section)
        )
    return "\n\n".join(blocks)


def metric_columns(section: Section) -> list[tuple[str, str]]:
    """Split and metric of every number that some table of the section has a column for, val first."""
    found: dict[tuple[str, str], None] = {}
    for style in section.styles.values():
        found.update({c.metric: None for c in style.columns if c.metric is not None})
    for model in section.models:
        found.update({(r.split, r.metric): None for r in model.reported})
    order = {"val": 0, "test": 1, "train": 2}
    return sorted(found, key=lambda key: order.get(key[0], 3))


def number_text(model: Model, split: str, metric: str) -> str:
    """A reported number as printed, or a dash."""
    value = model.reported_value(metric, split)
    return UNKNOWN if value is None else str(value)


def settings_text(model: Model) -> str:
    """The row's other columns in one cell: `40K, 512 × 1024, GN`."""
    parts = []
    for name, text in model.settings.items():
        if text == TICK:
            parts.append(name)
        elif text not in ("", "-"):
            plain = text.replace(" * ", " × ")
            # A bare number says nothing without its column's name.
            parts.append(f"{name} {plain}" if plain.isdigit() else plain)
    return ", ".join(parts)


def params_text(model: Model) -> str:
    """Number of parameters in millions, or a dash."""
    if model.network is None or model.network.params is None:
        return UNKNOWN
    return f"{model.network.params / 1e6:.1f} M"


def reason_text(model: Model) -> str:
    """The code of why a row's network cannot be built, or nothing."""
    return f"`{model.not_buildable.reason}`" if model.not_buildable else ""


def config_page(model: Model) -> str | None:
    """Where people can read the model's config, pinned."""
    config = model.artifact("config")
    return None if config is None else url_of(config)


def url_of(artifact: Artifact) -> str | None:
    """The page of a file, or its first web source."""
    web = [s for s in artifact.sources if s.startswith(("https://", "http://"))]
    return artifact.page or (web[0] if web else None)


def files_text(model: Model, kinds: Sequence[str]) -> str:
    """Links to the files that have one; files without a link are not mentioned."""
    links = []
    for artifact in model.artifacts:
        if artifact.kind in kinds:
            url = url_of(artifact)
            if url:
                links.append(link(artifact.kind, url))
            if artifact.kind == "weights" and artifact.digest_url:
                links.append(link("md5", artifact.digest_url))
    return " · ".join(links)


def _without_empty(headers: list[str], rows: list[list[str]], right: list[bool]) -> str:
    """The table without columns that hold nothing in any row."""
    keep = [
        i
        for i, name in enumerate(headers)
        if name in ("Method", "Model") or any(row[i] not in ("", UNKNOWN) for row in rows)
    ]
    return markdown_table(
        [headers[i] for i in keep], [[row[i] for i in keep] for row in rows], [right[i] for i in keep]
    )


def reported_on(model: Model, split: str) -> list[Reported]:
    """The numbers that a zoo reports for a model on a split."""
    return [r for r in model.reported if r.split == split and r.value is not None]


HEADERS = ("Model", "Metric", "Reported", "Measured", "Difference", "Verdict", "Date")
NO_RECORD = "missing"


def latest_records(
    root: Path, sections: Sequence[Section], on_error: Callable[[IntegrityError], None] | None = None
) -> dict[str, Record]:
    """Model id to the record that speaks for it: the newest comparable one, else the newest.

    Args:
        root: Results folder.
        sections: Sections whose models are looked for.
        on_error: Called with what is wrong with a damaged record; see `bddzoo.results.scan_records`.
    """
    from bddzoo.results import best_record, load_records

    found: dict[str, Record] = {}
    for section in sections:
        records: dict[str, list[Record]] = {}
        for record in load_records(root, zoo=section.zoo.id, task=section.task, on_error=on_error):
            records.setdefault(record.model, []).append(record)
        for model in section.models:
            best = best_record(model, records.get(model.id, ()))
            if best is not None:
                found[model.id] = best
    return found


def measured_rows(model: Model, record: Record | None) -> Sequence[tuple[str, ...]]:
    """One row per number that the zoo reports on the record's split (val where there is no record)."""
    from bddzoo.results import judge

    if record is None:
        return [
            (f"{r.metric}-{r.split}", str(r.value), UNKNOWN, UNKNOWN, NO_RECORD, UNKNOWN)
            for r in reported_on(model, "val")
        ]
    report = judge(model, record)
    date = record.run.started[:10]
    rows = []
    for entry in report.metrics:
        step = step_of(entry.reported)
        measured = UNKNOWN if entry.measured is None else rounded(entry.measured, step)
        difference = UNKNOWN if entry.difference is None else signed(entry.difference, step)
        rows.append(
            (
                f"{entry.metric}-{report.split}",
                UNKNOWN if entry.reported is None else str(entry.reported),
                measured,
                difference,
                str(entry.verdict),
                date,
            )
        )
    return rows or [(f"({report.split})", UNKNOWN, UNKNOWN, UNKNOWN, str(report.verdict), date)]


def measured_table(section: Section, records: Mapping[str, Record]) -> str:
    """Reported and measured side by side; a model without a record is `missing`, never a pass."""
    rows = [
        (f"`{model.id}`", *row)
        for model in section.models
        for row in measured_rows(model, records.get(model.id))
    ]
    return markdown_table(HEADERS, rows, [False, False, True, True, True, False, False])


def measured_tables(
    sections: Sequence[Section], root: Path, on_error: Callable[[IntegrityError], None] | None = None
) -> str:
    """Measured tables of several sections, each under its zoo and task; see `latest_records`."""
    records = latest_records(root, sections, on_error)
    blocks = []
    for section in sections:
        done = sum(1 for m in section.models if m.id in records)
        title = link(section.zoo.title, section.page) + synthetic_mark(section.zoo)
        blocks.append(
            f"**{title}**, `{section.zoo.id}`, `{section.task}`, {done} of {len(section.models)} measured\n\n"
            + measured_table(section, records)
        )
    return "\n\n".join(blocks)


def step_of(reported: Decimal | None) -> Decimal:
    """One unit of the last digit that was printed; a hundredth where nothing was."""
    places = reported.as_tuple().exponent if reported is not None else -2
    return Decimal(1).scaleb(places if isinstance(places, int) else -2)


def rounded(value: float, step: Decimal) -> str:
    """The value to whole steps, as text."""
    return str(Decimal(repr(value)).quantize(step, ROUND_HALF_EVEN))


def signed(value: float, step: Decimal) -> str:
    """A difference to whole steps, with its sign; a difference that rounds to nothing has none."""
    rounded = Decimal(repr(value)).quantize(step, ROUND_HALF_EVEN)
    return f"{rounded + 0:+}" if rounded else str(abs(rounded))
