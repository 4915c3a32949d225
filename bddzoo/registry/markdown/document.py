"""What a zoo's document says, as data: the common ground of import and round-trip checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from bddzoo.registry.model import Artifact, Link, Method, Model, Person, Section, TableStyle

DIGEST_LINK = "weights.md5"


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        id: The model's id.
        backbone: Text of the backbone's cell.
        settings: The other plain columns, as printed.
        numbers: `(split, metric)` to value; None where the cell holds none.
        links: Artifact kind (or `weights.md5`) to the printed target; empty for a link to nowhere.
        line: Line of the document that the row was read from; 0 for a row of the registry.
    """

    id: str
    backbone: str
    settings: Mapping[str, str]
    numbers: Mapping[tuple[str, str], Decimal | None]
    links: Mapping[str, str]
    line: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Heading:
    """One heading with its paper and table."""

    name: str
    style: TableStyle
    rows: tuple[Row, ...]
    caption: str | None = None
    paper: Link | None = None
    venue: str | None = None
    authors: tuple[Person, ...] = ()
    code: Link | None = None


@dataclass(frozen=True)
class Document:
    """All headings of a document that have a table."""

    headings: tuple[Heading, ...]
    layout: str = "headings"
    warnings: tuple[str, ...] = field(default=(), compare=False)


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
        style=TableStyle(**{**vars(style), "row_tails": shown, "pad_unless": unless}),
        rows=tuple(_row(m, style) for m in models),
        caption=method.caption,
        paper=method.paper,
        venue=method.venue,
        authors=method.authors,
        code=method.code,
    )


def _row(model: Model, style: TableStyle) -> Row:
    by_kind: dict[str, Artifact] = {a.kind: a for a in model.artifacts}
    links: dict[str, str] = {}
    for column in style.columns:
        for target in column.links.values():
            kind = target.removesuffix(".md5")
            artifact = by_kind.get(kind)
            if artifact is None:
                continue
            if target == DIGEST_LINK:
                if artifact.digest_url:
                    links[target] = artifact.digest_url
            else:
                links[target] = artifact.printed or (artifact.sources[0] if artifact.sources else "")
    return Row(
        id=model.id,
        backbone=model.backbone,
        settings=dict(model.settings),
        numbers={(r.split, r.metric): r.value for r in model.reported},
        links=links,
    )
