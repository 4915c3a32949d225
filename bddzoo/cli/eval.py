"""`bddzoo eval` and `predict`: run models, on a data set to judge their numbers, or on images."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bddzoo.cli import options as opt
from bddzoo.cli.app import App
from bddzoo.cli.output import describe_verdict, number, verdict_json
from bddzoo.cli.select import Obtain, Selection, need_data, under_protocol, weights_from, with_runtime
from bddzoo.errors import BddzooError, ExitCode, UsageError
from bddzoo.text import number_of

if TYPE_CHECKING:
    from bddzoo.evaluation import Scores
    from bddzoo.inference.speedups import Speedups
    from bddzoo.registry.model import Model
    from bddzoo.results import VerdictReport
    from bddzoo.runs.loop import MeasureOptions
    from bddzoo.runs.measure import Measurement
    from bddzoo.runs.predict import Prediction


@opt.command(
    epilog="""\b
Exit status:
  0 reproduced      3 not reproduced      6 weights that nobody could verify
  4 incomparable: --limit, --skip-bad, --amp, --channels-last, --compile,
    another data set or an absent class
  5 missing: data, weights, an image that can be used, or a reported number
\b
Examples:
  bddzoo eval mask_rcnn_r50_fpn_1x_ins_seg_bdd100k --data /data/bdd100k
  bddzoo eval 'fpn*' -t sem_seg --data /data/bdd100k -o predictions/
  bddzoo eval fpn_r50_512x1024_40k_sem_seg_bdd100k --limit 20 --device cpu
  bddzoo eval upernet_swin-t_512x1024_80k_sem_seg_bdd100k --gpus 4
  bddzoo eval fpn_r50_512x1024_40k_sem_seg_bdd100k --split test -o test/
  bddzoo eval openseg_ade20k_hrnet_w48_ocr --protocol ade20k-hrnet48-ms
