"""Plain, Markdown and CSV tables of short cells; small, because the big ones are slow to import."""

from __future__ import annotations

from collections.abc import Sequence
from unicodedata import east_asian_width

Row = Sequence[str]


def width(text: str) -> int:
    """Columns that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(2 if east_asian_width(c) in "WF" else 1 for c in text)


def plain_table(headers: Row, rows: Sequence[Row], right: Sequence[bool], indent: str = "") -> str:
    """Columns side by side with two spaces between, numbers to the right."""
    widths = [max(width(r[i]) for r in (headers, *rows)) for i in range(len(headers))]
    lines = []
    for row in (headers, *rows):
        cells = []
        for cell, size, to_right in zip(row, widths, right, strict=True):
            space = " " * (size - width(cell))
            cells.append(space + cell if to_right else cell + space)
        lines.append((indent + "  ".join(cells)).rstrip())
    return "\n".join(lines)


def markdown_table(headers: Row, rows: Sequence[Row], right: Sequence[bool]) -> str:
    """A Markdown table; bars in cells are escaped."""

    def line(cells: Row) -> str:
        return "| " + " | ".join(c.replace("|", "\\|").replace("\n", " ") for c in cells) + " |"

    rule = "| " + " | ".join("--:" if r else ":--" for r in right) + " |"
    return "\n".join([line(headers), rule, *(line(r) for r in rows)])


def csv_table(headers: Row, rows: Sequence[Row]) -> str:
    """Comma-separated values as in RFC 4180, but with plain line ends."""
    import csv
    import io

    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(headers)
    writer.writerows(rows)
    return out.getvalue().rstrip("\n")
