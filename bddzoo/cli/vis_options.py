"""Options and output that the commands of `bddzoo vis` share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bddzoo.cli.app import Amount, App
from bddzoo.errors import ExitCode

if TYPE_CHECKING:
    from bddzoo.reports.pictures.work import Tally

Command = Callable[..., Any]

# Tasks of BDD100K, and data sets whose label files hold ids of their own.
TASKS = (
    *("sem_seg", "ins_seg", "drivable", "pan_seg"),
    *("cityscapes", "ade20k", "lip", "pascal_voc", "pascal_context", "coco_stuff"),
)
MAX_LINES = 10


def common_options(function: Command) -> Command:
    """Where to, how fast, and whether to draw again what is there."""
    options = (
        click.option(
            "-o",
            "--out",
            type=click.Path(file_okay=False, path_type=Path),
            required=True,
            metavar="DIR",
            help="Where to; what is finished there is kept.",
        ),
        click.option("--workers", type=click.IntRange(min=1), help="Threads. Default: one for each core."),
        click.option("--force", is_flag=True, help="Draw also what is there already."),
    )
    return _apply(options, function)


def label_options(function: Command) -> Command:
    """What the labels are."""
    options = (
        click.option(
            "-t",
            "--task",
            type=click.Choice(TASKS),
            help="What the labels are: a task, or another data set. Told by the files, but for class maps: "
            "they are BDD100K's sem_seg, or Cityscapes' where they are named so.",
        ),
        click.option(
            "--score-file",
            type=click.Path(path_type=Path),
            help="Scores of bitmasks. Default: score.json in or beside them.",
        ),
    )
    return _apply(options, function)


def style_options(function: Command) -> Command:
    """How pictures look."""
    options = (
        click.option(
            "--alpha",
            type=Amount(0, 1),
            default=0.5,
            show_default=True,
            help="How much colour covers the picture.",
        ),
        click.option("--boxes/--no-boxes", default=False, show_default=True, help="Boxes of objects."),
        click.option("--scores/--no-scores", default=False, show_default=True, help="Scores of detections."),
        click.option("--names/--no-names", default=True, show_default=True, help="Names of classes."),
        click.option(
            "--outlines/--no-outlines", default=True, show_default=True, help="Outlines of what is coloured."
        ),
        click.option(
            "--min-score",
            type=Amount(0, 1),
            default=0.3,
            show_default=True,
            help="Detections below this score are not drawn.",
        ),
        click.option(
            "--seed",
            type=click.IntRange(min=0),
            default=0,
            show_default=True,
            help="Seed of the colours of objects.",
        ),
        click.option(
            "--ext",
            type=click.Choice(("jpg", "png")),
            default="jpg",
            show_default=True,
            help="PNG is exact and several times slower.",
        ),
        click.option(
            "--quality", type=click.IntRange(1, 100), default=90, show_default=True, help="Quality of JPEGs."
        ),
    )
    return _apply(options, function)


def _apply(options: tuple[Callable[[Command], Command], ...], function: Command) -> Command:
    for option in reversed(options):
        function = option(function)
    return function


def workers_of(given: int | None) -> int:
    """Threads to use."""
    from bddzoo.results.environment import usable_cores

    return given or usable_cores()


class Lines:
    """Prints warnings up to a number, and then how many more there were."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._count = 0

    def __call__(self, line: str) -> None:
        """Print one, unless there were too many."""
        self._count += 1
        if self._count <= MAX_LINES:
            self._warn(line)

    def end(self) -> None:
        """Say how many were not printed."""
        if self._count > MAX_LINES:
            self._warn(f"and {self._count - MAX_LINES} more; --format json lists them all")


def show(app: App, what: str, tally: Tally, extra: dict[str, Any] | None = None) -> int:
    """Say what was drawn; returns the exit status."""
    if app.json:
        app.data_json(
            {
                "out": str(tally.out),
                "drawn": tally.drawn,
                "kept": tally.kept,
                "failed": [{"name": name, "reason": reason} for name, reason in tally.failed],
                "seconds": round(tally.seconds, 3),
                **(extra or {}),
            }
        )
    else:
        speed = (
            f" in {tally.seconds:.1f} s ({tally.drawn / max(tally.seconds, 1e-9):.0f}/s)"
            if tally.drawn
            else ""
        )
        kept = f"; {tally.kept} were there already" if tally.kept else ""
        failed = f"; {len(tally.failed)} could not be drawn" if tally.failed else ""
        app.say(f"{tally.drawn} {what}{speed} in {tally.out}{kept}{failed}")
    return int(ExitCode.MISSING if tally.failed else ExitCode.OK)
