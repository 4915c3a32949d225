"""Rendered blocks in hand-written Markdown: found by markers, filled, and checked for drift.

A block stands between two comments, each on its own line:

    <!-- bddzoo:tables zoo=NAME task=NAME style=compact -->
    <!-- /bddzoo:tables -->

Those of the reference pages are rendered here, from the code and the registry: exit statuses, settings ...
"""

from __future__ import annotations

import ast
import difflib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bddzoo.config import SETTINGS
from bddzoo.errors import MEANINGS, UsageError
from bddzoo.files import write_bytes
from bddzoo.registry.model import Model
from bddzoo.reports.facts import protocol_rows
from bddzoo.text import fenced, markdown_table, number_of

_OPEN = re.compile(r"^\s*<!--\s*bddzoo:([A-Za-z0-9_-]*)(.*?)-->\s*$")
_CLOSE = re.compile(r"^\s*<!--\s*/bddzoo:([A-Za-z0-9_-]*)\s*-->\s*$")
_ANY = re.compile(r"<!--\s*/?\s*bddzoo\b")
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
    lines = text.split("\n")
    for index, (line, code) in enumerate(zip(lines, fenced(lines), strict=True)):
        where = f"{name}:{index + 1}"
        if code or not _ANY.search(line):
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


def rules() -> str:
    """The rules of `bddzoo registry lint`."""
    from bddzoo.registry.lint import RULES

    rows = [(f"`{code}`", title) for code, title in RULES.items()]
    return markdown_table(("Code", "Finds"), rows, [False, False])


def exit_codes() -> str:
    """Every exit status and what it means."""
    rows = [(str(int(code)), meaning) for code, meaning in MEANINGS.items()]
    return markdown_table(("Status", "Meaning"), rows, [True, False])


def settings() -> str:
    """Every environment variable, with the option and the key of the config file that say the same."""
    rows = [
        (f"`{s.variable}`", f"`{s.option}`" if s.option else "", f"`{s.key}`" if s.key else "", s.meaning)
        for s in SETTINGS
    ]
    return markdown_table(("Variable", "Option", "Config file", "Meaning"), rows, [False] * 4)


def protocols(models: Iterable[Model]) -> str:
    """Every protocol that a model is measured under, with the number of those models."""
    users: dict[str, list[Model]] = {}
    for model in models:
        if model.protocol is not None:
            users.setdefault(model.protocol.id, []).append(model)
    blocks = []
    for name, those in users.items():
        # A model with a network says more: how its input is made is known.
        shown = next((m for m in those if m.network is not None), those[0])
        rows = [(key, text) for key, text in protocol_rows(shown) if key != "name"]
        zoos = ", ".join(dict.fromkeys(m.zoo.id for m in those))
        blocks.append(f"## {name}\n\n{number_of(len(those), 'model')} of {zoos}.")
        blocks.append(markdown_table(("Field", "Value"), rows, [False, False]))
    return "\n\n".join(blocks)


def schema() -> str:
    """The registry's mappings: their keys, types, defaults, and meaning."""
    from bddzoo.registry.problems import registry_schema

    found = registry_schema()
    parts: dict[str, Any] = {"The file": {k: v for k, v in found.items() if k != "$defs"}, **found["$defs"]}
    return "\n\n".join(block for name, part in parts.items() for block in _mapping(name, part))


def _mapping(name: str, part: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {name}"
    if text := part.get("description"):
        yield " ".join(str(text).split())
    required = set(part.get("required", ()))
    rows = []
    for key, value in part.get("properties", {}).items():
        default = "required" if key in required else _json(value.get("default"))
        words = [_limits(value), str(value.get("description", ""))]
        rows.append((f"`{key}`", _kind(value), default, "; ".join(w for w in words if w)))
    if rows:
        yield markdown_table(("Key", "Type", "Default", "Notes"), rows, [False] * 4)


def _kind(node: Mapping[str, Any]) -> str:
    """A type in words; named mappings are links to their section."""
    if ref := node.get("$ref"):
        name = str(ref).rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "enum" in node:
        return " or ".join(_json(v) for v in node["enum"])
    if "anyOf" in node:
        return " or ".join(dict.fromkeys(_kind(option) for option in node["anyOf"]))
    if "prefixItems" in node:
        return f"{len(node['prefixItems'])} of {_kind(node['prefixItems'][0])}"
    kind = str(node.get("type", "anything"))
    if kind == "array" and isinstance(node.get("items"), Mapping):
        return f"list of {_kind(node['items'])}"
    if kind == "object":
        inner = node.get("additionalProperties")
        return f"mapping to {_kind(inner)}" if isinstance(inner, Mapping) and inner else "mapping"
    return {"string": "text", "null": "nothing", "boolean": "yes or no"}.get(kind, kind)


def _limits(node: Mapping[str, Any]) -> str:
    low, high = node.get("minimum"), node.get("maximum")
    if low is not None and high is not None:
        return f"{low} to {high}"
    return f"at least {low}" if low is not None else (f"at most {high}" if high is not None else "")


def _json(value: Any) -> str:
    return "" if value is None or value in ({}, []) else f"`{json.dumps(value, ensure_ascii=False)}`"


def operators() -> str:
    """Operators of mmcv that have a stand-in here, and what it computes; read without importing torch."""
    source = Path(__file__).parents[1] / "engines" / "kernels.py"
    tree = ast.parse(source.read_text(encoding="utf-8"))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    names: Iterable[str] = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id == "NAMES"
    )
    rows = [
        (f"`{name}`", " ".join((ast.get_docstring(functions[name]) or "").split("\n\n")[0].split()))
        for name in names
    ]
    return markdown_table(("Operator of mmcv", "Stand-in"), rows, [False, False])
