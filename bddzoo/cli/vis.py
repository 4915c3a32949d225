"""`bddzoo vis`: labels and predictions as images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bddzoo.cli import options as opt
from bddzoo.cli.app import App, CommandGroup
from bddzoo.cli.progress import Bar
from bddzoo.errors import ExitCode, UsageError
from bddzoo.text import number_of

if TYPE_CHECKING:
    from bddzoo.painting.colouring import Style
    from bddzoo.reports.vis.work import Effort, Reports, Tally

# Tasks of BDD100K, and data sets whose label files hold ids of their own.
KINDS = opt.DataSetName("sem_seg", "ins_seg", "drivable", "pan_seg")
DRAWN = opt.DataSetName("sem_seg", "ins_seg", "drivable", "pan_seg", "det")
MAX_LINES = 10


def _style(**given: Any) -> Style:
    from bddzoo.painting.colouring import Style

    return Style(**given)


def _effort(*, jobs: int | None, force: bool, ext: str = "jpg", quality: int = 90) -> Effort:
    from bddzoo.reports.vis.work import Effort
    from bddzoo.results.environment import usable_cores

    return Effort(jobs or usable_cores(), force, f".{ext}", quality)


def _switch(name: str, default: bool, help: str) -> Any:
    return opt.option(f"--{name}/--no-{name}", default=default, help=help)


OUT = opt.out_folder("Where to; what is finished there is kept, and --force draws it again.")
JOBS = opt.jobs("Threads. [default: one for each core]")
EFFORT = opt.gathered(_effort, force=opt.FORCE, jobs=JOBS)
EFFORT_OF_IMAGES = opt.gathered(
    _effort,
    ext=opt.option(
        "--ext",
        type=click.Choice(("jpg", "png")),
        default="jpg",
        help="PNG is exact and several times slower.",
    ),
    quality=opt.option(
        "--quality", type=click.IntRange(1, 100), default=90, metavar="N", help="Quality of JPEGs."
    ),
    force=opt.FORCE,
    jobs=JOBS,
)
STYLE = opt.gathered(
    _style,
    alpha=opt.ALPHA,
    boxes=_switch("boxes", False, "Boxes of objects."),
    scores=_switch("scores", False, "Scores of detections."),
    names=_switch("names", True, "Names of classes."),
    outlines=_switch("outlines", True, "Outlines of what is coloured."),
    min_score=opt.MIN_SCORE,
    seed=opt.SEED,
)
TOLD = (
    "What the labels are: a task, or another data set. Told by the files, but for class maps: "
    "they are BDD100K's sem_seg, or Cityscapes' where they are named so."
)


def _task(kinds: opt.DataSetName, help: str = TOLD) -> Any:
    return opt.option("-t", "--task", type=kinds, help=help)


@click.group(
    cls=CommandGroup,
    epilog="""\b
Examples:
  bddzoo vis color -t sem_seg -l labels/sem_seg/masks/val -o colours/
  bddzoo vis overlay -i images/10k/val -l predictions.zip -o overlays/ --boxes
  bddzoo vis compare -i images/10k/val -g labels/sem_seg/masks/val \\
      -r a.zip -r b.zip -o out/ --worst 20
""",
)
def command() -> None:
    """Draw labels and predictions: colour maps, overlays, comparisons."""


@opt.command(
    group=command,
    epilog="""\b
Examples:
  bddzoo vis color -t sem_seg -l labels/sem_seg/masks/val -o colours/
  bddzoo vis color -t ins_seg -l predictions/bitmasks -o colours/ --seed 3
  bddzoo vis color -t ade20k -l ade20k/val/label -o colours/
""",
)
def color(
    app: App,
    *,
    task: str = opt.option("-t", "--task", type=KINDS, required=True, help="A task, or another data set."),
    labels: Path = opt.LABELS,
    seed: int = opt.SEED,
    out: Path = OUT,
    effort: Effort = EFFORT,
) -> int:
    """Write colour maps, DIR/NAME.png: official colours for classes, one colour each for objects.

    The colour of an object depends on its id and the seed only, so it is the same in every run.
    """
    from bddzoo.datasets.formats.readers import open_labels
    from bddzoo.reports.vis.work import draw_colours

    found = open_labels(labels, task)
    with _reports(app, "colour maps") as reports:
        tally = draw_colours(found, out, seed, effort, reports)
    return show(app, "colour map", tally)


@opt.command(
    group=command,
    epilog="""\b
Examples:
  bddzoo vis overlay -i images/10k/val -l labels/sem_seg/masks/val -o out/
  bddzoo vis overlay -i images/10k/val -l preds.zip -o out/ --boxes
  bddzoo vis overlay -t det -i images/100k/val -l det.json -o out/ --scores
  bddzoo vis overlay -i leftImg8bit/val -l gtFine/val -o overlays/
