"""`bddzoo vis compare`: truth and predictions side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bddzoo.cli.app import App, ZooCommand
from bddzoo.cli.vis_options import Lines, common_options, label_options, show, style_options, workers_of
from bddzoo.errors import UsageError

PATH = click.Path(path_type=Path)


@click.command(
    "compare",
    cls=ZooCommand,
    epilog="""\b
Written below --out:
  NAME/                  image, truth, each prediction, and where it is wrong
  sheet.jpg              all frames at a glance; several for many frames
  compare.json           how much the predictions differ, and shares of right and wrong
  index.html             --html: a slider between any two of the pictures
\b
Examples:
  bddzoo vis compare images/10k/val --gt labels/sem_seg/masks/val --pred a.zip --pred b.zip -o out/ --worst 20
  bddzoo vis compare images/10k/val --gt gt.json --pred mine.json -o out/ --html
""",
)
@click.argument("images", type=PATH)
@click.option("--gt", type=PATH, required=True, help="Ground truth: folder, zip or JSON file.")
@click.option(
    "--pred", "preds", type=PATH, multiple=True, required=True, help="Predictions, alike; repeatable."
)
@click.option(
    "--name", "called", multiple=True, help="What the predictions are called, in their order; repeatable."
)
@click.option(
    "--worst",
    type=click.IntRange(min=1),
    metavar="N",
    help="Only the N frames on which the two first predictions differ most (one prediction: from the truth).",
)
@click.option("--html", "page", is_flag=True, help="Also write a page with a slider between two pictures.")
@click.option("--embed", is_flag=True, help="Put the pictures into the page itself, for one file to send.")
@label_options
@style_options
@common_options
@click.pass_obj
def compare(
    app: App,
    /,
    *,
    images: Path,
    gt: Path,
    preds: tuple[Path, ...],
    called: tuple[str, ...],
    worst: int | None,
    page: bool,
    embed: bool,
    task: str | None,
    score_file: Path | None,
    out: Path,
    workers: int | None,
    force: bool,
    **style: Any,
) -> int:
    """Show pictures with truth, predictions, and error maps: right, wrong class, missed, ignored.

    Frames differ by the share of their pixels on which the classes do; what the truth ignores does not count.
    """
    from bddzoo.cli.progress import PictureBar
    from bddzoo.datasets.formats.readers import open_labels
    from bddzoo.reports.pictures.compare import PictureComparison, short_names
    from bddzoo.reports.pictures.draw import Style
    from bddzoo.reports.pictures.images import ImageSet
    from bddzoo.reports.pictures.work import Effort, Reports

    if score_file is not None and len(preds) > 1:
        raise UsageError(
            "--score-file is of one prediction set, but there are several",
            hint="put score.json beside each folder of bitmasks",
        )
    chosen = _names(called, short_names(preds))
    suffix, quality = "." + style.pop("ext"), style.pop("quality")
    comparison = PictureComparison(
        images=ImageSet(images),
        truth=open_labels(gt, task),
        predictions=tuple(open_labels(pred, task, score_file) for pred in preds),
        names=chosen,
        style=Style(**style),
        out=out,
        effort=Effort(workers_of(workers), force, suffix, quality),
    )
    with PictureBar(app, "comparing") as bar:
        lines = Lines(bar.warn)
        tally, found = comparison.run(worst, Reports(bar.update, lines))
    lines.end()
    written = [comparison.write_summary(found)]
    if page or embed:
        written.append(comparison.write_page(found, embed=embed))
    code = show(
        app, "frames", tally, {"files": [str(path) for path in written], "frames": comparison.summary(found)}
    )
    for path in written[1:]:
        app.say(f"open {path}")
    return code


def _names(given: tuple[str, ...], default: list[str]) -> tuple[str, ...]:
    """What predictions are called.

    Raises:
        UsageError: Too few or too many names, equal ones, or one that is no file name.
    """
    if not given:
        return tuple(default)
    if len(given) != len(default):
        raise UsageError(
            f"{len(given)} --name for {len(default)} --pred", hint="give one for each, in their order"
        )
    for name in given:
        if not name.strip() or "/" in name or name.startswith(".") or "\0" in name:
            raise UsageError(f"--name {name!r} cannot be part of a file name")
        if given.count(name) > 1 or name in ("image", "truth"):
            raise UsageError(
                f"--name {name!r} is taken", hint="names must differ, and from 'image' and 'truth'"
            )
    return given
