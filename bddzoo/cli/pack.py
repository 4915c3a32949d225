"""`bddzoo pack`: check and pack a test-set submission."""

from __future__ import annotations

import os
from pathlib import Path

import click

from bddzoo.cli.app import App, ZooCommand

PATH = click.Path(path_type=Path)


@click.command(
    cls=ZooCommand,
    epilog="""\b
Examples:
  bddzoo pack -t sem_seg out/masks --images images/10k/test -o submission.zip
  bddzoo pack -t ins_seg out/ins_seg.json -o submission.zip
""",
)
@click.argument("predictions", type=PATH)
@click.option(
    "-t",
    "--task",
    type=click.Choice(("sem_seg", "drivable", "ins_seg", "pan_seg")),
    required=True,
    help="What was predicted.",
)
@click.option("-o", "--out", type=PATH, required=True, help="Archive to write.")
@click.option("--score-file", type=PATH, help="Scores of predicted bitmasks (ins_seg).")
@click.option("--images", type=PATH, help="Folder of the test images; names must match.")
@click.option("--count", type=click.IntRange(1), help="Frames expected; BDD100K's test set when not given.")
@click.option(
    "--nproc", type=click.IntRange(1), metavar="N", help="Threads; all cores (at most 4) when not given."
)
@click.pass_obj
def command(
    app: App,
    predictions: Path,
    task: str,
    out: Path,
    score_file: Path | None,
    images: Path | None,
    count: int | None,
    nproc: int | None,
) -> None:
    """Check PREDICTIONS of a test set as the server would, and pack them.

    Names, number of frames, sizes, values and categories, scores, and overlaps are checked before anything
    is written.
    """
    from bddzoo.evaluation.submission import pack

    workers = nproc or min(4, os.cpu_count() or 1)
    packed = pack(task, predictions, out, score_file=score_file, images=images, count=count, workers=workers)
    if app.json:
        app.data_json(
            {"task": task, "out": str(out), "frames": packed.frames, "size_bytes": packed.size_bytes}
        )
    else:
        app.say(f"{packed.frames} frames in {packed.files} files, {packed.size_bytes} bytes: {out}")
