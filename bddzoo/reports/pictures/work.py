"""Drawing many pictures: in threads, resumable, with every failure told and the rest done."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from bddzoo.errors import BddzooError, ExitCode, MissingError
from bddzoo.evaluation.jobs import run_jobs
from bddzoo.files import cannot_write, write_bytes

Job = TypeVar("Job")
Result = TypeVar("Result")

SETTINGS = ".vis.json"


class CannotWriteError(BddzooError):
    """A picture that cannot be written; the next one could not be either."""

    exit_code = ExitCode.MISSING


@dataclass
class Tally:
    """What became of a run.

    Attributes:
        out: Folder that was written to.
        drawn: Pictures that were drawn.
        kept: Pictures that were there already.
        failed: Name and reason of each that could not be drawn.
        seconds: How long it took.
    """

    out: Path
    drawn: int = 0
    kept: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True)
class Canvas:
    """A folder of pictures that a run may continue.

    A picture is finished if it is there, is not older than what it was drawn from, and was drawn with the
    same settings: changed settings are noted in the folder, and what is older than the note is drawn again.

    Attributes:
        folder: Where pictures are written to.
        force: Draw everything again.
        since: Time before which a picture counts as old, in nanoseconds.
    """

    folder: Path
    force: bool
    since: int

    @classmethod
    def open(
        cls, folder: Path, settings: dict[str, object], sources: Sequence[Path], *, force: bool
    ) -> Canvas:
        """Make or enter a folder.

        Args:
            folder: Where to.
            settings: Everything that changes how a picture looks.
            sources: Archives and other files that all pictures are drawn from.
            force: Draw everything again.

        Raises:
            MissingError: The folder cannot be written to.
        """
        import json

        note = folder / SETTINGS
        text = json.dumps(settings, sort_keys=True, default=str).encode()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(13, "Permission denied")
            if not note.is_file() or note.read_bytes() != text:
                write_bytes(note, text)
            times = [note.stat().st_mtime_ns, *(p.stat().st_mtime_ns for p in sources if p.is_file())]
        except OSError as error:
            raise cannot_write(folder, error) from error
        return cls(folder, force, max(times))

    def finished(self, targets: Sequence[Path], sources: Sequence[Path] = ()) -> bool:
        """Whether none of these pictures need be drawn.

        Args:
            targets: The pictures.
            sources: Files that only they are drawn from; members of archives are not looked at.
        """
        if self.force:
            return False
        times = [_changed(target) for target in targets]
        since = max([self.since, *(_changed(source) or 0 for source in sources)])
        return all(time is not None and time >= since for time in times)

    def write(self, target: Path, content: bytes) -> None:
        """Write a picture; it is there whole or not at all.

        Raises:
            CannotWriteError: It cannot be written.
        """
        try:
            write_bytes(target, content)
        except MissingError as error:
            raise CannotWriteError(error.message, hint=error.hint) from error


class Runner(Generic[Job, Result]):
    """Applies work to jobs and keeps count.

    Args:
        tally: Where what cannot be drawn is noted.
        name: Name of a job.
        progress: Called with jobs done and jobs in all.
        bad: Called with a line for each job that failed.
        workers: Threads; OpenCV and zlib release the interpreter while they work.
    """

    def __init__(
        self,
        tally: Tally,
        name: Callable[[Job], str],
        progress: Callable[[int, int], None],
        bad: Callable[[str], None],
        workers: int,
    ) -> None:
        self._tally, self._name, self._progress, self._bad = tally, name, progress, bad
        self._workers = workers

    def run(self, work: Callable[[Job], Result], jobs: Sequence[Job]) -> Iterator[tuple[Job, Result]]:
        """Jobs and what came of them, in order; those that failed are left out."""
        import cv2

        threads = cv2.getNumThreads()
        # Each picture has a thread of its own; more of them within it would only wait for each other.
        cv2.setNumThreads(1)
        try:
            for done, (job, result) in enumerate(run_jobs(work, jobs, self._workers), 1):
                if isinstance(result, MissingError):
                    self._tally.failed.append((self._name(job), result.message))
                    self._bad(f"{result.message}; skipped" + (f"; {result.hint}" if result.hint else ""))
                else:
                    yield job, result
                self._progress(done, len(jobs))
        finally:
            cv2.setNumThreads(threads)


def _changed(path: Path) -> int | None:
    """When a file was last written, in nanoseconds; None where it is not there."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def encode(picture: object, suffix: str, quality: int) -> bytes:
    """A picture, (H, W, 3) uint8 BGR, as the bytes of a `.jpg` or `.png` file."""
    import cv2

    if suffix == ".jpg":
        done, content = cv2.imencode(suffix, picture, [cv2.IMWRITE_JPEG_QUALITY, quality])  # type: ignore[call-overload]
    else:
        done, content = cv2.imencode(suffix, picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])  # type: ignore[call-overload]
    assert done
    found: bytes = content.tobytes()
    return found
