"""Load `registry.yaml`: fast when it is right, and with a line for every problem when it is not."""

from __future__ import annotations

import gc
from pathlib import Path

import msgspec

from bddzoo.errors import MissingError
from bddzoo.registry.catalog import Registry
from bddzoo.registry.problems import RegistryError
from bddzoo.registry.reader import parse, read_text
from bddzoo.registry.resolve import Resolver
from bddzoo.registry.schema import RegistryDoc


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
