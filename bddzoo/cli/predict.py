"""`bddzoo predict`: run a model on images and write what it sees."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bddzoo.cli import options as opt
from bddzoo.cli.app import App
from bddzoo.cli.select import Selection, dataset_of, need_data, under_protocol, with_runtime
from bddzoo.cli.weights import Obtain, weights_from
from bddzoo.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from bddzoo.inference.speedups import Speedups
    from bddzoo.runs.predict import Prediction


@opt.command(
    epilog="""\b
Written below --out:
  sem_seg  masks/NAME.png (class ids), sem_seg.json (RLE), overlays/NAME.jpg;
           for models of other data sets than BDD100K masks/NAME.png holds the
           values of that set's label files, without the RLE
  drivable masks/NAME.png, drivable.json (RLE), overlays/NAME.jpg
  ins_seg  bitmasks/NAME.png, score.json, det.json, ins_seg.json (RLE),
           overlays/NAME.jpg
  det      det.json, overlays/NAME.jpg
  pan_seg  bitmasks/NAME.png, pan_seg.json (RLE), overlays/NAME.jpg
  tagging  tagging.json (weather or scene of each frame), overlays/NAME.jpg;
           'bddzoo score --by weather --attributes tagging.json' slices by it
\b
Examples:
  bddzoo predict mask_rcnn_r50_fpn_1x_ins_seg_bdd100k -i street.jpg -o out/
  bddzoo predict fpn_r50_512x1024_40k_sem_seg_bdd100k -i images/ -o out/
  bddzoo predict demo_semfpn_r18n_sem_seg -i images -o out --resume
  bddzoo predict fpn_r50_512x1024_40k_sem_seg_bdd100k --split test -o out/
"""
)
def command(
    app: App,
    *,
    selection: Selection = opt.SELECTION,
    images: tuple[Path, ...] = opt.IMAGES_MANY,
    data: Path | None = opt.DATA,
    out: Path = opt.out_folder("Where to; with several models, each into DIR/MODEL."),
    force: bool = opt.FORCE,
    resume: bool = opt.RESUME,
    run: opt.Run = opt.RUN_OF_PREDICT,
    speedups: Speedups = opt.SPEEDUPS,
    weights: Path | None = opt.WEIGHTS,
    sources: tuple[str, ...] = opt.FROM,
    alpha: float = opt.ALPHA,
    min_score: float = opt.MIN_SCORE,
) -> int:
    """Run models on images of any size: class maps or instances, and overlays to look at.

    The images are those of --images, or with --split those of the data set. An image that cannot be used
    is reported; the others are written all the same, and the command ends with status 5. Images are seen
    upright (EXIF), grey ones as three equal channels. After Ctrl-C the images that were done are kept, and
    --resume does the rest.
    """
    from bddzoo.datasets.layouts import find_images, layout_of
    from bddzoo.engines.ops import warn_of_mmcv
    from bddzoo.inference.load import check_device_name
    from bddzoo.painting.class_map import Style
    from bddzoo.runs.predict import Prediction

    if bool(images) == (run.split is not None):
        raise UsageError("one of --images and --split is needed", hint="-i FOLDER, or --split test")
    models = [under_protocol(app, model, run.protocol) for model in selection.models(app)]
    if len(models) > 1 and weights is not None:
        raise UsageError("--weights are those of one model", hint="name one model")
    check_device_name(run.device)
    warn_of_mmcv()
    obtain = weights_from(app, weights, sources, offline=run.offline)
    rows, failed = [], False
    for model in models:
        folder = out / model.id if len(models) > 1 else out
        if run.split is None:
            found = find_images(images, folder)
        else:
            layout = layout_of(model, need_data(app, data, dataset_of(model)))
            frames = layout.listing(model.task, run.split, attributes=False).frames
            found = {frame.name: frame.image for frame in frames}
        found = dict(list(found.items())[: run.limit])
        chosen = with_runtime(app, speedups, model, run.device, None)
        options = run.options(out=folder, overwrite=force, speedups=chosen)
        job = Prediction(model, found, options, Style(alpha=alpha, min_score=min_score), resume=resume)
        row = run_prediction(app, job, obtain)
        failed = failed or bool(row["failures"])
        rows.append(row)
    if app.json:
        app.data_json(rows[0] if len(rows) == 1 else rows)
    return int(ExitCode.MISSING if failed else ExitCode.OK)


def run_prediction(app: App, job: Prediction, obtain: Obtain) -> dict[str, Any]:
    """Fetch the weights, predict, and say what is in the images; returns the data for JSON.

    Raises:
        KeyboardInterrupt: The user interrupted; what was done is written, with a note for --resume.
        MissingError: A process died, likewise.
    """
    from bddzoo.cli.progress import Bar
    from bddzoo.runs.loop import Watcher

    path, used = obtain(job.model)
    with Bar(app, job.model.id) as bar:
        found = job.run(path, used, Watcher(bar.step, bar.update, bar.warn))
    if found.trouble is not None:
        app.say(
            f"{found.written} of {len(job.images)} images are written to {job.out}/; --resume does the rest"
        )
        raise found.trouble
    if not app.json:
        for row in found.rows:
            app.prose(f"{row['name']}: {_content(row)}")
        said = f"written to {job.out}/"
        said += f"; {len(found.earlier)} were there from before" if found.earlier else ""
        app.say(said + (f"; {len(found.failures)} could not be used" if found.failures else ""))
    return {
        "model": job.model.id,
        "out": str(job.out),
        "images": found.rows,
        "failures": [name for name, _ in found.failures],
        "earlier": found.earlier,
    }


def _content(row: dict[str, Any]) -> str:
    """What is in an image: its largest classes, its objects, or its attributes."""
    words = [f"{name} {share:.0%}" for name, share in list(row.get("classes", {}).items())[:4]]
    words += [f"{count} {name}" for name, count in row.get("drawn", {}).items()]
    words += [f"{key}: {value} ({row['score']:.0%})" for key, value in row.get("attributes", {}).items()]
    return ", ".join(words) or "nothing above the score"
