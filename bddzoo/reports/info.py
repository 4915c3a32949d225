"""`bddzoo info`: a model's facts as text for a terminal, as data, and as BibTeX entries."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from bddzoo.registry.model import Model, Paper, Zoo
from bddzoo.registry.tasks import COUNTS
from bddzoo.reports.facts import (
    digest_text,
    network_rows,
    protocol_rows,
    size_text,
    synthetic_mark,
    training_rows,
)
from bddzoo.text import picked, printable

UNKNOWN = "unknown"
_COLUMN = 14


def as_data(model: Model) -> dict[str, Any]:
    """The model as plain data; what is unknown is None, or an empty list."""
    data: dict[str, Any] = msgspec.to_builtins(model, builtin_types=(Decimal,))
    del data["protocols"]  # `elsewhere` names them
    data["artifacts"] = {artifact.pop("kind"): artifact for artifact in data["artifacts"]}
    return data


def as_row(model: Model) -> dict[str, Any]:
    """The model's row in a list, as plain data."""
    network, protocol = model.network, model.protocol
    reported: dict[str, dict[str, object]] = {}
    for entry in model.reported:
        reported.setdefault(entry.split, {})[entry.metric] = entry.value
    return {
        "id": model.id,
        "zoo": model.zoo.id,
        "task": model.task,
        "method": model.method.name,
        "backbone": model.backbone,
        "settings": model.settings,
        "reported": reported,
        "params": network.params if network else None,
        "gflops": network.gflops if network else None,
        "engine": network.engine if network else None,
        "protocol": protocol.id if protocol else None,
        "dataset": protocol.dataset if protocol else None,
        "paper": model.paper_id,
        "former_ids": model.former_ids,
        "attribute": model.method.attribute,
        "fills": picked(model.fills, "model differs") if model.fills else None,
        "not_buildable": picked(model.not_buildable, "reason text") if model.not_buildable else None,
        "synthetic": model.zoo.synthetic,
    }


def as_text(model: Model) -> str:
    """The model as text for a terminal."""
    lines = [model.id]
    zoo, method = model.zoo, model.method
    _row(lines, "zoo", f"{zoo.id}: {zoo.title}{synthetic_mark(zoo)}")
    _row(lines, "", " at ".join(t for t in (zoo.url, zoo.commit) if t))
    _row(lines, "licence", f"{zoo.licence or UNKNOWN} (weights: {zoo.weights_licence or UNKNOWN})")
    _row(lines, "former names", ", ".join(model.former_ids))
    _row(lines, "task", model.task + (f": {method.attribute}" if method.attribute else ""))
    _row(lines, "method", method.name + (f" ({method.caption})" if method.caption else ""))
    if model.paper:
        _row(lines, "paper", model.paper.title + (f" [{model.paper.venue}]" if model.paper.venue else ""))
        _row(lines, "", model.paper.url or UNKNOWN)
        _row(lines, "authors", ", ".join(a.name + a.mark for a in model.paper.authors))
    if method.code:
        _row(lines, "code", method.code.url or UNKNOWN)
    _row(lines, "backbone", model.backbone)
    for name, text in model.settings.items():
        _row(lines, name, text or "-")
    if model.fills:
        differs = "".join(f"; but {text}" for text in model.fills.differs)
        _row(lines, "fills", f"{model.fills.model}{differs}")
    _numbers(lines, model)
    network = network_rows(model)
    names = [name for name, _ in network]
    # A part that comes several times is named once.
    network = [
        ("" if last == name else name, text)
        for last, (name, text) in zip(["", *names], network, strict=False)
    ]
    if model.not_buildable is not None:
        network.append(("cannot be built", f"{model.not_buildable.reason}: {model.not_buildable.text}"))
    _section(lines, "network", network)
    _section(lines, "protocol", protocol_rows(model))
    _section(lines, "training", training_rows(model))
    _files(lines, model)
    notes = [*model.notes, *method.notes, *zoo.notes]
    if notes:
        lines += ["", "notes", *(f"  - {note}" for note in notes)]
    return "\n".join(printable(" ".join(line.splitlines())) for line in lines)


def _row(lines: list[str], name: str, text: str) -> None:
    if text:
        lines.append(f"  {name:{_COLUMN}}  {text}".rstrip())


def _numbers(lines: list[str], model: Model) -> None:
    counts = (
        ""
        if COUNTS.isdisjoint(r.metric for r in model.reported)
        else f"; {', '.join(sorted(COUNTS))}: a count"
    )
    lines += ["", f"reported (percent, as printed{counts})"]
    if not model.reported:
        lines.append(f"  {UNKNOWN}")
    for entry in model.reported:
        name = f"{entry.metric}-{entry.split}"
        known = f'  (column "{entry.column}")' if entry.column not in ("", name) else ""
        _row(lines, name, (UNKNOWN if entry.value is None else str(entry.value)) + known)
    if model.elsewhere:
        lines += ["", "published elsewhere"]
    for other in model.elsewhere:
        numbers = ", ".join(f"{r.metric}-{r.split} {r.value}" for r in other.reported)
        lines.append(f"  {numbers}: {other.source}")
        if other.protocol_differs:
            lines.append(f"    protocol differs: {other.protocol_differs}")
        named = (
            ("weights", other.weights),
            ("the model here", other.model),
            ("tested by protocol", other.protocol),
        )
        for text in (other.note, other.url, *(f"{name}: {value}" for name, value in named if value)):
            if text:
                lines.append(f"    {text}")


