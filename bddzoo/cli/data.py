"""`bddzoo data` and `convert-labels`: make the synthetic mini set, check a data set, convert labels."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bddzoo.cli import options as opt
from bddzoo.cli.app import App, CommandGroup, Named
from bddzoo.cli.output import check_target
from bddzoo.cli.select import need_data
from bddzoo.errors import ExitCode, UsageError
from bddzoo.text import number_of, picked

if TYPE_CHECKING:
    from bddzoo.datasets.doctor import DataReport, SplitReport


TASKS = ("sem_seg", "ins_seg", "drivable", "det", "pan_seg", "tagging")
SPLITS = ("train", "val", "test")


@click.group(
    cls=CommandGroup,
    epilog="""\b
Examples:
  bddzoo data mini -o mini
  bddzoo data check --data /data/bdd100k
""",
)
def command() -> None:
    """Make the synthetic mini data set; check a data set."""


@opt.command(
    group=command,
    epilog="""\b
Examples:
  bddzoo data mini -o mini
  bddzoo data mini -o mini --val 100 --train 500 --seed 3
  bddzoo data mini -o tiny --dataset ade20k --val 4
""",
)
def mini(
    app: App,
    *,
    out: Path = opt.out_folder("Folder to make."),
    force: bool = opt.FORCE,
    dataset: str | None = opt.DATASET,
    val: int = opt.option("--val", type=click.IntRange(min=0), default=24, help="Frames of split val."),
    train: int = opt.option("--train", type=click.IntRange(min=0), default=0, help="Frames of split train."),
    seed: int = opt.SEED,
) -> None:
    """Make a synthetic data set: street scenes in the layout of BDD100K, or shapes in that of another set.

    1280x720 images and labels of six tasks, with frame attributes; with --dataset tiny images in the
    layout of that set, with its label values. The same seed gives the same labels on every machine, and a
    frame depends on seed, split and number alone. A folder that holds something else is left alone; --force
    replaces an earlier mini set.
    """
    from bddzoo.cli.progress import Bar

    _need_pixels()
    from bddzoo.datasets.mini import make_mini, read_marker

    earlier = read_marker(out)
    asked = {"seed": seed, "train": train, "val": val, "dataset": dataset}
    if earlier is not None and not force and any(earlier.get(k) != v for k, v in asked.items()):
        raise UsageError(
            f"{out} holds another mini set", hint="give --force to replace it, or choose another with -o"
        )
    with Bar(app, "drawing") as bar:
        report = make_mini(out, seed=seed, train=train, val=val, progress=bar.update, dataset=dataset)
    if app.json:
        app.data_json(picked(report, "root train val seed dataset made"))
        return
    state = "made" if report.made else "there already, unchanged"
    app.data(f"{report.root}: {report.train} train and {report.val} val frames, seed {report.seed} ({state})")


@opt.command(
    group=command,
    epilog="""\b
Examples:
  bddzoo data check --data /data/bdd100k
  bddzoo data check -t sem_seg --split val
  bddzoo data check --quick --format json
  bddzoo data check --data /data/cityscapes --dataset cityscapes
