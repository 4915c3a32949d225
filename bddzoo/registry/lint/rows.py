"""Rules on ids, columns and links of rows, and on papers, authors and code links."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from bddzoo.registry.lint.findings import TICK, Found, MethodEntry, ModelEntry, PaperEntry, Rules, World
from bddzoo.registry.model import Model
from bddzoo.text import well_encoded

_ITERS = re.compile(r"_([0-9]+)k(?:_|$)")
_INPUT = re.compile(r"_([0-9]+)x([0-9]+)(?:_|$)")
_BATCH = re.compile(r"_([0-9]+)bs(?:_|$)")
_EPOCHS = re.compile(r"_([0-9]+x)(?:_|$)")

RULES = Rules()


@RULES.add("URL01", "the same URL under two models")
def _same_url(world: World) -> Found:
    owners: dict[str, str] = {}
    for entry in world.entries:
        for artifact in entry.model.artifacts:
            for url in (*artifact.sources, artifact.digest_url):
                if url and owners.setdefault(url, entry.model.id) != entry.model.id:
                    yield entry.subject, f"{url} is also a file of {owners[url]}"


@RULES.add("URL02", "a file named after another model", of="entries")
def _stems(entry: ModelEntry) -> Iterator[str]:
    for artifact in entry.model.artifacts:
        for url in (*artifact.sources, artifact.digest_url):
            stem = PurePosixPath(url or "").stem
            if url and stem != entry.model.id:
                yield f"{artifact.kind} is named {stem}"


@RULES.add("URL03", "a link in another kind's folder", of="entries")
def _other_kind(entry: ModelEntry) -> Iterator[str]:
    kinds = {a.kind for a in entry.model.artifacts}
    for artifact in entry.model.artifacts:
        for url in artifact.sources:
            wrong = sorted((kinds - {artifact.kind}) & set(url.split("/")))
            if wrong and artifact.kind not in url.split("/") and _own_folder(entry, artifact.kind):
                yield f"the link of {artifact.kind} lies in the folder of {wrong[0]}"


def _own_folder(entry: ModelEntry, kind: str) -> bool:
    """Whether files of this kind lie in a folder of that name under the sibling rows."""
    siblings = [a for m in entry.section.models if m is not entry.model for a in m.artifacts]
    return any(a.kind == kind and kind in url.split("/") for a in siblings for url in a.sources)


@RULES.add("PRO01", "a protocol other than that of the rows of the same input")
def _other_protocol(world: World) -> Found:
    """A row that is tested differently than the section's other rows of the same input size."""
    rows: dict[tuple[str, str, str], list[ModelEntry]] = {}
    for entry in world.entries:
        size = entry.model.settings.get("Input")
        if size and entry.model.protocol is not None:
            rows.setdefault((entry.section.zoo.id, entry.section.task, size), []).append(entry)
    for (_, _, size), entries in rows.items():
        counts = Counter(e.model.protocol.id for e in entries if e.model.protocol)
        usual, most = counts.most_common(1)[0]
        for entry in entries:
            protocol = entry.model.protocol
            if protocol and protocol.id != usual and 2 * most > len(entries):
                yield (
                    entry.subject,
                    f"protocol {protocol.id}, but {most} of {len(entries)} rows of input {size} have {usual}",
                )


@RULES.add("COL01", "iterations: id, column and config disagree", of="entries")
def _iterations(entry: ModelEntry) -> Iterator[str]:
    model = entry.model
    said = {
        "id": _int(_ITERS.search(model.id), 1000),
        "column": _int(re.match(r"([0-9]+)K$", model.settings.get("Iters", "")), 1000),
        "config": model.training.iters if model.training else None,
    }
    yield from _disagreement("iterations", said)


@RULES.add("COL02", "input: id, column, config and protocol disagree", of="entries")
def _input_size(entry: ModelEntry) -> Iterator[str]:
    model = entry.model
    cell = re.match(r"([0-9]+) \* ([0-9]+)$", model.settings.get("Input", ""))
    training = model.training
    said = {
        "id": _pair(_INPUT.search(model.id)),
        "column": _pair(cell),
        "config": training.crop if training else None,
        "protocol": model.protocol.crop if model.protocol else None,
    }
    yield from _disagreement("input", said)


