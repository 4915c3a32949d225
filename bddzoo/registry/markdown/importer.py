"""Read a zoo's Markdown document back into facts and a table style."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import PurePosixPath

from bddzoo.errors import UsageError
from bddzoo.registry.markdown.parse import (
    DIGEST_LINK,
    Block,
    Cell,
    Document,
    Heading,
    Row,
    Table,
    authors_of,
    blocks,
    code_of,
    paper_of,
)
from bddzoo.registry.model import Column, TableStyle
from bddzoo.registry.tasks import COLUMNS, COUNTS
from bddzoo.text import printable, well_encoded

_BACKBONES = ("backbone", "base network", "detector")
_LINK_KINDS = {
    "model": "weights",
    "weights": "weights",
    "md5": DIGEST_LINK,
    "config": "config",
    "preds": "preds",
    "masks": "masks",
    "visuals": "visuals",
}
# The split of a column before its metric, or behind it.
_BEFORE = re.compile(r"(train|val|test)[.\s-]+(\S.*)")
_BEHIND = re.compile(r"[\s-](train|val|test)$")
_PLAIN_PAD = (1, 1)


def import_markdown(text: str, name: str) -> Document:
    """The headings, rows and table styles of a document.

    Args:
        text: Markdown.
        name: What to call the document in errors.

    Raises:
        UsageError: No table, a row with too few or too many cells, a value that is not a number, or
            spaces that no table style can describe; names the line.
    """
    found = [b for b in blocks(text) if b.table is not None]
    if not found:
        raise UsageError(f"{name}: no table found", hint="results are read from Markdown tables with bars")
    for block in found:
        _check_width(block, name)
    columns = _columns(found)
    warnings: list[str] = []
    headings = tuple(_heading(b, columns, name) for b in found)
    for block, heading in zip(found, headings, strict=True):
        warnings += _mis_encoded(heading, f"{name}:{block.table.line if block.table else 1}")
        warnings += _reprinted(block, heading, name)
    layout = "list" if all(b.caption is not None for b in found) else "headings"
    seen = Counter(row.id for heading in headings for row in heading.rows)
    doubled = [i for i, n in seen.items() if n > 1]
    if doubled:
        raise UsageError(f"{name}: several rows make the id {doubled[0]}")
    return Document(headings, layout, tuple(warnings))


def _check_width(block: Block, name: str) -> None:
    table = block.table
    assert table is not None
    titles = Counter(c.text for c in table.header)
    if len(titles) != len(table.header) or not all(titles):
        raise UsageError(f"{name}:{table.line}: a table's columns need names, each another one")
    for row, line in zip(table.rows, table.lines, strict=True):
        if len(row) != len(table.header):
            raise UsageError(f"{name}:{line}: {len(row)} cells under {len(table.header)} columns")


def _columns(found: Sequence[Block]) -> dict[str, Column]:
    """What each column holds, judged over all tables of the document."""
    links: dict[str, dict[str, str]] = {}
    titles: dict[str, None] = {}
    for block in found:
        assert block.table is not None
        for index, head in enumerate(block.table.header):
            titles[head.text] = None
            for row in block.table.rows:
                for text, _ in row[index].links:
                    kind = _link_kind(head.text, text)
                    if kind is not None:
                        links.setdefault(head.text, {})[text] = kind
    return {title: _column(title, links.get(title)) for title in titles}


def _column(title: str, links: Mapping[str, str] | None) -> Column:
    if title.lower() in _BACKBONES:
        return Column(title, "backbone")
    if links:
        return Column(title, "links", links=links)
    metric = metric_of(title)
    return Column(title, "metric", metric=metric) if metric else Column(title)


def _link_kind(title: str, text: str) -> str | None:
    if text.lower() == "scores":
        split, _ = _split(title.lower())
        return f"scores-{split}" if split in ("val", "test") else None
    return _LINK_KINDS.get(text.lower())


def metric_of(title: str) -> tuple[str, str] | None:
    """Split and metric of a column such as `Mask AP-val` or `Train.  mIOU`; val where none is named."""
    split, name = _split(title.lower())
    metric = COLUMNS.get(" ".join(name.split()))
    return (split or "val", metric) if metric else None


def _split(title: str) -> tuple[str | None, str]:
    """The split that a column's title names, and the rest."""
    if match := _BEFORE.fullmatch(title):
        return match[1], match[2]
    if match := _BEHIND.search(title):
        return match[1], title[: match.start()].rstrip("- \t")
    return None, title


