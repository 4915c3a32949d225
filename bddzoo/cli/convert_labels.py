"""`bddzoo convert-labels`: label files from one format to another."""

from __future__ import annotations

from pathlib import Path

import click

from bddzoo.cli import options as opt
from bddzoo.cli.app import App, Named
from bddzoo.cli.output import check_target
from bddzoo.text import number_of

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
def command(
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
