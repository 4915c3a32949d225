"""Reference pages rendered from the code and the registry: exit statuses, settings, protocols ..."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bddzoo.config import SETTINGS
from bddzoo.errors import MEANINGS
from bddzoo.registry.model import Model
from bddzoo.reports.facts import protocol_rows
from bddzoo.text import markdown_table


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
        count = f"{len(those)} model{'s' if len(those) != 1 else ''}"
        zoos = ", ".join(dict.fromkeys(m.zoo.id for m in those))
        blocks.append(f"## {name}\n\n{count} of {zoos}.")
        blocks.append(markdown_table(("Field", "Value"), rows, [False, False]))
    return "\n\n".join(blocks)


def schema() -> str:
    """The registry's mappings: their keys, types, defaults, and meaning."""
    from bddzoo.registry.explain import registry_schema

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
