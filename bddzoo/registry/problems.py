"""Several problems of one registry file, each with its place, as one error.

`explain` finds every place where a document does not follow the schema; it runs only after a failure.
"""

from __future__ import annotations

import json
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from inspect import cleandoc
from typing import Any

import msgspec

from bddzoo.errors import UsageError
from bddzoo.registry.reader import PathLike
from bddzoo.registry.structs import IDENT, IDENT_WORDS, Printed, RegistryDoc, url_problem
from bddzoo.registry.tasks import COUNTS

MAX_SHOWN = 20
_IDENT = re.compile(IDENT)


@dataclass(frozen=True)
class Problem:
    """Something wrong at a place of the document.

    Attributes:
        path: Keys and indices from the document's root.
        message: What is wrong.
        model: Id of the model it belongs to, if any.
        field: The place within the model (or the document), as people write it.
    """

    path: PathLike
    message: str
    model: str | None = None
    field: str = ""


class Checker:
    """Collects what is wrong with the values of a document.

    Attributes:
        problems: Everything that was wrong.
    """

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._owner: tuple[str | None, int] = (None, 0)

    @contextmanager
    def of(self, model: str, at: PathLike) -> Iterator[None]:
        """What is noted in the block belongs to a model, to which the path leads."""
        self._owner = (model, len(at))
        yield
        self._owner = (None, 0)

    def note(self, at: PathLike, message: str) -> None:
        """Remember a problem."""
        model, depth = self._owner
        self.problems.append(Problem(at, message, model, dotted(at[depth:])))

    def ident(self, at: PathLike, text: str) -> None:
        """Note a name that is not plain."""
        if not _IDENT.fullmatch(text):
            self.note(at, f'expected {IDENT_WORDS}; got "{text}"')

    def url(self, at: PathLike, url: str | None, *, source: bool = False) -> None:
        """Note a URL that is not one we follow; `source`: a file is read from it."""
        problem = url_problem(url, source=source) if url is not None else None
        if problem:
            self.note(at, problem)

    def known(self, at: PathLike, what: str, name: str | None, pool: Iterable[str]) -> None:
        """Note a name, if there is one, that is not in its pool."""
        if name is not None and name not in pool:
            self.note(at, unknown(what, name, pool))

    def number(self, at: PathLike, value: Any) -> None:
        """Note a reported number that is not what its metric, the last step, is: a percentage, or a count."""
        number = isinstance(value, int | Decimal) and not isinstance(value, bool)
        count = at[-1] in COUNTS
        good = number and value >= 0 and (isinstance(value, int) if count else value <= 100)
        if value is not None and not good:
            expected = "a whole number from 0" if count else "a number between 0 and 100"
            self.note(at, f"expected {expected}, got {show(value)}")


class RegistryError(UsageError):
    """A registry that does not follow the schema.

    Attributes:
        lines: One message per problem, each with file, line, model and field.
        problems: The same as data.
    """

    def __init__(self, name: str, problems: Sequence[Problem], at: Mapping[PathLike, int]) -> None:
        ordered = sorted(problems, key=lambda p: (line_of(p.path, at), str(p.path)))
        self.problems = tuple(ordered)
        self.lines = tuple(_text(name, p, at) for p in ordered[:MAX_SHOWN])
        if len(ordered) > MAX_SHOWN:
            self.lines += (f"{name}: and {len(ordered) - MAX_SHOWN} more problems",)
        super().__init__("\n".join(self.lines))


def line_of(path: PathLike, at: Mapping[PathLike, int]) -> int:
    """The line of a path, or of the nearest thing around it that has one."""
    for end in range(len(path), -1, -1):
        if path[:end] in at:
            return at[path[:end]]
    return 1


