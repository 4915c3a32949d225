"""The loaded registry and its questions: which models, which one.

Load `registry.yaml`: fast when it is right, and with a line for every problem when it is not.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import msgspec

from bddzoo.errors import MissingError
from bddzoo.registry.model import Model, Protocol, Section, Zoo
from bddzoo.registry.problems import RegistryError
from bddzoo.registry.reader import parse, read_text
from bddzoo.registry.resolve import Resolver
from bddzoo.registry.structs import RegistryDoc


class Registry:
    """Everything that `registry.yaml` says.

    Attributes:
        path: The file, or None when it came from text.
        zoos: Zoos in the file's order.
        sections: One per zoo and task, with the zoo's table styles.
        models: All models, zoo by zoo in published order.
        document: The file as it is spelt, checked but with no reference followed.
        protocols: All protocols by name, also those that no model is tested by.
    """

    def __init__(
        self,
        path: Path | None,
        zoos: tuple[Zoo, ...],
        sections: tuple[Section, ...],
        document: RegistryDoc | None = None,
        protocols: Mapping[str, Protocol] | None = None,
    ) -> None:
        self.protocols = protocols or {}
        self.path = path
        self.document = document
        self.zoos = zoos
        self.sections = sections
        self.models: tuple[Model, ...] = tuple(m for s in sections for m in s.models)

    @cached_property
    def by_id(self) -> dict[str, Model]:
        """Models by id."""
        return {m.id: m for m in self.models}

    def find(self, model_id: str) -> Model:
        """The model of that id.

        Raises:
            MissingError: There is none; names near ones.
        """
        model = self.by_id.get(model_id)
        if model is None:
            from difflib import get_close_matches

            near = get_close_matches(model_id, self.by_id, n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(near)}?" if near else "see 'bddzoo list'"
            raise MissingError(f"no model '{model_id}'", hint=hint)
        return model

    def section(self, zoo: str, task: str) -> Section:
        """The section of a zoo and task.

        Raises:
            MissingError: The zoo is unknown or has no models of that task.
        """
        for section in self.sections:
            if section.zoo.id == zoo and section.task == task:
                return section
        known = ", ".join(f"{s.zoo.id} {s.task}" for s in self.sections)
        raise MissingError(f"no models of zoo '{zoo}' and task '{task}'", hint=f"there are: {known}")

    def select(
        self,
        patterns: Sequence[str] = (),
        zoo: str | None = None,
        task: str | None = None,
        method: str | None = None,
        backbone: str | None = None,
        where: Iterable[str] = (),
    ) -> list[Model]:
        """Models that match everything that is given, in published order.

        Args:
            patterns: Shell patterns for ids or zoos; any of them.
            zoo: Id or pattern.
            task: Task.
            method: Name or pattern, case ignored.
            backbone: Name or pattern, case ignored.
            where: Conditions such as `mIoU-val > 62`; see `bddzoo.registry.query`.

        Raises:
            UsageError: A condition that cannot be read, or names no column.
        """
        from bddzoo.registry.query import matches, parse_conditions

        conditions = parse_conditions(where, self.models)
        return [
            m
            for m in self.models
            if (not patterns or any(matches(p, m.id) or matches(p, m.zoo.id) for p in patterns))
            and (zoo is None or matches(zoo, m.zoo.id))
            and (task is None or m.task == task)
            and (method is None or matches(method, m.method.name))
            and (backbone is None or matches(backbone, m.backbone))
            and all(c(m) for c in conditions)
        ]


def default_path() -> Path:
    """The registry that ships with bddzoo: in an installed package beside it, in a checkout above it.

    Raises:
        MissingError: The package came without one.
    """
    package = Path(__file__).resolve().parent.parent
    for path in (package / "registry.yaml", package.parent / "registry.yaml"):
        if path.is_file():
            return path
    raise MissingError("bddzoo came without its registry.yaml", hint="reinstall it, or give --registry FILE")


def load_registry(path: Path | None = None) -> Registry:
    """Read and check a registry.

    Args:
        path: The file; None: the one that ships with bddzoo.

    Raises:
        MissingError: It is not there or cannot be read.
        YamlError: It is not the YAML that registries are written in.
        RegistryError: It does not follow the schema; lists every problem with its line.
    """
    file = default_path() if path is None else path
    return load_text(read_text(file), str(file), file)


def load_text(text: str, name: str, path: Path | None = None) -> Registry:
    """As `load_registry`, from text; `name` is what errors call it."""
    # Nothing of what is built here is garbage, and looking for it takes longer the more there is.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return _load(text, name, path)
    finally:
        if collecting:
            gc.enable()


def _load(text: str, name: str, path: Path | None) -> Registry:
    data = parse(text, name)
    try:
        document = msgspec.convert(data, RegistryDoc)
    except msgspec.ValidationError:
        from bddzoo.registry.explain import explain

        problems = explain(data)
        lines: dict[tuple[str | int, ...], int] = {}
        parse(text, name, lines)
        raise RegistryError(name, problems, lines) from None
    resolver = Resolver(document)
    zoos, sections = resolver.sections()
    if resolver.problems:
        lines = {}
        parse(text, name, lines)
        raise RegistryError(name, resolver.problems, lines)
    return Registry(path, zoos, sections, document, resolver.protocols)