""",
)
def overlay(
    app: App,
    *,
    images: Path = opt.IMAGES_NEEDED,
    labels: Path = opt.LABELS,
    task: str | None = _task(DRAWN, TOLD),
    score_file: Path | None = opt.SCORE_FILE,
    style: Style = STYLE,
    out: Path = OUT,
    effort: Effort = EFFORT_OF_IMAGES,
) -> int:
    """Draw labels or predictions over their images, DIR/NAME.jpg.

    Images and labels are matched by name; the published folders of Cityscapes work as they are. Masks,
    bitmasks, colour maps, RLE and COCO JSON are told apart by themselves; archives are not unpacked.
    """
    from bddzoo.datasets.formats.readers import open_labels
    from bddzoo.reports.vis.work import ImageSet, draw_overlays

    given, found = ImageSet(images), open_labels(labels, task, score_file)
    with _reports(app, "overlays") as reports:
        tally = draw_overlays(given, found, out, style, effort, reports)
    return show(app, "overlay", tally)


@contextmanager
def _reports(app: App, label: str) -> Iterator[Reports]:
    """Reports that move a bar, and print the first warnings."""
    from bddzoo.reports.vis.work import Reports

    with Bar(app, label) as bar:
        lines = FirstWarnings(bar.warn)
        yield Reports(bar.update, lines)
    lines.end()


@opt.command(
    group=command,
    epilog="""\b
Written below --out:
  NAME/                  image, truth, each prediction, and where it is wrong
  sheet.jpg              all frames at a glance; several for many frames
  compare.json           how much the predictions differ; right and wrong
  index.html             --html: a slider between any two of the images
\b
Examples:
  bddzoo vis compare -i images/10k/val -g labels/sem_seg/masks/val \\
      -r a.zip -r b.zip -o out/ --worst 20
  bddzoo vis compare -i images/10k/val -g gt.json -r mine.json -o out/ --html
""",
)
def compare(
    app: App,
    *,
    images: Path = opt.IMAGES_NEEDED,
    gt: Path = opt.GT,
    predictions: tuple[Path, ...] = opt.PREDICTIONS_MANY,
    called: tuple[str, ...] = opt.NAME,
    worst: int | None = opt.WORST,
    page: bool = opt.flag("--html", help="Also write a page with a slider between two images."),
    embed: bool = opt.flag("--embed", help="Put the images into the page itself, for one file to send."),
    task: str | None = _task(KINDS),
    score_file: Path | None = opt.SCORE_FILE,
    style: Style = STYLE,
    out: Path = OUT,
    effort: Effort = EFFORT_OF_IMAGES,
) -> int:
    """Show images with truth, predictions, and error maps: right, wrong class, missed, ignored.

    Frames differ by the share of their pixels on which the classes do; what the truth ignores does not count.
    --worst shows those on which the two first predictions differ most, or one from the truth.
    """
    from bddzoo.datasets.formats.readers import open_labels
    from bddzoo.reports.vis.compare import ImageComparison, short_names
    from bddzoo.reports.vis.work import ImageSet

    if score_file is not None and len(predictions) > 1:
        raise UsageError(
            "--score-file is of one prediction set, but there are several",
            hint="put score.json next to each folder of bitmasks",
        )
    chosen = _names(called, short_names(predictions))
    comparison = ImageComparison(
        images=ImageSet(images),
        truth=open_labels(gt, task),
        predictions=tuple(open_labels(pred, task, score_file) for pred in predictions),
        names=chosen,
        style=style,
        out=out,
        effort=effort,
    )
    with _reports(app, "comparing") as reports:
        tally, found = comparison.run(worst, reports)
    written = [comparison.write_summary(found)]
    if page or embed:
        written.append(comparison.write_page(found, embed=embed))
    code = show(
        app, "frame", tally, {"files": [str(path) for path in written], "frames": comparison.summary(found)}
    )
    for path in written[1:]:
        app.say(f"open {path}")
    return code


def _names(given: tuple[str, ...], default: list[str]) -> tuple[str, ...]:
    """What predictions are called.

    Raises:
        UsageError: Too few or too many names, equal ones, or one that is not a file name.
    """
    if not given:
        return tuple(default)
    if len(given) != len(default):
        raise UsageError(
            f"{len(given)} --name for {len(default)} --predictions", hint="give one for each, in their order"
        )
    for name in given:
        if not name.strip() or "/" in name or name.startswith(".") or "\0" in name:
            raise UsageError(f"--name {name!r} cannot be part of a file name")
        if given.count(name) > 1 or name in ("image", "truth"):
            raise UsageError(
                f"--name {name!r} is taken", hint="names must differ, and from 'image' and 'truth'"
            )
    return given


class FirstWarnings:
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
        app.say(f"{number_of(tally.drawn, what)}{speed} in {tally.out}{kept}{failed}")
    return int(ExitCode.MISSING if tally.failed else ExitCode.OK)
