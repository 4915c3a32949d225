"""What a row is made of: its files, from templates, with names, digests and URLs; its network, from parts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from bddzoo.registry import structs as doc
from bddzoo.registry.model import Artifact, ArtifactKind, Digest, DigestOrigin, Network, Protocol, Zoo
from bddzoo.registry.problems import Checker, unknown
from bddzoo.registry.reader import PathLike

KINDS: tuple[ArtifactKind, ...] = (
    "weights",
    "scores-val",
    "scores-test",
    "preds",
    "masks",
    "visuals",
    "config",
)
_IDENT = re.compile(doc.IDENT)
_DIGEST = re.compile(doc.DIGEST)
_SIZE = re.compile(doc.SIZE)


def build_document(checker: Checker, at: PathLike, section: doc.SectionDoc) -> Artifact | None:
    """The document that a section's rows are printed in."""
    spec = section.document
    if spec is None:
        return None
    path: PathLike = (*at, "document")
    for index, url in enumerate(spec.sources or ()):
        checker.url((*path, "sources", index), url, source=True)
    if spec.name is None:
        checker.note(path, "a document needs a name, as files of the cache and of mirrors have it")
    name = spec.name or "document"
    with checker.of(name, at):
        return _artifact(checker, path, "document", None, spec, name, ())


def build_artifacts(
    checker: Checker,
    at: PathLike,
    zoo: Zoo,
    section: doc.SectionDoc,
    heading: doc.MethodDoc,
    row: doc.ModelDoc,
) -> tuple[Artifact, ...]:
    """The files of a row: the task's templates, with what the row changes."""
    fields = [("{id}", row.id), ("{commit}", row.commit or zoo.commit or "")]
    if heading.attribute is not None:
        fields.append(("{attribute}", heading.attribute))
    found = []
    for kind in KINDS:
        template = section.artifacts.get(kind)
        own = row.artifacts.get(kind)
        if own is False or (own is None and (template is None or template.optional)):
            continue
        path: PathLike = (*at, "artifacts", kind)
        if template is None and not isinstance(own, doc.ArtifactDoc):
            checker.note(path, "the task has no template for this kind of file")
            continue
        spec = own if isinstance(own, doc.ArtifactDoc) else None
        if spec is not None:
            for key in ("page", "md5"):
                checker.url((*path, key), getattr(spec, key))
            for index, url in enumerate(spec.sources or ()):
                checker.url((*path, "sources", index), url, source=True)
        found.append(_artifact(checker, path, kind, template, spec, row.id, fields))
    return tuple(found)


def _artifact(
    checker: Checker,
    at: PathLike,
    kind: ArtifactKind | Literal["document"],
    template: doc.TemplateDoc | None,
    own: doc.ArtifactDoc | None,
    owner: str,
    fields: Sequence[tuple[str, str]],
) -> Artifact:
    def fill(text: str | None, name: str = "") -> str | None:
        if text is None or "{" not in text:
            return text
        for field, value in fields:
            text = text.replace(field, value)
        return text.replace("{name}", name)

    base = template or doc.TemplateDoc()
    name = (own and own.name) or fill(base.name) or owner
    # A name that comes from a bad id is one mistake, not one per file.
    derived = not (own and own.name) and not _IDENT.fullmatch(owner)
    if (doc.unsafe(name) or "/" in name) and not derived:
        checker.note((*at, "name"), f'expected a plain file name, got "{name}"')
    url = fill(base.url, name)
    sources = tuple(own.sources) if own and own.sources is not None else ((url,) if url else ())
    size, origin, date = _size(checker, at, own.size if own else None)
    digests = tuple(
        parse_digest(checker, (*at, "digests", i), d) for i, d in enumerate(own.digests if own else ())
    )
    for i, one in enumerate(digests):
        for other in digests[:i]:
            if one.algorithm == other.algorithm and not _agree(one.hex.lower(), other.hex.lower()):
                message = f"no file has this {one.algorithm} and {other.algorithm}:{other.hex}"
                checker.note((*at, "digests", i), message)
    return Artifact(
        kind=kind,
        name=name,
        sources=sources,
        digests=digests,
        # The template's MD5 is that of the template's file, not of one from another place.
        digest_url=(own and own.md5) or (fill(base.md5, name) if url in sources else None),
        size_bytes=size,
        size_origin=origin,
        size_date=date,
        page=(own and own.page) or fill(base.page, name),
        printed=(own and own.printed) or fill(base.printed, name),
        licence=own.licence if own else None,
        problem=own.problem if own else None,
    )


def _agree(one: str, other: str) -> bool:
    """Whether one of two digests is the other, or its first digits."""
    return one.startswith(other) or other.startswith(one)


