"""Whether cached content is the file that the registry means, and how we know."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bddzoo.artifacts.digests import LENGTHS, first_mismatch, strongest
from bddzoo.registry.types import Artifact, Digest

if TYPE_CHECKING:
    from bddzoo.artifacts.entry import Entry


def tensors_known(artifact: Artifact) -> str | None:
    """The digest of the tensors that the registry knows, or None."""
    return next((d.hex for d in artifact.digests if d.algorithm == "tensors"), None)


def same_tensors(entry: Entry, artifact: Artifact) -> bool:
    """Whether the content is known to hold the very weights of the registry, in whatever container."""
    return entry.tensors is not None and entry.tensors == tensors_known(artifact)


def wrong_digest(entry: Entry, artifact: Artifact) -> Digest | None:
    """The first known digest, of the registry or published, that the content does not have."""
    published = entry.published_digest
    return first_mismatch([*artifact.digests, *([published] if published else [])], entry.hashes)


def fits(entry: Entry, artifact: Artifact) -> bool:
    """Whether an entry is the file that the registry means, as far as anybody knows."""
    if same_tensors(entry, artifact):
        return True
    if artifact.size_bytes is not None and entry.size_bytes != artifact.size_bytes:
        return False
    return first_mismatch(artifact.digests, entry.hashes) is None


def proof_of(entry: Entry, artifact: Artifact) -> str | None:
    """What the content of a fitting entry is verified by, in words, or None."""
    known = strongest(artifact.digests)
    if known is not None and first_mismatch(artifact.digests, entry.hashes) is None:
        return f"registry {known.algorithm} ({known.origin})"
    if same_tensors(entry, artifact):
        return "registry digest of the tensors, in another container"
    if entry.published_digest is not None and entry.published_at:
        return f"{entry.published_digest.algorithm} published at {entry.published_at}"
    return None


def is_settled(artifact: Artifact) -> bool:
    """Whether the registry knows a whole digest of the file, so that no published one is needed."""
    known = strongest(artifact.digests)
    return known is not None and len(known.hex) == LENGTHS[known.algorithm]
