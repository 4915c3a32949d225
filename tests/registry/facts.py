"""Expected rows and networks, taken from the zoos' documents and configs."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from msgspec import structs

from bddzoo.registry.markdown.parse import Document, Heading, row_of
from bddzoo.registry.model import Method, Section, TableStyle

DATA = Path(__file__).resolve().parents[1] / "data" / "registry"
PUBLISHED = ("bdd100k-models", "vis4d", "openseg.pytorch")


def rows() -> list[tuple[str, str, str, str, dict[str, Any]]]:
    return [tuple(row) for row in json.loads((DATA / "rows.json").read_text(encoding="utf-8"))]


def networks() -> dict[str, dict[str, Any]]:
    return {n["id"]: n for n in json.loads((DATA / "networks.json").read_text(encoding="utf-8"))}


def tables(zoo: str, task: str) -> list[list[str]]:
    """The lines of a document's tables, one list a table."""
    return [lines for _, lines in headed_tables(zoo, task)]


def headed_tables(zoo: str, task: str) -> list[tuple[str, list[str]]]:
    """The same with the heading of each, where the file has headings."""
    path = DATA / f"{zoo}-{task}.tables.md"
    data = path.read_bytes() if path.is_file() else gzip.decompress(path.with_suffix(".md.gz").read_bytes())
    blocks = [block.split("\n") for block in data.decode().rstrip("\n").split("\n\n")]
    return [("", b) if b[0].startswith("|") else (b[0].removeprefix("### "), b[1:]) for b in blocks]


def document_of(section: Section) -> Document:
    """What the section's document says, from the registry."""
    return Document(tuple(_heading(section, m) for m in section.methods), section.layout)


def _heading(section: Section, method: Method) -> Heading:
    style = section.styles[method.table]
    models = section.models_of(method)
    # Only the oddities that a row of this table shows can be read off it.
    ids = {m.id for m in models}
    shown = {k: v for k, v in style.row_tails.items() if k in ids}
    unless = {
        k: v for k, v in style.pad_unless.items() if style.pad and any(m.settings.get(k) == v for m in models)
    }
    return Heading(
        name=method.name,
        style=TableStyle(**{**structs.asdict(style), "row_tails": shown, "pad_unless": unless}),
        rows=tuple(row_of(m, style) for m in models),
        caption=method.caption,
        paper=method.paper,
        venue=method.venue,
        authors=method.authors,
        code=method.code,
    )
