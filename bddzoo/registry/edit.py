"""Write and change registry files: entries as YAML, one key in place, the part that some models need.

Why no library writes this YAML: ruamel.yaml, which keeps comments, reads this file in 0.8 s instead of
0.06, and writing it back unchanged alters a quarter of its lines: it wraps and indents its own way. Here
the lines of one key are written anew; comments, order, spacing and line breaks of all others survive
because they are never touched. Every change is checked: the new text must load, and must say what the old
one said but for the change.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from bddzoo.errors import MissingError, UsageError
from bddzoo.registry import structs as doc
from bddzoo.registry.catalog import load_text
from bddzoo.registry.model import Model
from bddzoo.registry.reader import PathLike, parse
from bddzoo.text import printable

WIDTH = 112
# Plain scalars that need no quotes, also between brackets.
_PLAIN = re.compile(r"[A-Za-z0-9_./✓(][^\x00-\x1f\"'`#:,\[\]{}&!|>%@\\]*\Z")
_URL = re.compile(r"https?://[^\s,\[\]{}\"'#]+(#[^\s,\[\]{}\"']*)?\Z")
_READS_ELSE = re.compile(
    r"(?:[-+.]?[0-9][0-9_.eE+-]*|null|true|false|yes|no|on|off|~|\.|\.{3}.*|.*\s)\Z",
    re.IGNORECASE | re.DOTALL,
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
    plain = _PLAIN.match(text) or (not flow and (_URL.match(text) or _safe_block(text)))
    if plain and not _READS_ELSE.match(text):
        return text
    if printable(text) != text or "\ufeff" in text:
        return json.dumps(text)
    return "'" + text.replace("'", "''") + "'"


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
        """The path of a model's entry.

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
        """Set one key of a model; see `set_in_models`."""
        self.set_in_models(key, {model_id: value})

    def set_in_models(self, key: str, values: Mapping[str, Any]) -> None:
        """Set one key of models, by id; None takes it away.

        Raises:
            MissingError: The file has no such model.
            UsageError: What would come out is not a valid registry.
        """
        paths = {self.model_path(model_id): value for model_id, value in values.items()}
        lines, changes = self.lines, []
        # From the end of the file, so that the places of what is still to be changed stay as they are.
        for path in sorted(paths, key=lambda p: self.at[p], reverse=True):
            value, entry = paths[path], dict(self._get(path))
            if value is None:
                entry.pop(key, None)
            else:
                entry[key] = value
            start, end, indent = self._extent(path)
            if self.lines[start].lstrip().startswith("- {"):
                ordered = {k: entry[k] for k in _ORDER if k in entry}
                block: list[str] = []
                emit_items(block, indent, [ordered])
                lines = [*lines[:start], *block, *lines[end:]]
            else:
                lines = self._with_key(lines, path, key, value, end, indent + 2)
            changes.append((path, entry))
        self._change("\n".join(lines), changes)

    def add_model(self, section: PathLike, method: str, entry: Mapping[str, Any]) -> None:
        """Append a model to a heading.

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
        self._change(new, [((*section, "methods", index, "models", len(models)), dict(entry))])

    # -- places ------------------------------------------------------------------------------------

    def _get(self, path: PathLike) -> Any:
        value = self.data
        for step in path:
            value = value[step]
        return value

    def _extent(self, path: PathLike) -> tuple[int, int, int]:
        """First line of a list item, the line after its last, and the column of its dash.

        Raises:
            UsageError: The list is in flow style: its items have no lines of their own.
        """
        start, first = self.at[path] - 1, self.at[path[:-1]] - 1
        while not self.lines[start].lstrip().startswith("-"):
            start -= 1  # the first key of an item may have a comment line before it
            if start < first:
                raise self._not_safe(path)
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

    def _with_key(
        self, lines: list[str], path: PathLike, key: str, value: Any, end: int, indent: int
    ) -> list[str]:
        """The lines with another value of a key; up to the model's end they are those of the file."""
        new: list[str] = []
        if value is not None:
            emit(new, indent, key, value)
        if (*path, key) in self.at:
            start = self._key_line(path, key)
            stop = self._end(start, indent, of_key=True)
            if start == self.at[path] - 1 and value is not None:  # the item's first key follows the dash
                new[0] = self.lines[start][: indent - 2] + "- " + new[0].lstrip()
            return [*lines[:start], *new, *lines[stop:]]
        later = _ORDER[_ORDER.index(key) + 1 :] if key in _ORDER else ()
        places = [self._key_line(path, k) for k in later if (*path, k) in self.at]
        place = min(places, default=end)
        return [*lines[:place], *new, *lines[place:]]

    def _key_line(self, path: PathLike, key: str) -> int:
        """Index of a key's line; its value may begin on the next one."""
        line, first = self.at[(*path, key)] - 1, self._extent(path)[0]
        while not self.lines[line].lstrip().removeprefix("- ").startswith(f"{key}:"):
            line -= 1
            if line < first:
                raise self._not_safe(path)
        return line

    # -- changes -----------------------------------------------------------------------------------

    def _change(self, text: str, changes: Sequence[tuple[PathLike, Mapping[str, Any]]]) -> None:
        """Use the new text if it loads and differs from the old one by nothing but the changes."""
        load_text(text, self.name)
        wanted = self.data
        for path, entry in changes:
            wanted = _replaced(wanted, path, entry)
        if parse(text, self.name) != wanted:
            raise self._not_safe(changes[0][0])
        self._take(text)

    def _not_safe(self, path: PathLike) -> UsageError:
        line = self.at.get(path) or self.at[path[:-1]]
        return UsageError(
            f"{self.name}:{line}: this cannot be changed safely where it stands",
            hint="write it in block style, a dash and its keys on lines of their own, and try again",
        )


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


