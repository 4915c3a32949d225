"""`vis color` and `vis overlay`: a picture for every frame."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from bddzoo.datasets.formats.readers import LabelSet
from bddzoo.errors import MissingError
from bddzoo.evaluation.jobs import listing
from bddzoo.reports.pictures.draw import Style, colour_map, overlay
from bddzoo.reports.pictures.images import ImageSet, Pair, pair, same_size
from bddzoo.reports.pictures.work import Canvas, Runner, Tally, encode
from bddzoo.text import number_of

LISTED = 3


@dataclass(frozen=True)
class Reports:
    """Whom to tell.

    Attributes:
        progress: Called with pictures done and pictures in all.
        bad: Called with a line for each picture that could not be drawn.
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
    started = time.monotonic()
    settings: dict[str, object] = {
        "vis": "color",
        "task": labels.task,
        "labels": labels.path.resolve(),
        "seed": seed,
    }
    canvas = Canvas.open(out, settings, [labels.path], force=effort.force)
    tally = Tally(out)

    def draw(key: str) -> bool:
        target = out / f"{key}.png"
        if canvas.finished([target], [Path(labels.where(key))]):
            return False
        canvas.write(target, colour_map(labels.read(key), seed, target))
        return True

    runner: Runner[str, bool] = Runner(tally, str, reports.progress, reports.bad, effort.workers)
    for _, new in runner.run(draw, labels.keys):
        tally.drawn += new
        tally.kept += not new
    return _ended(tally, started)


def draw_overlays(
    images: ImageSet, labels: LabelSet, out: Path, style: Style, effort: Effort, reports: Reports
) -> Tally:
    """Write every picture with its labels over it: `out/NAME.jpg` or `.png`.

    A picture without labels counts as failed; labels without a picture are nobody's loss.

    Raises:
        MissingError: The folder cannot be written to, nothing fits together, or nothing could be drawn.
    """
    started = time.monotonic()
    pairs, lacking = pair(images, [labels])
    settings: dict[str, object] = {
        "vis": "overlay",
        "task": labels.task,
        "labels": labels.path.resolve(),
        "images": images.path.resolve(),
        "quality": effort.quality,
        **asdict(style),
    }
    canvas = Canvas.open(out, settings, [labels.path, images.path], force=effort.force)
    tally = Tally(out)
    note_lacking(tally, lacking, labels, reports)

    def draw(job: Pair) -> bool:
        target = out / f"{job.name}{effort.suffix}"
        (key,) = job.keys
        assert key is not None
        if canvas.finished([target], [Path(labels.where(key)), images.where(job.name)]):
            return False
        picture = images.read(job.name)
        planes = labels.read(key)
        height, width = picture.shape[:2]
        same_size(planes, (height, width), labels.where(key), "its picture")
        canvas.write(target, encode(overlay(picture, planes, style), effort.suffix, effort.quality))
        return True

    runner: Runner[Pair, bool] = Runner(tally, _name, reports.progress, reports.bad, effort.workers)
    for _, new in runner.run(draw, pairs):
        tally.drawn += new
        tally.kept += not new
    return _ended(tally, started)


def note_lacking(tally: Tally, lacking: list[str], labels: LabelSet, reports: Reports) -> None:
    """Say in one line which pictures have no labels."""
    if not lacking:
        return
    tally.failed += [(name, f"no labels in {labels.path}") for name in lacking]
    names = listing(lacking, LISTED)
    reports.bad(f"{len(lacking)} pictures have no labels in {labels.path}: {names}; skipped")


def _name(job: Pair) -> str:
    return job.name


def _ended(tally: Tally, started: float) -> Tally:
    tally.seconds = time.monotonic() - started
    if not tally.drawn and not tally.kept:
        raise MissingError(
            f"not one of {number_of(len(tally.failed), 'picture')} could be drawn: {tally.failed[0][1]}"
        )
    return tally
