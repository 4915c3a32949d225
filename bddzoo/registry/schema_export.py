"""The registry's schema as JSON Schema, for editors that complete and check YAML."""

from __future__ import annotations

import json
from inspect import cleandoc
from typing import Any

import msgspec

from bddzoo.registry.structs import RegistryDoc

TITLE = "bddzoo registry"


def registry_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of `registry.yaml`."""
    (root,), parts = msgspec.json.schema_components([RegistryDoc], ref_template="#/$defs/{name}")
    definitions = {name: _numbers(part) for name, part in sorted(parts.items())}
    top = definitions.pop(root["$ref"].rpartition("/")[2])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **top,
        "title": TITLE,
        "$defs": definitions,
    }


def schema_text() -> str:
    """The schema as text, the same on every run."""
    return json.dumps(registry_schema(), indent=2, ensure_ascii=False) + "\n"


def _numbers(node: Any) -> Any:
    """Decimals are numbers in YAML; msgspec would have them as strings."""
    if isinstance(node, list):
        return [_numbers(item) for item in node]
    if not isinstance(node, dict):
        return node
    if node.get("format") == "decimal":
        return {**{k: v for k, v in node.items() if k not in ("format", "type")}, "type": "number"}
    found = {k: _numbers(v) for k, v in node.items() if k != "default" or v not in ([], ())}
    if isinstance(text := found.get("description"), str):
        # Until Python 3.13 docstrings came with their indentation.
        found["description"] = cleandoc(text)
    kinds = found.get("anyOf")
    if isinstance(kinds, list) and {"type": "number"} in kinds:
        found["anyOf"] = [k for k in kinds if k != {"type": "integer"}]
    return found