def missing_facts(model: Model) -> list[str]:
    """What the zoos' rules for contributions ask for and the entry does not have."""
    found = []
    for split in ("val", "test"):
        if not any(r.split == split and r.value is not None for r in model.reported):
            found.append(f"scores on {split}")
    weights = model.artifact("weights")
    if weights is None or not weights.sources:
        found.append("weights")
    if weights is None or not (weights.digests or weights.digest_url):
        found.append("MD5 of the weights")
    for kind, words in (("preds", "predictions"), ("visuals", "visuals"), ("config", "config")):
        artifact = next((a for a in model.artifacts if a.kind == kind), None)
        if artifact is None or not artifact.sources:
            found.append(words)
    if model.method.paper is None or not model.method.paper.url:
        found.append("paper")
    if model.method.code is None:
        found.append("code")
    if model.network is None or model.protocol is None:
        found.append("usage: a network and a protocol, so that the model can be run")
    elif model.network.params is None:
        found.append("number of parameters")
    return found


def assumed_files(model: Model) -> dict[str, str]:
    """Files with a link and neither digest nor size: their links follow the task's template, unchecked."""
    unseen = (a for a in model.artifacts if not a.digests and a.size_bytes is None)
    return {a.kind: a.sources[0] for a in unseen if a.sources}


def slice_registry(text: str, models: Collection[str]) -> str:
    """Leave only some models in a registry file.

    Works on the tree of YAML nodes, not on values: 62.30 stays 62.30. Pools of parts, protocols and
    papers are kept whole; comments are lost.

    Args:
        text: The registry file.
        models: Ids of the models to keep; the rows that these refer to are kept with them.
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    root = yaml.compose(text, Loader=loader)
    if not isinstance(root, yaml.MappingNode):
        raise UsageError("the registry is not a mapping", hint="see 'bddzoo registry lint'")
    _keep(root, _LEVELS, _with_mentioned(root, models))
    return str(yaml.serialize(root, Dumper=yaml.SafeDumper, allow_unicode=True, width=110))


# From the document to its rows: keys of lists, `tasks` of a mapping.
_LEVELS = ("zoos", "tasks", "methods", "models")


def _keep(node: Any, levels: Sequence[str], kept: Collection[str]) -> bool:
    """Leave only the rows of those ids below a node, and nothing that is empty then; whether any is left."""
    if not levels:
        return _id(node) in kept
    found = _values(node, levels[0])
    for many in found:
        many.value = [item for item in many.value if _keep(_node(item), levels[1:], kept)]
    return any(many.value for many in found)


def _rows(node: Any, levels: Sequence[str] = _LEVELS) -> Iterator[Any]:
    """All rows below a node."""
    if not levels:
        yield node
        return
    for many in _values(node, levels[0]):
        for item in many.value:
            yield from _rows(_node(item), levels[1:])


def _node(item: Any) -> Any:
    """An item of a list, or the value of one of a mapping, which holds pairs."""
    return item[1] if isinstance(item, tuple) else item


def licence_notes(models: Iterable[Model]) -> str:
    """What is known of the licences of models' files, as text for people."""
    lines = ["What the registry knows of the licences of these files. Unknown is unknown, not free.", ""]
    for model in models:
        zoo = model.zoo
        lines.append(f"{model.id} (zoo {zoo.id}: {zoo.title}{', ' + zoo.url if zoo.url else ''})")
        lines.append(
            f"  weights: {zoo.weights_licence or 'unknown'}; the zoo's code: {zoo.licence or 'unknown'}"
        )
        lines += [f"  {a.kind}: {a.licence}" for a in model.artifacts if a.licence]
    return "\n".join(lines) + "\n"


def _with_mentioned(root: object, models: Collection[str]) -> set[str]:
    """The ids with those of all rows that their rows name (`fills`, `elsewhere`), and these theirs."""
    named = {_id(row): set(_named_by(row)) for row in _rows(root)}
    kept, fresh = set(models), set(models)
    while fresh:
        fresh = {name for row in fresh for name in named.get(row, ())} - kept
        kept |= fresh
    return kept


def _named_by(row: object) -> Iterator[str]:
    """Ids of other models in a row."""
    others = [*_values(row, "fills"), *(item for many in _values(row, "elsewhere") for item in many.value)]
    for other in others:
        yield from (node.value for node in _values(other, "model"))


def _values(node: object, key: str) -> list[Any]:
    """The value of a key of a mapping node, as a list of none or one."""
    import yaml

    if not isinstance(node, yaml.MappingNode):
        return []
    return [value for name, value in node.value if name.value == key]


def _id(node: object) -> str:
    found = _values(node, "id")
    return str(found[0].value) if found else ""
