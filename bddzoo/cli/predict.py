"""`bddzoo predict`: run a model on pictures and write what it sees."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bddzoo.cli.app import Amount, App, ZooCommand, complete_models
from bddzoo.cli.options import speedup_options
from bddzoo.errors import BddzooError, ExitCode, MissingError, UsageError
from bddzoo.text import number_of

if TYPE_CHECKING:
    from bddzoo.inference.outputs import PredictionSet, Unfinished
    from bddzoo.registry.model import Model


@click.command(
    cls=ZooCommand,
    epilog="""\b
Written below --out:
  sem_seg  masks/NAME.png (class ids), sem_seg.json (RLE), overlays/NAME.jpg; for models of other data
           sets than BDD100K masks/NAME.png holds the values of that set's label files, without the RLE
  ins_seg  bitmasks/NAME.png, score.json, det.json, ins_seg.json (RLE), overlays/NAME.jpg
\b
Examples:
  bddzoo predict mask_rcnn_r50_fpn_1x_ins_seg_bdd100k street.jpg --out predictions/
  bddzoo predict fpn_r50_512x1024_40k_sem_seg_bdd100k pictures/ --out predictions/ --alpha 0.7
  bddzoo predict fpn_r50_512x1024_40k_sem_seg_bdd100k pictures/ --out predictions/ --resume
