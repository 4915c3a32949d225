"""Turns the documents of the file into the types that the program works with.

References are followed and templates filled in. Problems are collected, not raised, so that one reading of a
file finds all of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from math import isfinite
from typing import Any

from msgspec import Struct

from bddzoo.registry import structs as doc
from bddzoo.registry.model import (
    REASONS,
    Artifact,
    Column,
    Elsewhere,
    Fills,
    GroundTruth,
    Link,
    Method,
    Model,
    NotBuildable,
    Paper,
    Person,
    Protocol,
    Reported,
    Section,
    TableStyle,
    Training,
    Zoo,
)
from bddzoo.registry.parts import build_artifacts, build_document, build_network, parse_digest
from bddzoo.registry.problems import Checker, did_you_mean, unknown
from bddzoo.registry.reader import PathLike
from bddzoo.registry.tasks import Task


def plain(value: Any) -> Any:
    """A copy with `Decimal` as float."""
    if type(value) is dict:
        return {k: plain(v) for k, v in value.items()}
    if type(value) is list:
        return [plain(v) for v in value]
    if type(value) is Decimal:
        return float(value)
    return value


@cache
def _shared_fields(written: type[Struct], kind: type[Struct]) -> tuple[str, ...]:
    return tuple(name for name in kind.__struct_fields__ if name in written.__struct_fields__)


def shared(written: Struct, kind: type[Struct]) -> dict[str, Any]:
    """The fields that an entry of the file and a type of `bddzoo.registry.model` have in common."""
    return {name: getattr(written, name) for name in _shared_fields(type(written), kind)}


def build_protocol(resolver: Resolver, name: str, spec: doc.ProtocolDoc) -> Protocol:
    """The protocol of that name; problems are noted with the resolver."""
    at: PathLike = ("protocols", name)
    for key in ("mean", "std"):
        if not all(isfinite(v) and (v > 0 or key == "mean") for v in getattr(spec, key)):
            resolver.note((*at, key), "expected three finite numbers" + ("" if key == "mean" else " above 0"))
    for metric, points in spec.tolerance.items():
        if not (points.is_finite() and points >= 0):
            resolver.note((*at, "tolerance", metric), f"expected points of the metric, got {points}")
    for key, numbers in (("div_value", (spec.div_value,)), ("scales", spec.scales)):
        if not all(isfinite(v) and v > 0 for v in numbers):
            resolver.note((*at, key), "expected finite numbers above 0")
    if spec.mode == "slide" and (spec.crop is None or spec.stride is None):
        resolver.note(at, "mode slide needs crop and stride")
    if spec.resize != "fit" and spec.scale is None:
        resolver.note(at, f"resize {spec.resize} needs a scale")
    if spec.flip_swap and not spec.flip:
        resolver.note(at, "flip_swap needs flip")
    truth = {}
    for split, digests in spec.ground_truth.items():
        found = {
            what: parse_digest(resolver, (*at, "ground_truth", split, what), text)
            for what in ("images", "labels")
            if (text := getattr(digests, what)) is not None
        }
        truth[split] = GroundTruth(**found)
    return Protocol(id=name, **{**shared(spec, Protocol), "ground_truth": truth})


def build_column(name: str, spec: doc.ColumnDoc) -> Column:
    """What a column holds."""
    if spec.backbone:
        return Column(name, "backbone")
    if spec.metric is not None:
        return Column(name, "metric", metric=spec.metric)
    if spec.links is not None:
        return Column(name, "links", links=spec.links)
    return Column(name)


def build_style(
    resolver: Resolver, at: PathLike, name: str, spec: doc.SectionDoc, columns: Mapping[str, Column]
) -> TableStyle:
    """A table style over its base; columns that are not listed hold settings."""
    style = spec.tables[name]
    merged: dict[str, Any] = {}
    if style.base is not None:
        base = spec.tables.get(style.base)
        if base is None or style.base == name:
            where = (*at, "tables", name, "base")
            resolver.note(where, unknown("table style", style.base, spec.tables))
        else:
            merged = {f: getattr(base, f) for f in base.__struct_fields__ if getattr(base, f)}
    merged.update({f: getattr(style, f) for f in style.__struct_fields__ if getattr(style, f)})
    merged.pop("base", None)
    names = merged.pop("columns", [])
    if not names:
        resolver.note((*at, "tables", name), "a table style needs columns")
    merged["separator"] = tuple(merged.get("separator", (" :-: ",)))
    merged["empty_links"] = frozenset(merged.get("empty_links", ()))
    return TableStyle(columns=tuple(columns.get(n) or Column(n) for n in names), **merged)


_AUTHOR = re.compile(r"^([^<>]+?)(\*?)(?: <([^<>]+)>)?$")


class Resolver(Checker):
    """One pass over a `RegistryDoc`.

    Attributes:
        ids: Path of every model.
        mentioned: Where one model names another: path, the other's id, the id of the one.
    """

    def __init__(self, registry: doc.RegistryDoc) -> None:
        super().__init__()
        self.doc = registry
        self.ids: dict[str, PathLike] = {}
        self.former: dict[str, str] = {}
        self.mentioned: list[tuple[PathLike, str, str]] = []
        self.protocols = {k: build_protocol(self, k, v) for k, v in registry.protocols.items()}

    def sections(self) -> tuple[tuple[Zoo, ...], tuple[Section, ...]]:
        """Zoos and their sections, in the file's order."""
        self._papers()
        for pool in ("protocols", "schedules", "papers"):
            for name in getattr(self.doc, pool):
                self.ident((pool, name), name)
        zoos: list[Zoo] = []
        sections: list[Section] = []
        for index, spec in enumerate(self.doc.zoos):
            at: PathLike = ("zoos", index)
            self.ident((*at, "id"), spec.id)
            if any(z.id == spec.id for z in zoos):
                self.note((*at, "id"), f'zoo "{spec.id}" is there twice')
            self.url((*at, "url"), spec.url)
            zoo = Zoo(**shared(spec, Zoo))
            zoos.append(zoo)
            for task, section in spec.tasks.items():
                sections.append(self._section((*at, "tasks", task), zoo, task, section))
        for name, row in self.former.items():
            if name in self.ids:
                at = self.ids[row]
                with self.of(row, at):
                    self.note((*at, "former_ids"), f'"{name}" is the id of a model')
        for path, name, row in self.mentioned:
            with self.of(row, self.ids[row]):
                self.known(path, "model", name, self.ids)
        return tuple(zoos), tuple(sections)

    # -- pools -------------------------------------------------------------------------------------

    def _papers(self) -> None:
        self.authors: dict[str, tuple[Person, ...]] = {}
        for name, paper in self.doc.papers.items():
            at: PathLike = ("papers", name)
            self.url((*at, "url"), paper.url)
            people = []
            for index, text in enumerate(paper.authors):
                match = _AUTHOR.match(text)
                if match is None:
                    self.note((*at, "authors", index), f'expected "Name" or "Name <URL>", got "{text}"')
                    continue
                self.url((*at, "authors", index), match[3])
                people.append(Person(match[1], match[3], match[2]))
            self.authors[name] = tuple(people)

    # -- sections ----------------------------------------------------------------------------------

    def _section(self, at: PathLike, zoo: Zoo, task: Task, spec: doc.SectionDoc) -> Section:
        self.url((*at, "page"), spec.page)
        self.url((*at, "server"), spec.server)
        document = build_document(self, at, spec)
        self.known((*at, "protocol"), "protocol", spec.protocol, self.protocols)
        columns = {name: build_column(name, c) for name, c in spec.columns.items()}
        styles = {name: build_style(self, at, name, spec, columns) for name in spec.tables}
        for kind, template in spec.artifacts.items():
            for key in ("url", "md5", "page"):
                self.url((*at, "artifacts", kind, key), getattr(template, key), source=key == "url")
            self._template((*at, "artifacts", kind), template)
        methods: list[Method] = []
        models: list[Model] = []
        for index, entry in enumerate(spec.methods):
            here: PathLike = (*at, "methods", index)
            method = self._method(here, entry)
            methods.append(method)
            if styles:
                self.known((*here, "table"), "table style", entry.table, styles)
            for number, row in enumerate(entry.models):
                path: PathLike = (*here, "models", number)
                with self.of(row.id, path):
                    models.append(self._model(path, zoo, task, spec, entry, method, row, styles, document))
        own = {"columns": columns, "styles": styles, "methods": tuple(methods), "models": tuple(models)}
        return Section(**{**shared(spec, Section), **own, "zoo": zoo, "task": task})

    def _template(self, at: PathLike, template: doc.TemplateDoc) -> None:
        for key in ("name", "url", "page", "printed", "md5"):
            text = getattr(template, key)
            if text is None:
                continue
            for field in re.findall(r"\{([^{}]*)\}", text):
                if field not in ("id", "commit", "name", "attribute"):
                    known = "{id}, {name}, {commit} or {attribute}"
                    self.note((*at, key), f"expected {known}, got {{{field}}}")

    def _method(self, at: PathLike, entry: doc.MethodDoc) -> Method:
        self.url((*at, "code"), entry.code)
        paper = self.doc.papers.get(entry.paper or "")
        self.known((*at, "paper"), "paper", entry.paper, self.doc.papers)
        self.known((*at, "protocol"), "protocol", entry.protocol, self.protocols)
        notes = entry.notes + ((paper.note,) if paper and paper.note else ())
        own = {
            "paper": Link(paper.title, paper.url) if paper else None,
            "code": Link("Code", entry.code) if entry.code else None,
            "notes": notes,
        }
        return Method(
            **{**shared(entry, Method), **own},
            venue=paper.venue if paper else None,
            authors=self.authors.get(entry.paper or "", ()),
            paper_id=entry.paper,
        )

    # -- models ------------------------------------------------------------------------------------

    def _model(
        self,
        at: PathLike,
        zoo: Zoo,
        task: Task,
        section: doc.SectionDoc,
        heading: doc.MethodDoc,
        method: Method,
        row: doc.ModelDoc,
        styles: Mapping[str, TableStyle],
        document: Artifact | None,
    ) -> Model:
        self.ident((*at, "id"), row.id)
        if row.id in self.ids:
            self.note((*at, "id"), "another model has the same id")
        self.ids[row.id] = at
        protocol = row.protocol or heading.protocol or section.protocol
        self.known((*at, "protocol"), "protocol", row.protocol, self.protocols)
        self.known((*at, "paper"), "paper", row.paper, self.doc.papers)
        paper_id = row.paper or method.paper_id
        found = self.doc.papers.get(paper_id or "")
        authors = self.authors.get(paper_id or "", ())
        paper = Paper(found.title, found.url, found.venue, authors) if found is not None else None
        style = styles.get(heading.table)
        resolved = self.protocols.get(protocol) if protocol else None
        network = None
        if row.network is not None:
            network = build_network(self, self.doc.parts, at, section, row, resolved)
        return Model(
            id=row.id,
            zoo=zoo,
            task=task,
            method=method,
            backbone=row.backbone,
            settings=self._settings(at, row, style),
            reported=self._reported(at, row, style),
            artifacts=build_artifacts(self, at, zoo, section, heading, row),
            network=network,
            protocol=resolved,
            notes=row.notes,
            training=self._training(at, row),
            elsewhere=tuple(self._elsewhere(at, i, e, row) for i, e in enumerate(row.elsewhere)),
            lint_ok=row.lint_ok,
            fills=self._fills(at, row),
            former_ids=self._former_ids(at, row),
            not_buildable=self._not_buildable(at, row, row.not_buildable or section.not_buildable),
            document=document,
            paper_id=paper_id,
            paper=paper,
            protocols={
                e.protocol: self.protocols[e.protocol] for e in row.elsewhere if e.protocol in self.protocols
            },
        )

    def _settings(self, at: PathLike, row: doc.ModelDoc, style: TableStyle | None) -> dict[str, str]:
        given = {k: str(v) for k, v in row.settings.items()}
        if style is None:
            return given
        settings: dict[str, str] = {}
        for column in style.columns:
            if column.kind == "setting":
                missing = style.missing_by_column.get(column.name, style.missing)
                settings[column.name] = given.pop(column.name, missing)
        for name in given:
            message = f'the table has no column "{name}"{did_you_mean(name, settings)}'
            self.note((*at, "settings", name), message)
        return settings

    def _reported(self, at: PathLike, row: doc.ModelDoc, style: TableStyle | None) -> tuple[Reported, ...]:
        self._numbers((*at, "reported"), row.reported)
        if style is None:
            return numbers_of(row.reported)
        given: dict[tuple[str, str], int | Decimal | None]
        given = {(split, metric): v for split, ns in row.reported.items() for metric, v in ns.items()}
        found: list[Reported] = []
        known: set[tuple[str, str]] = set()
        for column in style.columns:
            if column.metric is not None:
                known.add(column.metric)
                value = given.get(column.metric)
                found.append(Reported(*column.metric, column.name, None if value is None else Decimal(value)))
        for part, values in row.reported.items():
            for name in values:
                if (part, name) not in known:
                    path: PathLike = (*at, "reported", part, name)
                    self.note(path, f"the table has no column for {name} on {part}")
        return tuple(found)

    def _training(self, at: PathLike, row: doc.ModelDoc) -> Training | None:
        spec = row.training
        if spec is None:
            return None
        schedule = self.doc.schedules.get(spec.schedule or "")
        self.known((*at, "training", "schedule"), "schedule", spec.schedule, self.doc.schedules)
        return Training(**shared(spec, Training), optimizer=plain(schedule) if schedule else {})

    def _fills(self, at: PathLike, row: doc.ModelDoc) -> Fills | None:
        """The row that a model's weights belong to; that it is there is checked at the end."""
        if row.fills is None:
            return None
        self.mentioned.append(((*at, "fills", "model"), row.fills.model, row.id))
        return Fills(**shared(row.fills, Fills))

    def _former_ids(self, at: PathLike, row: doc.ModelDoc) -> tuple[str, ...]:
        """Names that a row's files had; one that another row has, or had, is noted."""
        for index, name in enumerate(row.former_ids):
            self.ident((*at, "former_ids", index), name)
            if self.former.setdefault(name, row.id) != row.id:
                self.note((*at, "former_ids", index), f"{self.former[name]} had the same id")
        return row.former_ids

    def _not_buildable(self, at: PathLike, row: doc.ModelDoc, code: str | None) -> NotBuildable | None:
        """Why nobody can build a row's network; an unknown code is noted."""
        if code is None:
            return None
        here: PathLike = (*at, "not_buildable")
        self.known(here, "reason", code, REASONS)
        if row.network is not None and row.not_buildable is not None:
            self.note(here, "a row with a network can be built")
        return NotBuildable(code, REASONS.get(code, ""))

    def _elsewhere(self, at: PathLike, index: int, spec: doc.ElsewhereDoc, row: doc.ModelDoc) -> Elsewhere:
        """Numbers that were published in another place."""
        here: PathLike = (*at, "elsewhere", index)
        for key in ("url", "weights"):
            self.url((*here, key), getattr(spec, key))
        if spec.model is not None:
            self.mentioned.append(((*here, "model"), spec.model, row.id))
        self.known((*here, "protocol"), "protocol", spec.protocol, self.protocols)
        self._numbers((*here, "reported"), spec.reported)
        return Elsewhere(**{**shared(spec, Elsewhere), "reported": numbers_of(spec.reported)})

    def _numbers(self, at: PathLike, reported: Mapping[Any, Mapping[Any, Any]]) -> None:
        for split, numbers in reported.items():
            for metric, value in numbers.items():
                self.number((*at, split, metric), value)


def numbers_of(reported: Mapping[Any, Mapping[Any, int | Decimal | None]]) -> tuple[Reported, ...]:
    """Numbers by split and metric, where no table names their columns."""
    return tuple(
        Reported(split, metric, "", None if value is None else Decimal(value))
        for split, numbers in reported.items()
        for metric, value in numbers.items()
    )