def _section(lines: list[str], title: str, rows: Sequence[tuple[str, str]]) -> None:
    lines += ["", title]
    for name, text in rows:
        _row(lines, name, text)
    if not rows:
        lines.append(f"  {UNKNOWN}")


def _files(lines: list[str], model: Model) -> None:
    lines += ["", "files"]
    if not model.artifacts:
        lines.append("  none known")
    for file in model.artifacts:
        _row(lines, file.kind, file.name)
        for source in file.sources:
            _row(lines, "", source)
        if not file.sources:
            why = "behind a web page that asks questions" if file.page else "the zoo links nothing"
            _row(lines, "", f"no source: {why}")
        if file.page:
            _row(lines, "", f"page {file.page}")
        _row(lines, "", file.problem or "")
        if not file.digests:
            promise = f" (MD5 promised at {file.digest_url})" if file.digest_url else ""
            _row(lines, "", f"size {size_text(file)}; digest {UNKNOWN}{promise}")
            continue
        _row(lines, "", f"size {size_text(file)}")
        for digest in file.digests:
            _row(lines, "", digest_text(digest))


# Venues that are journals; everything else that a zoo prints is a conference.
JOURNALS = {
    "TPAMI": "IEEE Transactions on Pattern Analysis and Machine Intelligence",
    "IJCV": "International Journal of Computer Vision",
}
CONFERENCES = {
    "CVPR": "IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)",
    "ICCV": "IEEE/CVF International Conference on Computer Vision (ICCV)",
    "ECCV": "European Conference on Computer Vision (ECCV)",
    "ICLR": "International Conference on Learning Representations (ICLR)",
    "ICML": "International Conference on Machine Learning (ICML)",
    "NeurIPS": "Advances in Neural Information Processing Systems (NeurIPS)",
}
_VENUE = re.compile(r"^(?P<name>[^/]+?)\s+(?P<year>[0-9]{4})\b")
_ARXIV = re.compile(r"arxiv\.org/(?:abs|pdf)/(?P<id>[0-9]{4}\.[0-9]{4,5})")
_STOP = frozenset({"a", "an", "the", "on", "of", "for", "with", "in", "to", "and"})


def bibliography(models: Iterable[Model]) -> str:
    """Entries to cite models with, as text; each once."""
    return "\n\n".join(dict.fromkeys(entry for model in models for entry in entries(model)))


def entries(model: Model) -> list[str]:
    """Entries to cite a model with: the paper where the registry knows one, then the zoo where it has a home.

    What is unknown is left out. Of several venues, the first counts: the one that presented the method.
    """
    paper = [] if model.paper is None else [_paper(model.paper, model.method.name)]
    return [*paper, _zoo(model.zoo)] if model.zoo.url or not paper else paper


def _paper(paper: Paper, name: str) -> str:
    venue = _VENUE.match(paper.venue or "")
    arxiv = _ARXIV.search(paper.url or "")
    kind = "misc"
    fields = {
        "author": " and ".join(_escape(a.name) for a in paper.authors),
        # Double braces keep the capitals as they are printed.
        "title": "{" + _escape(paper.title) + "}",
    }
    if venue is not None:
        place = venue["name"].strip()
        if place in JOURNALS:
            kind, fields["journal"] = "article", JOURNALS[place]
        elif place != "arXiv":
            kind, fields["booktitle"] = "inproceedings", _escape(CONFERENCES.get(place, place))
        fields["year"] = venue["year"]
    if arxiv is not None:
        fields |= {"eprint": arxiv["id"], "archiveprefix": "arXiv"}
    elif paper.url:
        fields["url"] = paper.url
    year = fields.get("year") or ""
    author = paper.authors[0].name.split()[-1] if paper.authors else ""
    return _entry(kind, _key(author or name) + year + _first_word(paper.title), fields)


def _zoo(zoo: Zoo) -> str:
    fields = {"title": "{" + _escape(zoo.title) + "}"}
    if zoo.url:
        fields["url"] = zoo.url
    if zoo.commit:
        fields["note"] = f"Commit {zoo.commit}"
    return _entry("misc", _key(zoo.id), fields)


def _entry(kind: str, key: str, fields: dict[str, str]) -> str:
    lines = [f"  {name} = {{{value}}}" for name, value in fields.items() if value]
    return f"@{kind}{{{key},\n" + ",\n".join(lines) + "\n}"


def _key(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9-]", "", plain.lower()) or "unnamed"


def _first_word(title: str) -> str:
    words = re.findall(r"[A-Za-z0-9]+", title)
    return next((w.lower() for w in words if w.lower() not in _STOP), "")


def _escape(text: str) -> str:
    """The text with TeX's special characters escaped; letters of other alphabets stay as they are."""
    text = text.replace("\\", "\\textbackslash{}")
    return re.sub(r"(?<!\\)([&%$#_])", r"\\\1", text)
