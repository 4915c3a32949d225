"""What a zoo's document says, and the pieces of Markdown it is read from: tables, links, author lines.

A line may be as long as the file. No pattern tries the same characters again from each place: where a match
begins is one character or one word, and what it runs over can't begin another.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from bddzoo.registry.model import Artifact, Link, Model, Person, TableStyle
from bddzoo.text import fenced

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


# A cell ends at a bar that no backslash precedes.
_BAR = re.compile(r"(?<!\\)\|")
LINK = re.compile(r"(?<!\\)\[((?:[^\[\]\\]|\\.)*)\]\(([^()\s]*(?:\([^()\s]*\)[^()\s]*)*)\)")
_RULE = re.compile(r"^\|(\s*:?-+:?\s*\|)+\s*$")
_HEADING = re.compile(r"(#{1,6})\s+(.*)")
_ITEM = re.compile(r"[-*]\s+([^\s()\[\]][^()\[\]]*)(?:(?<=\s)\((.+)\))?")
_PAPER = re.compile(r"^\[((?:[^\[\]\\]|\\.)+)\]\((\S+)\)(?:\s+\[([^\[\]]+)\])?\s*$")
_CODE = re.compile(r"\[\[([^\[\]]+)\]\(([^\s\[]+?)\)\]")


@dataclass(frozen=True)
class Cell:
    """A table cell: text without the spaces around it, their number, and the links in it."""

    text: str
    before: int
    after: int
    links: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Table:
    """A pipe table, spaces kept.

    Attributes:
        line: 1-based line of the header.
        header: Cells of the header.
        header_tail: Spaces after the header's last bar.
        rule: Cells of the separator as they stand.
        rows: Cells by row.
        tails: Spaces after each row's last bar.
        lines: 1-based line of each row.
    """

    line: int
    header: tuple[Cell, ...]
    header_tail: int
    rule: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    tails: tuple[int, ...]
    lines: tuple[int, ...]


@dataclass
class Block:
    """A heading or list item, the lines under it and its table."""

    name: str
    level: int
    caption: str | None
    lines: list[str]
    table: Table | None = None


def split_row(line: str) -> tuple[list[str], int] | None:
    """Raw cells of a table line and the number of spaces after its last bar; None if it is none."""
    body = line.rstrip(" ")
    if not body.startswith("|") or not body.endswith("|") or len(body) < 2 or body.endswith("\\|"):
        return None
    return _BAR.split(body[1:-1]), len(line) - len(body)


def cell(raw: str) -> Cell:
    """A raw cell taken apart; an empty one counts one space on either side where there are two."""
    text = raw.strip(" ")
    if not text:
        return Cell("", len(raw) - len(raw) // 2, len(raw) // 2, ())
    before = len(raw) - len(raw.lstrip(" "))
    return Cell(text, before, len(raw) - len(raw.rstrip(" ")), tuple(LINK.findall(text)))


def blocks(text: str) -> Iterator[Block]:
    """Headings and list items that have a table under them, in order."""
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    current: Block | None = None
    parent: Block | None = None
    code = list(fenced(lines))
    index = 0
    while index < len(lines):
        line = lines[index]
        if not code[index]:
            table, end = _table(lines, index)
            if table is not None:
                if current is None:
                    current = Block("", 0, None, [])
                current.table = table
                index = end
                continue
            if heading := _HEADING.match(line):
                title = heading[2].rstrip().rstrip("#").rstrip()
                if current is not None and current.table is not None:
                    yield current
                    current = None
                level = len(heading[1])
                # `#### Results` under a method's heading belongs to the method.
                inside = current is not None and level > current.level and current.caption is None
                if not (inside and title == "Results"):
                    current = parent = Block(title, level, None, [])
            elif (item := _ITEM.fullmatch(line.rstrip())) and index + 1 < len(lines):
                if current is not None and current.table is not None:
                    yield current
                if _table_follows(lines, index + 1):
                    current = Block(item[1].rstrip(), 7, item[2] or "", [])
                elif current is not None and current.table is not None:
                    current = parent
            elif current is not None:
                current.lines.append(line)
        index += 1
    if current is not None and current.table is not None:
        yield current


def _table_follows(lines: list[str], index: int) -> bool:
    while index < len(lines) and not lines[index].strip():
        index += 1
    return (
        index + 1 < len(lines) and split_row(lines[index]) is not None and bool(_RULE.match(lines[index + 1]))
    )


def _table(lines: list[str], index: int) -> tuple[Table | None, int]:
    if index + 1 >= len(lines) or not _RULE.match(lines[index + 1]):
        return None, index
    header = split_row(lines[index])
    rule = split_row(lines[index + 1])
    if header is None or rule is None or len(header[0]) != len(rule[0]):
        return None, index
    rows, tails, numbers = [], [], []
    end = index + 2
    while end < len(lines) and (row := split_row(lines[end])) is not None:
        rows.append(tuple(cell(c) for c in row[0]))
        tails.append(row[1])
        numbers.append(end + 1)
        end += 1
    heads = tuple(cell(c) for c in header[0])
    table = Table(index + 1, heads, header[1], tuple(rule[0]), tuple(rows), tuple(tails), tuple(numbers))
    return table, end


def paper_of(lines: list[str]) -> tuple[Link | None, str | None]:
    """Paper and venue from the first line that is nothing but a link."""
    for line in lines:
        if match := _PAPER.match(line):
            return Link(match[1], match[2]), match[3]
    return None, None


def authors_of(lines: list[str]) -> tuple[Person, ...]:
    """People of the line that starts with `Authors:`."""
    for line in lines:
        if line.startswith("Authors:"):
            return tuple(_people(line[len("Authors:") :].strip()))
    return ()


def _people(text: str) -> Iterator[Person]:
    position = 0
    while position < len(text):
        match = LINK.match(text, position)
        if match:
            yield _person(match[1], match[2] or None)
            position = match.end()
        else:
            comma = text.find(",", position)
            end = comma if comma >= 0 else len(text)
            if name := text[position:end].strip():
                yield _person(name, None)
            position = end
        while position < len(text) and text[position] in ", ":
            position += 1


def _person(name: str, url: str | None) -> Person:
    plain = name.replace("\\*", "*")
    mark = plain[len(plain.rstrip("*")) :]
    return Person(plain[: len(plain) - len(mark)], url, mark)


def code_of(lines: list[str]) -> Link | None:
    """The first `[[Title](url)]` that leads out of the document."""
    for line in lines:
        for title, url in _CODE.findall(line):
            if not url.startswith("#"):
                return Link(title, url)
    return None
