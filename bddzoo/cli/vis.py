"""`bddzoo vis`: labels and predictions as pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bddzoo.cli.app import App, CommandGroup, ZooCommand
from bddzoo.cli.vis_compare import compare
from bddzoo.cli.vis_options import (
    TASKS,
    Lines,
    common_options,
    label_options,
    show,
    style_options,
    workers_of,
)

if TYPE_CHECKING:
    from bddzoo.reports.pictures.work import Reports, Tally

PATH = click.Path(path_type=Path)


@click.group(
    cls=CommandGroup,
    epilog="""\b
Examples:
  bddzoo vis color -t sem_seg -i labels/sem_seg/masks/val -o colours/
  bddzoo vis overlay -i images/10k/val -l predictions.zip -o overlays/ --boxes
  bddzoo vis compare images/10k/val --gt labels/sem_seg/masks/val --pred a.zip --pred b.zip -o out/ --worst 20
""",
)
def command() -> None:
    """Draw labels and predictions: colour maps, overlays, comparisons."""


command.add_command(compare)


@command.command(
    "color",
    cls=ZooCommand,
    epilog="""\b
Examples:
  bddzoo vis color -t sem_seg -i labels/sem_seg/masks/val -o colours/
  bddzoo vis color -t ins_seg -i predictions/bitmasks -o colours/ --seed 3
  bddzoo vis color -t ade20k -i ade20k/val/label -o colours/
""",
)
@click.option("-t", "--task", type=click.Choice(TASKS), required=True, help="A task, or another data set.")
@click.option("-i", "--input", "labels", type=PATH, required=True, help="Labels: folder, zip or JSON file.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the colours of objects."
)
@common_options
@click.pass_obj
def color(
    app: App, *, task: str, labels: Path, seed: int, out: Path, workers: int | None, force: bool
) -> int:
    """Write colour maps, DIR/NAME.png: official colours for classes, one colour each for objects.

    The colour of an object depends on its id and the seed only, so it is the same in every run.
    """
    from bddzoo.datasets.formats.readers import open_labels
    from bddzoo.reports.pictures.work import Effort, draw_colours

    found = open_labels(labels, task)
    effort = Effort(workers_of(workers), force)
    return _run(app, "colour maps", lambda reports: draw_colours(found, out, seed, effort, reports))


@command.command(
    "overlay",
    cls=ZooCommand,
    epilog="""\b
Examples:
  bddzoo vis overlay -i images/10k/val -l labels/sem_seg/masks/val -o overlays/
  bddzoo vis overlay -i images/10k/val -l mask_rcnn_preds.zip -o overlays/ --boxes --min-score 0.5
  bddzoo vis overlay -i leftImg8bit/val -l gtFine/val -o overlays/
""",
)
@click.option("-i", "--images", type=PATH, required=True, help="Pictures: folder, zip or one file.")
@click.option(
    "-l", "--labels", type=PATH, required=True, help="Labels or predictions: folder, zip or JSON file."
)
@label_options
@style_options
@common_options
@click.pass_obj
def overlay(
    app: App,
    /,
    *,
    images: Path,
    labels: Path,
    task: str | None,
    score_file: Path | None,
    out: Path,
    workers: int | None,
    force: bool,
    **style: Any,
) -> int:
    """Draw labels or predictions over their pictures, DIR/NAME.jpg.

    Pictures and labels are matched by name; the published folders of Cityscapes work as they are. Masks,
    bitmasks, colour maps, RLE and COCO JSON are told apart by themselves; archives are not unpacked.
    """
    from bddzoo.datasets.formats.readers import open_labels
    from bddzoo.reports.pictures.draw import Style
    from bddzoo.reports.pictures.images import ImageSet
    from bddzoo.reports.pictures.work import Effort, draw_overlays

    suffix, quality = "." + style.pop("ext"), style.pop("quality")
    chosen = Style(**style)
    pictures, found = ImageSet(images), open_labels(labels, task, score_file)
    effort = Effort(workers_of(workers), force, suffix, quality)
    return _run(app, "overlays", lambda reports: draw_overlays(pictures, found, out, chosen, effort, reports))


def _run(app: App, what: str, work: Callable[[Reports], Tally]) -> int:
    from bddzoo.cli.progress import PictureBar
    from bddzoo.reports.pictures.work import Reports

    with PictureBar(app, what) as bar:
        lines = Lines(bar.warn)
        tally = work(Reports(bar.update, lines))
    lines.end()
    return show(app, what, tally)
