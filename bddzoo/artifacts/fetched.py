"""What fetching one file comes to: the file and how it is known, or which source failed how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bddzoo.artifacts.entry import Entry
from bddzoo.artifacts.failures import SourceError
from bddzoo.artifacts.proof import proof_of
from bddzoo.errors import BddzooError, IntegrityError, MissingError, NetworkError
from bddzoo.registry.types import Artifact, Model

DigestState = Literal["verified", "observed", "unknown"]


@dataclass(frozen=True)
class FetchResult:
    """One file in the cache.

    Attributes:
        path: Where it is.
        size_bytes: Its size.
        digest_state: `verified` if it has the digest that the registry or the zoo gives, `observed`
            if nobody gives one and ours was recorded on the first download.
        md5: Of the content.
        sha256: Of the content.
        source: Where the bytes came from, when they came.
        model: Id of the model.
        kind: Kind of the artifact.
        cached: Whether it was in the cache already.
        evidence: What it was verified against, in words.
    """

    path: Path
    size_bytes: int
    digest_state: DigestState
    md5: str
    sha256: str
    source: str
    model: str = ""
    kind: str = "weights"
    cached: bool = False
    evidence: str = ""


@dataclass(frozen=True)
class Failure:
    """How one source failed: its name and what happened."""

    source: str
    error: SourceError


def result_of(entry: Entry, artifact: Artifact, path: Path, *, cached: bool) -> FetchResult:
    """A file of the cache as a result.

    Args:
        entry: What the cache knows about it.
        artifact: What the registry knows about it.
        path: Where it is.
        cached: Whether it was in the cache already.
    """
    proof = proof_of(entry, artifact)
    return FetchResult(
        path=path,
        size_bytes=entry.size_bytes,
        digest_state="observed" if proof is None else "verified",
        md5=entry.md5,
        sha256=entry.sha256,
        source=entry.source,
        model=entry.model,
        kind=entry.kind,
        cached=cached,
        evidence=proof or "",
    )


def check_proof(result: FetchResult) -> None:
    """Insist on a digest that proves a file.

    Raises:
        IntegrityError: None is known.
    """
    if result.digest_state != "verified":
        raise IntegrityError(
            f"model {result.model}: {result.path.name} cannot be verified: neither the registry nor any "
            f"source gives a digest (observed md5:{result.md5})",
            hint="fetch it without --verify if you trust its source",
        )


def no_source(model: Model, artifact: Artifact, failures: Sequence[Failure], *, offline: bool) -> BddzooError:
    """The error where no source gave a file.

    Args:
        model: The model.
        artifact: Which of its files.
        failures: How each source failed that was asked.
        offline: Whether no connection may be opened.
    """
    what = f"model {model.id}: {artifact.name}"
    if not failures and offline:
        hint = "fetch it while online, or give --from FOLDER"
        return MissingError(f"{what} is not in the cache and --offline allows no connection", hint=hint)
    if not failures:
        return MissingError(f"{what} has no source", hint="give one with --from SOURCE or BDDZOO_MIRRORS")
    told = "; ".join(f"{f.source}: {f.error.text}" for f in failures)
    kinds = {f.error.kind for f in failures}
    hint = "try another source with --from SOURCE"
    if "integrity" in kinds:
        return IntegrityError(f"{what}: no source gave the right bytes: {told}", hint=hint)
    if kinds == {"missing"}:
        return MissingError(f"{what}: no source has it: {told}", hint=hint)
    if any(f.error.retry or f.error.unreachable for f in failures):
        hint = f"try again, or {hint}"
    return NetworkError(f"{what}: no source could give it: {told}", hint=hint)
