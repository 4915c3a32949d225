"""One file of one model from one address: received, compared with what is known of it, and admitted.

What fetching one file comes to: the file and how it is known, or which source failed how.

Digests that are published beside files: small `.md5` files on the same hosts.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from bddzoo.artifacts.cache import Cache, Entry, new_entry
from bddzoo.artifacts.digests import parse_digest_file, strongest
from bddzoo.artifacts.download import Wanted, download
from bddzoo.artifacts.openers import Openers, Place, digest_urls
from bddzoo.artifacts.partial import Partial, new_partial, open_partial, sweep_partials
from bddzoo.artifacts.policy import Manners
from bddzoo.artifacts.sources import Origin, without_password
from bddzoo.artifacts.streams import Opener, SourceError
from bddzoo.artifacts.tensors import TensorDigester
from bddzoo.artifacts.verification import (
    HEAD_BYTES,
    is_settled,
    name_impostor,
    proof_of,
    same_tensors,
    tensors_known,
    wrong_digest,
)
from bddzoo.errors import BddzooError, IntegrityError, MissingError, NetworkError
from bddzoo.progress import Progress
from bddzoo.registry.model import Artifact, Digest, Model

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


# A list of digests of a whole zoo fits; a web site does not.
MAX_BYTES = 1 << 20


def find_published(
    urls: Iterable[str], opener_of: Callable[[str], Opener | None], name: str
) -> tuple[Digest, str] | list[str]:
    """Look for a published digest.

    Args:
        urls: Where it may lie, best first.
        opener_of: Gives the opener of an address, or None where it must not be asked.
        name: Name of the file that the digest should be of.

    Returns:
        The digest and where it was found, or what happened at each address.
    """
    failures = []
    for url in urls:
        opener = opener_of(url)
        if opener is None:
            continue
        try:
            data = _read_small(url, opener)
        except SourceError as error:
            failures.append(f"{url}: {error.text}")
            continue
        digest = parse_digest_file(data, name)
        if digest is not None:
            return digest, url
        failures.append(f"{url}: holds no digest of {name}")
    return failures


def with_published(entry: Entry, urls: Iterable[str], opener_of: Callable[[str], Opener | None]) -> Entry:
    """The entry with the digest that is published for its file, if one is found at the addresses.

    Args:
        entry: What the cache knows about the file.
        urls: As for `find_published`.
        opener_of: As for `find_published`.
    """
    found = find_published(urls, opener_of, entry.name)
    if isinstance(found, list):
        return entry
    digest, where = found
    return replace(entry, published=f"{digest.algorithm}:{digest.hex}", published_at=without_password(where))


def _read_small(url: str, opener: Opener) -> bytes:
    stream = opener(url, 0, Origin())
    data = b""
    try:
        for chunk in stream.chunks:
            data += chunk
            if len(data) > MAX_BYTES:
                raise SourceError("too large to be a digest file", kind="integrity")
    finally:
        stream.close()
    if stream.origin.total is not None and len(data) != stream.origin.total:
        raise SourceError("cut off", retry=True)
    impostor = name_impostor(data[:HEAD_BYTES], "digest", stream.content_type)
    if impostor is not None:
        raise SourceError(f"gave {impostor}", kind="integrity")
    return data


@dataclass(frozen=True)
class Errand:
    """Brings one file of a model, from whatever address it is sent to.

    Attributes:
        model: The model.
        artifact: Which of its files.
        cache: Where to.
        openers: Open the addresses.
        manners: Timeouts, retries, limits.
        stop: Set when the user wants to stop.
        progress: Receives events.
        tensors: Computes the digest of the tensors in a weights file, or None.
    """

    model: Model
    artifact: Artifact
    cache: Cache
    openers: Openers
    manners: Manners
    stop: threading.Event
    progress: Progress
    tensors: TensorDigester | None

    @property
    def key(self) -> str:
        """Under which progress is told."""
        return f"{self.model.id}/{self.artifact.kind}"

    def bring(self, place: Place, url: str) -> Entry:
        """Download from one address, compare, and admit.

        Raises:
            SourceError: The source failed or gave other bytes.
        """
        artifact = self.artifact
        repacked = self.tensors is not None and tensors_known(artifact) is not None
        # A copy in another container has another size; its tensors will decide.
        size = None if repacked else artifact.size_bytes
        wanted = Wanted(artifact.name, size, trusted=strongest(artifact.digests) is not None)
        folder = self.cache.partial_folder(self.model, artifact)
        partial = open_partial(folder, trusted=wanted.trusted)
        try:
            entry = self._receive(url, partial, wanted)
            if not is_settled(artifact) and entry.published is None:
                urls = digest_urls(self.model, artifact, place, url)
                entry = with_published(entry, urls, self.openers.get)
            wrong = wrong_digest(entry, artifact)
            if wrong is not None and (partial.continued or partial.origin.total is None):
                # A piece may have come from a bad source, or the end of the connection was not the
                # end of the file: judge this source by one answer of its own.
                self._note(url, f"came to a wrong {wrong.algorithm}; starting over")
                partial.discard()
                partial = new_partial(folder)
                again = self._receive(url, partial, wanted)
                entry = replace(again, published=entry.published, published_at=entry.published_at)
                wrong = wrong_digest(entry, artifact)
            if (wrong is not None or strongest(artifact.digests) is None) and repacked:
                entry = self._with_tensors(entry, partial)
                if wrong is None and entry.tensors != tensors_known(artifact):
                    wrong = next(d for d in artifact.digests if d.algorithm == "tensors")
            if wrong is not None and not same_tensors(entry, artifact):
                raise self._reject(entry, partial, wrong, url)
            entry = self.cache.admit(entry, partial.give)
        finally:
            partial.suspend()
        sweep_partials(folder)
        return entry

    def _receive(self, url: str, partial: Partial, wanted: Wanted) -> Entry:
        opener = self.openers.get(url)
        assert opener is not None
        shown = without_password(url)

        def report(done: int, total: int | None) -> None:
            self.progress.update(self.key, done, total, shown)

        def note(text: str) -> None:
            self._note(url, text)

        download(url, opener, partial, wanted, self.manners, self.stop, report, note)
        hashes = partial.finish()
        told = self.openers.testimony(url)
        if told is not None and told.sha256 != hashes.sha256:
            partial.restart()
            raise SourceError(
                f"is damaged: sha256 {hashes.sha256}, its list says {told.sha256}", kind="integrity"
            )
        entry = new_entry(self.model, self.artifact, hashes, shown)
        if told is not None:
            entry = replace(entry, published=told.published, published_at=told.published_at)
        return entry

    def _with_tensors(self, entry: Entry, partial: Partial) -> Entry:
        """The entry with the digest of its tensors, if they can be read at all."""
        assert self.tensors is not None
        try:
            return replace(entry, tensors=self.tensors(partial.path))
        except BddzooError as error:
            self.progress.note(self.key, f"its tensors cannot be compared: {error.message}")
            return entry

    def _reject(self, entry: Entry, partial: Partial, wrong: Digest, url: str) -> SourceError:
        """Move other bytes aside than the ones that were asked for, and say so."""
        found = entry.tensors if wrong.algorithm == "tensors" else entry.hashes.get(wrong.algorithm)
        text = f"expected {wrong.algorithm}:{wrong.hex} ({wrong.origin}), got {found}"
        why = f"{without_password(url)}: {text}"
        kept = self.cache.reject(partial.path, self.model.id, self.artifact.name, why)
        partial.discard()
        return SourceError(f"gave other bytes: {text}; kept as {kept}", kind="integrity")

    def _note(self, url: str, text: str) -> None:
        self.progress.note(self.key, f"{without_password(url)}: {text}")
