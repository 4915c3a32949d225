"""Drawing many images: in threads, resumable, with every failure told and the rest done.

`vis color` and `vis overlay`: an image for every frame. Images of folders and archives, and the labels that
belong to each, are found here.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from bddzoo.datasets.decode import decode_image
from bddzoo.datasets.formats.labels import FrameLabels
from bddzoo.datasets.formats.readers import LabelSet
from bddzoo.datasets.images import (
    IMAGE_SUFFIXES,
    LISTED_SUFFIXES,
    common_folder,
    frame_path,
    need_pairs,
    without_truth,
)
from bddzoo.datasets.sources import open_source
from bddzoo.errors import BddzooError, ExitCode, MissingError, UsageError
from bddzoo.evaluation.jobs import listing, run_jobs
from bddzoo.files import cannot_write, write_bytes
from bddzoo.painting.colouring import Style
from bddzoo.reports.vis.draw import colour_map, overlay
from bddzoo.text import number_of

Job = TypeVar("Job")
Result = TypeVar("Result")

SETTINGS = ".vis.json"


class CannotWriteError(BddzooError):
    """An image that cannot be written; the next one could not be either."""

    exit_code = ExitCode.MISSING


@dataclass
class Tally:
    """What became of a run.

    Attributes:
        out: Folder that was written to.
        drawn: Images that were drawn.
        kept: Images that were there already.
        failed: Name and reason of each that could not be drawn.
        seconds: How long it took.
    """

    out: Path
    drawn: int = 0
    kept: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0.0
    _started: float = field(default_factory=time.monotonic)

    def stop(self) -> None:
        """The run has ended."""
        self.seconds = time.monotonic() - self._started


@dataclass(frozen=True)
class OutputFolder:
    """A folder of images that a run may continue.

    An image is finished if it is there, is not older than what it was drawn from, and was drawn with the
    same settings: changed settings are noted in the folder, and what is older than the note is drawn again.

    Attributes:
        folder: Where images are written to.
        force: Draw everything again.
        since: Time before which an image counts as old, in nanoseconds.
        made: Folders that were made for it, the innermost first.
    """

    folder: Path
    force: bool
    since: int
    made: tuple[Path, ...] = ()

    @classmethod
    def open(
        cls, folder: Path, settings: dict[str, object], sources: Sequence[Path], *, force: bool
    ) -> OutputFolder:
        """Make or enter a folder.

        Args:
            folder: Where to.
            settings: Everything that changes how an image looks.
            sources: Archives and other files that all images are drawn from.
            force: Draw everything again.

        Raises:
            UsageError: The folder holds something else, which would be replaced, or the sources themselves.
            MissingError: The folder cannot be written to.
        """
        note = folder / SETTINGS
        if folder.is_dir():
            if any(source.is_dir() and folder.samefile(source) for source in sources):
                raise UsageError(f"{folder} holds what is to be drawn", hint="name another folder with -o")
            if not force and not note.exists() and any(folder.iterdir()):
                raise UsageError(
                    f"{folder} is not empty and was not drawn by bddzoo",
                    hint="name another folder with -o, or replace what is there with --force",
                )
        text = json.dumps(settings, sort_keys=True, default=str).encode()
        made = tuple(path for path in (folder, *folder.parents) if not path.exists())
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(13, "Permission denied")
            if not note.is_file() or note.read_bytes() != text:
                write_bytes(note, text)
            times = [note.stat().st_mtime_ns, *(p.stat().st_mtime_ns for p in sources if p.is_file())]
        except OSError as error:
            raise cannot_write(folder, error) from error
        return cls(folder, force, max(times), made)

    def discard(self) -> None:
        """Remove what was made before anything could be drawn."""
        if self.made:
            (self.folder / SETTINGS).unlink(missing_ok=True)
            for path in (*(p for p in self.folder.iterdir() if p.is_dir()), *self.made):
                with suppress(OSError):  # it holds something
                    path.rmdir()

    def finished(self, targets: Sequence[Path], sources: Sequence[Path] = ()) -> bool:
        """Whether none of these images need be drawn.

        Args:
            targets: The images.
            sources: Files that only they are drawn from; members of archives are not looked at.
        """
        if self.force:
            return False
        times = [_changed(target) for target in targets]
        since = max([self.since, *(_changed(source) or 0 for source in sources)])
        return all(time is not None and time >= since for time in times)

    def write(self, target: Path, content: bytes) -> None:
        """Write an image; it is there whole or not at all.

        Raises:
            CannotWriteError: It cannot be written.
        """
        try:
            write_bytes(target, content)
        except MissingError as error:
            raise CannotWriteError(error.message, hint=error.hint) from error


def run_each(
    work: Callable[[Job], Result], jobs: Sequence[Job], tally: Tally, reports: Reports, workers: int
) -> Iterator[tuple[Job, Result]]:
    """Jobs and what came of them, in order; those that fail are told, noted in the tally and left out.

    Args:
        work: Runs in threads; OpenCV and zlib release the interpreter while they work.
        jobs: Their text is what they are called.
        tally: Where what cannot be drawn is noted.
        reports: Whom to tell.
        workers: Threads.
    """
    threads = cv2.getNumThreads()
    # Each image has a thread of its own; more of them within it would only wait for each other.
    cv2.setNumThreads(1)
    try:
        for done, (job, result) in enumerate(run_jobs(work, jobs, workers), 1):
            if isinstance(result, MissingError):
                tally.failed.append((str(job), result.message))
                reports.bad(f"{result.message}; skipped" + (f"; {result.hint}" if result.hint else ""))
            else:
                yield job, result
            reports.progress(done, len(jobs))
    finally:
        cv2.setNumThreads(threads)


def _changed(path: Path) -> int | None:
    """When a file was last written, in nanoseconds; None where it is not there."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def encode(image: object, suffix: str, quality: int) -> bytes:
    """An image, (H, W, 3) uint8 BGR, as the bytes of a `.jpg` or `.png` file."""
    if suffix == ".jpg":
        done, content = cv2.imencode(suffix, image, [cv2.IMWRITE_JPEG_QUALITY, quality])  # type: ignore[call-overload]
    else:
        done, content = cv2.imencode(suffix, image, [cv2.IMWRITE_PNG_COMPRESSION, 1])  # type: ignore[call-overload]
    assert done
    found: bytes = content.tobytes()
    return found


