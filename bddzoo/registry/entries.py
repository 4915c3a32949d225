"""Imported documents as the registry entries that they stand for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin

from bddzoo.errors import UsageError
from bddzoo.registry.catalog import Registry, load_text
from bddzoo.registry.edit import emit, emit_items
from bddzoo.registry.markdown.parse import DIGEST_LINK, Document, Heading, Row
from bddzoo.registry.model import Column, Person, TableStyle
from bddzoo.registry.parts import KINDS
from bddzoo.registry.problems import MAX_SHOWN, RegistryError

_SUFFIX = {"weights": ".pth", "config": ".py", "visuals": ".zip", "masks": ".zip"}


def entries_yaml(document: Document, zoo: str, title: str, task: str, page: str | None) -> str:
    """A whole registry that holds nothing but the document; `load_text` reads it."""
    lines = ["schema: 1", ""]
    papers = _papers(document)
    if papers:
        lines.append("papers:")
        for name, paper in papers.items():
            lines.append(f"  {name}:")
            for key, value in paper.items():
                emit(lines, 4, key, value)
        lines.append("")
    lines.append("zoos:")
    section = _section(document, task, page, papers)
    methods = section.pop("methods")
    emit_items(lines, 0, [{"id": zoo, "title": title}])
    lines += ["  tasks:", f"    {task}:"]
    for key, value in section.items():
        emit(lines, 6, key, value)
    lines.append("      methods:")
    for method in methods:
        models = method.pop("models")
        lines.append("")
        emit_items(lines, 6, [method])
        lines.append("        models:" if models else "        models: []")
        emit_items(lines, 8, models)
    return "\n".join(lines) + "\n"


def load_entries(text: str, document: Document, name: str) -> Registry:
    """The registry that `entries_yaml` wrote.

    Args:
        text: What it wrote.
        document: What it was written from.
        name: Name of the imported document.

    Raises:
        UsageError: It does not follow the schema; names the document's lines, not those of `text`, which
            the user never sees.
    """
    try:
        return load_text(text, name)
    except RegistryError as error:
        at = {row.id: row.line for heading in document.headings for row in heading.rows}
        lines = []
        for problem in error.problems[:MAX_SHOWN]:
            where = f"{name}:{at[problem.model]}" if problem.model in at else name
            words = [where, problem.model, problem.field, problem.message]
            lines.append(": ".join(" ".join(word.split()) for word in words if word))
        raise UsageError("\n".join(lines)) from None


def _papers(document: Document) -> dict[str, dict[str, Any]]:
    papers: dict[str, dict[str, Any]] = {}
    for heading in document.headings:
        if heading.paper is not None:
            paper = {"title": heading.paper.title, "url": heading.paper.url, "venue": heading.venue}
            paper["authors"] = [author_text(a) for a in heading.authors]  # type: ignore[assignment]
            papers[paper_id(heading.name)] = {k: v for k, v in paper.items() if v}
    return papers


def paper_id(name: str) -> str:
    """A name for a heading's paper: `Deeplabv3+` becomes `deeplabv3plus`."""
    text = name.lower().replace("+", "plus")
    return "-".join("".join(c if c.isascii() and c.isalnum() else " " for c in text).split()) or "paper"


def author_text(person: Person) -> str:
    """`Name` or `Name <URL>`, as the registry writes people."""
    return person.name + person.mark + (f" <{person.url}>" if person.url else "")


def _section(document: Document, task: str, page: str | None, papers: Mapping[str, Any]) -> dict[str, Any]:
    templates = _templates(document, page)
    section: dict[str, Any] = {"page": page} if page else {}
    if document.layout != "headings":
        section["layout"] = document.layout
    if templates:
        section["artifacts"] = templates
    columns = {c.name: c for h in document.headings for c in h.style.columns}
    section["columns"] = {name: _column(c) for name, c in columns.items() if c.kind != "setting"}
    styles = _styles(document)
    section["tables"] = {name: _style(style) for name, style in styles.items()}
    section["methods"] = [_method(h, styles, templates, page) for h in document.headings]
    return section


def _styles(document: Document) -> dict[str, TableStyle]:
    """Different styles by name, the most frequent one first as `default`."""
    groups: list[tuple[TableStyle, int]] = []
    for heading in document.headings:
        for index, (style, number) in enumerate(groups):
            if style == heading.style:
                groups[index] = (style, number + 1)
                break
        else:
            groups.append((heading.style, 1))
    groups.sort(key=lambda g: -g[1])
    return {"default" if i == 0 else f"style{i + 1}": style for i, (style, _) in enumerate(groups)}


def _column(column: Column) -> dict[str, Any]:
    if column.kind == "backbone":
        return {"backbone": True}
    return {"metric": list(column.metric)} if column.metric else {"links": dict(column.links)}