@RULES.add("COL03", "fp16: id, column and config disagree", of="entries")
def _precision(entry: ModelEntry) -> Iterator[str]:
    model = entry.model
    said: dict[str, object] = {"id": "_fp16_" in f"_{model.id}_"}
    if "FP16" in model.settings:
        said["column"] = model.settings["FP16"] == TICK
    if model.training is not None:
        said["config"] = model.training.fp16
    yield from _disagreement("fp16", said)


@RULES.add("COL04", "batch size: id or document, column and config disagree", of="entries")
def _batch_size(entry: ModelEntry) -> Iterator[str]:
    model = entry.model
    if "Lr schd" not in model.settings:
        return
    named = _int(_BATCH.search(model.id))
    said: dict[str, object] = {"id": named} if named else {"document": entry.section.batch}
    if "Batch Size" in model.settings:
        cell = model.settings["Batch Size"]
        said["column"] = int(cell) if cell.isdecimal() else cell
    if model.training is not None:
        said["config"] = model.training.batch or 16
    yield from _disagreement("batch size", said)


@RULES.add("COL05", "schedule: id, column and config disagree", of="entries")
def _schedule(entry: ModelEntry) -> Iterator[str]:
    model = entry.model
    if "Lr schd" not in model.settings:
        return
    match = _EPOCHS.search(model.id)
    said: dict[str, object] = {"id": match[1] if match else None, "column": model.settings["Lr schd"]}
    if model.training is not None and model.training.schedule:
        said["config"] = model.training.schedule.rpartition("-")[2]
    yield from _disagreement("schedule", said)


@RULES.add("COL06", "a tick that the id does not mention, or the other way round", of="entries")
def _ticks_in_id(entry: ModelEntry) -> Iterator[str]:
    for column, word in (("GN", "_gn_"), ("Deform. Conv.", "_dconv_")):
        if column in entry.model.settings:
            ticked = entry.model.settings[column] == TICK
            if ticked != (word in entry.model.id):
                yield f"column {column} and id disagree"


@RULES.add("ID01", "an id without its row's backbone", of="entries")
def _backbone_in_id(entry: ModelEntry) -> Iterator[str]:
    wanted = _backbone_words(entry.model)
    if wanted and not any(word in entry.model.id.lower() for word in wanted):
        yield f"backbone {entry.model.backbone}, but the id has no '{wanted[0]}'"


@RULES.add("ID02", "ids that begin with another name than their heading's", of="headings")
def _heading_in_id(heading: MethodEntry) -> Iterator[str]:
    slug = re.sub(r"[^a-z0-9+]", "", heading.method.name.lower())
    first = {e.model.id.split("_")[0] for e in heading.entries if "_" in e.model.id}
    odd = sorted(f for f in first if not (f.replace("-", "").startswith(slug) or slug.startswith(f)))
    if odd and heading.method.paper is not None:
        yield f"ids begin with {', '.join(odd)}"


@RULES.add("ID03", "an id with awkward characters", of="entries")
def _awkward_id(entry: ModelEntry) -> Iterator[str]:
    odd = sorted(set(re.findall(r"[^A-Za-z0-9._-]", entry.model.id)))
    if odd:
        yield f"the id contains {' '.join(odd)}"


def _backbone_words(model: Model) -> tuple[str, ...]:
    """The forms that a backbone's name has in ids: `R-50-D8` is `r50`, `HRNet48` is `hr48`."""
    text = model.backbone.lower()
    if match := re.match(r"r-([0-9]+)", text):
        return (f"r{match[1]}",)
    if match := re.match(r"hrnet-?(w?[0-9]+)$", text):
        return (match[1] if match[1].startswith("w") else f"hr{match[1]}",)
    if match := re.match(r"resnet-([0-9]+)$", text):
        return tuple(f"{form}{match[1]}" for form in ("resnet", "res", "r"))
    return (text,) if re.match(r"(vit|deit|swin|convnext|pvt)-[a-z]$|pvtv2-b[0-9]$", text) else ()


def _int(match: re.Match[str] | None, factor: int = 1) -> int | None:
    return int(match[1]) * factor if match else None


def _pair(match: re.Match[str] | None) -> tuple[int, int] | None:
    return (int(match[1]), int(match[2])) if match else None


