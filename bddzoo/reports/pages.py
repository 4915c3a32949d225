"""A full page of a zoo's models of one task: methods, papers, authors, and all links."""

from __future__ import annotations

from collections.abc import Iterator

from bddzoo.registry.model import Column, Fills, Method, Model, Section
from bddzoo.reports.tables import (
    UNKNOWN,
    config_page,
    link,
    number_text,
    params_text,
    reason_text,
    url_of,
)
from bddzoo.reports.text import markdown_table
from bddzoo.text import number_of


def render_page(section: Section) -> str:
    """The page's text; headings start at level 2, because the page's title is written by hand."""
    return "\n\n".join(_blocks(section))


def _blocks(section: Section) -> Iterator[str]:
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
        yield from _about(method)
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


def _about(method: Method) -> Iterator[str]:
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
            _files(m) or UNKNOWN,
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


def _files(model: Model) -> str:
    links = []
    for artifact in model.artifacts:
        url = url_of(artifact)
        if url and artifact.kind != "config":
            links.append(link(artifact.kind, url))
        if artifact.digest_url:
            links.append(link("md5", artifact.digest_url))
    return " · ".join(links)


def _fills(model: Model, row: Fills) -> str:
    differs = "".join(f"; {text}" for text in row.differs)
    how = f"would fill `{row.model}`, but" + differs[1:] if differs else f"fills `{row.model}`"
    return f"- `{model.id}` {how}."


def _elsewhere(model: Model, other: object) -> str:
    from bddzoo.registry.model import Elsewhere

    assert isinstance(other, Elsewhere)
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