"""
)
def command(
    app: App,
    *,
    selection: Selection = opt.SELECTION,
    data: Path | None = opt.DATA,
    run: opt.Run = opt.RUN,
    speedups: Speedups = opt.SPEEDUPS,
    out: Path | None = opt.out_folder(
        "Also write the predictions; with several models, each into DIR/MODEL.", required=False
    ),
    force: bool = opt.FORCE,
    resume: bool = opt.RESUME,
    weights: Path | None = opt.WEIGHTS,
    sources: tuple[str, ...] = opt.FROM,
    results: Path | None = opt.RESULTS,
    accept_prefix: bool = opt.ACCEPT_PREFIX,
    skip_bad: bool = opt.flag(
        "--skip-bad", help="Leave out images that cannot be used; the record is partial."
    ),
) -> int:
    """Run models on their data sets, score them with the zoo's own metrics, and judge the reported numbers.

    The measurement is written as a record, with everything that it depends on. An image that cannot be
    used is reported and makes the command fail at the end, without a record, unless --skip-bad is given.
    Of a split without labels, as `test`, --out DIR gets the predictions, and nothing is judged.
    """
    from bddzoo.results import check_root, default_root

    obtain = weights_from(app, weights, sources, offline=run.offline, accept_prefix=accept_prefix)
    models = _models(app, selection, run, weights)
    check_root(default_root(results))
    rows: list[dict[str, Any]] = []
    codes: list[ExitCode] = []
    for model in models:
        folder = out / model.id if out is not None and len(models) > 1 else out
        chosen = with_runtime(app, speedups, model, run.device, results)
        options = run.options(out=folder, overwrite=force, skip_bad=skip_bad, speedups=chosen)
        root = need_data(app, data, model.dataset)
        job = EvalRun(app, model, root, options, obtain, results, resume)
        try:
            row, code = job.run()
        except BddzooError as error:
            if len(models) == 1:
                raise
            app.error(f"{model.id}: {error.message}", hint=error.hint)
            row, code = {"model": model.id, "error": error.message}, error.exit_code
        rows.append(row)
        codes.append(code)
    if app.json:
        app.data_of_models(rows)
    # A number that is known to be wrong outweighs one that could not be judged.
    order = (*_WORST_FIRST, *(code for code in codes if code not in _WORST_FIRST))
    return int(next(code for code in order if code in codes))


def _models(app: App, selection: Selection, run: opt.Run, weights: Path | None) -> list[Model]:
    """The models to run, under the protocol that they are to be tested by, after a look at how."""
    from bddzoo.engines.load import check_device_name
    from bddzoo.engines.ops import warn_of_mmcv

    models = [under_protocol(app, model, run.protocol) for model in selection.models(app)]
    if len(models) > 1 and weights is not None:
        raise UsageError("--weights are those of one model", hint="name one model")
    check_device_name(run.device)
    warn_of_mmcv()
    return models


_WORST_FIRST = (ExitCode.NOT_REPRODUCED, ExitCode.INTEGRITY, ExitCode.MISSING, ExitCode.INCOMPARABLE)


@dataclass(frozen=True)
class EvalRun:
    """One model on one data set.

    Attributes:
        app: Global options.
        model: The model, under the protocol that it is to be tested by.
        data: Root of the data set.
        options: How it is run.
        obtain: Finds its weights.
        results: Folder of records; None for the default one.
        resume: Go on with predictions of an interrupted run, where nothing is scored.
    """

    app: App
    model: Model
    data: Path
    options: MeasureOptions
    obtain: Obtain
    results: Path | None
    resume: bool

    def run(self) -> tuple[dict[str, Any], ExitCode]:
        """Measure, record and judge; returns the data for JSON and the exit status."""
        from bddzoo.cli.progress import Bar
        from bddzoo.results import default_root, judge, write_record
        from bddzoo.runs.measure import Watcher, check_data, measure

        app, model = self.app, self.model
        if (images := self._unlabelled()) is not None:
            return self._predict(images)
        if self.resume:
            raise UsageError(
                f"--resume goes on with predictions, and split '{self.options.split}' is scored in one run",
                hint="leave it out; 'bddzoo sweep' resumes model by model",
            )
        # Looked at before anything is downloaded: a wrong folder should not cost a gigabyte.
        check_data(model, self.data, self.options, Watcher())
        path, used = self.obtain(model)
        with Bar(app, model.id) as bar:
            watcher = Watcher(bar.step, bar.update, bar.warn)
            typed = ["bddzoo", *sys.argv[1:]]
            outcome = measure(model, self.data, path, used, self.options, watcher, command=typed)
        report = record_path = unwritten = None
        if outcome.record is not None:
            report = judge(model, outcome.record)
            try:
                record_path = write_record(outcome.record, default_root(self.results), outcome.statistics)
            except BddzooError as error:  # the numbers are shown all the same: they may have taken hours
                unwritten = error
        row = {
            "model": model.id,
            "images": outcome.scores.frames,
            "images_in_all": outcome.total,
            "scores": outcome.scores.to_json(),
            "failures": [{"name": name, "reason": reason} for name, reason in outcome.failures],
            "record": str(record_path) if record_path else None,
            "verdict": verdict_json(report),
        }
        if not app.json:
            self._show(outcome, report, record_path)
        if unwritten is not None:
            if app.json:
                app.data_json(row)
            raise unwritten
        if report is None:
            app.error(
                f"{len(outcome.failures)} of {outcome.total} images could not be used, nothing was recorded",
                hint="repair the data set, or leave them out with --skip-bad",
            )
            return row, ExitCode.MISSING
        return row, ExitCode(report.exit_code)

    def _unlabelled(self) -> dict[str, Path] | None:
        """The images of a split without labels whose predictions are asked for; None for any other."""
        if self.options.out is None:
            return None
        from bddzoo.datasets.layouts import layout_of

        frames = (
            layout_of(self.model, self.data)
            .listing(self.model.task, self.options.split, attributes=False)
            .frames
        )
        if frames[0].label is not None:
            return None
        return {frame.name: frame.image for frame in frames[: self.options.limit]}

    def _predict(self, images: dict[str, Path]) -> tuple[dict[str, Any], ExitCode]:
        """Write the predictions of a split without labels: nothing is scored or judged."""
        from bddzoo.evaluation.submission import PACKED
        from bddzoo.runs.predict import Prediction

        app, split = self.app, self.options.split
        job = Prediction(self.model, images, self.options, resume=self.resume)
        found = run_prediction(app, job, self.obtain)
        said = f"{self.model.id}: split '{split}' has no labels, so nothing was scored or judged"
        if self.model.task in PACKED:
            command = f"bddzoo pack -t {self.model.task} -r {job.out} -o submission.zip"
            said += f"; for a test server: {command}"
        app.say(said)
        row = {**found, "split": split, "images": len(images), "scores": None, "verdict": None}
        return row, ExitCode.MISSING if found["failures"] else ExitCode.OK

    def _show(self, outcome: Measurement, report: VerdictReport | None, record_path: Path | None) -> None:
        app, scores = self.app, outcome.scores
        part = f"{scores.frames} of " if outcome.failures else ""
        app.data(f"{self.model.id}: {part}{number_of(outcome.total if part else scores.frames, 'image')}\n")
        summary_table(app, scores)
        app.data("")
        class_table(app, scores)
        if report is not None:
            app.data("\n" + describe_verdict(report, colour=app.colours(sys.stdout)), safe=True)
        if record_path is not None:
            app.say(f"record: {record_path}")


def summary_table(app: App, scores: Scores) -> None:
    """Print metrics over all classes; those that the official toolkit does not have are defined."""
    from bddzoo.evaluation.metrics.scores import DEFINITIONS, OWN_METRICS, shown_summary

    names = shown_summary(scores)
    row = ["all classes", *(number(scores.summary[name]) for name in names)]
    app.table(["", *names], [row], stacked=True)
    for name in names:
        if name in OWN_METRICS.get(scores.task, ()):
            app.prose(f"{name}: {DEFINITIONS[name]}")


def class_table(app: App, scores: Scores) -> None:
    """Print metrics of each class, in the data set's order; classes without ground truth are marked."""
    from bddzoo.evaluation.metrics.scores import shown_classes

    metrics = shown_classes(scores)
    rows = []
    for name in scores.table[metrics[0]]:
        absent = name in scores.absent
        rows.append([name, *("absent" if absent else number(scores.table[m][name]) for m in metrics)])
    app.table(["class", *metrics], rows, stacked=True)


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
def predict(
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
    from bddzoo.painting.colouring import Style
    from bddzoo.runs.predict import Prediction

    if bool(images) == (run.split is not None):
        raise UsageError("one of --images and --split is needed", hint="-i FOLDER, or --split test")
    models = _models(app, selection, run, weights)
    obtain = weights_from(app, weights, sources, offline=run.offline)
    rows, failed = [], False
    for model in models:
        folder = out / model.id if len(models) > 1 else out
        if run.split is None:
            found = find_images(images, folder)
        else:
            layout = layout_of(model, need_data(app, data, model.dataset))
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
        app.data_of_models(rows)
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
