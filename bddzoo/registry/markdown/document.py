"""What a zoo's document says, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from bddzoo.registry.model import Link, Person, TableStyle

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
