"""Markdown of the registry's facts in our own style, with absolute and pinned links.

Compact tables, tables of what was measured next to what is reported, full pages of a zoo's task, hosts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bddzoo.artifacts.probe import History, urls_of
from bddzoo.registry.model import Column, Elsewhere, Fills, Method, Model, Section
from bddzoo.reports.facts import (
    UNKNOWN,
    Number,
    config_page,
    judged_number,
    number_text,
    params_text,
    settings_text,
    synthetic_mark,
    url_of,
)
from bddzoo.text import markdown_table, number_of

if TYPE_CHECKING:
    from bddzoo.errors import IntegrityError
    from bddzoo.results import Record
    from bddzoo.results.speed import SpeedRecord

# Newest record of speed by setting and model.
Speeds = Mapping[str, Mapping[str, "SpeedRecord"]]


def link(text: str, url: str | None) -> str:
    """A Markdown link, or the plain text where there is nothing to link."""
    if not url:
        return text
    return f"[{text}]({url.replace(' ', '%20').replace('(', '%28').replace(')', '%29')})"


def compact_table(section: Section, speeds: Speeds | None = None) -> str:
    """One table for a whole section: a row per model, its settings in one cell.

    Args:
        section: Which models, and which numbers they report.
        speeds: Measured speeds, see `bddzoo.results.speed.newest_speeds`; two columns for each setting.
    """
    metrics = metric_columns(section)
    numbers = [f"{metric} {split}" for split, metric in metrics]
    settings = speeds or {}
    timed = [f"{unit}, {setting}" for setting in settings for unit in ("ms", "images/s")]
    headers = ["Method", "Model", "Backbone", "Settings", *numbers, "Params", *timed]
    headers += ["Files", "Cannot be built"]
    rows = [
        [
            model.method.name,
            link(f"`{model.id}`", config_page(model)),
            model.backbone,
            settings_text(model),
            *[number_text(model, split, metric) for split, metric in metrics],
            params_text(model),
            *[text for found in settings.values() for text in speed_texts(found.get(model.id))],
            files_text(model, ("weights",)),
            reason_text(model),
        ]
        for model in section.models
    ]
    right = [False] * 4 + [True] * (len(metrics) + 1 + len(timed)) + [False, False]
    return _without_empty(headers, rows, right)


def section_tables(sections: Sequence[Section], speeds: Speeds | None = None) -> str:
    """Compact tables of several sections, each under its zoo and task."""
    blocks = []
    for section in sections:
        zoo = section.zoo
        name = link(zoo.title, section.page) + synthetic_mark(zoo)
        blocks.append(
            f"**{name}**, `{zoo.id}`, `{section.task}`, {number_of(len(section.models), 'model')}\n\n"
            + compact_table(section, speeds=speeds)
        )
    return "\n\n".join(blocks)


def speed_texts(record: SpeedRecord | None) -> tuple[str, str]:
    """Milliseconds of one image and images a second, or dashes."""
    timing = record.timing() if record else None
    if timing is None:
        return UNKNOWN, UNKNOWN
    return f"{timing.median_ms:.4g}", f"{timing.images_per_s:.3g}"


def metric_columns(*sections: Section) -> list[tuple[str, str]]:
    """Split and metric of every number that some table of the sections has a column for, val first."""
    found: dict[tuple[str, str], None] = {}
    for section in sections:
        for style in section.styles.values():
            found.update({c.metric: None for c in style.columns if c.metric is not None})
        for model in section.models:
            found.update({(r.split, r.metric): None for r in model.reported})
    order = {"val": 0, "test": 1, "train": 2}
    return sorted(found, key=lambda key: order.get(key[0], 3))


def reason_text(model: Model) -> str:
    """The code of why a row's network cannot be built, or nothing."""
    return f"`{model.not_buildable.reason}`" if model.not_buildable else ""


def files_text(model: Model, kinds: Collection[str] | None = None) -> str:
    """Links to the files of these kinds that have one; None for all kinds but configs."""
    links = []
    for artifact in model.artifacts:
        if kinds is not None and artifact.kind not in kinds:
            continue
        url = url_of(artifact)
        if url and (kinds or artifact.kind != "config"):
            links.append(link(artifact.kind, url))
        if artifact.digest_url:
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


HEADERS = ("Model", "Metric", "Reported", "Measured", "Difference", "Verdict", "Date")


