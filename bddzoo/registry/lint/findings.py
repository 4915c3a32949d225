"""What a rule finds, and on what."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from msgspec import Struct

from bddzoo.registry import structs as doc
from bddzoo.registry.catalog import Registry
from bddzoo.registry.model import Method, Model, Section
from bddzoo.registry.reader import PathLike

# What a column holds where an option was used.
TICK = "✓"


@dataclass(frozen=True)
class Subject:
    """A place of the registry that a finding is about.

    Attributes:
        name: Id of the model, or the heading, paper or zoo in words.
        path: Place in the YAML.
        acknowledged: Code to reason, from the place itself and everything around it.
    """

    name: str
    path: PathLike
    acknowledged: Mapping[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Finding:
    """One finding.

    Attributes:
        code: Stable code of the rule, e.g. `MON01`.
        subject: What it is about.
        message: What is odd, with the numbers.
        reason: Why it is as it is, where it was acknowledged; None: it is open.
    """

    code: str
    subject: Subject
    message: str
    reason: str | None = None


@dataclass(frozen=True)
class ModelEntry:
    """A model and its places."""

    model: Model
    section: Section
    subject: Subject


@dataclass(frozen=True)
class MethodEntry:
    """A heading, its models and its place."""

    method: Method
    section: Section
    subject: Subject
    entries: tuple[ModelEntry, ...]


@dataclass(frozen=True)
class PaperEntry:
    """A paper and its place."""

    id: str
    doc: doc.PaperDoc
    subject: Subject


@dataclass(frozen=True)
class World:
    """Everything that rules look at."""

    headings: tuple[MethodEntry, ...]
    papers: tuple[PaperEntry, ...]

    @property
    def entries(self) -> Iterator[ModelEntry]:
        """All models."""
        for heading in self.headings:
            yield from heading.entries


Found = Iterable[tuple[Subject, str]]
Check = Callable[[Any], Iterable[Any]]


@dataclass(frozen=True)
class Rule:
    """A rule: its code, what it looks for, and how."""

    code: str
    title: str
    check: Callable[[World], Found]


class Rules(list[Rule]):
    """The rules of a module, in the order in which they are given."""

    def add(
        self, code: str, title: str, *, of: Literal["entries", "headings", "papers"] | None = None
    ) -> Callable[[Check], Check]:
        """Make a rule of a function.

        Args:
            code: Stable code.
            title: What the rule looks for.
            of: The function is called with each of these and gives messages; None: with the `World`, and
                gives `Found`.
        """

        def added(check: Check) -> Check:
            self.append(Rule(code, title, partial(_found_at, of, check) if of else check))
            return check

        return added


def _found_at(places: str, check: Check, world: World) -> Found:
    for place in getattr(world, places):
        for message in check(place):
            yield place.subject, message


def world_of(registry: Registry) -> World:
    """The registry with the place and acknowledgements of everything in it."""
    document = registry.document
    assert document is not None
    sections = iter(registry.sections)
    headings: list[MethodEntry] = []
    for z, zoo in enumerate(document.zoos):
        for task, spec in zoo.tasks.items():
            section = next(sections)
            at: PathLike = ("zoos", z, "tasks", task)
            around = {**document.lint_ok, **zoo.lint_ok, **spec.lint_ok}
            for m, (heading, method) in enumerate(zip(spec.methods, section.methods, strict=True)):
                headings.append(_heading((*at, "methods", m), section, method, heading, around))
    papers = tuple(
        PaperEntry(
            name, paper, Subject(f"paper {name}", ("papers", name), {**document.lint_ok, **paper.lint_ok})
        )
        for name, paper in document.papers.items()
    )
    return World(tuple(headings), papers)


def _heading(
    at: PathLike, section: Section, method: Method, spec: doc.MethodDoc, around: Mapping[str, str]
) -> MethodEntry:
    known = {**around, **spec.lint_ok}
    subject = Subject(f"{section.zoo.id} {section.task} {method.name}", at, known)
    entries = tuple(
        ModelEntry(model, section, Subject(model.id, (*at, "models", index), {**known, **row.lint_ok}))
        for index, (model, row) in enumerate(zip(section.models_of(method), spec.models, strict=True))
    )
    return MethodEntry(method, section, subject, entries)


def acknowledgements(part: Any, at: PathLike = ()) -> Iterator[tuple[PathLike, str]]:
    """Path and code of every acknowledgement in a document or a part of it."""
    inner: Iterable[tuple[str | int, Any]] = ()
    if isinstance(part, Struct):
        inner = ((name, getattr(part, name)) for name in part.__struct_fields__)
    elif isinstance(part, dict):
        inner = part.items()
    elif isinstance(part, list):
        inner = enumerate(part)
    for step, value in inner:
        if step == "lint_ok":
            yield from (((*at, step, code), code) for code in value)
        else:
            yield from acknowledgements(value, (*at, step))
