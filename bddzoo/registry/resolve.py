"""From what the file says to what the program works with: references followed, templates filled in.

Whatever is wrong is noted, not raised, so that one reading of a file finds all of its problems.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from bddzoo.registry import schema as doc
from bddzoo.registry.parts import build_network
from bddzoo.registry.problems import PathLike, Problem, did_you_mean, dotted
from bddzoo.registry.types import (
    Artifact,
    ArtifactKind,
    Column,
    Digest,
    Elsewhere,
    Link,
    Method,
    Model,
    Person,
    Protocol,
    Reported,
    Section,
    TableStyle,
    Task,
    Training,
    Zoo,
)

KINDS: tuple[ArtifactKind, ...] = (
    "weights",
    "scores-val",
    "scores-test",
    "preds",
    "masks",
    "visuals",
    "config",
)
_AUTHOR = re.compile(r"^([^<>]+?)(\*?)(?: <([^<>]+)>)?$")
_SCHEMES = ("https://", "http://", "package:")


class Resolver:
    """One pass over a `RegistryDoc`.

    Attributes:
        problems: Everything that was wrong.
    """

    def __init__(self, registry: doc.RegistryDoc) -> None:
        self.doc = registry
        self.problems: list[Problem] = []
        self.ids: dict[str, PathLike] = {}
        self.protocols = {k: self._protocol(k, v) for k, v in registry.protocols.items()}

    def note(self, path: PathLike, message: str, model: str | None = None, depth: int = 0) -> None:
        """Remember a problem; `depth` is how much of the path leads to the model."""
        self.problems.append(Problem(path, message, model, dotted(path[depth:])))

    def sections(self) -> tuple[tuple[Zoo, ...], tuple[Section, ...]]:
        """Zoos and their sections, in the file's order."""
        self._papers()
        zoos: list[Zoo] = []
        sections: list[Section] = []
        for index, spec in enumerate(self.doc.zoos):
            at: PathLike = ("zoos", index)
            if any(z.id == spec.id for z in zoos):
                self.note((*at, "id"), f'zoo "{spec.id}" is there twice')
            self._url((*at, "url"), spec.url)
            zoo = Zoo(
                id=spec.id,
                title=spec.title,
                url=spec.url,
                commit=spec.commit,
                licence=spec.licence,
                synthetic=spec.synthetic,
                weights_licence=spec.weights_licence,
                notes=tuple(spec.notes),
            )
            zoos.append(zoo)
            for task, section in spec.tasks.items():
                sections.append(self._section((*at, "tasks", task), zoo, task, section))
        return tuple(zoos), tuple(sections)

    # -- pools -------------------------------------------------------------------------------------

    def _protocol(self, name: str, spec: doc.ProtocolDoc) -> Protocol:
        at: PathLike = ("protocols", name)
        if spec.mode == "slide" and (spec.crop is None or spec.stride is None):
            self.note(at, "mode slide needs crop and stride")
        return Protocol(
            id=name,
            dataset=spec.dataset,
            scale=spec.scale,
            float_resize=spec.float_resize,
            mean=_triple(spec.mean),
            std=_triple(spec.std),
            pad_divisor=spec.pad_divisor,
            mode=spec.mode,
            crop=spec.crop,
            stride=spec.stride,
            flip=spec.flip,
            evaluator=spec.evaluator,
            tolerance={k: Decimal(v) for k, v in spec.tolerance.items()},
            note=spec.note,
        )

    def _papers(self) -> None:
        self.authors: dict[str, tuple[Person, ...]] = {}
        for name, paper in self.doc.papers.items():
            at: PathLike = ("papers", name)
            self._url((*at, "url"), paper.url)
            people = []
            for index, text in enumerate(paper.authors):
                match = _AUTHOR.match(text)
                if match is None:
                    self.note((*at, "authors", index), f'expected "Name" or "Name <URL>", got "{text}"')
                    continue
                self._url((*at, "authors", index), match[3])
                people.append(Person(match[1], match[3], match[2]))
            self.authors[name] = tuple(people)

    def _url(self, at: PathLike, url: str | None, model: str | None = None, depth: int = 0) -> None:
        if url is not None and (not url.startswith(_SCHEMES) or url.split() != [url]):
            self.note(at, f'expected an https://, http:// or package: URL, got "{url}"', model, depth)
        elif url is not None and url.startswith("package:") and _unsafe(url[len("package:") :]):
            self.note(at, f'expected a path inside the package, got "{url}"', model, depth)

    # -- sections ----------------------------------------------------------------------------------

    def _section(self, at: PathLike, zoo: Zoo, task: Task, spec: doc.SectionDoc) -> Section:
        self._url((*at, "page"), spec.page)
        columns = {name: _column(name, c) for name, c in spec.columns.items()}
        styles = {name: self._style(at, name, spec, columns) for name in spec.tables}
        for kind, template in spec.artifacts.items():
            for key in ("url", "md5", "page"):
                self._url((*at, "artifacts", kind, key), getattr(template, key))
            self._template((*at, "artifacts", kind), template)
        methods: list[Method] = []
        models: list[Model] = []
        for index, entry in enumerate(spec.methods):
            here: PathLike = (*at, "methods", index)
            method = self._method(here, entry)
            methods.append(method)
            if styles and entry.table not in styles:
                self.note((*here, "table"), self._unknown("table style", entry.table, styles))
            for number, row in enumerate(entry.models):
                path: PathLike = (*here, "models", number)
                models.append(self._model(path, zoo, task, spec, entry, method, row, styles))
        return Section(
            zoo=zoo,
            task=task,
            page=spec.page,
            layout=spec.layout,
            columns=columns,
            styles=styles,
            methods=tuple(methods),
            models=tuple(models),
            notes=tuple(spec.notes),
        )

    def _template(self, at: PathLike, template: doc.TemplateDoc) -> None:
        for key in ("name", "url", "page", "printed", "md5"):
            text = getattr(template, key)
            if text is None:
                continue
            for field in re.findall(r"\{([^{}]*)\}", text):
                if field not in ("id", "commit", "name"):
                    self.note((*at, key), f"expected {{id}}, {{name}} or {{commit}}, got {{{field}}}")

    def _style(
        self, at: PathLike, name: str, spec: doc.SectionDoc, columns: Mapping[str, Column]
    ) -> TableStyle:
        style = spec.tables[name]
        merged: dict[str, Any] = {}
        if style.base is not None:
            base = spec.tables.get(style.base)
            if base is None or style.base == name:
                where = (*at, "tables", name, "base")
                self.note(where, self._unknown("table style", style.base, spec.tables))
            else:
                merged = {f: getattr(base, f) for f in base.__struct_fields__ if getattr(base, f)}
        merged.update({f: getattr(style, f) for f in style.__struct_fields__ if getattr(style, f)})
        merged.pop("base", None)
        names = merged.pop("columns", [])
        if not names:
            self.note((*at, "tables", name), "a table style needs columns")
        merged["separator"] = tuple(merged.get("separator", (" :-: ",)))
        merged["empty_links"] = frozenset(merged.get("empty_links", ()))
        return TableStyle(columns=tuple(columns.get(n) or Column(n) for n in names), **merged)

    def _method(self, at: PathLike, entry: doc.MethodDoc) -> Method:
        self._url((*at, "code"), entry.code)
        paper = self.doc.papers.get(entry.paper) if entry.paper is not None else None
        if entry.paper is not None and paper is None:
            self.note((*at, "paper"), self._unknown("paper", entry.paper, self.doc.papers))
        if entry.protocol is not None and entry.protocol not in self.protocols:
            self.note((*at, "protocol"), self._unknown("protocol", entry.protocol, self.protocols))
        notes = tuple(entry.notes) + ((paper.note,) if paper and paper.note else ())
        return Method(
            name=entry.name,
            paper=Link(paper.title, paper.url) if paper else None,
            venue=paper.venue if paper else None,
            authors=self.authors.get(entry.paper or "", ()),
            code=Link("Code", entry.code) if entry.code else None,
            paper_id=entry.paper,
            caption=entry.caption,
            table=entry.table,
            notes=notes,
            lint_ok=entry.lint_ok,
        )

    @staticmethod
    def _unknown(what: str, name: str, known: Mapping[str, Any]) -> str:
        return f'unknown {what} "{name}"{did_you_mean(name, known)}'

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
    ) -> Model:
        depth = len(at)
        if row.id in self.ids:
            self.note((*at, "id"), "another model has the same id", row.id, depth)
        self.ids[row.id] = at
        protocol = row.protocol or heading.protocol or section.protocol
        if row.protocol is not None and row.protocol not in self.protocols:
            message = self._unknown("protocol", row.protocol, self.protocols)
            self.note((*at, "protocol"), message, row.id, depth)
        style = styles.get(heading.table)
        resolved = self.protocols.get(protocol) if protocol else None
        network = None
        if row.network is not None:
            network = build_network(self, at, section, row, resolved)
        return Model(
            id=row.id,
            zoo=zoo,
            task=task,
            method=method,
            backbone=row.backbone,
            settings=self._settings(at, row, style),
            reported=self._reported(at, row, style),
            artifacts=self._artifacts(at, zoo, section, row),
            network=network,
            protocol=resolved,
            notes=tuple(row.notes),
            training=self._training(at, row),
            elsewhere=tuple(self._elsewhere(at, i, e, row) for i, e in enumerate(row.elsewhere)),
            lint_ok=row.lint_ok,
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
            self.note((*at, "settings", name), message, row.id, len(at))
        return settings

    def _reported(self, at: PathLike, row: doc.ModelDoc, style: TableStyle | None) -> tuple[Reported, ...]:
        for split, numbers in row.reported.items():
            for metric, value in numbers.items():
                path: PathLike = (*at, "reported", split, metric)
                self._percent(path, value, row.id, len(at))
        if style is None:
            return _numbers(row.reported)
        found: list[Reported] = []
        known: set[tuple[str, str]] = set()
        for column in style.columns:
            if column.metric is not None:
                split, metric = column.metric
                known.add(column.metric)
                value = row.reported.get(split, {}).get(metric)  # type: ignore[call-overload]
                found.append(
                    Reported(split, metric, column.name, None if value is None else Decimal(value))
                )
        for split, numbers in row.reported.items():
            for metric in numbers:
                if (split, metric) not in known:
                    path = (*at, "reported", split, metric)
                    self.note(path, f"the table has no column for {metric} on {split}", row.id, len(at))
        return tuple(found)

    def _percent(self, at: PathLike, value: int | Decimal | None, model: str, depth: int) -> None:
        if value is not None and not 0 <= value <= 100:
            self.note(at, f"expected a number between 0 and 100, got {value}", model, depth)

    def _training(self, at: PathLike, row: doc.ModelDoc) -> Training | None:
        spec = row.training
        if spec is None:
            return None
        schedule = self.doc.schedules.get(spec.schedule or "")
        if spec.schedule is not None and schedule is None:
            message = self._unknown("schedule", spec.schedule, self.doc.schedules)
            self.note((*at, "training", "schedule"), message, row.id, len(at))
        return Training(
            schedule=spec.schedule,
            optimizer=schedule or {},
            iters=spec.iters,
            epochs=spec.epochs,
            crop=spec.crop,
            init=spec.init,
            lr=None if spec.lr is None else float(spec.lr),
            batch=spec.batch,
            fp16=spec.fp16,
            multi_scale=spec.multi_scale,
        )

    def _elsewhere(self, at: PathLike, index: int, spec: doc.ElsewhereDoc, row: doc.ModelDoc) -> Elsewhere:
        here: PathLike = (*at, "elsewhere", index)
        for key in ("url", "weights"):
            self._url((*here, key), getattr(spec, key), row.id, len(at))
        for split, numbers in spec.reported.items():
            for metric, value in numbers.items():
                self._percent((*here, "reported", split, metric), value, row.id, len(at))
        return Elsewhere(
            source=spec.source,
            reported=_numbers(spec.reported),
            url=spec.url,
            date=spec.date,
            protocol_differs=spec.protocol_differs,
            weights=spec.weights,
            note=spec.note,
        )

    # -- artifacts ---------------------------------------------------------------------------------

    def _artifacts(
        self, at: PathLike, zoo: Zoo, section: doc.SectionDoc, row: doc.ModelDoc
    ) -> tuple[Artifact, ...]:
        commit = row.commit or zoo.commit or ""
        found = []
        for kind in KINDS:
            template = section.artifacts.get(kind)
            own = row.artifacts.get(kind)
            if own is False or (own is None and (template is None or template.optional)):
                continue
            path: PathLike = (*at, "artifacts", kind)
            if template is None and not isinstance(own, doc.ArtifactDoc):
                self.note(path, "the task has no template for this kind of file", row.id, len(at))
                continue
            spec = own if isinstance(own, doc.ArtifactDoc) else None
            if template is None or spec is not None:
                for key in ("page", "md5"):
                    self._url((*path, key), getattr(spec, key), row.id, len(at))
                for index, url in enumerate((spec.sources if spec else None) or ()):
                    self._url((*path, "sources", index), url, row.id, len(at))
            found.append(self._artifact(path, kind, template, spec, row, commit, len(at)))
        return tuple(found)

    def _artifact(
        self,
        at: PathLike,
        kind: ArtifactKind,
        template: doc.TemplateDoc | None,
        own: doc.ArtifactDoc | None,
        row: doc.ModelDoc,
        commit: str,
        depth: int,
    ) -> Artifact:
        def fill(text: str | None, name: str = "") -> str | None:
            if text is None or "{" not in text:
                return text
            return text.replace("{id}", row.id).replace("{name}", name).replace("{commit}", commit)

        base = template or doc.TemplateDoc()
        name = (own and own.name) or fill(base.name) or row.id
        if _unsafe(name) or "/" in name:
            self.note((*at, "name"), f'expected a plain file name, got "{name}"', row.id, depth)
        url = fill(base.url, name)
        sources = tuple(own.sources) if own and own.sources is not None else ((url,) if url else ())
        return Artifact(
            kind=kind,
            name=name,
            sources=sources,
            digests=tuple(self._digest(at, i, d, row, depth) for i, d in enumerate(own.digests))
            if own
            else (),
            digest_url=(own and own.md5) or fill(base.md5, name),
            size_bytes=own.size if own else None,
            page=(own and own.page) or fill(base.page, name),
            printed=(own and own.printed) or fill(base.printed, name),
            licence=own.licence if own else None,
        )

    def _digest(self, at: PathLike, index: int, text: str, row: doc.ModelDoc, depth: int) -> Digest:
        value, origin, *date = text.split(" ")
        algorithm, hexadecimal = value.split(":")
        full = 32 if algorithm == "md5" else 64
        if len(hexadecimal) != full and origin != "filename":
            message = f"a {algorithm} has {full} hex digits, got {len(hexadecimal)}"
            self.note((*at, "digests", index), message, row.id, depth)
        return Digest(algorithm, hexadecimal, origin, date[0] if date else None)  # type: ignore[arg-type]


def _column(name: str, spec: doc.ColumnDoc) -> Column:
    if spec.backbone:
        return Column(name, "backbone")
    if spec.metric is not None:
        return Column(name, "metric", metric=spec.metric)
    if spec.links is not None:
        return Column(name, "links", links=spec.links)
    return Column(name)


def _numbers(reported: Mapping[Any, Mapping[Any, int | Decimal | None]]) -> tuple[Reported, ...]:
    return tuple(
        Reported(split, metric, "", None if value is None else Decimal(value))
        for split, numbers in reported.items()
        for metric, value in numbers.items()
    )


def _triple(values: tuple[Any, Any, Any]) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])


def _unsafe(path: str) -> bool:
    """Whether a relative path leaves its folder, or cannot be a path on every system."""
    return (
        not path
        or path.startswith(("/", "~"))
        or "\\" in path
        or "\x00" in path
        or ":" in path
        or any(part in ("", ".", "..") for part in path.split("/"))
    )
