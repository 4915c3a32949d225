"""Tables that put what was measured beside what is reported."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from bddzoo.registry.types import Model, Section
from bddzoo.reports.tables import UNKNOWN, link, reported_on, synthetic_mark
from bddzoo.reports.text import markdown_table

if TYPE_CHECKING:
    from bddzoo.errors import IntegrityError
    from bddzoo.results import Record

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