""",
)
def check(
    app: App,
    *,
    data: Path | None = opt.DATA,
    dataset: str | None = opt.DATASET,
    tasks: tuple[str, ...] = opt.option(
        "-t", "--task", multiple=True, type=click.Choice(TASKS), help="Task; all by default."
    ),
    splits: tuple[str, ...] = opt.option(
        "--split", multiple=True, type=click.Choice(SPLITS), help="Split; all by default."
    ),
    quick: bool = opt.flag("--quick", help="Look at names and counts only; open no file."),
) -> int:
    """Say what a data set's folder holds, what is missing and what is broken.

    Exit status 5 when nothing in it can be evaluated, or something that is there is broken.
    """
    from bddzoo.cli.progress import Bar

    if not quick:
        _need_pixels()
    from bddzoo.datasets.doctor import examine

    root = need_data(app, data, dataset or "bdd100k")
    with Bar(app, "reading") as bar:
        report = examine(
            root, tasks or TASKS, splits or SPLITS, quick=quick, progress=bar.update, dataset=dataset
        )
    if app.json:
        app.data_json(_plain(report))
    else:
        _show(app, report)
    if not report.usable:
        broken = [f"{s.task} {s.split}" for s in report.splits if s.state == "broken"]
        what = f"broken: {', '.join(broken)}" if broken else "nothing in it can be evaluated"
        notes = [s.note for s in report.splits if s.note]
        app.error(f"{report.root}: {what}", hint="see above" if broken or not notes else notes[0])
        return int(ExitCode.MISSING)
    return int(ExitCode.OK)


def _need_pixels() -> None:
    """Import what reads images, so that a lack is told before anything is done."""
    import cv2  # noqa: F401
    import numpy  # noqa: F401


def _plain(report: DataReport) -> dict[str, Any]:
    splits = [{**asdict(s), "usable": s.usable} for s in report.splits]
    return {**picked(report, "root dataset mini usable"), "splits": splits}


def _show(app: App, report: DataReport) -> None:
    if report.mini:
        app.data(f"{report.root} is a synthetic mini set (seed {report.mini.get('seed')})\n")
    header = ("task", "split", "state", "images", "labels", "expected", "attributes", "size")
    app.table(header, [_cells(s) for s in report.splits])
    for split in report.splits:
        for finding in split.findings:
            mark = "broken" if finding.fatal else "note"
            count = f": {finding.count}" if finding.examples else ""
            app.prose(f"\n{split.task} {split.split}: {mark}: {finding.what}{count}")
            for example in finding.examples:
                app.prose(f"  {example}")
            if finding.count > len(finding.examples) > 0:
                app.data(f"  and {finding.count - len(finding.examples)} more")
    for split in report.splits:
        if split.state == "absent" and split.note:
            app.detail(f"{split.task} {split.split}: {split.note}")


def _cells(split: SplitReport) -> tuple[object, ...]:
    if split.state == "absent":
        return (split.task, split.split, "absent", "-", "-", split.expected, "-", "-")
    sizes = ", ".join(
        f"{size} ({count})" if len(split.sizes) > 1 else size for size, count in split.sizes.items()
    )
    return (
        split.task,
        split.split,
        split.state,
        split.images,
        split.labels,
        split.expected,
        split.attributes,
        sizes or "-",
    )


FORMAT = click.Choice(("masks", "bitmasks", "rle", "boxes", "coco", "color"))


@opt.command(
    epilog="""\b
Examples:
  bddzoo convert-labels -t sem_seg -l masks/val --to rle -o val.json
  bddzoo convert-labels -t ins_seg -l out/bitmasks --to coco -o ins.json \\
      --score-file out/score.json
  bddzoo convert-labels -t sem_seg -l val.json --to color -o colormaps
  bddzoo convert-labels -t det -l det_val.json --to coco -o det_coco.json
"""
)
def convert_labels(
    app: App,
    *,
    task: str = opt.task_of("sem_seg", "drivable", "ins_seg", "det"),
    labels: Path = opt.LABELS,
    to: str = opt.option("--to", type=FORMAT, required=True, help="Format to write."),
    out: Path = opt.out_either("Folder (PNGs) or file (JSON) to write."),
    force: bool = opt.FORCE,
    input_format: str | None = opt.option(
        "--input-format", type=FORMAT, help="Format of the labels, where it cannot be guessed."
    ),
    score_file: Path | None = opt.option(
        "--score-file",
        type=Named(),
        metavar="FILE",
        help="Scores of bitmasks of detections: read with bitmasks, written when bitmasks are made.",
    ),
) -> None:
    """Convert labels between masks, bitmasks, RLE JSON, boxes, COCO JSON and colour maps.

    Bitmasks keep instance ids up to 65535 and all four attributes; in COCO files, crowd or ignored objects
    are iscrowd and the attributes are kept next to it.
    """
    from bddzoo.cli.progress import Bar
    from bddzoo.datasets.formats.convert import convert

    check_target(out, force)
    with Bar(app, "converting"):
        done = convert(task, labels, out, to, origin=input_format, score_file=score_file)
    for remark in done.remarks:
        app.warn(remark)
    if app.json:
        app.data_json({"task": task, "from": done.kind, "to": to, "out": str(out), "frames": done.frames})
    else:
        app.say(f"{number_of(done.frames, 'frame')} from {done.kind} to {to}: {out}")
