"""Files of models: from the cache, otherwise from every source in turn; one, or many at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from msgspec.structs import replace

from bddzoo.artifacts.cache import Cache, Entry, check_name
from bddzoo.artifacts.digests import first_mismatch
from bddzoo.artifacts.download import peek
from bddzoo.artifacts.fetch import (
    Failure,
    FetchResult,
    FileFetch,
    Progress,
    Silent,
    no_source,
    require_digest,
    result_of,
    with_published,
)
from bddzoo.artifacts.sources import FileSource, Locator, Openers, configured_mirrors, digest_urls, local_path
from bddzoo.artifacts.streams import NetworkPolicy, SourceError, Stopped, without_password
from bddzoo.artifacts.tensors import TensorDigester
from bddzoo.errors import BddzooError, IntegrityError, MissingError
from bddzoo.files import explain
from bddzoo.registry.model import Artifact, ArtifactKind, Model


class Fetcher:
    """Brings files of models into the cache.

    Args:
        cache: Where to.
        extra_sources: Folders, bundles or base URLs that are asked before the registry's URLs;
            the mirrors of `BDDZOO_MIRRORS` and of the user's config come after them by themselves.
        offline: Open no connection; the cache and sources on this machine are still used.
        jobs: Files at the same time, in `fetch_all`.
        progress: Receives events.
        policy: Timeouts, retries, limits.
        force: Fetch again what the cache has.
        tensors: Computes the digest of the tensors in a weights file; with it a copy in another
            container is accepted where the registry knows that digest.
        accept_prefix: With `verify`, the first digits of a digest are enough.

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
        policy: NetworkPolicy | None = None,
        force: bool = False,
        tensors: TensorDigester | None = None,
        accept_prefix: bool = False,
    ) -> None:
        self.cache = cache
        self.offline = offline
        self.jobs = max(1, jobs)
        self.force = force
        self.accept_prefix = accept_prefix
        self._tensors = tensors
        self.progress: Progress = progress or Silent()
        self.stop = threading.Event()
        self.failures: dict[str, tuple[Failure, ...]] = {}
        self.policy = policy or NetworkPolicy()
        self.locator = Locator(extra_sources, configured_mirrors())
        self._openers = Openers(self.policy, self.stop, offline)

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
        return self._have(model, artifact, verify, rehash)

    def fetch_document(self, model: Model) -> FetchResult:
        """Have the zoo's document in the cache that a model's row is printed in, once for all its rows.

        Raises:
            BddzooError: As `fetch`.
        """
        if model.document is None:
            raise MissingError(f"the registry knows no document of zoo {model.zoo.id} for {model.task}")
        rows = replace(model, id=f"{model.zoo.id}-{model.task}", artifacts=(model.document,))
        return self._have(rows, model.document)

    def _have(
        self, model: Model, artifact: Artifact, verify: bool = False, rehash: bool = False
    ) -> FetchResult:
        check_name(artifact.name)
        key = f"{model.id}/{artifact.kind}"
        self.progress.begin(key, artifact.name)
        outcome = "failed"
        try:
            result = self._fetch(model, artifact, verify, rehash)
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
        for source in self.locator.sources(model, artifact):
            urls = self._openers.expand(source, model, artifact)
            for url in urls:
                opener = self._openers.get(url)
                if opener is None:
                    break
                try:
                    return peek(url, opener, artifact), without_password(url)
                except SourceError as error:
                    last = url == urls[-1]
                    if error.kind != "missing" or last:
                        name = source.name if error.kind == "missing" else url
                        failures.append(Failure(without_password(name), error))
                    if error.kind != "missing":
                        break
        raise self._give_up(model, artifact, failures)

    def abort(self) -> None:
        """End all downloads soon, from another thread; what arrived stays resumable."""
        self.stop.set()

    def _fetch(self, model: Model, artifact: Artifact, verify: bool, rehash: bool) -> FetchResult:
        if not self.force:
            entry = self._from_cache(model, artifact, verify or rehash)
            if entry is not None:
                if verify and entry.evidence(artifact)[0] != "verified":
                    entry = self._ask_published(entry, model, artifact)
                return self._result(entry, artifact, cached=True, verify=verify)
        self.cache.prepare()
        failures: list[Failure] = []
        task = FileFetch(
            model, artifact, self.cache, self._openers, self.policy, self.stop, self.progress, self._tensors
        )
        for source in self.locator.sources(model, artifact):
            found = self._from_source(task, source)
            if isinstance(found, Entry):
                return self._result(found, artifact, cached=False, verify=verify)
            if found is not None:
                failures.append(found)
        raise self._give_up(model, artifact, failures)

    def _from_source(self, task: FileFetch, source: FileSource) -> Entry | Failure | None:
        """Ask one source at each of its addresses.

        Returns:
            The admitted file, how the source failed, or None where it must not be asked.
        """
        urls = self._openers.expand(source, task.model, task.artifact)
        worst: Failure | None = None
        for url in urls:
            if self._openers.get(url) is None:
                return None  # a remote source, offline
            try:
                entry = task.fetch_from(source, url)
            except SourceError as error:
                # Some object stores say 403 for what they do not have.
                elsewhere = error.kind == "missing" or (error.status == 403 and len(urls) > 1)
                if (not elsewhere or len(urls) == 1) and not error.reported:
                    self.progress.note(task.key, f"{without_password(url)}: {error.text}")
                if not elsewhere:
                    return Failure(without_password(url), error)
                if worst is None or error.kind != "missing":
                    worst = Failure(without_password(url), error)
            else:
                self.locator.remember(source, url)
                return entry
        if worst is None or (worst.error.kind == "missing" and len(urls) > 1):
            name = without_password(source.name)
            text = "is not there" if _is_gone(source) else f"has no {task.artifact.name}"
            self.progress.note(task.key, f"{name}: {text}")
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

    def _ask_published(self, entry: Entry, model: Model, artifact: Artifact) -> Entry:
        """Look for the published digest of a cached file that has none yet."""
        given_at = entry.source if entry.source in artifact.sources else None
        found = with_published(entry, digest_urls(model, artifact, None, given_at), self._openers.get)
        for source in self.locator.sources(model, artifact):
            if found.published is not None:
                break
            if source.name in self.locator.extra:
                found = with_published(entry, digest_urls(model, artifact, source, None), self._openers.get)
        if found.published is None:
            return entry
        digest = found.published_digest
        if digest is not None and first_mismatch((digest,), entry.hashes) is not None:
            raise IntegrityError(
                f"model {model.id}: the cached {artifact.name} has {digest.algorithm} "
                f"{entry.hashes.get(digest.algorithm)}, but {found.published_at} says {digest.hex}",
                hint="fetch it from another source: bddzoo fetch --force --from SOURCE",
            )
        self.cache.write_entry(found)
        return found

    def _result(self, entry: Entry, artifact: Artifact, *, cached: bool, verify: bool = False) -> FetchResult:
        result = result_of(entry, artifact, self.cache.path_of(entry), cached=cached)
        if verify:
            require_digest(result, accept_prefix=self.accept_prefix)
        return result

    def _give_up(self, model: Model, artifact: Artifact, failures: Sequence[Failure]) -> BddzooError:
        self.failures[f"{model.id}/{artifact.kind}"] = tuple(failures)
        return no_source(model, artifact, failures, offline=self.offline)