def latest_records(
    root: Path, sections: Sequence[Section], on_error: Callable[[IntegrityError], None]
) -> dict[str, Record]:
    """Model id to the record that speaks for it: the newest comparable one, else the newest.

    Args:
        root: Results folder.
        sections: Sections whose models are looked for.
        on_error: Called with what is wrong with a damaged record; see `bddzoo.results.scan_records`.
    """
    from bddzoo.results import best_record, scan_records

    found: dict[str, Record] = {}
    for section in sections:
        records: dict[str, list[Record]] = {}
        for stored in scan_records(root, zoo=section.zoo.id, task=section.task, on_error=on_error):
            records.setdefault(stored.record.model, []).append(stored.record)
        for model in section.models:
            best = best_record(model, records.get(model.id, ()))
            if best is not None:
                found[model.id] = best
    return found


def measured_rows(model: Model, record: Record | None) -> Sequence[tuple[str, ...]]:
    """One row per number that the zoo reports on the record's split (val where there is no record)."""
    from bddzoo.results import judge
    from bddzoo.results.verdict import Verdict, describe_scope, reported_on

    if record is None:
        numbers = [Number(r.metric, "val", str(r.value)) for r in reported_on(model, "val")]
        date = UNKNOWN
    else:
        report = judge(model, record)
        numbers = [judged_number(entry, report.split) for entry in report.metrics]
        date = record.run.started[:10]
        if report.not_compared:  # what was not compared matters to whoever reads that it is reproduced
            sure, scope = str(Verdict.REPRODUCED), describe_scope((), report.not_compared)
            numbers = [replace(n, verdict=f"{sure} ({scope})") if n.verdict == sure else n for n in numbers]
        if not numbers:
            return [(f"({report.split})", UNKNOWN, UNKNOWN, UNKNOWN, str(report.verdict), date)]
    return [(f"{n.metric}-{n.split}", n.reported, n.measured, n.difference, n.verdict, date) for n in numbers]


def measured_table(section: Section, records: Mapping[str, Record]) -> str:
    """Reported and measured side by side; a model without a record is `missing`, never a pass."""
    rows = [
        (f"`{model.id}`", *row)
        for model in section.models
        for row in measured_rows(model, records.get(model.id))
    ]
    return markdown_table(HEADERS, rows, [False, False, True, True, True, False, False])


