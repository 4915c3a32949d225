"""BibTeX entries for a model: its method's paper, and the zoo that published the weights."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from bddzoo.registry.model import Model, Paper, Zoo

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
    """Entries for several models, each entry once; see `bibtex`."""
    return "\n\n".join(dict.fromkeys(entry for model in models for entry in entries(model)))


def bibtex(model: Model) -> str:
    """Entries to cite a model with, as text."""
    return "\n\n".join(entries(model))


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
