"""How results are shown: one table style that fits the terminal, numbers, verdicts and their colours."""

from __future__ import annotations

import math
import re
import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bddzoo.errors import UsageError
from bddzoo.files import is_special
from bddzoo.text import picked, printable, width

if TYPE_CHECKING:
    from bddzoo.results import VerdictReport

LEAST_WIDTH = 8
GAP = "  "
COLOURS = {
    **dict.fromkeys(("reproduced", "verified", "ok", "same", "alive", "done"), "green"),
    **dict.fromkeys(("drifted", "broken", "differs", "damaged", "changed", "failed", "wrong"), "red"),
    **dict.fromkeys(("better-than-reported", "incomparable", "missing", "unverified", "note"), "yellow"),
    **dict.fromkeys(
        ("not looked at", "unknown", "observed", "prefix", "unreachable", "unreadable"), "yellow"
    ),
}
_NUMBER = re.compile(r"[-+±]?[\d,]*\.?\d+\*?|-|absent|")
# A cell is broken behind one of these where it has no spaces: ids, paths and URLs.
_PIECES = re.compile(r"[^\s/_,-]*[/_,-]|[^\s/_,-]+")


def terminal_width() -> int:
    """Columns of the terminal, or of `COLUMNS`; 80 where the output goes elsewhere."""
    return max(20, shutil.get_terminal_size((80, 24)).columns)


def number(value: object, sign: str = "") -> str:
    """A percentage with two decimals, `-` for one that is unknown.

    Args:
        value: Percent or points; None or NaN for unknown.
        sign: `+` to show the sign of positive values too.
    """
    if value is None or not isinstance(value, int | float) or math.isnan(value):
        return "-"
    # A difference that rounds to nothing has no direction.
    return f"{value:{sign}.2f}" if abs(value) >= 0.005 else "0.00"


def table(
    headers: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    total: bool = False,
    colour: bool = False,
    room: int | None = None,
) -> str:
    """Columns of text under their heads, numbers to the right, never wider than the terminal.

    Long cells are wrapped, the widest columns first; of columns of numbers only the heads are.

    Args:
        headers: A head for each column.
        rows: Cells; anything that is not text is printed by `str`.
        total: Draw a rule above the last row.
        colour: Colour verdicts and states.
        room: Columns to fit into; None for those of the terminal.
    """
    headers = [printable(head) for head in headers]
    cells = [[printable(" ".join(str(cell).split())) for cell in row] for row in rows]
    right = [bool(cells) and all(_NUMBER.fullmatch(row[i]) for row in cells) for i in range(len(headers))]
    natural = [max(width(row[i]) for row in (headers, *cells)) for i in range(len(headers))]
    numbers = [
        max(map(width, [*headers[i].split(), *(row[i] for row in cells)])) if right[i] else 0
        for i in range(len(headers))
    ]
    widths = _fitted(natural, numbers, (room or terminal_width()) - len(GAP) * (len(headers) - 1))
    lines = _lines(headers, widths, right, False)
    rule = GAP.join("-" * size for size in widths)
    lines.append(rule)
    for index, row in enumerate(cells):
        if total and index == len(cells) - 1:
            lines.append(rule)
        lines += _lines(row, widths, right, colour)
    return "\n".join(lines)


def fitting(headers: Sequence[str], rows: Sequence[Sequence[object]], optional: Sequence[str]) -> list[int]:
    """Indices of the columns that fit the terminal, after the first of the optional ones are left out."""
    sizes = [max(width(str(row[i])) for row in (headers, *rows)) for i in range(len(headers))]

    def fit(columns: Sequence[int]) -> bool:
        return sum(sizes[i] for i in columns) + len(GAP) * (len(columns) - 1) <= terminal_width()

    keep, dropped = list(range(len(headers))), []
    for name in optional:
        if fit(keep):
            break
        if name in headers:
            dropped.append(headers.index(name))
            keep.remove(dropped[-1])
    # What was left out may fit after all next to what was left out later.
    for index in reversed(dropped):
        if fit(more := sorted([*keep, index])):
            keep = more
    return keep


def _fitted(natural: Sequence[int], numbers: Sequence[int], room: int) -> list[int]:
    """Widths of the columns; the widest are made narrower until all fit, none below its `numbers`."""
    widths = list(natural)
    for least in (LEAST_WIDTH, 4, 1):
        floor = [n or min(w, least) for w, n in zip(natural, numbers, strict=True)]
        while sum(widths) > room:
            shrinkable = [i for i in range(len(widths)) if widths[i] > floor[i]]
            if not shrinkable:
                break
            widest = max(shrinkable, key=lambda i: widths[i])
            widths[widest] -= 1
    return widths


