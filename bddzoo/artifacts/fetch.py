"""One file of one model from one address: received, compared with what is known of it, and admitted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from bddzoo.artifacts.cache import Cache, Entry, new_entry
from bddzoo.artifacts.digests import CHUNK_BYTES, is_settled, parse_digest_file, strongest, tensors_known
from bddzoo.artifacts.download import Expected, check_growth, download
from bddzoo.artifacts.partial import Partial, open_partial, sweep_partials
from bddzoo.artifacts.sources import FileSource, Openers, digest_urls
from bddzoo.artifacts.streams import NetworkPolicy, Opener, Origin, SourceError, without_password
from bddzoo.artifacts.tensors import TensorDigester
from bddzoo.artifacts.verification import (
    HEAD_BYTES,
    CodingError,
    Inflater,
    cut_short,
    is_compressed,
    wrong_content,
)
from bddzoo.errors import BddzooError, IntegrityError, MissingError, NetworkError
from bddzoo.registry.model import Artifact, DigestState, Model


class Progress(Protocol):
    """Receives events of downloads, from several threads; sizes in bytes."""

    def begin(self, key: str, name: str) -> None:
        """Work on a file starts; `key` names it in later events."""

    def update(self, key: str, done: int, total: int | None, source: str) -> None:
        """So much of the file has arrived; `done` may shrink when a source starts over."""

    def end(self, key: str, outcome: str) -> None:
        """Work on the file is over: `cached`, `done`, `failed` or `stopped`."""

    def note(self, key: str, text: str) -> None:
        """Something worth a line: a source failed, a wait before the next try."""


class Silent:
    """Drops all events."""

    def begin(self, key: str, name: str) -> None: ...

    def update(self, key: str, done: int, total: int | None, source: str) -> None: ...

    def end(self, key: str, outcome: str) -> None: ...

    def note(self, key: str, text: str) -> None: ...


# A list of digests of a whole zoo fits; a web site does not.
MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class FetchResult:
    """One file in the cache.

    Attributes:
        path: Where it is.
        size_bytes: Its size.
        digest_state: `verified` if it has the digest that the registry or the zoo gives, `prefix` if only the
            first digits of one are known and it has these, `observed` if none is known and ours was recorded
            on the first download.
        md5: Of the content.
        sha256: Of the content.
        source: Where the bytes came from, when they came.
        model: Id of the model.
        kind: Kind of the artifact.
        cached: Whether it was in the cache already.
        evidence: What it was compared with, in words.
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
    """A file of the cache as a result."""
    state, evidence = entry.evidence(artifact)
    return FetchResult(
        path=path,
        size_bytes=entry.size_bytes,
        digest_state=state,
        md5=entry.md5,
        sha256=entry.sha256,
        source=entry.source,
        model=entry.model,
        kind=entry.kind,
        cached=cached,
        evidence=evidence,
    )


def require_digest(result: FetchResult, *, accept_prefix: bool) -> None:
    """Insist on a digest that proves a file.

    Args:
        result: The file.
        accept_prefix: Whether the first digits of a digest are enough.

    Raises:
        IntegrityError: None is known.
    """
    what = f"model {result.model}: {result.path.name} cannot be verified"
    if result.digest_state == "prefix" and not accept_prefix:
        raise IntegrityError(
            f"{what}: only the {result.evidence} are known, which another file may be made to have "
            f"(observed sha256:{result.sha256})",
            hint="give --accept-prefix if that is enough",
        )
    if result.digest_state == "observed":
        raise IntegrityError(
            f"{what}: neither the registry nor any source gives a digest (observed md5:{result.md5})",
            hint="fetch it without --verify if you trust its source",
        )


def no_source(model: Model, artifact: Artifact, failures: Sequence[Failure], *, offline: bool) -> BddzooError:
    """The error where no source gave a file."""
    what = f"model {model.id}: {artifact.name}"
    if not failures and offline:
        hint = "fetch it while online, or give --from FOLDER"
        return MissingError(f"{what} is not in the cache and --offline allows no connection", hint=hint)
    if not failures:
        return MissingError(f"{what} has no source", hint="give one with --from SOURCE or BDDZOO_MIRRORS")
    reasons = "; ".join(f"{f.source}: {f.error.text}" for f in failures)
    kinds = {f.error.kind for f in failures}
    hint = "try another source with --from SOURCE"
    if "integrity" in kinds:
        return IntegrityError(f"{what}: no source gave the right bytes: {reasons}", hint=hint)
    if kinds == {"missing"}:
        return MissingError(f"{what}: no source has it: {reasons}", hint=hint)
    if any(f.error.retry or f.error.unreachable for f in failures):
        hint = f"try again, or {hint}"
    return NetworkError(f"{what}: no source could give it: {reasons}", hint=hint)


