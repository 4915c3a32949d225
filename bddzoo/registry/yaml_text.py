"""Write values as the YAML that people would write: short maps on one line, the rest in blocks."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

WIDTH = 112
# Plain scalars that need no quotes, also between brackets.
_PLAIN = re.compile(r"[A-Za-z0-9_./✓(][^\x00-\x1f\"'`#:,\[\]{}&!|>%@\\]*\Z")
_URL = re.compile(r"https?://[^\s,\[\]{}\"'#]+(#[^\s,\[\]{}\"']*)?\Z")
_READS_ELSE = re.compile(
    r"(?:[-+.]?[0-9][0-9_.eE+-]*|null|true|false|yes|no|on|off|~|\.|.*\s)\Z", re.IGNORECASE | re.DOTALL
)


def scalar(value: Any, *, flow: bool = False) -> str:
    """A scalar, quoted only where it would read as something else."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | Decimal):
        return str(value)
    if isinstance(value, float):
        return repr(value)
    text = str(value)
    if _READS_ELSE.match(text) or not text:
        return json.dumps(text, ensure_ascii=False) if _control(text) else "'" + text.replace("'", "''") + "'"
    if _PLAIN.match(text) or (not flow and _URL.match(text)) or (not flow and _safe_block(text)):
        return text
    return json.dumps(text, ensure_ascii=False) if _control(text) else "'" + text.replace("'", "''") + "'"


def _control(text: str) -> bool:
    return any(ord(c) < 32 or c in "\x7f\x85\u2028\u2029\ufeff" for c in text)


def _safe_block(text: str) -> bool:
    """Whether a text may stand bare in a block, where brackets and commas mean nothing inside."""
    return bool(re.match(r"[A-Za-z0-9(.]", text)) and not re.search(r": |:\Z| #|[\x00-\x1f\x7f]|\Z\s", text)


def flow(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar(k, flow=True)}: {flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(flow(v) for v in value) + "]"
    return scalar(value, flow=True)


def emit(lines: list[str], indent: int, key: str, value: Any) -> None:
    """Append `key: value`, on one line where it fits."""
    space = " " * indent
    name = scalar(key)
    if not isinstance(value, Mapping | list | tuple):
        lines.append(f"{space}{name}: {scalar(value)}")
        return
    one = f"{space}{name}: {flow(value)}"
    if len(one) <= WIDTH or not value:
        lines.append(one)
        return
    lines.append(f"{space}{name}:")
    if isinstance(value, Mapping):
        for inner, item in value.items():
            emit(lines, indent + 2, inner, item)
    else:
        emit_items(lines, indent + 2, value)


def emit_items(lines: list[str], indent: int, items: Sequence[Any]) -> None:
    """Append list items."""
    space = " " * indent
    for item in items:
        if not isinstance(item, Mapping) or not item:
            text = flow(item) if isinstance(item, Mapping | list | tuple) else scalar(item)
            lines.append(f"{space}- {text}")
            continue
        start = len(lines)
        for key, value in item.items():
            emit(lines, indent + 2, key, value)
        lines[start] = f"{space}- {lines[start][indent + 2 :]}"
