"""The part of a registry file that some models need, with every number as it was written."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from bddzoo.errors import UsageError
from bddzoo.registry.types import Model


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
    kept = _with_mentioned(root, models)
    for zoos in _values(root, "zoos"):
        for zoo in zoos.value:
            for tasks in _values(zoo, "tasks"):
                for _, section in tasks.value:
                    for methods in _values(section, "methods"):
                        for rows in _rows(methods):
                            rows.value = [row for row in rows.value if _id(row) in kept]
                        methods.value = [
                            m for m in methods.value if any(v.value for v in _values(m, "models"))
                        ]
                tasks.value = [(k, s) for k, s in tasks.value if any(v.value for v in _values(s, "methods"))]
        zoos.value = [z for z in zoos.value if any(v.value for v in _values(z, "tasks"))]
    return str(yaml.serialize(root, Dumper=yaml.SafeDumper, allow_unicode=True, width=110))


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
    named: dict[str, set[str]] = {}
    for zoos in _values(root, "zoos"):
        for zoo in zoos.value:
            for tasks in _values(zoo, "tasks"):
                for _, section in tasks.value:
                    for methods in _values(section, "methods"):
                        for rows in _rows(methods):
                            named.update({_id(row): set(_named_by(row)) for row in rows.value})
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


def _rows(methods: Any) -> list[Any]:
    """The lists of models of a list of methods."""
    return [rows for method in methods.value for rows in _values(method, "models")]


def _values(node: object, key: str) -> list[Any]:
    """The value of a key of a mapping node, as a list of none or one."""
    import yaml

    if not isinstance(node, yaml.MappingNode):
        return []
    return [value for name, value in node.value if name.value == key]


def _id(node: object) -> str:
    found = _values(node, "id")
    return str(found[0].value) if found else ""
