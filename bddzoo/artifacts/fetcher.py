"""Fetch files of models: cache, then every source in turn, and never a wrong byte under a final name."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from bddzoo.artifacts.cache import Cache, Entry, check_name
from bddzoo.artifacts.digests import first_mismatch, strongest
from bddzoo.artifacts.disk import explain
from bddzoo.artifacts.download import Wanted, download, look_at
from bddzoo.artifacts.failures import SourceError, Stopped
from bddzoo.artifacts.locate import Locator, Place, digest_urls
from bddzoo.artifacts.manners import Manners
from bddzoo.artifacts.mirrors import configured_mirrors
from bddzoo.artifacts.openers import Openers
from bddzoo.artifacts.partial import (
    Partial,
    new_partial,
    open_partial,
    sweep_partials,
    without_password,
)
from bddzoo.artifacts.progress import Progress, Silent
from bddzoo.artifacts.proof import is_settled, proof_of, same_tensors, tensors_known, wrong_digest
from bddzoo.artifacts.published import find_published
from bddzoo.artifacts.streams import local_path
from bddzoo.artifacts.tensors import TensorDigester
from bddzoo.errors import BddzooError, IntegrityError, MissingError, NetworkError
from bddzoo.registry.types import Artifact, ArtifactKind, Model

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


class Fetcher:
    """Brings files of models into the cache.

    Args:
        cache: Where to.
        extra_sources: Folders, bundles or base URLs that are asked before the registry's URLs;
            the mirrors of `BDDZOO_MIRRORS` and of the user's config come after them by themselves.
        offline: Open no connection; the cache and sources on this machine are still used.
        jobs: Files at the same time, in `fetch_all`.
        progress: Receives events.
        manners: Timeouts, retries, limits.
        force: Fetch again what the cache has.
        tensors: Computes the digest of the tensors in a weights file; with it a copy in another
            container is accepted where the registry knows that digest.

    Raises:
        UsageError: A source that can never work.
    """

    def __init__(
        self,
        cache: Cache,
        extra_sources: Sequence[str] = (),
        offline: bool = False,
        jobs: int = 4,
        progress: Progress | None = None,
        manners: Manners | None = None,
        force: bool = False,
        tensors: TensorDigester | None = None,
    ) -> None:
        self.cache = cache
        self.offline = offline
        self.jobs = max(1, jobs)
        self.force = force
        self._tensors = tensors
        self.progress: Progress = progress or Silent()
        self.stop = threading.Event()
        self.failures: dict[str, tuple[Failure, ...]] = {}
        self.manners = manners or Manners()
        self.locator = Locator(extra_sources, configured_mirrors())
        self._openers = Openers(self.manners, self.stop, offline)

    def fetch(
        self, model: Model, kind: ArtifactKind = "weights", verify: bool = False, rehash: bool = False
    ) -> FetchResult:
        """Have one file of a model in the cache.

        Args:
            model: The model.
            kind: Which of its files.
            verify: Hash a cached file again, and accept only what a known digest proves.
            rehash: Hash a cached file again, so that the digests in the result are those of its bytes now.

        Raises:
            MissingError: No source has the file, or the model has no such file.
            IntegrityError: The bytes are others than they should be; with `verify` also where no
                digest is known; with either, where the cached file was changed.
            NetworkError: No source could be reached.
            UsageError: The cache cannot be written.
        """
        artifact = model.artifact(kind)
        if artifact is None:
            hint = f"see: bddzoo info {model.id}"
            raise MissingError(f"model {model.id}: its zoo gives no {kind}", hint=hint)
        check_name(artifact.name)
        key = f"{model.id}/{kind}"
        self.progress.begin(key, artifact.name)
        outcome = "failed"
        try:
            result = self._fetch(model, artifact, verify, rehash, key)
            outcome = "cached" if result.cached else "done"
            return result
        except Stopped:
            outcome = "stopped"
            raise
        except OSError as error:
            raise explain(error, f"model {model.id}: writing to the cache {self.cache.root}") from error
        finally:
            self.progress.end(key, outcome)

    def cached(self, model: Model, kind: ArtifactKind = "weights") -> FetchResult | None:
        """The file if the cache has it, without asking anybody and without hashing."""
        artifact = model.artifact(kind)
        entry = self.cache.find(model, artifact) if artifact is not None else None
        if artifact is None or entry is None:
            return None
        return self._result(entry, artifact, cached=True)

    def probe(self, model: Model, artifact: Artifact) -> tuple[int | None, str]:
        """Ask the sources in turn whether they have a file, looking at its first bytes only.

        Returns:
            Size in bytes, if the source said it, and the address.

        Raises:
            BddzooError: No source has it, for the reasons that `fetch` would give.
        """
        failures: list[Failure] = []
        for place in self.locator.places(model, artifact):
            urls = self._openers.expand(place, model, artifact)
            for url in urls:
                opener = self._openers.get(url)
                if opener is None:
                    break
                try:
                    return look_at(url, opener, artifact), without_password(url)
                except SourceError as error:
                    last = url == urls[-1]
                    if error.kind != "missing" or last:
                        name = place.name if error.kind == "missing" else url
                        failures.append(Failure(without_password(name), error))
                    if error.kind != "missing":
                        break
        raise self._give_up(model, artifact, failures)

    def abort(self) -> None:
        """End all downloads soon, from another thread; what arrived stays resumable."""
        self.stop.set()
        self._openers.abort()

    def _fetch(self, model: Model, artifact: Artifact, verify: bool, rehash: bool, key: str) -> FetchResult:
        if not self.force:
            entry = self._from_cache(model, artifact, verify or rehash)
            if entry is not None:
                if verify and proof_of(entry, artifact) is None:
                    entry = self._ask_published(entry, model, artifact)
                return self._judge(self._result(entry, artifact, cached=True), verify)
        self.cache.prepare()
        failures: list[Failure] = []
        for place in self.locator.places(model, artifact):
            found = self._from_place(model, artifact, place, key)
            if isinstance(found, Entry):
                return self._judge(self._result(found, artifact, cached=False), verify)
            if found is not None:
                failures.append(found)
        raise self._give_up(model, artifact, failures)

    def _from_place(self, model: Model, artifact: Artifact, place: Place, key: str) -> Entry | Failure | None:
        """Ask one source at each of its addresses.

        Returns:
            The admitted file, how the source failed, or None where it must not be asked.
        """
        urls = self._openers.expand(place, model, artifact)
        worst: Failure | None = None
        for url in urls:
            if self._openers.get(url) is None:
                return None  # a remote source, offline
            try:
                entry = self._bring(model, artifact, place, url, key)
            except SourceError as error:
                # Some object stores say 403 for what they do not have.
                elsewhere = error.kind == "missing" or (error.status == 403 and len(urls) > 1)
                if (not elsewhere or len(urls) == 1) and not error.told:
                    self.progress.note(key, f"{without_password(url)}: {error.text}")
                if not elsewhere:
                    return Failure(without_password(url), error)
                if worst is None or error.kind != "missing":
                    worst = Failure(without_password(url), error)
            else:
                self.locator.remember(place, url)
                return entry
        if worst is None or (worst.error.kind == "missing" and len(urls) > 1):
            name = without_password(place.name)
            text = "is not there" if _is_gone(place) else f"has no {artifact.name}"
            self.progress.note(key, f"{name}: {text}")
            return Failure(name, SourceError(text, kind="missing"))
        return worst

    def _from_cache(self, model: Model, artifact: Artifact, rehash: bool) -> Entry | None:
        known = self.cache.entry(model.id, artifact.kind) if rehash else None
        if known is not None and self.cache.path_of(known).exists() and not self.cache.recheck(known):
            raise IntegrityError(
                f"model {model.id}: the cached {artifact.name} was changed since it was fetched and has been "
                f"moved to {self.cache.root / 'rejected'}",
                hint="the same command again fetches it anew",
            )
        held = self.cache.entry(model.id, artifact.kind)
        was_there = held is not None and self.cache.path_of(held).exists()
        entry = self.cache.find(model, artifact)
        if held is not None and entry is None and was_there and not self.cache.path_of(held).exists():
            aside = f"was changed since it was fetched and has been moved to {self.cache.root / 'rejected'}"
            self.progress.note(f"{model.id}/{artifact.kind}", f"the cached file {aside}")
        if entry is not None and rehash and (known is None or entry.sha256 != known.sha256):
            return entry if self.cache.recheck(entry) else None
        return entry

    def _bring(self, model: Model, artifact: Artifact, place: Place, url: str, key: str) -> Entry:
        """Download from one address, compare, and admit.

        Raises:
            SourceError: The source failed or gave other bytes.
        """
        repacked = self._tensors is not None and tensors_known(artifact) is not None
        # A copy in another container has another size; its tensors will decide.
        size = None if repacked else artifact.size_bytes
        wanted = Wanted(artifact.name, size, trusted=strongest(artifact.digests) is not None)
        folder = self.cache.partial_folder(model, artifact)
        partial = open_partial(folder, trusted=wanted.trusted)
        try:
            entry = self._receive(model, artifact, url, partial, wanted, key)
            if not is_settled(artifact) and entry.published is None:
                entry = self._with_published(entry, model, artifact, place, url)
            wrong = wrong_digest(entry, artifact)
            if wrong is not None and (partial.continued or partial.origin.total is None):
                # A piece may have come from a bad source, or the end of the connection was not the
                # end of the file: judge this source by one answer of its own.
                self.progress.note(
                    key, f"{without_password(url)}: came to a wrong {wrong.algorithm}; starting over"
                )
                partial.discard()
                partial = new_partial(folder)
                again = self._receive(model, artifact, url, partial, wanted, key)
                entry = replace(again, published=entry.published, published_at=entry.published_at)
                wrong = wrong_digest(entry, artifact)
            if (wrong is not None or strongest(artifact.digests) is None) and repacked:
                entry = self._with_tensors(entry, partial, artifact)
                if wrong is None and entry.tensors != tensors_known(artifact):
                    wrong = next(d for d in artifact.digests if d.algorithm == "tensors")
            if wrong is not None and not same_tensors(entry, artifact):
                found = entry.tensors if wrong.algorithm == "tensors" else entry.hashes.get(wrong.algorithm)
                text = f"expected {wrong.algorithm}:{wrong.hex} ({wrong.origin}), got {found}"
                kept = self.cache.reject(
                    partial.path, model.id, artifact.name, f"{without_password(url)}: {text}"
                )
                partial.discard()
                raise SourceError(f"gave other bytes: {text}; kept as {kept}", kind="integrity")
            entry = self.cache.admit(entry, partial.give)
        finally:
            partial.suspend()
        sweep_partials(folder)
        return entry

    def _receive(
        self, model: Model, artifact: Artifact, url: str, partial: Partial, wanted: Wanted, key: str
    ) -> Entry:
        opener = self._openers.get(url)
        assert opener is not None

        shown = without_password(url)

        def report(done: int, total: int | None) -> None:
            self.progress.update(key, done, total, shown)

        def note(text: str) -> None:
            self.progress.note(key, f"{shown}: {text}")

        download(url, opener, partial, wanted, self.manners, self.stop, report, note)
        hashes = partial.finish()
        told = self._openers.testimony(url)
        if told is not None and told.sha256 != hashes.sha256:
            partial.restart()
            raise SourceError(
                f"is damaged: sha256 {hashes.sha256}, its list says {told.sha256}", kind="integrity"
            )
        return Entry(
            model=model.id,
            kind=artifact.kind,
            name=artifact.name,
            size_bytes=hashes.size_bytes,
            md5=hashes.md5,
            sha256=hashes.sha256,
            mtime_ns=0,
            source=shown,
            fetched=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            zoo=model.zoo.id,
            task=model.task,
            published=told.published if told else None,
            published_at=told.published_at if told else None,
        )

    def _with_published(
        self, entry: Entry, model: Model, artifact: Artifact, place: Place | None, url: str | None
    ) -> Entry:
        urls = digest_urls(model, artifact, place, url)
        found = find_published(urls, self._openers.get, artifact.name)
        if isinstance(found, list):
            return entry
        digest, where = found
        return replace(
            entry, published=f"{digest.algorithm}:{digest.hex}", published_at=without_password(where)
        )

    def _with_tensors(self, entry: Entry, partial: Partial, artifact: Artifact) -> Entry:
        """The entry with the digest of its tensors, if they can be read at all."""
        assert self._tensors is not None
        try:
            return replace(entry, tensors=self._tensors(partial.path))
        except BddzooError as error:
            self.progress.note(
                f"{entry.model}/{entry.kind}", f"its tensors cannot be compared: {error.message}"
            )
            return entry

    def _ask_published(self, entry: Entry, model: Model, artifact: Artifact) -> Entry:
        """Look for the published digest of a cached file that has none yet."""
        source = entry.source if entry.source in artifact.sources else None
        found = self._with_published(entry, model, artifact, None, source)
        for place in self.locator.places(model, artifact):
            if found.published is not None:
                break
            if place.name in self.locator.extra:
                found = self._with_published(entry, model, artifact, place, None)
        if found.published is None:
            return entry
        digest = found.published_digest
        if digest is not None and first_mismatch((digest,), entry.hashes) is not None:
            raise IntegrityError(
                f"model {model.id}: the cached {artifact.name} has {digest.algorithm} "
                f"{entry.hashes.get(digest.algorithm)}, but {found.published_at} says {digest.hex}",
                hint="fetch it from another source with --force --from SOURCE",
            )
        self.cache.write_entry(found)
        return found

    def _result(self, entry: Entry, artifact: Artifact, *, cached: bool) -> FetchResult:
        proof = proof_of(entry, artifact)
        return FetchResult(
            path=self.cache.path_of(entry),
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

    def _judge(self, result: FetchResult, verify: bool) -> FetchResult:
        if verify and result.digest_state != "verified":
            raise IntegrityError(
                f"model {result.model}: {result.path.name} cannot be verified: neither the registry nor any "
                f"source gives a digest (observed md5:{result.md5})",
                hint="fetch it without --verify if you trust its source",
            )
        return result

    def _give_up(self, model: Model, artifact: Artifact, failures: Sequence[Failure]) -> BddzooError:
        self.failures[f"{model.id}/{artifact.kind}"] = tuple(failures)
        what = f"model {model.id}: {artifact.name}"
        if not failures and self.offline:
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
        return NetworkError(f"{what}: no source could give it: {told}", hint=f"try again, or {hint}")


def _is_gone(place: Place) -> bool:
    """Whether a source is a folder that is not there."""
    path = local_path(place.name) if place.bundle is None else None
    return path is not None and place.layouts != ("registry",) and not path.expanduser().exists()
