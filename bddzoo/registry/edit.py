"""Change `registry.yaml` in place: the lines of one key are written anew, all others stay as they are.

A YAML library that keeps comments would still wrap lines and quotes its own way; here comments, order,
spacing and line breaks outside of the changed key survive because they are never touched. Every change
is checked: the new text must load, and must say what the old one said but for the change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bddzoo.errors import MissingError, UsageError
from bddzoo.registry import schema as doc
from bddzoo.registry.loader import load_text
from bddzoo.registry.problems import PathLike
from bddzoo.registry.reader import parse
from bddzoo.registry.yaml_text import emit, emit_items

# Where a key that is not there yet goes: before the first of the keys that follow it in the schema.
_ORDER = tuple(doc.ModelDoc.__struct_fields__)


class Editor:
    """The text of a registry, and changes to it.

    Args:
        text: The YAML text.
        name: What to call the file in errors.

    Attributes:
        original: The text before any change.
        text: The text as it is now.
    """

    def __init__(self, text: str, name: str) -> None:
        self.name, self.original = name, text
        self._take(text)

    def _take(self, text: str) -> None:
        self.text = text
        self.lines = text.split("\n")
        self.at: dict[PathLike, int] = {}
        self.data = parse(text, self.name, self.at)

    def model_path(self, model_id: str) -> PathLike:
        """Where a model stands.

        Raises:
            MissingError: The file has no such model.
        """
        for path in self.at:
            if len(path) > 1 and path[-2] == "models":
                entry = self._get(path)
                if isinstance(entry, dict) and entry.get("id") == model_id:
                    return path
        raise MissingError(f"{self.name} has no model '{model_id}'", hint="see 'bddzoo list'")

    def model_data(self, model_id: str) -> dict[str, Any]:
        """A model's entry as it is spelt.

        Raises:
            MissingError: The file has no such model.
        """
        return dict(self._get(self.model_path(model_id)))

    def set_model_key(self, model_id: str, key: str, value: Any) -> None:
        """Set one key of a model; None takes it away.

        Raises:
            MissingError: The file has no such model.
            UsageError: What would come out is not a valid registry.
        """
        path = self.model_path(model_id)
        entry = dict(self._get(path))
        if value is None:
            entry.pop(key, None)
        else:
            entry[key] = value
        start, end, indent = self._extent(path)
        if self.lines[start].lstrip().startswith("- {"):
            ordered = {k: entry[k] for k in _ORDER if k in entry}
            block: list[str] = []
            emit_items(block, indent, [ordered])
            new = [*self.lines[:start], *block, *self.lines[end:]]
        else:
            new = self._with_key(path, key, value, end, indent + 2)
        self._change("\n".join(new), path, entry)

    def add_model(self, section: PathLike, method: str, entry: Mapping[str, Any]) -> None:
        """Append a model to a heading.

        Args:
            section: Path of the zoo's task.
            method: The heading.
            entry: The model's entry.

        Raises:
            MissingError: There is no such heading.
            UsageError: What would come out is not a valid registry.
        """
        methods = self._get((*section, "methods"))
        index = next((i for i, m in enumerate(methods) if m["name"] == method), None)
        if index is None:
            known = ", ".join(m["name"] for m in methods)
            raise MissingError(f"{self.name} has no heading '{method}' there", hint=f"there are: {known}")
        models = methods[index].get("models", [])
        if not models:
            raise UsageError(f"heading '{method}' has no model to put another one after")
        last = (*section, "methods", index, "models", len(models) - 1)
        _, end, indent = self._extent(last)
        block: list[str] = []
        emit_items(block, indent, [dict(entry)])
        new = "\n".join([*self.lines[:end], *block, *self.lines[end:]])
        self._change(new, (*section, "methods", index, "models", len(models)), dict(entry))

    # -- places ------------------------------------------------------------------------------------

    def _get(self, path: PathLike) -> Any:
        value = self.data
        for step in path:
            value = value[step]
        return value

    def _extent(self, path: PathLike) -> tuple[int, int, int]:
        """First line of a list item, the line after its last, and the column of its dash."""
        start = self.at[path] - 1
        while not self.lines[start].lstrip().startswith("-"):
            start -= 1  # the first key of an item may have a comment line before it
        indent = len(self.lines[start]) - len(self.lines[start].lstrip())
        return start, self._end(start, indent), indent

    def _end(self, start: int, indent: int, *, of_key: bool = False) -> int:
        """The line after the last one that is indented deeper than `indent`.

        The items of a key's list may stand in the key's own column.
        """
        end = last = start + 1
        while end < len(self.lines):
            line = self.lines[end]
            if line.strip():
                column = len(line) - len(line.lstrip())
                if column < indent or (column == indent and not (of_key and line.lstrip().startswith("- "))):
                    break
                last = end + 1
            end += 1
        return last

    def _with_key(self, path: PathLike, key: str, value: Any, end: int, indent: int) -> list[str]:
        new: list[str] = []
        if value is not None:
            emit(new, indent, key, value)
        if (*path, key) in self.at:
            start = self._key_line(path, key)
            stop = self._end(start, indent, of_key=True)
            if start == self.at[path] - 1 and value is not None:  # the item's first key stands at the dash
                new[0] = self.lines[start][: indent - 2] + "- " + new[0].lstrip()
            return [*self.lines[:start], *new, *self.lines[stop:]]
        later = _ORDER[_ORDER.index(key) + 1 :] if key in _ORDER else ()
        places = [self._key_line(path, k) for k in later if (*path, k) in self.at]
        place = min(places, default=end)
        return [*self.lines[:place], *new, *self.lines[place:]]

    def _key_line(self, path: PathLike, key: str) -> int:
        """Index of the line that a key stands on; its value may begin on the next."""
        line = self.at[(*path, key)] - 1
        while not self.lines[line].lstrip().removeprefix("- ").startswith(f"{key}:"):
            line -= 1
        return line

    # -- changes -----------------------------------------------------------------------------------

    def _change(self, text: str, path: PathLike, entry: Mapping[str, Any]) -> None:
        """Take the new text over if it loads, and says nothing else than was asked for."""
        load_text(text, self.name)
        wanted = _replaced(self.data, path, entry)
        if parse(text, self.name) != wanted:
            raise UsageError(
                f"{self.name}: cannot change {entry.get('id', 'it')} safely where it stands",
                hint="write its entry in block style, one key a line, and try again",
            )
        self._take(text)


def _replaced(data: Any, path: PathLike, value: Any) -> Any:
    """A copy of nested data with another value at a path; a list grows by one at its end."""
    if not path:
        return value
    step, rest = path[0], path[1:]
    if isinstance(data, Sequence):
        items = list(data)
        assert isinstance(step, int)
        if step == len(items):
            return [*items, value]
        items[step] = _replaced(items[step], rest, value)
        return items
    return {**data, step: _replaced(data[step], rest, value)}


def pin_text(algorithm: str, digits: str, origin: str, date: str | None = None) -> str:
    """A digest as the registry writes it: `md5:0123... observed 2025-01-31`."""
    return f"{algorithm}:{digits} {origin}" + (f" {date}" if date else "")


def pinned(current: Any, digests: Sequence[str], size: int | str) -> dict[str, Any]:
    """A model's entry for one kind of file with digests and size filled in.

    Digests that are there stay; a new one is added where the same algorithm is not there yet.
    """
    entry: dict[str, Any] = dict(current) if isinstance(current, dict) else {}
    have = list(entry.get("digests", []))
    algorithms = {d.partition(":")[0] for d in have}
    have += [d for d in digests if d.partition(":")[0] not in algorithms]
    entry["digests"] = have
    entry.setdefault("size", size)
    return entry
