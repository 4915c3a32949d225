"""Work on many frames at once: bounded, ordered, and with every failure told."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from bddzoo.errors import MissingError

Job = TypeVar("Job")
Result = TypeVar("Result")

MAX_LISTED = 10
# Jobs that are done at once where that is possible.
BATCH, FEW_BATCHES = 64, 8


def run_jobs(
    work: Callable[[Job], Result], jobs: Iterable[Job], workers: int
) -> Iterator[tuple[Job, Result | MissingError]]:
    """Apply `work` to each job; yields jobs and results, or the `MissingError` it raised, in order.

    Threads, not processes: decoding and counting release the interpreter lock, nothing is pickled,
    and no worker can be lost and waited for forever. Only a few frames are in flight at a time, so
    memory does not grow with their number.
    """
    if workers <= 1:
        for job in jobs:
            yield job, attempt(work, job)
        return
    from concurrent.futures import Future, ThreadPoolExecutor

    pool = ThreadPoolExecutor(workers)
    waiting: deque[tuple[Job, Future[Result | MissingError]]] = deque()
    try:
        for job in jobs:
            waiting.append((job, pool.submit(attempt, work, job)))
            if len(waiting) > 4 * workers:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def attempt(work: Callable[[Job], Result], job: Job) -> Result | MissingError:
    """The result, or the `MissingError` that was raised."""
    try:
        return work(job)
    except MissingError as error:
        # What led to it holds the frame's pixels, and there may be thousands of such frames.
        error.__context__ = None
        return error.with_traceback(None)


def run_batches(
    batch: Callable[[Sequence[Job]], Sequence[Result | None]],
    work: Callable[[Job], Result],
    jobs: Sequence[Job],
    workers: int,
) -> Iterator[tuple[Job, Result | MissingError]]:
    """The same of work that is done for many jobs at once, and singly where that gives no result."""

    def both(some: Sequence[Job]) -> list[Result | MissingError]:
        found = attempt(batch, some)
        results = [None] * len(some) if isinstance(found, MissingError) else found
        return [attempt(work, j) if r is None else r for j, r in zip(some, results, strict=True)]

    batches = [jobs[start : start + BATCH] for start in range(0, len(jobs), BATCH)]
    # Threads take as long to start as a few batches.
    for some, results in run_jobs(both, batches, workers if len(batches) > FEW_BATCHES else 1):
        assert not isinstance(results, MissingError)
        yield from zip(some, results, strict=True)


def raise_all(errors: list[MissingError], what: str, done: str = "scored") -> None:
    """Raise one error that lists all (up to a limit); returns if there are none."""
    if not errors:
        return
    if len(errors) == 1:
        raise errors[0]
    listed = "; ".join(e.message for e in errors[:MAX_LISTED])
    more = f"; and {len(errors) - MAX_LISTED} more" if len(errors) > MAX_LISTED else ""
    raise MissingError(
        f"{len(errors)} {what} cannot be {done}: {listed}{more}",
        hint=errors[0].hint or ("--allow-partial scores the rest and says so" if done == "scored" else None),
    )


def listing(names: Iterable[str], limit: int = MAX_LISTED) -> str:
    """Names for a message, the rest counted."""
    items = list(names)
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(items[:limit]) + more
