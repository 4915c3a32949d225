"""Rendered blocks in hand-written Markdown: found by markers, filled, and checked for drift.

A block stands between two comments, each on its own line:

    <!-- bddzoo:tables zoo=NAME task=NAME style=compact -->
    <!-- /bddzoo:tables -->
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bddzoo.errors import UsageError
from bddzoo.files import write_bytes

_OPEN = re.compile(r"^\s*<!--\s*bddzoo:([A-Za-z0-9_-]*)(.*?)-->\s*$")
_CLOSE = re.compile(r"^\s*<!--\s*/bddzoo:([A-Za-z0-9_-]*)\s*-->\s*$")
_ANY = re.compile(r"<!--\s*/?\s*bddzoo\b")
_FENCE = re.compile(r"^\s*(```+|~~~+)")
_PAIR = re.compile(r"^([a-z]+)=([A-Za-z0-9._*/-]+)$")


@dataclass(frozen=True)
class MarkedBlock:
    """A marked block.

    Attributes:
        name: What it holds, e.g. `tables`.
        options: The marker's options.
        start: Index of the opening marker's line.
        end: Index of the closing marker's line.
    """

    name: str
    options: Mapping[str, str]
    start: int
    end: int


def find_blocks(text: str, name: str, known: Mapping[str, tuple[str, ...]]) -> list[MarkedBlock]:
    """The blocks of a document; markers inside fenced code are examples, not markers.

    Args:
        text: Markdown.
        name: What to call the document in errors.
        known: MarkedBlock name to its options' names.

    Raises:
        UsageError: A marker that is unknown, nested, not closed or not opened; names the line.
    """
    blocks: list[MarkedBlock] = []
    opened: tuple[str, dict[str, str], int] | None = None
    fence: str | None = None
    for index, line in enumerate(text.split("\n")):
        where = f"{name}:{index + 1}"
        if match := _FENCE.match(line):
            fence = match[1][:3] if fence is None else (None if match[1].startswith(fence) else fence)
            continue
        if fence is not None or not _ANY.search(line):
            continue
        if close := _CLOSE.match(line):
            if opened is None or opened[0] != close[1]:
                raise UsageError(f"{where}: <!-- /bddzoo:{close[1]} --> closes nothing")
            blocks.append(MarkedBlock(opened[0], opened[1], opened[2], index))
            opened = None
            continue
        match = _OPEN.match(line)
        if match is None:
            raise UsageError(f"{where}: a bddzoo marker must stand alone on its line")
        if opened is not None:
            raise UsageError(f"{where}: a block inside of the one that line {opened[2] + 1} opens")
        if match[1] not in known:
            raise UsageError(f"{where}: unknown block bddzoo:{match[1]}", hint=f"known: {', '.join(known)}")
        opened = (match[1], _options(match[2], where, known[match[1]]), index)
    if opened is not None:
        raise UsageError(
            f"{name}:{opened[2] + 1}: the block bddzoo:{opened[0]} is not closed",
            hint=f"end it with <!-- /bddzoo:{opened[0]} -->",
        )
    return blocks


def _options(text: str, where: str, known: tuple[str, ...]) -> dict[str, str]:
    options: dict[str, str] = {}
    for word in text.split():
        match = _PAIR.match(word)
        if match is None or match[1] not in known or match[1] in options:
            raise UsageError(
                f"{where}: cannot read the option '{word}'",
                hint=f"options are {', '.join(f'{k}=VALUE' for k in known)}, each once",
            )
        options[match[1]] = match[2]
    return options


def fill(text: str, blocks: list[MarkedBlock], render: Callable[[MarkedBlock], str]) -> str:
    """The document with every block rendered anew; everything outside of the blocks stays as it is."""
    lines = text.split("\n")
    for block in reversed(blocks):
        body = render(block).strip("\n").split("\n")
        lines[block.start + 1 : block.end] = ["", *body, ""]
    return "\n".join(lines)


def diff(old: str, new: str, name: str) -> str:
    """A unified diff from what the file holds to what it should hold."""
    lines = difflib.unified_diff(
        old.split("\n"), new.split("\n"), f"{name} (as it is)", f"{name} (as the registry says)", lineterm=""
    )
    return "\n".join(lines)


def write_document(path: Path, text: str) -> None:
    """Replace the document in one step, its permissions kept.

    Raises:
        MissingError: The file or its folder cannot be written to.
    """
    write_bytes(path, text.encode("utf-8"), durable=True)
