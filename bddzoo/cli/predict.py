"""`bddzoo predict`: run a model on images and write what it sees."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bddzoo.cli.app import App, ZooCommand
from bddzoo.cli.options import (
    ALPHA,
    DATA,
    FORCE,
    FROM,
    IMAGES_MANY,
    MIN_SCORE,
    RESUME,
    RUN_OF_PREDICT,
    SELECTION,
    SPEEDUPS,
    WEIGHTS,
    Run,
    SpeedupFlags,
    out_folder,
    takes,
)
from bddzoo.cli.select import Selection, dataset_of, need_data, under_protocol
from bddzoo.errors import BddzooError, ExitCode, MissingError, UsageError
from bddzoo.text import number_of

if TYPE_CHECKING:
    from bddzoo.inference.outputs import PredictionSet, Unfinished
    from bddzoo.registry.model import Model


@click.command(
    cls=ZooCommand,
    epilog="""\b
Written below --out:
  sem_seg  masks/NAME.png (class ids), sem_seg.json (RLE), overlays/NAME.jpg;
           for models of other data sets than BDD100K masks/NAME.png holds the
           values of that set's label files, without the RLE
  ins_seg  bitmasks/NAME.png, score.json, det.json, ins_seg.json (RLE),
           overlays/NAME.jpg
\b
Examples:
  bddzoo predict mask_rcnn_r50_fpn_1x_ins_seg_bdd100k -i street.jpg -o out/
  bddzoo predict fpn_r50_512x1024_40k_sem_seg_bdd100k -i images/ -o out/
  bddzoo predict demo_semfpn_r18n_sem_seg -i images -o out --resume
  bddzoo predict fpn_r50_512x1024_40k_sem_seg_bdd100k --split test -o out/
