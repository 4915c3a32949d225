"""`bddzoo pack`: check and pack a test-set submission."""

from __future__ import annotations

import os
from pathlib import Path

import click

from bddzoo.cli import options as opt
from bddzoo.cli.app import App
from bddzoo.cli.output import check_target
from bddzoo.datasets.sources import find_predictions
from bddzoo.files import format_size
from bddzoo.text import number_of


@opt.command(
    epilog="""\b
Examples:
  bddzoo pack -t sem_seg -r predictions/ -i images/10k/test -o submission.zip
  bddzoo pack -t ins_seg -r predictions/ins_seg.json -o submission.zip
  bddzoo pack -t det -r predictions/ -i images/100k/test -o submission.zip
"""
)
def command(
    app: App,
    *,
    task: str = opt.task_of(
        "sem_seg", "drivable", "ins_seg", "pan_seg", "det", "tagging", help="What was predicted."
    ),
    predictions: Path = opt.PREDICTIONS,
    out: Path = opt.out_file("Zip file to write."),
    force: bool = opt.FORCE,
    score_file: Path | None = opt.SCORE_FILE,
    images: Path | None = opt.IMAGES,
    count: int | None = opt.option(
        "--count",
        type=click.IntRange(1),
        metavar="N",
        help="Frames expected. Default: those of BDD100K's test set.",
    ),
    jobs: int | None = opt.jobs("Threads. [default: one for each core, at most 4]"),
) -> None:
    """Check predictions of a test set as the server would, and pack them.

    Names, number of frames, sizes, values and categories, scores, and overlaps are checked before anything
    is written. Where to submit it is said.
    """
    from bddzoo.evaluation.submission import pack

    check_target(out, force)
    predictions, score_file = find_predictions(predictions, task, score_file)
    workers = jobs or min(4, os.cpu_count() or 1)
    packed = pack(task, predictions, out, score_file=score_file, images=images, count=count, workers=workers)
    servers = list(dict.fromkeys(s.server for s in app.registry.sections if s.task == task and s.server))
    if app.json:
        app.data_json(
            {
                "task": task,
                "out": str(out),
                "frames": packed.frames,
                "size_bytes": packed.size_bytes,
                "servers": servers,
            }
        )
    else:
        size = format_size(packed.size_bytes)
        app.say(f"{number_of(packed.frames, 'frame')} in {number_of(packed.files, 'file')}, {size}: {out}")
        for server in servers:
            app.say(f"submit it at {server}")
        if not servers:
            app.say(f"no zoo names a server for {task}")