def _style(style: TableStyle) -> dict[str, Any]:
    text: dict[str, Any] = {"columns": [c.name for c in style.columns]}
    for key in (
        "missing",
        "missing_by_column",
        "escape",
        "centred",
        "header_tail",
        "pad_unless",
        "row_tails",
    ):
        if value := getattr(style, key):
            text[key] = dict(value) if isinstance(value, Mapping) else value
    for key in ("pad", "header_pad"):
        if value := getattr(style, key):
            text[key] = {name: list(spaces) for name, spaces in value.items()}
    if style.empty_links:
        text["empty_links"] = [c.name for c in style.columns if c.name in style.empty_links]
    if style.separator != (" :-: ",):
        text["separator"] = list(style.separator)
    return text


def _method(
    heading: Heading,
    styles: Mapping[str, TableStyle],
    templates: Mapping[str, Mapping[str, Any]],
    page: str | None,
) -> dict[str, Any]:
    name = next(n for n, style in styles.items() if style == heading.style)
    method: dict[str, Any] = {"name": heading.name}
    if heading.paper is not None:
        method["paper"] = paper_id(heading.name)
    if heading.code is not None:
        method["code"] = heading.code.url
    if name != "default":
        method["table"] = name
    if heading.caption:
        method["caption"] = heading.caption
    method["models"] = [_model(row, heading.style, templates, page) for row in heading.rows]
    return method


def _model(
    row: Row, style: TableStyle, templates: Mapping[str, Mapping[str, Any]], page: str | None
) -> dict[str, Any]:
    model: dict[str, Any] = {"id": row.id, "backbone": row.backbone}
    settings = {
        k: int(v) if v.isdigit() and str(int(v)) == v else v
        for k, v in row.settings.items()
        if v != style.missing_by_column.get(k, style.missing)
    }
    if settings:
        model["settings"] = settings
    reported: dict[str, dict[str, Any]] = {}
    for (split, metric), value in row.numbers.items():
        if value is not None:
            reported.setdefault(split, {})[metric] = value
    if reported:
        model["reported"] = reported
    files = {k: v for k in KINDS if (v := _artifact(row, k, templates.get(k), page)) is not None}
    if files:
        model["artifacts"] = files
    return model


def _artifact(row: Row, kind: str, template: Mapping[str, Any] | None, page: str | None) -> Any:
    """Where a row differs from its task's template; None where it does not."""
    if template is None:
        return None
    optional = template.get("optional", False)
    if kind not in row.links:
        return None if optional else False
    usual = {k: v.replace("{id}", row.id) for k, v in template.items() if isinstance(v, str)}
    own = _fields(row, kind, page)
    if all(usual.get(k) == own.get(k) for k in ("url", "page", "printed", "md5")):
        return True if optional else None
    entry: dict[str, Any] = {"sources": [own["url"]] if "url" in own else []}
    entry.update({k: own[k] for k in ("page", "printed", "md5") if k in own})
    return entry


def _fields(row: Row, kind: str, page: str | None) -> dict[str, str]:
    fields: dict[str, str] = {}
    target = row.links[kind]
    if target.startswith(("http://", "https://")):
        fields["url"] = target
    elif target:
        fields |= _resolved(target, page) if page else {}
        fields["printed"] = target
    if kind == "weights" and row.links.get(DIGEST_LINK):
        fields["md5"] = row.links[DIGEST_LINK]
    return fields


def _pattern(text: str, model: str) -> str:
    """A link with `{id}` in place of the model's id, where that is a word of its own."""
    return re.sub(rf"(?<![A-Za-z0-9_]){re.escape(model)}(?![A-Za-z0-9])", "{id}", text)


# A file of a repository is shown on one page and downloaded from another.
_ON_GITHUB = re.compile(r"https://github\.com/([^/]+/[^/]+)/(?:blob|tree)/(.+)")


def _resolved(target: str, page: str) -> dict[str, str]:
    """Where a link that is relative to the document's page leads, and where its file is downloaded."""
    folder = page if "/tree/" not in page or page.endswith("/") else page + "/"
    url = urljoin(folder, target).replace("/tree/", "/blob/", 1)
    found = _ON_GITHUB.fullmatch(url)
    if found is None:
        return {"url": url}
    return {"url": f"https://raw.githubusercontent.com/{found[1]}/{found[2]}", "page": url}


def _templates(document: Document, page: str | None) -> dict[str, dict[str, Any]]:
    """For each kind of file the pattern that most rows follow."""
    rows = [row for heading in document.headings for row in heading.rows]
    templates: dict[str, dict[str, Any]] = {}
    for kind in KINDS:
        having = [row for row in rows if kind in row.links]
        if not having:
            continue
        patterns = Counter(
            tuple((k, _pattern(v, row.id)) for k, v in _fields(row, kind, page).items()) for row in having
        )
        usual = dict(patterns.most_common(1)[0][0])
        target = usual.get("url") or usual.get("printed") or ""
        name = target.rpartition("/")[2]
        template: dict[str, Any] = {"name": name if "{id}" in name else "{id}" + _SUFFIX.get(kind, ".json")}
        template.update(usual)
        if len(having) < len(rows) - len(having) or (kind == "masks" and len(having) < len(rows)):
            template["optional"] = True
        templates[kind] = template
    return templates
