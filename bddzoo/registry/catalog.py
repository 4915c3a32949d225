"""The loaded registry and its questions: which models, which one.

`registry.yaml` is read fast when it is right, and with a line for every problem when it is not. Reading YAML
takes most of the time of a short command, so a compiled copy of a large file is kept in the user's cache.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from bddzoo.errors import MissingError
from bddzoo.files import user_folder, write_whole
from bddzoo.registry.model import Model, Protocol, Section, Zoo
from bddzoo.registry.problems import RegistryError, explain
from bddzoo.registry.reader import PathLike, parse, read_text
from bddzoo.registry.resolve import Resolver, plain
from bddzoo.registry.structs import RegistryDoc

# Registries whose text is shorter are read faster than their copy could be found.
COMPILED_MIN_CHARACTERS = 32 * 1024
COMPILED_KEPT = 4


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

    @cached_property
    def by_former_id(self) -> dict[str, Model]:
        """Models by the names that their files had once."""
        return {name: m for m in self.models for name in m.former_ids}

    def find(self, model_id: str) -> Model:
        """The model of that id, or whose files once had that name.

        Raises:
            MissingError: There is none; names near ones.
        """
        model = self.by_id.get(model_id) or self.by_former_id.get(model_id)
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
            patterns: Shell patterns for ids or zoos, or former ids; any of them.
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
            if (
                not patterns
                or any(matches(p, m.id) or matches(p, m.zoo.id) or p in m.former_ids for p in patterns)
            )
            and (zoo is None or matches(zoo, m.zoo.id))
            and (task is None or m.task == task)
            and (method is None or matches(method, m.method.name))
            and (backbone is None or matches(backbone, m.backbone))
            and all(c(m) for c in conditions)
        ]


def default_path() -> Path:
    """The registry that ships with bddzoo: inside an installed package, above it in a checkout.

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
    copy = _compiled_path(text)
    document = _read_compiled(copy)
    if document is None:
        document = _read_document(text, name)
        if copy is not None:
            _write_compiled(copy, document)
    resolver = Resolver(document)
    zoos, sections = resolver.sections()
    if resolver.problems:
        raise RegistryError(name, resolver.problems, _lines(text, name))
    return Registry(path, zoos, sections, document, resolver.protocols)


def _read_document(text: str, name: str) -> RegistryDoc:
    data = parse(text, name)
    try:
        # Numbers are numbers already: 010, which some take for 8, is text here and no 10.
        document = msgspec.convert(data, RegistryDoc, builtin_types=(Decimal,))
    except msgspec.ValidationError:
        raise RegistryError(name, explain(data), _lines(text, name)) from None
    # Numbers in free form, which msgpack has no decimals for; those of the schema keep their digits.
    document.parts, document.schedules = _plain(document.parts), plain(document.schedules)
    for zoo in document.zoos:
        for section in zoo.tasks.values():
            for method in section.methods:
                for row in method.models:
                    row.network = row.network and _plain(row.network)
    return document


def _plain(struct: Any) -> Any:
    return type(struct)(**{name: plain(getattr(struct, name)) for name in struct.__struct_fields__})


def _lines(text: str, name: str) -> dict[PathLike, int]:
    lines: dict[PathLike, int] = {}
    parse(text, name, lines)
    return lines


def _compiled_path(text: str) -> Path | None:
    """Path of the compiled copy of a text; None where the text is short or no folder can hold one.

    The name is a digest of the text and of the code that reads it, so that a copy is never stale.
    """
    if len(text) < COMPILED_MIN_CHARACTERS:
        return None
    try:
        code = [
            Path(__file__).with_name(f"{name}.py").read_bytes() for name in ("reader", "structs", "catalog")
        ]
        folder = user_folder("cache").with_name("bddzoo-registry")
    except (OSError, MissingError):
        return None
    digest = hashlib.sha256(b"\0".join([*code, msgspec.__version__.encode(), text.encode()])).hexdigest()
    return folder / f"{digest}.msgpack"


def _read_compiled(path: Path | None) -> RegistryDoc | None:
    """The document of a compiled copy, or None where there is none that is whole."""
    if path is None:
        return None
    try:
        data = path.read_bytes()
        digest, content = data[:32], data[32:]
        if hashlib.sha256(content).digest() != digest:
            return None
        return msgspec.msgpack.decode(content, type=RegistryDoc)
    except (OSError, msgspec.MsgspecError):
        return None


def _write_compiled(path: Path, document: RegistryDoc) -> None:
    """Keep a compiled copy, and the newest few others; without a place to write to, nothing is kept."""
    content = msgspec.msgpack.encode(document)
    with contextlib.suppress(OSError):
        write_whole(path, hashlib.sha256(content).digest() + content)
        copies = sorted(path.parent.glob("*.msgpack"), key=lambda p: p.stat().st_mtime, reverse=True)
        for old in copies[COMPILED_KEPT:]:
            old.unlink(missing_ok=True)
