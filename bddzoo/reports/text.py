"""Markdown and CSV tables of short cells; small, because the big ones are slow to import."""

from __future__ import annotations

import re
from collections.abc import Sequence
from unicodedata import category, east_asian_width

from bddzoo.text import printable

# What a spreadsheet takes for a formula; numbers are not.
_FORMULA = re.compile(r"[=@\t\r]|[-+](?![\d.]+$|$)")

Row = Sequence[str]


def width(text: str) -> int:
    """Columns that a text takes on a terminal: none for an accent that is written by itself, two for 漢."""
    if text.isascii():
        return len(text)
    marks = ("Mn", "Me", "Cf")
    return sum(2 if east_asian_width(c) in "WF" else category(c) not in marks for c in text)


def markdown_table(headers: Row, rows: Sequence[Row], right: Sequence[bool]) -> str:
    """A Markdown table. Cells are text and links: what would be HTML or another column is escaped."""

    def line(cells: Row) -> str:
        return "| " + " | ".join(markdown_cell(c) for c in cells) + " |"

    rule = "| " + " | ".join("--:" if r else ":--" for r in right) + " |"
    return "\n".join([line(headers), rule, *(line(r) for r in rows)])


def markdown_cell(text: str) -> str:
    """Text as a cell of a Markdown table shows it."""
    for mark, escaped in (("&", "&amp;"), ("<", "&lt;"), ("\\", "\\\\"), ("|", "\\|"), ("\n", " ")):
        text = text.replace(mark, escaped)
    return printable(text)


def csv_table(headers: Row, rows: Sequence[Row]) -> str:
    """Comma-separated values as in RFC 4180, but with plain line ends.

    A cell that a spreadsheet would run as a formula begins with an apostrophe.
    """
    import csv
    import io

    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(headers)
    writer.writerows([f"'{cell}" if _FORMULA.match(cell) else cell for cell in row] for row in rows)
    return out.getvalue().rstrip("\n")