LISTED = 3


@dataclass(frozen=True)
class Reports:
    """Whom to tell.

    Attributes:
        progress: Called with images done and images in all.
        bad: Called with a line for each image that could not be drawn.
    """

    progress: Callable[[int, int], None]
    bad: Callable[[str], None]


@dataclass(frozen=True)
class Effort:
    """How to go about it.

    Attributes:
        workers: Threads.
        force: Draw also what is there already.
        suffix: `.jpg` or `.png`.
        quality: Of JPEGs, 0..100.
    """

    workers: int = 1
    force: bool = False
    suffix: str = ".jpg"
    quality: int = 90


def draw_colours(labels: LabelSet, out: Path, seed: int, effort: Effort, reports: Reports) -> Tally:
    """Write a colour map of every frame: `out/NAME.png`.

    Raises:
        MissingError: The folder cannot be written to, or not one frame could be drawn.
    """
    tally = Tally(out)
    settings: dict[str, object] = {
        "vis": "color",
        "task": labels.task,
        "labels": labels.path.resolve(),
        "seed": seed,
    }
    output = OutputFolder.open(out, settings, [labels.path], force=effort.force)

    def draw(key: str) -> bool:
        target = out / f"{key}.png"
        if output.finished([target], [Path(labels.where(key))]):
            return False
        output.write(target, colour_map(labels.read(key), seed, target))
        return True

    return _draw_all(draw, labels.keys, output, tally, labels, effort, reports)


def draw_overlays(
    images: ImageSet, labels: LabelSet, out: Path, style: Style, effort: Effort, reports: Reports
) -> Tally:
    """Write every image with its labels over it: `out/NAME.jpg` or `.png`.

    An image without labels counts as failed; labels without an image are nobody's loss.

    Raises:
        MissingError: The folder cannot be written to, nothing fits together, or nothing could be drawn.
    """
    tally = Tally(out)
    pairs, lacking = pair(images, [labels])
    settings: dict[str, object] = {
        "vis": "overlay",
        "task": labels.task,
        "labels": labels.path.resolve(),
        "images": images.path.resolve(),
        "quality": effort.quality,
        **asdict(style),
    }
    output = OutputFolder.open(out, settings, [labels.path, images.path], force=effort.force)
    note_lacking(tally, lacking, labels, reports)

    def draw(job: Pair) -> bool:
        target = out / f"{job.name}{effort.suffix}"
        (key,) = job.keys
        assert key is not None
        if output.finished([target], [Path(labels.where(key)), images.where(job.name)]):
            return False
        image = images.read(job.name)
        planes = labels.read(key)
        height, width = image.shape[:2]
        planes.size = planes.size or (height, width)
        same_size(planes, (height, width), labels.where(key), "its image")
        output.write(target, encode(overlay(image, planes, style), effort.suffix, effort.quality))
        return True

    return _draw_all(draw, pairs, output, tally, labels, effort, reports)