def _mis_encoded(heading: Heading, where: str) -> list[str]:
    return [
        f'{where}: heading {heading.name}: "{person.name}" reads like a mis-encoded "{right}"'
        for person in heading.authors
        if (right := well_encoded(person.name)) != person.name
    ]


def _reprinted(block: Block, heading: Heading, name: str) -> list[str]:
    """Numbers that are not kept as they are printed: no number of YAML or JSON is `010`, `.5` or `59.`."""
    assert block.table is not None
    metrics = [(at, column) for at, column in enumerate(heading.style.columns) if column.metric]
    return [
        f"{name}:{row.line}: {column.name}: '{cells[at].text}' is kept as {value:f}"
        for row, cells in zip(heading.rows, block.table.rows, strict=True)
        for at, column in metrics
        if column.metric and (value := row.numbers[column.metric]) is not None
        if f"{value:f}" != cells[at].text
    ]


def _heading(block: Block, columns: Mapping[str, Column], name: str) -> Heading:
    table = block.table
    assert table is not None
    chosen = tuple(columns[c.text] for c in table.header)
    escape = any("\\*" in c.text and not c.links for row in table.rows for c in row)
    empty = frozenset(
        column.name
        for index, column in enumerate(chosen)
        if column.kind in ("backbone", "setting")
        and any(row[index].links for row in table.rows)
        and all(row[index].links and not row[index].links[0][1] for row in table.rows)
    )
    rows = tuple(
        replace(_row(block.name, row, chosen, escape, f"{name}:{line}", empty), line=line)
        for row, line in zip(table.rows, table.lines, strict=True)
    )
    paper, venue = paper_of(block.lines)
    return Heading(
        name=block.name,
        style=_style(table, chosen, rows, escape, empty, name),
        rows=rows,
        caption=block.caption or None,
        paper=paper,
        venue=venue,
        authors=authors_of(block.lines),
        code=code_of(block.lines),
    )


def _row(
    heading: str,
    cells: Sequence[Cell],
    columns: Sequence[Column],
    escape: bool,
    where: str,
    empty: frozenset[str],
) -> Row:
    backbone = ""
    settings: dict[str, str] = {}
    numbers: dict[tuple[str, str], Decimal | None] = {}
    links: dict[str, str] = {}
    for item, column in zip(cells, columns, strict=True):
        text = item.links[0][0] if column.name in empty else item.text
        text = text.replace("\\*", "*") if escape else text
        if column.kind == "backbone":
            backbone = text
        elif column.metric is not None:
            numbers[column.metric] = _number(text, column.metric[1], f"{where}: {column.name}")
        elif column.kind == "links":
            for title, url in item.links:
                if title not in column.links:
                    known = ", ".join(column.links)
                    raise UsageError(f'{where}: {column.name}: expected links named {known}, got "{title}"')
                links[column.links[title]] = url
            if not item.links and item.text not in ("", "-"):
                raise UsageError(f'{where}: {column.name}: expected links, got "{item.text}"')
        else:
            settings[column.name] = text
    if not backbone:
        raise UsageError(f"{where}: the row names no backbone")
    return Row(_id(heading, backbone, settings, links, where), backbone, settings, numbers, links)


def _number(text: str, metric: str, where: str) -> Decimal | None:
    if text in ("", "-"):
        return None
    # The registry reads what is longer as text.
    if metric in COUNTS:
        good, what = re.fullmatch(r"[0-9]{1,15}", text), "a whole number"
    else:
        printed = re.fullmatch(r"[0-9]{1,3}(\.[0-9]{0,30})?|\.[0-9]{1,30}", text)
        good, what = printed if printed and Decimal(text) <= 100 else None, "a number between 0 and 100"
    if not good:
        raise UsageError(f'{where}: expected {what}, got "{printable(text, 40)}"')
    return Decimal(text)