""",
)
@click.argument("model_id", metavar="MODEL", shell_complete=complete_models)
@click.argument("inputs", metavar="IMAGE_OR_DIR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where to.",
)
@click.option("--overwrite", is_flag=True, help="Replace predictions that are in --out already.")
@click.option("--resume", is_flag=True, help="Go on where an interrupted run into --out stopped.")
@click.option(
    "--device", default="auto", show_default=True, metavar="auto|cpu|cuda[:N]", help="Where to run."
)
@click.option("--batch-size", type=click.IntRange(min=1), metavar="N", help="Pictures per forward pass.")
@speedup_options
@click.option(
    "--weights", type=click.Path(path_type=Path), metavar="FILE", help="Weights to use instead of the zoo's."
)
@click.option(
    "--from",
    "sources",
    multiple=True,
    metavar="SOURCE",
    help="Folder, bundle or base URL to ask first for the weights; repeatable.",
)
@click.option(
    "--alpha",
    type=Amount(0, 1),
    default=0.5,
    show_default=True,
    help="How much colour covers the picture in overlays.",
)
@click.option(
    "--min-score",
    type=Amount(0, 1),
    default=0.3,
    show_default=True,
    help="Instances below this score are not drawn; the files hold them all.",
)
@click.pass_obj
def command(
    app: App,
    model_id: str,
    inputs: tuple[Path, ...],
    out: Path,
    overwrite: bool,
    resume: bool,
    device: str,
    batch_size: int | None,
    amp: bool,
    channels_last: bool,
    compiled: bool,
    weights: Path | None,
    sources: tuple[str, ...],
    alpha: float,
    min_score: float,
) -> int:
    """Run a model on pictures of any size: class maps or instances, and overlays to look at.

    A picture that cannot be used is reported; the others are written all the same, and the command ends
    with status 5. Pictures are seen upright (EXIF), grey ones as three equal channels. After Ctrl-C the
    pictures that were done are kept, and --resume does the rest.
    """
    from bddzoo.cli.progress import PictureBar
    from bddzoo.cli.weights import obtain_weights
    from bddzoo.datasets.layouts import find_pictures, labels_of
    from bddzoo.datasets.openseg import class_set_of
    from bddzoo.engines.ops import warn_of_mmcv
    from bddzoo.inference.background import Sink
    from bddzoo.inference.batches import Events
    from bddzoo.inference.load import check_device_name, load_runner
    from bddzoo.inference.outputs import PredictionSet, Unfinished, remove_note
    from bddzoo.inference.pipeline import predict_frames, protocol_of
    from bddzoo.inference.speedups import Speedups
    from bddzoo.signals import no_interrupts

    model = app.registry.find(model_id)
    check_device_name(device)
    protocol_of(model)
    pictures = find_pictures(inputs, out)
    class_set_of(model)  # a model of unknown classes is refused before its weights are fetched
    labels = labels_of(model)
    earlier = _earlier(out, overwrite, resume)
    target = PredictionSet(
        out,
        model.task,
        rle=True,
        overlays=True,
        overwrite=overwrite,
        resume=earlier is not None,
        labels=labels,
    )
    path, used = obtain_weights(app, model, weights, sources)
    speedups = Speedups(amp, channels_last, compiled)
    made_with = {
        "model": model.id,
        "weights": used.sha256,
        "precision": speedups.precision,
        "options": speedups.options,
    }
    rest = earlier.rest(out, made_with, pictures) if earlier else pictures
    done = dict(earlier.done) if earlier else {}
    failures: list[str] = []
    written: list[dict[str, Any]] = []
    interrupted: KeyboardInterrupt | None = None

    with PictureBar(app, model.id) as bar:

        def bad(name: str, error: BddzooError) -> None:
            failures.append(name)
            bar.warn(f"{error.message}; skipped")

        bar.step("loading the network")
        runner, place = load_runner(model, path, device, speedups)
        if line := warn_of_mmcv():
            bar.warn(line)
        bar.step("predicting")
        events = Events(
            error=bad,
            remark=lambda name, text: bar.warn(f"{name}: {text}"),
            smaller_batch=lambda size: bar.warn(f"out of memory: going on with a batch size of {size}"),
        )
        with ExitStack() as after, target:

            def consume(prediction: tuple[str, Any]) -> None:
                written.append(_write(model, target, pictures, prediction, alpha, min_score))
                done[prediction[0]] = str(pictures[prediction[0]].resolve())

            try:
                with Sink(consume, depth=4, finish_on=(KeyboardInterrupt,)) as sink:
                    found = predict_frames(
                        runner, model, list(rest.items()), device=place, batch_size=batch_size, events=events
                    )
                    for count, prediction in enumerate(found, start=1):
                        sink.put(prediction)
                        bar.update(count + len(failures), len(rest))
            except KeyboardInterrupt as error:
                if not written:
                    raise
                interrupted = error
            if not written and rest:
                raise MissingError(f"not one of {number_of(len(rest), 'picture')} could be used")
            after.enter_context(no_interrupts())  # until everything is in its place
            if interrupted is not None:
                Unfinished(made_with, done, len(pictures)).write(out)
        if interrupted is None:
            remove_note(out)
    if interrupted is not None:
        app.say(f"{len(done)} of {len(pictures)} pictures are written to {out}/; --resume does the rest")
        raise interrupted
    _show(app, out, written, failures, earlier.done if earlier else {})
    return int(ExitCode.MISSING if failures else ExitCode.OK)


def _earlier(out: Path, overwrite: bool, resume: bool) -> Unfinished | None:
    """What an interrupted run left in a folder, where this one is to go on from it."""
    from bddzoo.inference.outputs import read_unfinished

    if overwrite and resume:
        raise UsageError("--overwrite begins again, --resume goes on", hint="give one of them")
    if overwrite:
        return None
    earlier = read_unfinished(out)
    if earlier is not None and not resume:
        raise UsageError(
            f"{out} holds {len(earlier.done)} of {earlier.total} pictures of an interrupted run",
            hint="go on with --resume, or begin again with --overwrite",
        )
    return earlier


def _write(
    model: Model,
    target: PredictionSet,
    pictures: dict[str, Path],
    prediction: tuple[str, Any],
    alpha: float,
    min_score: float,
) -> dict[str, Any]:
    """Write one prediction; returns what is said about it."""
    import numpy as np

    from bddzoo.datasets.classes import INS_SEG
    from bddzoo.datasets.decode import read_image
    from bddzoo.datasets.openseg import class_set_of
    from bddzoo.painting.class_map import draw_class_map
    from bddzoo.painting.objects import draw_instances

    name, result = prediction
    # Read again rather than carried along: decoding is cheap beside what a queue of pictures would hold.
    pixels = read_image(pictures[name]).pixels
    row: dict[str, Any] = {"name": name, "width": pixels.shape[1], "height": pixels.shape[0]}
    if model.task == "sem_seg":
        classes = class_set_of(model)
        target.add_class_map(name, result)
        target.add_overlay(name, draw_class_map(pixels, result, alpha=alpha, classes=classes))
        counts = np.bincount(result.ravel(), minlength=256)[: len(classes)]
        shares = counts / result.size
        row["classes"] = {
            classes.names[i]: round(float(shares[i]), 4) for i in np.argsort(-counts) if counts[i]
        }
    else:
        target.add_instances(name, result)
        target.add_overlay(name, draw_instances(pixels, result, alpha=alpha, min_score=min_score))
        shown = result.labels[result.scores >= min_score]
        row["instances"] = len(result)
        row["drawn"] = {INS_SEG.names[i]: int((shown == i).sum()) for i in np.unique(shown)}
    return row


def _show(
    app: App, out: Path, written: list[dict[str, Any]], failures: list[str], earlier: Mapping[str, str]
) -> None:
    if app.json:
        app.data_json(
            {"out": str(out), "pictures": written, "failures": failures, "earlier": sorted(earlier)}
        )
        return
    for row in written:
        if "classes" in row:
            largest = list(row["classes"].items())[:4]
            text = ", ".join(f"{name} {share:.0%}" for name, share in largest)
        else:
            text = (
                ", ".join(f"{count} {name}" for name, count in row["drawn"].items())
                or "nothing above the score"
            )
        app.data(f"{row['name']}: {text}")
    said = f"written to {out}/"
    said += f"; {len(earlier)} were there from before" if earlier else ""
    app.say(said + (f"; {len(failures)} could not be used" if failures else ""))