def measured_tables(
    sections: Sequence[Section], root: Path, on_error: Callable[[IntegrityError], None]
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


HOST_HEADERS = ("Host", "Files", "State", "Last seen alive", "Probed")


def host_rows(history: History, models: Iterable[Model]) -> list[tuple[str, str, str, str, str]]:
    """Every host that the registry's files are on, and what is known of it; see `HOST_HEADERS`."""
    counts: dict[str, int] = {}
    for url in urls_of(models):
        host = urlsplit(url).netloc
        counts[host] = counts.get(host, 0) + 1
    rows = []
    for host in sorted(counts, key=lambda h: (-counts[h], h)):
        seen = history.hosts.get(host)
        if seen is None:
            rows.append((host, str(counts[host]), "not probed yet", UNKNOWN, UNKNOWN))
            continue
        state = "dead" if seen.alive == 0 else ("alive" if seen.alive == seen.files else "partly alive")
        text = f"{state}, {seen.alive} of {seen.files}" + (f" ({seen.note})" if seen.note else "")
        rows.append((host, str(counts[host]), text, seen.last_seen or UNKNOWN, seen.probed))
    return rows


def hosts_table(history: History, models: Iterable[Model]) -> str:
    """`host_rows` as Markdown."""
    rows = [(f"`{host}`", *rest) for host, *rest in host_rows(history, models)]
    return markdown_table(HOST_HEADERS, rows, [False, True, False, False, False])


def render_page(section: Section) -> str:
    """The page's text; headings start at level 2, because the page's title is written by hand."""
    return "\n\n".join(_page_blocks(section))


def _page_blocks(section: Section) -> Iterator[str]:
    zoo = section.zoo
    source = f"Source: {link('the zoo’s own page', section.page)} of {link(zoo.title, zoo.url)}"
    if zoo.commit and zoo.url:
        source += f", repository at {link(zoo.commit, f'{zoo.url}/tree/{zoo.commit}')}"
    facts = [
        source,
        f"Licence of the repository: {zoo.licence or 'unknown'}. "
        f"Licence of the weights: {zoo.weights_licence or 'unknown'}.",
        f"{number_of(len(section.models), 'model')} under {number_of(len(section.methods), 'heading')}; "
        f"{UNKNOWN} stands for unknown.",
    ]
    if zoo.synthetic:
        facts.insert(0, "These models are synthetic: made by this project to show the main job.")
    yield "\n".join(f"- {text}" for text in [*facts, *zoo.notes, *section.notes])
    for method in section.methods:
        yield f"## {method.name}"
        yield from _about_method(method)
        yield method_table(section, method)
        models_of = section.models_of(method)
        notes = [(m, n) for m in models_of for n in m.notes]
        if notes:
            yield "\n".join(f"- `{model.id}`: {_sentence(note)}" for model, note in notes)
        reasons = {m.not_buildable.reason: m.not_buildable.text for m in models_of if m.not_buildable}
        if reasons:
            yield "\n".join(f"- `{code}`: {_sentence(text)}" for code, text in reasons.items())
        filled = [(m, m.fills) for m in models_of if m.fills]
        if filled:
            yield "\n".join(_fills(model, row) for model, row in filled)
        others = [(m, e) for m in section.models_of(method) for e in m.elsewhere]
        if others:
            yield "Published elsewhere, and not part of the row:"
            yield "\n".join(_elsewhere(model, other) for model, other in others)


def _about_method(method: Method) -> Iterator[str]:
    if method.caption:
        yield f"{method.caption[0].upper()}{method.caption[1:]}."
    lines = []
    if method.paper is not None:
        venue = f" ({method.venue})" if method.venue else ""
        lines.append(f"- Paper: {link(method.paper.title, method.paper.url)}{venue}")
    if method.authors:
        people = ", ".join(link(a.name, a.url) + a.mark.replace("*", "\\*") for a in method.authors)
        lines.append(f"- Authors: {people}")
    if method.code is not None and method.code.url:
        lines.append(f"- Code: <{method.code.url}>")
    lines += [f"- Note: {_sentence(note)}" for note in method.notes]
    if lines:
        yield "\n".join(lines)


def method_table(section: Section, method: Method) -> str:
    """One heading's table with the zoo's columns, the id first and every link absolute."""
    models = section.models_of(method)
    style = section.styles.get(method.table)
    if style is None:
        settings = dict.fromkeys(name for m in models for name in m.settings)
        metrics = dict.fromkeys((r.split, r.metric) for m in models for r in m.reported)
        columns = [Column("Backbone", "backbone")]
        columns += [Column(name) for name in settings]
        columns += [Column(f"{metric}-{split}", "metric", (split, metric)) for split, metric in metrics]
    else:
        columns = [c for c in style.columns if c.kind != "links"]
    headers = ["Model", *[" ".join(c.name.split()) for c in columns], "Params", "Files"]
    rows = [
        [
            link(f"`{m.id}`", config_page(m)),
            *[_cell(m, c) for c in columns],
            params_text(m),
            files_text(m) or UNKNOWN,
        ]
        for m in models
    ]
    right = [False, *[c.kind == "metric" for c in columns], True, False]
    if any(m.not_buildable for m in models):
        headers.append("Cannot be built")
        rows = [[*row, reason_text(m)] for m, row in zip(models, rows, strict=True)]
        right.append(False)
    return markdown_table(headers, rows, right)


def _cell(model: Model, column: Column) -> str:
    if column.kind == "backbone":
        return model.backbone
    if column.metric is not None:
        return number_text(model, *column.metric)
    text = model.settings.get(column.name, "")
    return UNKNOWN if text == "-" else text.replace(" * ", " × ")


def _fills(model: Model, row: Fills) -> str:
    differs = "".join(f"; {text}" for text in row.differs)
    how = f"would fill `{row.model}`, but" + differs[1:] if differs else f"fills `{row.model}`"
    return f"- `{model.id}` {how}."


def _elsewhere(model: Model, other: Elsewhere) -> str:
    numbers = ", ".join(f"{r.metric}-{r.split} {r.value}" for r in other.reported)
    text = f"- `{model.id}`: {numbers}, {link(other.source, other.url)}"
    text += f" ({other.date})" if other.date else ""
    if other.protocol_differs:
        text += f"; protocol differs: {other.protocol_differs}"
    if other.weights:
        text += f"; {link('weights', other.weights)}"
    return text + (f". {_sentence(other.note)}" if other.note else ".")


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else text + "."