""",
)
@takes(
    SELECTION,
    IMAGES_MANY,
    DATA,
    out_folder("Where to; with several models, each into DIR/MODEL."),
    FORCE,
    RESUME,
    RUN_OF_PREDICT,
    SPEEDUPS,
    WEIGHTS,
    FROM,
    ALPHA,
    MIN_SCORE,
)
@click.pass_obj
def command(
    app: App,
    *,
    selection: Selection,
    images: tuple[Path, ...],
    data: Path | None,
    out: Path,
    force: bool,
    resume: bool,
    run: Run,
    speedups: SpeedupFlags,
    weights: Path | None,
    sources: tuple[str, ...],
    alpha: float,
    min_score: float,
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

    if bool(images) == (run.split is not None):
        raise UsageError("one of --images and --split is needed", hint="-i FOLDER, or --split test")
    models = [under_protocol(app, model, run.protocol) for model in selection.models(app)]
    if len(models) > 1 and weights is not None:
        raise UsageError("--weights are those of one model", hint="name one model")
    check_device_name(run.device)
    warn_of_mmcv()
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
        job = Prediction(app, model, found, folder, run, speedups, alpha, min_score)
        row = job.go(weights, sources, force=force, resume=resume)
        failed = failed or bool(row["failures"])
        rows.append(row)
    if app.json:
        app.data_json(rows[0] if len(rows) == 1 else rows)
    return int(ExitCode.MISSING if failed else ExitCode.OK)


@dataclass(frozen=True)
class Prediction:
    """One model over images.

    Attributes:
        app: Global options.
        model: The model.
        images: Name to file.
        out: Folder of the prediction set.
        run: How it is run.
        speedups: What may change the numbers a little.
        alpha: How much colour covers the image in overlays.
        min_score: Detections below this score are not drawn.
    """

    app: App
    model: Model
    images: Mapping[str, Path]
    out: Path
    run: Run
    speedups: SpeedupFlags
    alpha: float
    min_score: float

    def go(
        self, weights: Path | None, sources: tuple[str, ...], *, force: bool, resume: bool
    ) -> dict[str, Any]:
        """Predict and write; returns the data for JSON.

        Raises:
            KeyboardInterrupt: The user interrupted; what was done is written, with a note for --resume.
        """
        from bddzoo.cli.progress import Bar
        from bddzoo.cli.weights import obtain_weights
        from bddzoo.datasets.layouts import labels_of
        from bddzoo.datasets.openseg import class_set_of
        from bddzoo.inference.background import Sink
        from bddzoo.inference.batches import Events
        from bddzoo.inference.load import load_runner
        from bddzoo.inference.outputs import PredictionSet, Unfinished, remove_note
        from bddzoo.inference.pipeline import predict_frames, protocol_of
        from bddzoo.inference.speedups import Speedups
        from bddzoo.signals import no_interrupts

        app, model, out = self.app, self.model, self.out
        protocol_of(model)
        class_set_of(model)  # a model of unknown classes is refused before its weights are fetched
        labels = labels_of(model)
        earlier = _earlier(out, force, resume)
        target = PredictionSet(
            out,
            model.task,
            rle=True,
            overlays=True,
            overwrite=force,
            resume=earlier is not None,
            labels=labels,
        )
        path, used = obtain_weights(app, model, weights, sources, offline=self.run.offline)
        speedups = Speedups(self.speedups.amp, self.speedups.channels_last, self.speedups.compiled)
        made_with = {
            "model": model.id,
            "weights": used.sha256,
            "precision": speedups.precision,
            "options": speedups.options,
        }
        rest = earlier.rest(out, made_with, self.images) if earlier else dict(self.images)
        done = dict(earlier.done) if earlier else {}
        failures: list[str] = []
        written: list[dict[str, Any]] = []
        interrupted: KeyboardInterrupt | None = None

        with Bar(app, model.id) as bar:

            def bad(name: str, error: BddzooError) -> None:
                failures.append(name)
                bar.warn(f"{error.message}; skipped")

            bar.step("loading the network")
            runner, place = load_runner(model, path, self.run.device, speedups)
            bar.step("predicting")
            events = Events(
                error=bad,
                remark=lambda name, text: bar.warn(f"{name}: {text}"),
                smaller_batch=lambda size: bar.warn(f"out of memory: going on with a batch size of {size}"),
            )
            with ExitStack() as after, target:

                def consume(prediction: tuple[str, Any]) -> None:
                    written.append(self._write(target, prediction))
                    done[prediction[0]] = str(self.images[prediction[0]].resolve())

                try:
                    with Sink(consume, depth=4, finish_on=(KeyboardInterrupt,)) as sink:
                        found = predict_frames(
                            runner,
                            model,
                            list(rest.items()),
                            device=place,
                            batch_size=self.run.batch_size,
                            events=events,
                        )
                        for count, prediction in enumerate(found, start=1):
                            sink.put(prediction)
                            bar.update(count + len(failures), len(rest))
                except KeyboardInterrupt as error:
                    if not written:
                        raise
                    interrupted = error
                if not written and rest:
                    raise MissingError(f"not one of {number_of(len(rest), 'image')} could be used")
                after.enter_context(no_interrupts())  # until everything is in its place
                if interrupted is not None:
                    Unfinished(made_with, done, len(self.images)).write(out)
            if interrupted is None:
                remove_note(out)
        if interrupted is not None:
            app.say(f"{len(done)} of {len(self.images)} images are written to {out}/; --resume does the rest")
            raise interrupted
        before = sorted(earlier.done) if earlier else []
        if not app.json:
            self._show(written, failures, len(before))
        return {
            "model": model.id,
            "out": str(out),
            "images": written,
            "failures": failures,
            "earlier": before,
        }

    def _write(self, target: PredictionSet, prediction: tuple[str, Any]) -> dict[str, Any]:
        """Write one prediction; returns what is said about it."""
        import numpy as np

        from bddzoo.datasets.classes import INS_SEG
        from bddzoo.datasets.decode import read_image
        from bddzoo.datasets.openseg import class_set_of
        from bddzoo.painting.class_map import draw_class_map
        from bddzoo.painting.objects import draw_instances

        name, result = prediction
        # Read again rather than carried along: decoding costs less than a queue of images would hold.
        pixels = read_image(self.images[name]).pixels
        row: dict[str, Any] = {"name": name, "width": pixels.shape[1], "height": pixels.shape[0]}
        if self.model.task == "sem_seg":
            classes = class_set_of(self.model)
            target.add_class_map(name, result)
            target.add_overlay(name, draw_class_map(pixels, result, alpha=self.alpha, classes=classes))
            counts = np.bincount(result.ravel(), minlength=256)[: len(classes)]
            shares = counts / result.size
            row["classes"] = {
                classes.names[i]: round(float(shares[i]), 4) for i in np.argsort(-counts) if counts[i]
            }
        else:
            target.add_instances(name, result)
            drawn = draw_instances(pixels, result, alpha=self.alpha, min_score=self.min_score)
            target.add_overlay(name, drawn)
            shown = result.labels[result.scores >= self.min_score]
            row["instances"] = len(result)
            row["drawn"] = {INS_SEG.names[i]: int((shown == i).sum()) for i in np.unique(shown)}
        return row

    def _show(self, written: list[dict[str, Any]], failures: list[str], earlier: int) -> None:
        for row in written:
            if "classes" in row:
                largest = list(row["classes"].items())[:4]
                text = ", ".join(f"{name} {share:.0%}" for name, share in largest)
            else:
                text = ", ".join(f"{count} {name}" for name, count in row["drawn"].items())
                text = text or "nothing above the score"
            self.app.prose(f"{row['name']}: {text}")
        said = f"written to {self.out}/"
        said += f"; {earlier} were there from before" if earlier else ""
        self.app.say(said + (f"; {len(failures)} could not be used" if failures else ""))


def _earlier(out: Path, force: bool, resume: bool) -> Unfinished | None:
    """What an interrupted run left in a folder, where this one is to go on from it."""
    from bddzoo.inference.outputs import read_unfinished

    if force and resume:
        raise UsageError("--force begins again, --resume goes on", hint="give one of them")
    if force:
        return None
    earlier = read_unfinished(out)
    if earlier is not None and not resume:
        raise UsageError(
            f"{out} holds {len(earlier.done)} of {earlier.total} images of an interrupted run",
            hint="go on with --resume, or begin again with --force",
        )
    return earlier
