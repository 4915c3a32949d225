"""Text of messages and small tables: counts with their nouns, names from files made safe to print.

Markdown and CSV tables are made here because the packages for them are slow to import.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from unicodedata import category, east_asian_width

# Control characters of ASCII and Latin-1, line and paragraph separators, marks that turn the direction of
# writing, and halves of surrogate pairs: none of them may reach a terminal, a log or a page from a file.
_UNPRINTABLE = re.compile(
    "[\\x00-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028\\u2029\\u202a-\\u202e\\u2066-\\u2069\\ud800-\\udfff]"
)


# What a CI service takes for an order of its own: `::error`, at the start of a line or where a line may be
# broken, and `##[error]`.
_ORDER = re.compile(r"(?:(?<=^)|(?<=[\s/_,-])):(?=:[A-Za-z])|#(?=#\[)", re.MULTILINE)


_FENCE = re.compile(r"^\s*(```+|~~~+)")

# Longest message that is printed.
LONGEST_MESSAGE = 1000


def number_of(count: int, noun: str) -> str:
    """`1 file`, `2 files`: a number with its noun, which takes an s where it is not one."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def picked(item: object, names: str) -> dict[str, Any]:
    """Attributes of a thing by name, for JSON or another type's fields: `picked(file, "name size_bytes")`."""
    return {name: getattr(item, name) for name in names.split()}


def as_text(words: str) -> str:
    """Words that can be written as UTF-8: names of files may hold bytes that are not text."""
    return words.encode("utf-8", "backslashreplace").decode()


def well_encoded(text: str) -> str:
    """A text whose UTF-8 bytes were once read in another encoding, as it was meant; any other as it is."""
    for encoding in ("mac_roman", "cp1252"):
        try:
            right = text.encode(encoding).decode("utf-8")
        except UnicodeError:
            continue
        if right != text:
            return right
    return text


def fenced(lines: Iterable[str]) -> Iterator[bool]:
    """Whether each line of a Markdown document belongs to fenced code, the fences included."""
    fence: str | None = None
    for line in lines:
        match = _FENCE.match(line)
        yield match is not None or fence is not None
        if match:
            fence = match[1][:3] if fence is None else (None if match[1].startswith(fence) else fence)


def printable(text: str, limit: int | None = None) -> str:
    """Text from a file on one line; what a terminal or a CI service would obey is written as an escape.

    Args:
        text: Any text.
        limit: Longest result in characters; a longer one ends with an ellipsis.
    """
    if limit is not None:
        text = shortened(text, limit)
    safe = _ORDER.sub(_escape, _UNPRINTABLE.sub(_escape, text))
    return safe if limit is None else shortened(safe, limit)


def shortened(text: str, limit: int = LONGEST_MESSAGE) -> str:
    """A text of at most so many characters; of a longer one, its start, an ellipsis and its end."""
    if len(text) <= limit:
        return text
    tail = limit // 4
    return f"{text[: limit - tail - 1]}…{text[-tail:]}"


def printable_lines(text: str) -> str:
    """Text with strings from files in it, as `printable`, but for its line ends."""
    return "\n".join(printable(line) for line in text.split("\n"))


def printable_json(text: str) -> str:
    """JSON with the same values, in which control characters above ASCII's are escapes too."""
    return _UNPRINTABLE.sub(lambda m: m[0] if m[0] == "\n" else f"\\u{ord(m[0]):04x}", text)


def is_text(words: str) -> bool:
    """Whether words can be written as UTF-8."""
    try:
        words.encode()
    except UnicodeEncodeError:
        return False
    return True


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


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