def with_published(entry: Entry, urls: Iterable[str], opener_of: Callable[[str], Opener | None]) -> Entry:
    """The entry with the digest that is published for its file, in a small `.md5` file, if one is found.

    Args:
        entry: What the cache knows about the file.
        urls: Where the digest may lie, best first.
        opener_of: Gives the opener of an address, or None where it must not be asked.
    """
    for url in urls:
        opener = opener_of(url)
        try:
            digest = parse_digest_file(_read_small(url, opener), entry.name) if opener else None
        except SourceError:
            continue
        if digest is not None:
            published = f"{digest.algorithm}:{digest.hex}"
            return replace(entry, published=published, published_at=without_password(url))
    return entry


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
    if is_compressed(data, stream.origin.coding):
        try:
            data = next(Inflater().feed(data))
        except (CodingError, StopIteration):
            raise SourceError("damaged", kind="integrity") from None
    found = wrong_content(data[:HEAD_BYTES], "digest", stream.content_type)
    if found is not None:
        raise SourceError(f"gave {found}", kind="integrity")
    return data


@dataclass(frozen=True)
class FileFetch:
    """Fetches one file of a model, from whatever address it is sent to.

    Attributes:
        model: The model.
        artifact: Which of its files.
        cache: Where to.
        openers: Open the addresses.
        policy: Timeouts, retries, limits.
        stop: Set when the user wants to stop.
        progress: Receives events.
        tensors: Computes the digest of the tensors in a weights file, or None.
    """

    model: Model
    artifact: Artifact
    cache: Cache
    openers: Openers
    policy: NetworkPolicy
    stop: threading.Event
    progress: Progress
    tensors: TensorDigester | None

    @property
    def key(self) -> str:
        """Key under which progress events are reported."""
        return f"{self.model.id}/{self.artifact.kind}"

    def fetch_from(self, source: FileSource, url: str) -> Entry:
        """Download from one address, compare, and admit.

        Raises:
            SourceError: The source failed or gave other bytes.
        """
        folder = self.cache.partial_folder(self.model, self.artifact)
        try:
            entry = self._fetch(source, url, open_partial(folder, trusted=self._expected.trusted))
        except FileNotFoundError:
            # Somebody else finished the same file, and took this partial for one that was left behind.
            found = self.cache.find(self.model, self.artifact)
            entry = found or self._fetch(source, url, Partial(folder))
        sweep_partials(folder)
        return entry

    @property
    def _repacked(self) -> bool:
        """Whether a copy in another container will do, whose tensors decide, not its size."""
        return self.tensors is not None and tensors_known(self.artifact) is not None

    @property
    def _expected(self) -> Expected:
        size = None if self._repacked else self.artifact.size_bytes
        return Expected(self.artifact.name, size, trusted=strongest(self.artifact.digests) is not None)

    def _fetch(self, source: FileSource, url: str, partial: Partial) -> Entry:
        decoded = Partial(partial.path.parent)
        try:
            entry = self._receive(url, partial)
            if not is_settled(self.artifact) and entry.published is None:
                urls = digest_urls(self.model, self.artifact, source, url)
                entry = with_published(entry, urls, self.openers.get)
            wrong = self._mismatch(entry)
            if wrong is not None and (partial.continued or partial.origin.total is None):
                # A piece may have come from a bad source, or the end of the connection was not the
                # end of the file: judge this source by one answer of its own.
                self._note(url, f"came to a wrong {wrong.what}; starting over")
                partial.discard()
                partial = Partial(partial.path.parent)
                again = self._receive(url, partial)
                entry = replace(again, published=entry.published, published_at=entry.published_at)
            return self._admit(url, entry, partial, decoded)
        except SourceError as error:
            if error.kind == "integrity":
                partial.discard()  # what was refused must not be continued
            raise
        finally:
            decoded.discard()
            origin = partial.origin
            if origin.validator or (self._expected.trusted and origin.coding is None):
                partial.suspend()
            else:
                partial.discard()  # nobody could continue it

    def _receive(self, url: str, partial: Partial) -> Entry:
        opener = self.openers.get(url)
        assert opener is not None
        shown = without_password(url)

        def report(done: int, total: int | None) -> None:
            self.progress.update(self.key, done, total, shown)

        def note(text: str) -> None:
            self._note(url, text)

        download(url, opener, partial, self._expected, self.policy, self.stop, report, note)
        hashes = partial.finish()
        listed = self.openers.bundled_file(url)
        if listed is not None and listed.sha256 != hashes.sha256:
            text = f"is damaged: sha256 {hashes.sha256}, its list says {listed.sha256}"
            raise SourceError(text, kind="integrity")
        entry = new_entry(self.model, self.artifact, hashes, shown)
        if listed is not None:
            entry = replace(entry, published=listed.published, published_at=listed.published_at)
        return entry

    def _admit(self, url: str, entry: Entry, partial: Partial, decoded: Partial) -> Entry:
        """Take in the bytes as they were sent, or without their gzip coding, whichever is the file.

        What a server says of the coding decides only where neither a digest nor a size is known.
        """
        coding = partial.origin.coding
        wrong = self._mismatch(entry)
        known = self._is_known(entry)
        if coding not in (None, "gzip", "deflate") and not known:
            raise SourceError(f"sent content coding '{coding}', which was not asked for", kind="integrity")
        tried = ""
        if partial.is_compressed() and (
            wrong is not None or (coding and not known and not self._is_gzip_file)
        ):
            try:
                plain = self._inflate(entry, partial, decoded)
            except CodingError as error:
                if wrong is None:
                    raise SourceError(f"broken {coding} coding: {error}", kind="integrity") from None
                tried = f"; its gzip coding cannot be undone: {error}"
            else:
                other = self._mismatch(plain)
                if other is None:
                    return self._give(plain, decoded)
                tried = f" as it was sent, {other.found} without its gzip coding"
        if self._repacked and (wrong is not None or strongest(self.artifact.digests) is None):
            entry = self._with_tensors(entry, partial)
            if entry.has_tensors_of(self.artifact):
                return self._give(entry, partial)
            wrong = wrong or _Mismatch(
                "tensors", f"tensors:{tensors_known(self.artifact)}", str(entry.tensors)
            )
        if wrong is not None:
            raise self._reject(partial, f"expected {wrong.expected}, got {wrong.found}{tried}", url)
        return self._give(entry, partial)

    def _give(self, entry: Entry, partial: Partial) -> Entry:
        if not self._expected.trusted:
            cut = cut_short(partial.path, self.artifact.name)
            if cut is not None:
                raise SourceError(f"gave {cut}", kind="integrity")
        return self.cache.admit(entry, partial.give)

    def _mismatch(self, entry: Entry) -> _Mismatch | None:
        wrong = entry.wrong_digest(self.artifact)
        if wrong is not None:
            known = f"{wrong.algorithm}:{wrong.hex} ({wrong.origin})"
            return _Mismatch(wrong.algorithm, known, entry.hashes.get(wrong.algorithm))
        if self._expected.size_bytes not in (None, entry.size_bytes):
            return _Mismatch("size", f"{self._expected.size_bytes} bytes", f"{entry.size_bytes} bytes")
        return None

    def _is_known(self, entry: Entry) -> bool:
        """Whether there is anything that the bytes can be compared with."""
        sized = self._expected.size_bytes is not None
        return sized or self._repacked or self._expected.trusted or entry.published is not None

    @property
    def _is_gzip_file(self) -> bool:
        return self.artifact.name.lower().endswith((".gz", ".tgz"))

    def _inflate(self, entry: Entry, partial: Partial, decoded: Partial) -> Entry:
        """Write the bytes without their coding into `decoded`; returns the entry with their digests.

        Raises:
            CodingError: The coding is damaged, or hides more than the file has.
            OSError: The disk is full.
        """
        limit = self._expected.size_bytes
        inflater = Inflater()
        decoded.open(partial.origin)

        def write(data: bytes) -> None:
            check_growth(decoded, len(data))
            decoded.write(data)
            if limit is not None and decoded.size_bytes > limit:
                raise CodingError(f"more than {limit} bytes")

        with partial.path.open("rb") as file:
            while sent := file.read(CHUNK_BYTES):
                for data in inflater.feed(sent):
                    write(data)
        write(inflater.end())
        hashes = decoded.finish()
        return replace(entry, md5=hashes.md5, sha256=hashes.sha256, size_bytes=hashes.size_bytes)

    def _with_tensors(self, entry: Entry, partial: Partial) -> Entry:
        """The entry with the digest of its tensors, if they can be read at all."""
        assert self.tensors is not None
        try:
            return replace(entry, tensors=self.tensors(partial.path))
        except BddzooError as error:
            self.progress.note(self.key, f"its tensors cannot be compared: {error.message}")
            return entry

    def _reject(self, partial: Partial, text: str, url: str) -> SourceError:
        """Move a file aside that is not the one that was asked for."""
        why = f"{without_password(url)}: {text}"
        kept = self.cache.reject(partial.path, self.model.id, self.artifact.name, why)
        return SourceError(f"gave other bytes: {text}; kept as {kept}", kind="integrity")

    def _note(self, url: str, text: str) -> None:
        self.progress.note(self.key, f"{without_password(url)}: {text}")


@dataclass(frozen=True)
class _Mismatch:
    """A known digest or size that a file does not have: which, its value, and the file's."""

    what: str
    expected: str
    found: str