def _disagreement(what: str, said: Mapping[str, object]) -> Iterator[str]:
    known = {k: v for k, v in said.items() if v is not None}
    if len(set(known.values())) > 1:
        yield f"{what}: " + ", ".join(f"{k} says {_show(v)}" for k, v in known.items())


def _show(value: object) -> str:
    if isinstance(value, tuple):
        return " x ".join(str(v) for v in value)
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)


_ARXIV = re.compile(r"arxiv\.org/(?:abs|pdf)/([0-9]{2})([0-9]{2})\.[0-9]+")
_YEAR = re.compile(r"(?:19|20)[0-9]{2}")
_ARCHIVES = ("arxiv.org", "openaccess.thecvf.com", "doi.org", "proceedings.mlr.press", "openreview.net")


@RULES.add("PAP01", "a paper link that belongs to another paper")
def _shared_link(world: World) -> Found:
    """A paper link that another title has, too; named is the one whose year fits worse."""
    groups: dict[str, list[PaperEntry]] = defaultdict(list)
    for paper in world.papers:
        if paper.doc.url:
            groups[paper.doc.url].append(paper)
    for url, papers in groups.items():
        if len({p.doc.title for p in papers}) > 1:
            odd = max(papers, key=_year_distance)
            other = next(p for p in papers if p is not odd)
            yield odd.subject, f'{url} is the paper "{other.doc.title}"'


def _year_distance(paper: PaperEntry) -> int:
    match = _ARXIV.search(paper.doc.url or "")
    years = [int(y) for y in _YEAR.findall(paper.doc.venue or "")]
    return min((abs(2000 + int(match[1]) - y) for y in years), default=0) if match else 0


@RULES.add("PAP02", "a paper on somebody's own site", of="papers")
def _not_archived(paper: PaperEntry) -> Iterator[str]:
    host = urlsplit(paper.doc.url or "").hostname or ""
    if paper.doc.url and not any(host == a or host.endswith("." + a) for a in _ARCHIVES):
        yield f"the paper lies at {host}"


@RULES.add("PAP03", "a paper without link, venue or authors", of="papers")
def _no_paper(paper: PaperEntry) -> Iterator[str]:
    missing = [key for key in ("url", "venue", "authors") if not getattr(paper.doc, key)]
    if missing:
        yield f"no {', '.join(missing)}"


@RULES.add("PAP04", "author links without encryption", of="papers")
def _plain_http(paper: PaperEntry) -> Iterator[str]:
    odd = [a.split(" <")[0] for a in paper.doc.authors if "<http://" in a]
    if odd:
        yield f"plain http: {', '.join(odd)}"


@RULES.add("PAP05", "authors without a link", of="papers")
def _unlinked_authors(paper: PaperEntry) -> Iterator[str]:
    odd = [a for a in paper.doc.authors if "<" not in a]
    if odd:
        yield f"no link for {', '.join(odd)}"


@RULES.add("PAP06", "a mis-encoded name", of="papers")
def _mis_encoded(paper: PaperEntry) -> Iterator[str]:
    for text in (paper.doc.title, *paper.doc.authors):
        if (right := well_encoded(text)) != text:
            yield f'"{text}" reads like a mis-encoded "{right}"'


@RULES.add("COD01", "no code link", of="headings")
def _no_code(heading: MethodEntry) -> Iterator[str]:
    if heading.method.paper is not None and heading.method.code is None and not heading.section.zoo.synthetic:
        yield "no code link"


@RULES.add("COD02", "a code link that is not the method's own")
def _code_of_an_organisation(world: World) -> Found:
    owners: dict[str, tuple[str, str]] = {}
    for heading in world.headings:
        code, paper = heading.method.code, heading.method.paper
        if code is None or code.url is None or paper is None:
            continue
        path = [p for p in urlsplit(code.url).path.split("/") if p]
        if urlsplit(code.url).hostname == "github.com" and len(path) < 2:
            yield heading.subject, f"{code.url} is an organisation, not a repository"
            continue
        title, name = owners.setdefault(code.url, (paper.title, heading.method.name))
        if title != paper.title:
            yield heading.subject, f"{code.url} is also the code of {name}"
