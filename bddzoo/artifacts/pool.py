"""Many files at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from bddzoo.artifacts.fetch import FetchResult
from bddzoo.artifacts.fetcher import Fetcher
from bddzoo.artifacts.streams import Stopped
from bddzoo.errors import BddzooError
from bddzoo.registry.model import ArtifactKind, Model

# How long an interrupted run waits for its threads; what they were doing stays resumable anyway.
PATIENCE_S = 5.0


@dataclass(frozen=True)
class Job:
    """One file to fetch."""

    model: Model
    kind: ArtifactKind


@dataclass(frozen=True)
class Outcome:
    """What became of one file: a result or an error, or neither where the run was interrupted."""

    job: Job
    result: FetchResult | None = None
    error: BddzooError | None = None


def fetch_all(fetcher: Fetcher, jobs: Sequence[Job], verify: bool = False) -> list[Outcome]:
    """Fetch files, `fetcher.jobs` at a time; one that fails does not stop the others.

    Returns:
        Outcomes in the order of `jobs`.

    Raises:
        KeyboardInterrupt: The user interrupted; what had arrived can be resumed.
        Exception: A bug in a thread.
    """
    outcomes: dict[int, Outcome] = {}

    def fetch_one(index: int) -> None:
        job = jobs[index]
        try:
            outcomes[index] = Outcome(job, result=fetcher.fetch(job.model, job.kind, verify))
        except BddzooError as error:
            outcomes[index] = Outcome(job, error=error)

    work_through(fetcher, len(jobs), fetch_one)
    return [outcomes.get(index, Outcome(job)) for index, job in enumerate(jobs)]


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