def dotted(path: Iterable[str | int]) -> str:
    """A path as people write it: `reported.val.mIoU`, `methods[3].models[0]`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{step}" if text else step
    return text


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """`; did you mean "x"?`, or nothing where nothing is near."""
    from difflib import get_close_matches

    near = get_close_matches(word[:200], list(choices), n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else ""


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """`unknown paper "fcm"; did you mean "fcn"?`."""
    return f'unknown {what} "{name}"{did_you_mean(name, known)}'


def _text(name: str, problem: Problem, at: Mapping[PathLike, int]) -> str:
    parts = [f"{name}:{line_of(problem.path, at)}"]
    if problem.model:
        parts.append(problem.model)
    if problem.field:
        parts.append(problem.field)
    return " ".join((": ".join([*parts, problem.message])).split())


MAX_PROBLEMS = 1000


def explain(data: Any) -> list[Problem]:
    """All problems of a document that `msgspec.convert(data, RegistryDoc)` refuses."""
    walker = _Walker()
    walker.check(data, RegistryDoc, ())
    if not walker.problems:
        walker.note((), "does not follow the schema")
    return walker.problems


class _Walker(Checker):
    def note(self, at: PathLike, message: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            super().note(at, message)

    def check(self, value: Any, kind: Any, path: PathLike) -> None:
        """Note what is wrong with a value, as deep down as possible."""
        origin = typing.get_origin(kind)
        if kind == Printed:
            self.number(path, value)
        elif isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            self._struct(value, kind, path)
        elif origin is dict and isinstance(value, dict):
            key_kind, value_kind = typing.get_args(kind)
            for key, item in value.items():
                self._key(key, key_kind, path)
                self.check(item, value_kind, (*path, key))
        elif _is_sequence(kind) and isinstance(value, list):
            item_kind = typing.get_args(kind)[0]
            for index, item in enumerate(value):
                self.check(item, item_kind, (*path, index))
        elif origin in (typing.Union, types.UnionType) and self._descend(value, kind, path):
            return
        else:
            self._convert(value, kind, path)

    def _descend(self, value: Any, kind: Any, path: PathLike) -> bool:
        """Go into the one member of a union that a collection can only mean."""
        for member in typing.get_args(kind):
            struct = isinstance(member, type) and issubclass(member, msgspec.Struct)
            collection = struct or typing.get_origin(member) is dict
            if (collection and isinstance(value, dict)) or (_is_sequence(member) and isinstance(value, list)):
                self.check(value, member, path)
                return True
        return False

    def _struct(self, value: Any, kind: type[msgspec.Struct], path: PathLike) -> None:
        if not isinstance(value, dict):
            self.note(path, f"expected a mapping, got {show(value)}")
            return
        outer = self._owner
        if kind.__name__ == "ModelDoc" and isinstance(value.get("id"), str):
            self._owner = (value["id"], len(path))
        hints, fields = _hints(kind), _fields(kind)
        for key, item in value.items():
            if key not in fields:
                self.note((*path, key), f"unknown key{did_you_mean(key, fields)}")
            else:
                self.check(item, hints[fields[key].name], (*path, key))
        for name, field in fields.items():
            if field.required and name not in value:
                self.note(path, f'needs "{name}"')
        self._owner = outer

    def _key(self, key: str, kind: Any, path: PathLike) -> None:
        try:
            msgspec.convert(key, kind)
        except msgspec.ValidationError as error:
            choices = typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ()
            if choices:
                self.note((*path, key), f"unknown key, expected {_one_of(choices)}")
            else:
                self.note((*path, key), _message(error, kind, key))

    def _convert(self, value: Any, kind: Any, path: PathLike) -> None:
        try:
            msgspec.convert(value, kind, builtin_types=(Decimal,))
        except msgspec.ValidationError as error:
            self.note(path, _message(error, kind, value))


@cache
def _hints(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return typing.get_type_hints(kind, include_extras=True)


@cache
def _fields(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return {f.encode_name: f for f in msgspec.structs.fields(kind)}


def _is_sequence(kind: Any) -> bool:
    """Whether a type is a list, or a tuple of any length."""
    return typing.get_origin(kind) is list or typing.get_args(kind)[1:] == (...,)


def _one_of(choices: tuple[Any, ...]) -> str:
    return "one of " + ", ".join(str(c) for c in choices)


def _message(error: Exception, kind: Any, value: Any) -> str:
    """What was expected, in words, and what was there."""
    for part in (kind, *typing.get_args(kind)):
        for meta in getattr(part, "__metadata__", ()):
            most = getattr(meta, "max_length", None)
            if most is not None and isinstance(value, str) and len(value) > most:
                return f"expected at most {most} characters, got {len(value)}"
            if getattr(meta, "description", None):
                return f"expected {meta.description}; got {show(value)}"
    for part in (kind, *typing.get_args(kind)):
        if typing.get_origin(part) is typing.Literal:
            choices = typing.get_args(part)
            near = did_you_mean(str(value), [str(c) for c in choices])
            return f"expected {_one_of(choices)}, got {show(value)}{near}"
    text = str(error).split(" - at `$")[0]
    text = text[0].lower() + text[1:] if text else "not what the schema expects"
    return f"{text.replace('`', '')}, got {show(value)}" if ", got" not in text else text.replace("`", "")


def show(value: Any) -> str:
    """A value as one would write it, cut short."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    value = value[:60] if isinstance(value, str) else value
    text = str(value) if isinstance(value, Decimal) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


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