def _size(
    checker: Checker, at: PathLike, given: int | str | None
) -> tuple[int | None, DigestOrigin | None, str | None]:
    """Size in bytes, where it is from, and the date."""
    if given is None or isinstance(given, int):
        return given, None, None
    match = _SIZE.fullmatch(given)
    if match is None:
        checker.note((*at, "size"), f'expected {doc.SIZE_WORDS}; got "{given}"')
        return None, None, None
    return int(match[1]), match[2], match[3].strip() if match[3] else None  # type: ignore[return-value]


def parse_digest(checker: Checker, at: PathLike, text: str) -> Digest:
    """A digest as it is written in the registry; problems are noted.

    Args:
        checker: Notes problems.
        at: Where the text is.
        text: See `structs.DIGEST_WORDS`.
    """
    if not _DIGEST.fullmatch(text):
        checker.note(at, f'expected {doc.DIGEST_WORDS}; got "{text}"')
        return Digest("md5", "", "observed")
    value, origin, *date = text.split(" ")
    algorithm, hexadecimal = value.split(":")
    full = 32 if algorithm == "md5" else 64
    if len(hexadecimal) != full and origin != "filename":
        checker.note(at, f"a {algorithm} has {full} hex digits, got {len(hexadecimal)}")
    return Digest(algorithm, hexadecimal, origin, date[0] if date else None)  # type: ignore[arg-type]


# Role in a network -> pool of `parts`.
_POOLS = {
    "detector": "detectors",
    "backbone": "backbones",
    "neck": "necks",
    "decode_head": "heads",
    "auxiliary_head": "heads",
    "head": "heads",
}
_MAX_BASES = 16


def copied(value: Any) -> Any:
    """A deep copy of numbers, texts, lists and dicts, several times as fast as `copy.deepcopy`."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(value))


class _PartError(ValueError):
    pass


def _expand(pool: Mapping[str, dict[str, Any]], part: str | Mapping[str, Any]) -> dict[str, Any]:
    """The part's own arguments over those of its bases; nothing is copied deeply."""
    layers: list[Mapping[str, Any]] = []
    current: str | Mapping[str, Any] | None = part
    while current is not None:
        if isinstance(current, str):
            if current not in pool:
                raise _PartError(unknown("part", current, pool))
            current = pool[current]
        layers.append(current)
        if len(layers) > _MAX_BASES:
            raise _PartError("its bases go round in circles")
        base = current.get("base")
        if base is not None and not isinstance(base, str):
            raise _PartError("base: expected the name of a part")
        current = base
    merged: dict[str, Any] = {}
    for layer in reversed(layers):
        merged.update(layer)
    merged.pop("base", None)
    return merged


def build_network(
    checker: Checker,
    pools: doc.PartsDoc,
    at: PathLike,
    section: doc.SectionDoc,
    row: doc.ModelDoc,
    protocol: Protocol | None,
) -> Network | None:
    """The network of a row, from the parts that there are; problems are noted."""
    spec = row.network
    assert spec is not None
    parts: dict[str, Any] = {}

    def part(role: str, value: Any, path: PathLike) -> Any:
        if isinstance(value, list):
            return [part(role, v, (*path, i)) for i, v in enumerate(value)]
        try:
            return copied(_expand(getattr(pools, _POOLS[role]), value))
        except _PartError as error:
            checker.note(path, str(error))
            return {}

    arch = spec.arch or section.arch
    if spec.detector is not None:
        detector = part("detector", spec.detector, (*at, "network", "detector"))
        arch = spec.arch or detector.pop("type", arch)
        detector.pop("type", None)
        parts.update(detector)
    for role in ("backbone", "neck", "decode_head", "auxiliary_head", "head"):
        value = getattr(spec, role)
        if value is not None:
            parts[role] = part(role, value, (*at, "network", role))
    for role in ("rpn_head", "roi_head", "train_cfg", "test_cfg"):
        value = getattr(spec, role)
        if value is not None:
            parts[role] = {**parts.get(role, {}), **copied(value)}
    if "decode_head" in parts and protocol is not None:
        window: dict[str, Any] = {"mode": protocol.mode}
        if protocol.mode == "slide" and protocol.crop and protocol.stride:
            window.update(crop_size=list(protocol.crop), stride=list(protocol.stride))
        parts["test_cfg"] = {**window, **parts.get("test_cfg", {})}

    engine = spec.engine or section.engine
    classes = spec.num_classes or section.num_classes
    for what, value in (("engine", engine), ("arch", arch), ("num_classes", classes)):
        if value is None:
            checker.note((*at, "network"), f"needs {what}: neither the model nor its task says")
    if "backbone" not in parts:
        checker.note((*at, "network"), "needs a backbone")
    if engine is None or arch is None or classes is None:
        return None
    counts = row.counts
    return Network(
        engine=engine,
        arch=arch,
        parts=parts,
        num_classes=classes,
        align_corners=spec.align_corners,
        params=counts.params if counts else None,
        entries=counts.entries if counts else None,
        gflops=counts.gflops if counts else None,
    )
