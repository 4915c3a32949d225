"""The files of a model: templates filled in, names, digests and URLs checked."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bddzoo.registry import structs as doc
from bddzoo.registry import structs as values
from bddzoo.registry.model import Artifact, ArtifactKind, Digest, DigestOrigin, Zoo
from bddzoo.registry.problems import PathLike

if TYPE_CHECKING:
    from bddzoo.registry.resolve import Resolver

KINDS: tuple[ArtifactKind, ...] = (
    "weights",
    "scores-val",
    "scores-test",
    "preds",
    "masks",
    "visuals",
    "config",
)
_IDENT = re.compile(values.IDENT)
_DIGEST = re.compile(values.DIGEST)
_SIZE = re.compile(values.SIZE)
_WEB = ("https://", "http://", "package:")
# Object stores and model hubs: a file can lie there, a page or a digest that browsers open cannot.
STORES = ("s3://", "gs://", "hf://")
# Neither in a file name on every system, nor unescaped in a URL; braces would be fields of a template.
_AWKWARD = frozenset('\\<>"|?*{}') | {chr(code) for code in (*range(32), 127)}
_TEMPLATE_FIELDS = re.compile(r"\{(?:id|name|commit)\}")


def url_problem(url: str, *, source: bool = False) -> str | None:
    """What is wrong with a URL, or None.

    Args:
        url: The URL; fields of a template may be in it.
        source: Whether a file is read from it; that may lie in an object store or on a model hub.
    """
    if not url.startswith((*_WEB, *STORES) if source else _WEB) or url.split() != [url]:
        known = "https://, http://, s3://, gs://, hf://" if source else "https://, http://"
        return f'expected an {known} or package: URL, got "{url}"'
    plain = _TEMPLATE_FIELDS.sub("x", url)
    if url.startswith("package:"):
        return (
            f'expected a path inside the package, got "{url}"' if unsafe(plain[len("package:") :]) else None
        )
    try:
        parts = urlsplit(url)
        good = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good:
        return f'expected a URL with a host, got "{url}"'
    if "@" in parts.netloc:
        return f'expected a URL without a user name, got one of "{parts.hostname}"'
    if not _AWKWARD.isdisjoint(plain.replace("?", "", 1)) or ".." in parts.path.split("/"):
        return f'expected a URL without "..", with odd characters percent-encoded, got "{url}"'
    return None


def unsafe(path: str) -> bool:
    """Whether a relative path leaves its folder, or cannot be a path on every system."""
    return (
        not path
        or path.startswith(("/", "~", "-"))
        or ":" in path
        or not _AWKWARD.isdisjoint(path)
        or any(part in ("", ".", "..") for part in path.split("/"))
    )


def build_artifacts(
    resolver: Resolver, at: PathLike, zoo: Zoo, section: doc.SectionDoc, row: doc.ModelDoc
) -> tuple[Artifact, ...]:
    """The files of a row: the task's templates, and what the row says otherwise."""
    commit = row.commit or zoo.commit or ""
    found = []
    for kind in KINDS:
        template = section.artifacts.get(kind)
        own = row.artifacts.get(kind)
        if own is False or (own is None and (template is None or template.optional)):
            continue
        path: PathLike = (*at, "artifacts", kind)
        if template is None and not isinstance(own, doc.ArtifactDoc):
            resolver.note(path, "the task has no template for this kind of file", row.id, len(at))
            continue
        spec = own if isinstance(own, doc.ArtifactDoc) else None
        if spec is not None:
            for key in ("page", "md5"):
                resolver.url((*path, key), getattr(spec, key), row.id, len(at))
            for index, url in enumerate(spec.sources or ()):
                resolver.url((*path, "sources", index), url, row.id, len(at), source=True)
        found.append(_artifact(resolver, path, kind, template, spec, row, commit, len(at)))
    return tuple(found)


def _artifact(
    resolver: Resolver,
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
    # A name that comes from a bad id is one mistake, not one per file.
    derived = not (own and own.name) and not _IDENT.fullmatch(row.id)
    if (unsafe(name) or "/" in name) and not derived:
        resolver.note((*at, "name"), f'expected a plain file name, got "{name}"', row.id, depth)
    url = fill(base.url, name)
    sources = tuple(own.sources) if own and own.sources is not None else ((url,) if url else ())
    size, origin, date = _size(resolver, at, own.size if own else None, row, depth)
    return Artifact(
        kind=kind,
        name=name,
        sources=sources,
        digests=tuple(_digest(resolver, at, i, d, row, depth) for i, d in enumerate(own.digests))
        if own
        else (),
        # The template's MD5 lies beside the template's file, not beside one from another place.
        digest_url=(own and own.md5) or (fill(base.md5, name) if url in sources else None),
        size_bytes=size,
        size_origin=origin,
        size_date=date,
        page=(own and own.page) or fill(base.page, name),
        printed=(own and own.printed) or fill(base.printed, name),
        licence=own.licence if own else None,
    )


def _size(
    resolver: Resolver, at: PathLike, given: int | str | None, row: doc.ModelDoc, depth: int
) -> tuple[int | None, DigestOrigin | None, str | None]:
    """Size in bytes, where it is from, and the date."""
    if given is None or isinstance(given, int):
        return given, None, None
    match = _SIZE.fullmatch(given)
    if match is None:
        resolver.note((*at, "size"), f'expected {values.SIZE_WORDS}; got "{given}"', row.id, depth)
        return None, None, None
    return int(match[1]), match[2], match[3].strip() if match[3] else None  # type: ignore[return-value]


def _digest(resolver: Resolver, at: PathLike, index: int, text: str, row: doc.ModelDoc, depth: int) -> Digest:
    if not _DIGEST.fullmatch(text):
        message = f'expected {values.DIGEST_WORDS}; got "{text}"'
        resolver.note((*at, "digests", index), message, row.id, depth)
        return Digest("md5", "", "observed")
    value, origin, *date = text.split(" ")
    algorithm, hexadecimal = value.split(":")
    full = 32 if algorithm == "md5" else 64
    if len(hexadecimal) != full and origin != "filename":
        message = f"a {algorithm} has {full} hex digits, got {len(hexadecimal)}"
        resolver.note((*at, "digests", index), message, row.id, depth)
    return Digest(algorithm, hexadecimal, origin, date[0] if date else None)  # type: ignore[arg-type]