def _lines(row: Sequence[str], widths: Sequence[int], right: Sequence[bool], colour: bool) -> list[str]:
    parts = [_broken(cell, size) for cell, size in zip(row, widths, strict=True)]
    lines = []
    for index in range(max(map(len, parts))):
        texts = []
        for part, cell, size, to_right in zip(parts, row, widths, right, strict=True):
            text = part[index] if index < len(part) else ""
            space = " " * (size - width(text))
            shown = painted(text, COLOURS.get(cell)) if colour and text else text
            texts.append(space + shown if to_right else shown + space)
        lines.append(GAP.join(texts).rstrip())
    return lines


def _broken(text: str, size: int) -> list[str]:
    """A cell's lines, none wider than `size`."""
    if width(text) <= size:
        return [text]
    lines, line = [], ""
    for word in text.split(" "):
        pieces = [word] if width(word) <= size else _pieces(word, size)
        for index, piece in enumerate(pieces):
            gap = " " if line and index == 0 else ""
            if width(line) + len(gap) + width(piece) > size and line:
                lines.append(line)
                line, gap = "", ""
            line += gap + piece
    return [*lines, line] if line else lines


def _pieces(word: str, size: int) -> list[str]:
    found = []
    for piece in _PIECES.findall(word):
        rest = piece
        while width(rest) > size:
            end = size
            while width(rest[:end]) > size:
                end -= 1
            found.append(rest[: max(1, end)])
            rest = rest[max(1, end) :]
        found.append(rest)
    return found


def painted(text: str, colour: str | None) -> str:
    """Text in a colour of a terminal; as it is without one."""
    return click.style(text, fg=colour) if colour else text


def wrapped(text: str, indent: str = "", further: str | None = None, *, whole_words: bool = False) -> str:
    """Prose in lines that fit the terminal; each line of it by itself.

    Args:
        text: One or more lines.
        indent: Before each of them.
        further: Before their continuation lines; `indent` where None.
        whole_words: Leave what is longer than a line whole: a path, which is to be copied.
    """
    room = terminal_width()
    lines = []
    for line in text.splitlines() or [""]:
        own = line[: len(line) - len(line.lstrip())]
        lines += textwrap.wrap(
            line.strip(),
            room,
            initial_indent=indent + own,
            subsequent_indent=(indent if further is None else further) + own,
            break_on_hyphens=False,
            break_long_words=not whole_words,
        ) or [""]
    return "\n".join(lines)


def describe_verdict(report: VerdictReport, *, colour: bool = False) -> str:
    """The verdict as a small table with the reasons below it; safe to print."""
    rows = [
        [
            metric.column,
            metric.reported,
            number(metric.measured),
            number(metric.difference, "+"),
            f"±{metric.tolerance}",
            metric.verdict,
        ]
        for metric in report.metrics
    ]
    head = ["metric", "reported", "measured", "difference", "tolerance", "verdict"]
    shown = table(head, rows, colour=colour) + "\n" if rows else ""
    word = str(report.verdict)
    reasons = "".join(f"\n{wrapped(printable(reason), '  ')}" for reason in report.reasons)
    line = wrapped(printable(f"verdict: {word} ({report.scope})") if report.scope else f"verdict: {word}")
    if colour:
        line = line.replace(word, painted(word, COLOURS[word]), 1)
    return f"{shown}{line}{reasons}"


def verdict_json(report: VerdictReport | None) -> dict[str, Any] | None:
    """The verdict in JSON's types; None where there is none."""
    if report is None:
        return None
    return {
        "verdict": str(report.verdict),
        **picked(report, "split protocol"),
        "compared": list(report.compared),
        "not_compared": list(report.not_compared),
        "reasons": list(report.reasons),
        "metrics": [
            {
                **picked(metric, "metric column"),
                "verdict": str(metric.verdict),
                **picked(metric, "reported measured difference tolerance"),
                "reasons": list(metric.reasons),
            }
            for metric in report.metrics
        ],
    }


def check_target(path: Path, force: bool, option: str = "-o") -> None:
    """Refuse to replace a file or a folder that holds something, unless that is asked for.

    Raises:
        UsageError: It is there.
    """
    there = path.exists() or path.is_symlink()
    if there and path.is_dir():
        there = any(path.iterdir())
    elif there and path.is_file():
        there = path.stat().st_size > 0  # as `mktemp` makes them
    if there and not force and not is_special(path):
        raise UsageError(
            f"{path} exists", hint=f"give --force to replace it, or choose another with {option}"
        )


def field_text(value: Any, width: int = 40) -> str:
    """The value of a record's field, cut to a width."""
    if value is None:
        return "unknown"
    if isinstance(value, dict):
        return ", ".join(f"{k} {v}" for k, v in value.items()) or "none"
    if isinstance(value, list | tuple):
        value = " ".join(str(item) for item in value) or "none"
    text = str(value)
    return text if len(text) <= width else text[: width - 1] + "…"
