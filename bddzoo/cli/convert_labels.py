"""`bddzoo convert-labels`: label files from one format to another."""

from __future__ import annotations

from pathlib import Path

import click

from bddzoo.cli.app import App, Named
from bddzoo.cli.options import FORCE, LABELS, option, out_either, task_of, zoo_command
from bddzoo.cli.output import check_target
from bddzoo.text import number_of

FORMAT = click.Choice(("masks", "bitmasks", "rle", "boxes", "coco", "color"))


@zoo_command(
    task_of("sem_seg", "drivable", "ins_seg", "det"),
    LABELS,
    option("--to", type=FORMAT, required=True, help="Format to make."),
    out_either("Folder (PNGs) or file (JSON) to write."),
    FORCE,
    option("--input-format", type=FORMAT, help="Format of the labels, where it cannot be guessed."),
    option(
        "--score-file",
        type=Named(),
        metavar="FILE",
        help="Scores of bitmasks of detections: read with bitmasks, written when bitmasks are made.",
    ),
    epilog="""\b
Examples:
  bddzoo convert-labels -t sem_seg -l masks/val --to rle -o val.json
  bddzoo convert-labels -t ins_seg -l out/bitmasks --to coco -o ins.json \\
      --score-file out/score.json
  bddzoo convert-labels -t sem_seg -l val.json --to color -o colormaps
  bddzoo convert-labels -t det -l det_val.json --to coco -o det_coco.json
""",
)
def command(
    app: App,
    *,
    task: str,
    labels: Path,
    to: str,
    out: Path,
    force: bool,
    input_format: str | None,
    score_file: Path | None,
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
