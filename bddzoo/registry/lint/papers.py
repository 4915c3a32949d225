"""Rules on papers, authors and code links."""

from __future__ import annotations

import re
from collections import defaultdict
from urllib.parse import urlsplit

from bddzoo.registry.lint.findings import Found, PaperEntry, Rule, World

_ARXIV = re.compile(r"arxiv\.org/(?:abs|pdf)/([0-9]{2})([0-9]{2})\.[0-9]+")
_YEAR = re.compile(r"(?:19|20)[0-9]{2}")
_ARCHIVES = ("arxiv.org", "openaccess.thecvf.com", "doi.org", "proceedings.mlr.press", "openreview.net")


def shared_link(world: World) -> Found:
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


def not_archived(world: World) -> Found:
    """A paper on a personal site."""
    for paper in world.papers:
        host = urlsplit(paper.doc.url or "").hostname or ""
        if paper.doc.url and not any(host == a or host.endswith("." + a) for a in _ARCHIVES):
            yield paper.subject, f"the paper lies at {host}"


def no_paper(world: World) -> Found:
    """A paper without title, link, venue or authors."""
    for paper in world.papers:
        missing = [key for key in ("url", "venue", "authors") if not getattr(paper.doc, key)]
        if missing:
            yield paper.subject, f"no {', '.join(missing)}"


def plain_http(world: World) -> Found:
    """Links without encryption."""
    for paper in world.papers:
        odd = [a.split(" <")[0] for a in paper.doc.authors if "<http://" in a]
        if odd:
            yield paper.subject, f"plain http: {', '.join(odd)}"


def unlinked_authors(world: World) -> Found:
    """Authors without a link."""
    for paper in world.papers:
        odd = [a for a in paper.doc.authors if "<" not in a]
        if odd:
            yield paper.subject, f"no link for {', '.join(odd)}"


def mis_encoded(world: World) -> Found:
    """Names whose UTF-8 bytes were once read in another encoding."""
    for paper in world.papers:
        for text in (paper.doc.title, *paper.doc.authors):
            for encoding in ("mac_roman", "cp1252"):
                try:
                    right = text.encode(encoding).decode("utf-8")
                except UnicodeError:
                    continue
                if right != text:
                    yield paper.subject, f'"{text}" reads like a mis-encoded "{right}"'
                    break


def no_code(world: World) -> Found:
    """A heading with a paper but without a code link."""
    for heading in world.headings:
        if (
            heading.method.paper is not None
            and heading.method.code is None
            and not heading.section.zoo.synthetic
        ):
            yield heading.subject, "no code link"


def code_of_an_organisation(world: World) -> Found:
    """A code link to an organisation's page, or to a repository that another paper's heading has, too."""
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


RULES = (
    Rule("PAP01", "a paper link that belongs to another paper", shared_link),
    Rule("PAP02", "a paper on somebody's own site", not_archived),
    Rule("PAP03", "a paper without link, venue or authors", no_paper),
    Rule("PAP04", "author links without encryption", plain_http),
    Rule("PAP05", "authors without a link", unlinked_authors),
    Rule("PAP06", "a mis-encoded name", mis_encoded),
    Rule("COD01", "no code link", no_code),
    Rule("COD02", "a code link that is not the method's own", code_of_an_organisation),
)