def _id(
    heading: str, backbone: str, settings: Mapping[str, str], links: Mapping[str, str], where: str
) -> str:
    """The stem of the weights' or config's file, or else the words that tell the row from others."""
    for kind in ("weights", "config"):
        stem = PurePosixPath(links.get(kind, "")).name.rpartition(".")[0]
        if stem:
            return stem
    words = [settings.get("Methods", ""), backbone, heading]
    name = "-".join(w for w in words if w).lower()
    name = re.sub(r"[^a-z0-9._+-]+", "-", name).strip("-")
    if not name:
        raise UsageError(f"{where}: the row has nothing that its model could be called by")
    return name


def _style(
    table: Table,
    columns: Sequence[Column],
    rows: Sequence[Row],
    escape: bool,
    empty: frozenset[str],
    name: str,
) -> TableStyle:
    missing, by_column = _missing(table, columns)
    if _is_centred(table):
        return TableStyle(
            tuple(columns), missing=missing, missing_by_column=by_column, escape=escape, centred=True
        )
    pads: dict[str, tuple[int, int]] = {}
    spared: set[int] | None = None
    for index, column in enumerate(columns):
        seen = Counter((row[index].before, row[index].after) for row in table.rows)
        if not seen or set(seen) == {_PLAIN_PAD}:
            continue
        odd = [pad for pad in seen if pad != _PLAIN_PAD]
        # Empty cells have no spacing of their own beyond their width.
        if len(odd) != 1:
            raise _spaces(name, table, column)
        pads[column.name] = odd[0]
        plain = {i for i, row in enumerate(table.rows) if (row[index].before, row[index].after) == _PLAIN_PAD}
        if spared is not None and spared != plain:
            raise _spaces(name, table, column)
        spared = plain
    unless = _unless(rows, spared) if spared else {}
    if spared and not unless:
        raise _spaces(name, table, columns[0])
    return TableStyle(
        columns=tuple(columns),
        missing=missing,
        missing_by_column=by_column,
        empty_links=empty,
        escape=escape,
        pad=pads,
        header_pad={c.text: (c.before, c.after) for c in table.header if (c.before, c.after) != _PLAIN_PAD},
        header_tail=table.header_tail,
        separator=_shortened(table.rule),
        pad_unless=unless,
        row_tails={row.id: tail for row, tail in zip(rows, table.tails, strict=True) if tail},
    )


def _is_centred(table: Table) -> bool:
    """Whether every cell is as wide as its column, its text in the middle; see `TableStyle.centred`."""
    if table.header_tail or any(table.tails):
        return False
    for index, rule in enumerate(table.rule):
        cells = [table.header[index], *(row[index] for row in table.rows)]
        width = max(len(c.text) for c in cells)
        if rule != f" :{'-' * (width - 2)}: ":
            return False
        for c in cells:
            free = width - len(c.text)
            if c.text and (c.before, c.after) != (1 + free // 2, 1 + free - free // 2):
                return False
    return True


def _spaces(name: str, table: Table, column: Column) -> UsageError:
    return UsageError(
        f"{name}:{table.line}: the spaces of column {column.name} follow no rule that a table style knows"
    )


def _unless(rows: Sequence[Row], spared: set[int]) -> dict[str, str]:
    """The setting whose value the spared rows share, and no other row has."""
    for title in rows[0].settings:
        values = {rows[i].settings[title] for i in spared}
        others = {row.settings[title] for i, row in enumerate(rows) if i not in spared}
        if len(values) == 1 and not values & others:
            return {title: values.pop()}
    return {}


def _missing(table: Table, columns: Sequence[Column]) -> tuple[str, dict[str, str]]:
    """What empty cells hold: one text for the table, and the columns that hold another."""
    found: dict[str, str] = {}
    for index, column in enumerate(columns):
        texts = {row[index].text for row in table.rows} & {"", "-"}
        if column.kind in ("metric", "setting") and len(texts) == 1:
            found[column.name] = texts.pop()
    if not found:
        return "", {}
    usual = Counter(found.values()).most_common(1)[0][0]
    return usual, {name: text for name, text in found.items() if text != usual}


def _shortened(rule: Sequence[str]) -> tuple[str, ...]:
    cells = list(rule)
    while len(cells) > 1 and cells[-1] == cells[-2]:
        cells.pop()
    return tuple(cells)
