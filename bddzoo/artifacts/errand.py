"""One file of one model from one address: received, compared with what is known of it, and admitted."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

from bddzoo.artifacts.cache import Cache
from bddzoo.artifacts.digests import strongest
from bddzoo.artifacts.download import Wanted, download
from bddzoo.artifacts.entry import Entry, new_entry
from bddzoo.artifacts.failures import SourceError
from bddzoo.artifacts.leftovers import open_partial, sweep_partials
from bddzoo.artifacts.locate import Place, digest_urls
from bddzoo.artifacts.manners import Manners
from bddzoo.artifacts.openers import Openers
from bddzoo.artifacts.origin import without_password
from bddzoo.artifacts.partial import Partial, new_partial
from bddzoo.artifacts.progress import Progress
from bddzoo.artifacts.proof import is_settled, same_tensors, tensors_known, wrong_digest
from bddzoo.artifacts.published import with_published
from bddzoo.artifacts.tensors import TensorDigester
from bddzoo.errors import BddzooError
from bddzoo.registry.types import Artifact, Digest, Model


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
