"""What a zoo's document says, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from bddzoo.registry.model import Artifact, Link, Model, Person, TableStyle

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
        line: Line of the document that the row was read from; 0 when it was not read from one.
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


def row_of(model: Model, style: TableStyle) -> Row:
    """The row of a model in a table of that style, from the registry."""
    by_kind: dict[str, Artifact] = {a.kind: a for a in model.artifacts}
    links: dict[str, str] = {}
    for column in style.columns:
        for target in column.links.values():
            artifact = by_kind.get(target.removesuffix(".md5"))
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
