"""Read the small, safe part of YAML that `registry.yaml` is written in.

Block and flow collections and scalars of the YAML 1.2 core schema; no anchors, aliases, tags or
second documents, so that a file can neither explode nor name code. Numbers with a fraction become
`Decimal`, because a reported 59.80 is not 59.8. Events come from libyaml, one pass, no recursion.
"""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

from bddzoo.errors import MissingError, UsageError
from bddzoo.reading import read_limited

MAX_BYTES = 16 * 1024 * 1024
MAX_DEPTH = 64

# With a zero or a plus in front it is text, and stays as printed; YAML 1.1 would have 010 as 8.
_INT = re.compile(r"-?(?:0|[1-9][0-9]*)\Z")
_FLOAT = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*|(?=[eE]))|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\Z")
_MAYBE_NUMBER = frozenset("0123456789+-.")
_WORDS: dict[str, Any] = {
    "null": None, "Null": None, "NULL": None, "~": None, "": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip

PathLike = tuple[str | int, ...]
"""Keys and indices from a document's root."""


class YamlError(UsageError):
    """A file that is not the YAML we read.

    Attributes:
        line: 1-based line, or None when the file as a whole is at fault.
        problem: What is wrong, without the place.
    """

    def __init__(self, name: str, line: int | None, problem: str, *, hint: str | None = None) -> None:
        where = name if line is None else f"{name}:{line}"
        super().__init__(f"{where}: {problem}", hint=hint)
        self.line = line
        self.problem = problem


def read_text(path: Path) -> str:
    """The file's text.

    Raises:
        MissingError: It is not there, cannot be read, or is too large.
        YamlError: It is not UTF-8.
    """
    try:
        return read_limited(path, MAX_BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise YamlError(str(path), line, "not UTF-8 text") from None
    except OSError as error:
        raise MissingError(
            f"cannot read the registry {path}: {error.strerror or error}",
            hint="give another file with --registry FILE or BDDZOO_REGISTRY",
        ) from None


def parse(text: str, name: str, lines: dict[PathLike, int] | None = None) -> Any:
    """The document as plain dict, list, str, int, Decimal, bool and None.

    Args:
        text: The YAML text.
        name: What to call the file in errors.
        lines: Where to note the 1-based line of every value by its path; costs time, so ask for it
            only to explain a failure.

    Raises:
        YamlError: Syntax, or a construct that registries do not use.
    """
    import yaml

    try:
        return _build(text, name, lines)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "not YAML"
        if mark is None:
            position = getattr(error, "position", None)
            line = text[:position].count("\n") + 1 if isinstance(position, int) else None
        else:
            line = mark.line + 1
        if "cannot start any token" in str(problem) and line is not None and _has_tab(text, line):
            raise YamlError(name, line, "a tab; YAML indents with spaces") from None
        if line is not None:  # the end of the file counts as its last line
            line = min(line, max(1, text.count("\n") + (not text.endswith("\n"))))
        raise YamlError(name, line, f"YAML syntax: {problem}") from None


def _has_tab(text: str, line: int) -> bool:
    rows = text.split("\n")
    return line <= len(rows) and "\t" in rows[line - 1]


def _scalar(value: str) -> Any:
    if value in _WORDS:
        return _WORDS[value]
    if value[0] in _MAYBE_NUMBER and len(value) <= 40:
        if _INT.match(value):
            return int(value)
        if _FLOAT.match(value):
            return Decimal(value)
    return value


def _unwanted(name: str, event: Any) -> YamlError:
    """A tag, anchor or alias."""
    line = event.start_mark.line + 1
    tag = getattr(event, "tag", None)
    if tag is not None:
        return YamlError(name, line, f"tag {tag} is not allowed here")
    what = f"anchor &{event.anchor}" if hasattr(event, "tag") else f"alias *{event.anchor}"
    return YamlError(name, line, f"{what} is not allowed here", hint="refer to a part by its name instead")


def _build(text: str, name: str, lines: dict[PathLike, int] | None) -> Any:
    import yaml

    parser: Any = yaml.CSafeLoader(text) if yaml.__with_libyaml__ else yaml.SafeLoader(text)
    next_event = parser.get_event
    scalar_event, mapping_start = yaml.ScalarEvent, yaml.MappingStartEvent
    mapping_end, sequence_start = yaml.MappingEndEvent, yaml.SequenceStartEvent
    sequence_end, alias_event = yaml.SequenceEndEvent, yaml.AliasEvent
    document_start, stream_end = yaml.DocumentStartEvent, yaml.StreamEndEvent

    memo: dict[str, Any] = {}
    documents = 0
    root: Any = None
    # One frame per open collection: the collection, and for a mapping the key that waits for its value.
    stack: list[tuple[Any, Any]] = []
    holder: Any = None
    key: Any = None  # None: a mapping expects a key, or the holder is a list
    path: list[str | int] = []

    while True:
        event = next_event()
        kind = type(event)
        if kind is scalar_event:
            raw = event.value
            if event.tag is not None or event.anchor is not None:
                raise _unwanted(name, event)
            if event.implicit[0]:
                if raw in memo:
                    value = memo[raw]
                else:
                    value = memo[raw] = _scalar(raw)
            else:
                value = raw
            if type(holder) is dict and key is None:
                if raw in holder:
                    raise YamlError(name, event.start_mark.line + 1, f'key "{raw}" is there twice')
                key = raw  # keys are text, also where they look like numbers
                continue
        elif kind is mapping_start or kind is sequence_start:
            if event.tag is not None or event.anchor is not None:
                raise _unwanted(name, event)
            if type(holder) is dict and key is None:
                raise YamlError(name, event.start_mark.line + 1, "a key must be text")
            if len(stack) >= MAX_DEPTH:
                raise YamlError(name, event.start_mark.line + 1, f"nested deeper than {MAX_DEPTH}")
            value = {} if kind is mapping_start else []
        elif kind is mapping_end or kind is sequence_end:
            holder, key = stack.pop()
            if lines is not None and path:
                path.pop()
            continue
        elif kind is alias_event:
            raise _unwanted(name, event)
        elif kind is document_start:
            documents += 1
            if documents > 1:
                raise YamlError(name, event.start_mark.line + 1, "a second document in one file")
            continue
        elif kind is stream_end:
            return root
        else:
            continue

        # A value: hang it into its holder.
        here: str | int | None = None
        if holder is None:
            root = value
        elif type(holder) is dict:
            holder[key] = value
            here, key = key, None
        else:
            here = len(holder)
            holder.append(value)
        if lines is not None:
            full = tuple(path) if here is None else (*path, here)
            lines[full] = event.start_mark.line + 1
        if kind is not scalar_event:
            if lines is not None and here is not None:
                path.append(here)
            stack.append((holder, key))
            holder, key = value, None