def note_lacking(tally: Tally, lacking: list[str], labels: LabelSet, reports: Reports) -> None:
    """Say in one line which images have no labels."""
    if not lacking:
        return
    tally.failed += [(name, f"no labels in {labels.path}") for name in lacking]
    names = listing(lacking, LISTED)
    reports.bad(f"{len(lacking)} images have no labels in {labels.path}: {names}; skipped")


def note_unknown(sets: Sequence[LabelSet], reports: Reports) -> None:
    """Say which categories were not drawn because they are not a class of the task."""
    for labels in sets:
        for remark in labels.warnings():
            reports.bad(f"{labels.path}: {remark}")


def _draw_all(
    draw: Callable[[Job], bool],
    jobs: Sequence[Job],
    output: OutputFolder,
    tally: Tally,
    labels: LabelSet,
    effort: Effort,
    reports: Reports,
) -> Tally:
    """Run all jobs; `draw` says whether it drew, or kept what was there."""
    for _, new in run_each(draw, jobs, tally, reports, effort.workers):
        tally.drawn += new
        tally.kept += not new
    tally.stop()
    note_unknown([labels], reports)
    if not tally.drawn and not tally.kept:
        output.discard()
        if not tally.failed:
            raise MissingError(f"{labels.path} has no frame to draw")
        raise MissingError(
            f"not one of {number_of(len(tally.failed), 'image')} could be drawn: {tally.failed[0][1]}"
        )
    return tally


class ImageSet:
    """Images of a folder, an archive, or one file.

    Attributes:
        path: Where they are.
        names: Path of each image below that, without suffix.

    Raises:
        MissingError: There is none, or two differ only in their suffix.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._source = open_source(path)
        members = [m for m in self._source.members if PurePosixPath(m).suffix.lower() in LISTED_SUFFIXES]
        if not members:
            looked = ", ".join(sorted(IMAGE_SUFFIXES))
            raise MissingError(f"no image in {path}", hint=f"looked for {looked}")
        members = without_truth(members)
        top = common_folder(members)
        self._members: dict[str, str] = {}
        for member in members:
            name = str(PurePosixPath(member[len(top) :]).with_suffix(""))
            other = self._members.setdefault(name, member)
            if other != member:
                raise MissingError(
                    f"{path} has two images called {name}: {other} and {member}", hint="move one elsewhere"
                )
        self.names = list(self._members)

    @property
    def stems(self) -> list[str]:
        """Bare name of each image's frame."""
        return [PurePosixPath(frame_path(name)).name for name in self.names]

    def where(self, name: str) -> Path:
        """How an image is called in messages."""
        return self._source.where(self._members[name])

    def read(self, name: str) -> npt.NDArray[np.uint8]:
        """An image: (H, W, 3) uint8, BGR, upright.

        Raises:
            MissingError: It is damaged or not an image.
        """
        return decode_image(self._source.read(self._members[name]), self.where(name)).pixels


@dataclass(frozen=True)
class Pair:
    """An image and the keys of its labels in each label set, None where one has none."""

    name: str
    keys: tuple[str | None, ...]

    def __str__(self) -> str:
        return self.name


def pair(images: ImageSet, sets: Sequence[LabelSet]) -> tuple[list[Pair], list[str]]:
    """Find the labels of each image.

    Returns:
        Images with their labels, and the images that one of the sets has no labels of.

    Raises:
        MissingError: Not one image has labels, or a name is not unique.
    """
    pairs = [Pair(name, tuple(one.find(name) for one in sets)) for name in images.names]
    whole = [p for p in pairs if None not in p.keys]
    if not whole:
        for one in sets:
            need_pairs(images.stems, one.stems, images.path, one.path)
        raise MissingError(
            f"no image of {images.path} has labels in {' and '.join(str(one.path) for one in sets)}",
            hint="each of them has labels of others of the images",
        )
    return whole, [p.name for p in pairs if None in p.keys]


def same_size(planes: FrameLabels, size: tuple[int, int], where: str, other: str) -> None:
    """Refuse labels of another size than what they are drawn over.

    Raises:
        MissingError: Both sizes are told.
    """
    if planes.shape != size:
        mine, theirs = (f"{w}x{h}" for h, w in (planes.shape, size))
        turned = " (transposed?)" if planes.shape == size[::-1] else ""
        raise MissingError(
            f"{where} is {mine}, {other} is {theirs}{turned}", hint="labels are drawn at their own size"
        )
