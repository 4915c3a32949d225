"""Frames scored by several threads, and what is worth telling about those that were scored all the same."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from bddzoo.errors import MissingError
from bddzoo.evaluation.metrics.matching import Candidates, match_frame
from bddzoo.evaluation.options import Options

if TYPE_CHECKING:
    from bddzoo.evaluation.metrics.errors import FrameErrors


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


# Kind -> what it means; the files or frames are listed behind it.
KINDS: dict[str, str] = {
    "nothing": "not one frame of the predictions has a label, as if nothing was found; they may be of another"
    " task",
    "nothing-true": "not one frame of the ground truth has a label, so there was nothing to find",
    "palette": "palette PNGs are counted by index, whatever their colours look like",
    "shapeless": "labels with neither a mask nor a box are passed over",
    "unscored": "predicted instances without an entry in the score file are not counted",
    "crowd": "crowd objects are there: from bitmasks the official evaluation counts them as ordinary "
    "objects, from RLE it ignores them, so the two inputs give different numbers",
    "suffix": "frames matched although their names end differently (.jpg and .png); the official toolkit "
    "takes them for missing",
    "category": "labels of unknown categories are left out",
    "overlap": "predictions share pixels, so all predictions of these frames are dropped, as the "
    "official toolkit does",
    "cut": "more than 100 detections of a class in a frame; those of the lowest scores are not counted",
    "cut-people": "more than 20 people in a frame; those of the lowest scores are not counted",
    "exclusive": "x2 and y2 of the predictions are one pixel larger than those of the objects: they are the "
    "edge behind the box instead of its last pixel, which costs accuracy",
    "unnamed": "predictions without names of frames are taken in the order of the ground truth",
    "untagged": "frames whose ground truth does not say it are not counted",
    "extra": "predictions without ground truth are not looked at",
    "extra-scores": "score entries of frames without ground truth are not looked at",
    "missing": "no prediction, everything in them is missed",
    "junk": "files that are not labels were passed over",
    "many": "more than 100 objects in a frame, where the official toolkit crashes",
    "full": "not a single background pixel, where the official toolkit crashes",
    "bare": "ground truth without any segment, where the official toolkit crashes",
    "stuff": "labels of one stuff class share pixels; their union counts, where the official toolkit makes "
    "another mask of them",
    "blank": "predictions without any segment, where the official toolkit crashes",
    "foreign": "label pixels of values that the data set does not have are not counted",
    "spill": "more than half of the background is predicted as drivable, which costs nothing: scores do not"
    " count what the ground truth calls background",
    "value": "ground-truth pixels whose value is not a class are not counted; the official toolkit crashes "
    "or ignores the value after the last class",
    "class-predicted": "predicted objects of values that are not a class count for nothing",
    "value-predicted": "predicted values that are not a class are counted as wrong",
    "track-id": "tracks are not numbered by 32-bit integers, where the official toolkit crashes",
    "frames-key": "the score file has a 'frames' key, which the official toolkit refuses",
    "bad": "left out because they cannot be scored",
    "size": "frames are not 1280x720, where the official toolkit crashes",
}


@dataclass
class FrameWarnings:
    """Remarks by kind, with where they apply."""

    places: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, where: str) -> None:
        """Note that a kind of remark applies somewhere."""
        self.places.setdefault(kind, []).append(where)

    def extend(self, items: list[tuple[str, str]]) -> None:
        """Add several."""
        for kind, where in items:
            self.add(kind, where)

    def lines(self) -> list[str]:
        """One line for each kind."""
        out = []
        for kind, places in self.places.items():
            out.append(f"{KINDS[kind]}: {_by_file(list(dict.fromkeys(places)))}")
        return out


def _by_file(places: list[str]) -> str:
    """Files, and what is in them; the path of a file stands once."""
    files: dict[str, list[str]] = {}
    for place in places[:5]:
        path, _, rest = place.rpartition(", ")
        files.setdefault(path, []).append(rest)
    shown = "; ".join(", ".join([path, *rest] if path else rest) for path, rest in files.items())
    return listing([shown, *places[5:]], 1)


@dataclass
class FrameResult:
    """Statistics of a frame for its accumulator, remarks (kind, where), and errors of its detections."""

    stats: Any
    remarks: list[tuple[str, str]] = field(default_factory=list)
    errors: FrameErrors | None = None


def matched(
    found: Candidates, classes: int, options: Options, remarks: list[tuple[str, str]], *, coco: bool
) -> FrameResult:
    """`FrameMatches` of a frame, and the errors of its detections if they are asked for."""
    errors = None
    if options.errors:
        from bddzoo.evaluation.metrics.errors import frame_errors

        errors = frame_errors(found, coco=coco)
    return FrameResult(match_frame(found, classes=classes, coco=coco), remarks, errors)