def _is_gone(source: FileSource) -> bool:
    """Whether a source is a folder that is not there."""
    path = local_path(source.name) if source.bundle is None else None
    return path is not None and source.layouts != ("registry",) and not path.expanduser().exists()


# How long an interrupted run waits for its threads; what they were doing stays resumable anyway.
PATIENCE_S = 5.0


@dataclass(frozen=True)
class FetchJob:
    """One file to fetch."""

    model: Model
    kind: ArtifactKind


@dataclass(frozen=True)
class FetchOutcome:
    """What became of one file: a result or an error, or neither where the run was interrupted."""

    job: FetchJob
    result: FetchResult | None = None
    error: BddzooError | None = None


def fetch_all(fetcher: Fetcher, jobs: Sequence[FetchJob], verify: bool = False) -> list[FetchOutcome]:
    """Fetch files, `fetcher.jobs` at a time; one that fails, be it by a bug, does not stop the others.

    Returns:
        Outcomes in the order of `jobs`.

    Raises:
        KeyboardInterrupt: The user interrupted; what had arrived can be resumed.
    """
    outcomes: dict[int, FetchOutcome] = {}

    def fetch_one(index: int) -> None:
        job = jobs[index]
        try:
            outcomes[index] = FetchOutcome(job, result=fetcher.fetch(job.model, job.kind, verify))
        except BddzooError as error:
            outcomes[index] = FetchOutcome(job, error=error)
        except Stopped:
            raise
        except Exception as bug:
            hint = "run again with -v for the traceback, and please report it"
            wrapped = BddzooError(f"model {job.model.id}: bug: {type(bug).__name__}: {bug}", hint=hint)
            wrapped.__cause__ = bug
            outcomes[index] = FetchOutcome(job, error=wrapped)

    work_through(fetcher, len(jobs), fetch_one)
    return [outcomes.get(index, FetchOutcome(job)) for index, job in enumerate(jobs)]


def work_through(fetcher: Fetcher, count: int, do: Callable[[int], None]) -> None:
    """Call `do` with 0 to `count` - 1 in `fetcher.jobs` threads.

    Raises:
        KeyboardInterrupt: The user interrupted; the threads were told to stop.
        Exception: A bug in a thread.
    """
    waiting: SimpleQueue[int] = SimpleQueue()
    for index in range(count):
        waiting.put(index)
    bugs: list[BaseException] = []
    # Not Thread.join: interrupted, it takes a thread for ended that is not (CPython issue 89437).
    ended = threading.Semaphore(0)

    def work() -> None:
        try:
            while not fetcher.stop.is_set():
                do(waiting.get_nowait())
        except (Empty, Stopped):
            return
        except BaseException as error:
            bugs.append(error)
            fetcher.stop.set()
        finally:
            ended.release()

    # Daemons: a thread that waits for a silent server must not keep an interrupted process alive.
    threads = [
        threading.Thread(target=work, name=f"fetch-{n}", daemon=True) for n in range(min(fetcher.jobs, count))
    ]
    for thread in threads:
        thread.start()
    left = len(threads)
    try:
        while left:
            left -= ended.acquire(timeout=0.2)
    except KeyboardInterrupt:
        fetcher.abort()
        until = time.monotonic() + PATIENCE_S
        while left and time.monotonic() < until:
            left -= ended.acquire(timeout=0.1)
        raise
    if bugs:
        raise bugs[0]
