"""`bddzoo convert-labels`: label files from one format to another."""

from __future__ import annotations

from pathlib import Path

import click

from bddzoo.cli.app import App, ZooCommand
from bddzoo.text import number_of

PATH = click.Path(path_type=Path)


@click.command(
    cls=ZooCommand,
    epilog="""\b
Examples:
  bddzoo convert-labels -t sem_seg labels/sem_seg/masks/val --to rle -o sem_seg_val.json
  bddzoo convert-labels -t ins_seg out/bitmasks --score-file out/score.json --to coco -o ins.json
  bddzoo convert-labels -t sem_seg sem_seg_val.json --to color -o colormaps
""",
)
@click.argument("labels", type=PATH)
@click.option(
    "-t",
    "--task",
    type=click.Choice(("sem_seg", "drivable", "ins_seg")),
    required=True,
    help="What the labels are.",
)
@click.option(
    "--to",
    type=click.Choice(("masks", "bitmasks", "rle", "coco", "color")),
    required=True,
    help="Format to make.",
)
@click.option("-o", "--out", type=PATH, required=True, help="Folder (PNGs) or file (JSON) to write.")
@click.option(
    "--from",
    "origin",
    type=click.Choice(("masks", "bitmasks", "rle", "coco", "color")),
    help="Format of LABELS, where it cannot be guessed.",
)
@click.option(
    "--score-file",
    type=PATH,
    help="Scores of bitmasks of detections: read with bitmasks, written when bitmasks are made.",
)
@click.pass_obj
def command(
    app: App, labels: Path, task: str, to: str, out: Path, origin: str | None, score_file: Path | None
) -> None:
    """Convert LABELS between masks, bitmasks, RLE JSON, COCO JSON and colour maps.

    Bitmasks keep instance ids up to 65535 and all four attributes; in COCO files, crowd or ignored objects
    are iscrowd and the attributes are kept beside it.
    """
    from bddzoo.datasets.formats.convert import convert

    done = convert(task, labels, out, to, origin=origin, score_file=score_file)
    for remark in done.remarks:
        app.warn(remark)
    if app.json:
        app.data_json({"task": task, "from": done.kind, "to": to, "out": str(out), "frames": done.frames})
    else:
        app.say(f"{number_of(done.frames, 'frame')} from {done.kind} to {to}: {out}")
