"""`bddzoo score` and `pack`: predictions on disk, against ground truth or for a test server."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bddzoo.cli import options as opt
from bddzoo.cli.app import App, Named
from bddzoo.cli.output import check_target
from bddzoo.cli.score_output import (
    Extras,
    check_targets,
    compare_with,
    csv_of,
    headline,
    json_of,
    show,
    write_json,
)
from bddzoo.datasets.classes import TASKS
from bddzoo.datasets.sources import find_predictions
from bddzoo.errors import UsageError
from bddzoo.files import format_size
from bddzoo.text import number_of

if TYPE_CHECKING:
    from bddzoo.evaluation.options import Evaluation, Options


EXTRAS = opt.gathered(
    Extras,
    by=opt.BY,
    attributes=opt.ATTRIBUTES,
    ci=opt.flag("--ci", help="Bootstrap 95% intervals over images."),
    seed=opt.SEED,
    against=opt.option(
        "--against",
        type=Named(),
        metavar="PATH",
        help="Say whether the predictions are better than these: paired bootstrap.",
    ),
    against_score_file=opt.option(
        "--against-score-file",
        type=Named(),
        metavar="FILE",
        help="Scores of the bitmasks in --against (ins_seg).",
    ),
    worst=opt.WORST,
    errors=opt.flag("--errors", help="Say what is wrong with detections, and what each kind costs (TIDE)."),
    calibration=opt.flag(
        "--calibration", help="Say whether scores of detections are the share that is right (ECE)."
    ),
    plots=opt.option(
        "--plots",
        type=Named(),
        metavar="DIR",
        help="Draw confusion matrix, or precision-recall curves and reliability diagram.",
    ),
)


@opt.command(
    formats=("table", "json", "csv"),
    epilog="""\b
Examples:
  bddzoo score -t sem_seg -g labels/sem_seg/masks/val -r predictions/
  bddzoo score -t ins_seg -g labels/ins_seg/bitmasks/val -r out/bitmasks
  bddzoo score -t sem_seg -g val.json -r predictions.zip --format json
  bddzoo score -t ins_seg -g annotations.json -r results.json --errors
  bddzoo score -t det -g labels/det_20/det_val.json -r det.json
  bddzoo score -t box_track -g labels/box_track_20/val -r tracks/
  bddzoo score -t pose -g labels/pose_21/pose_val.json -r result.json
  bddzoo score -t tagging -g labels/det_20/det_val.json -r preds.json
  bddzoo score -t sem_seg -g masks/val -r out --ci \\
      --by weather,timeofday --attributes det_val.json
  bddzoo score -t sem_seg -g masks/val -r mine --against baseline.zip
  bddzoo score -t sem_seg --dataset ade20k -g ade20k/val/label -r out/masks
""",
)
def command(
    app: App,
    *,
    task: str = opt.task_of(*TASKS, help="What was predicted."),
    gt: Path = opt.GT,
    predictions: Path = opt.predictions("--result"),
    dataset: str | None = opt.DATASET,
    score_file: Path | None = opt.SCORE_FILE,
    out: Path | None = opt.out_file("Write the result there as JSON.", "--out-file", required=False),
    force: bool = opt.FORCE,
    jobs: int | None = opt.jobs("Threads. [default: one for each core, at most 4]", None, 256, "--nproc"),
    attribute: str | None = opt.option(
        "--attribute",
        type=click.Choice(("weather", "scene", "timeofday")),
        help="What was predicted (tagging), where the predictions hold several.",
    ),
    compat: str = opt.option(
        "--compat",
        type=click.Choice(("strict", "official")),
        default="strict",
        help="strict refuses what the official toolkit scores silently wrong; official gives its number.",
    ),
    evaluator: str = opt.option(
        "--evaluator",
        type=click.Choice(("bddzoo", "official")),
        default="bddzoo",
        help="official runs the installed bdd100k toolkit itself (the oracle extra).",
    ),
    extras: Extras = EXTRAS,
    allow_partial: bool = opt.flag(
        "--allow-partial", help="Score the frames that can be scored; marks the result."
    ),
    lenient: bool = opt.flag("--lenient", help="Score what only makes the official toolkit crash; says so."),
) -> None:
    """Score predictions on disk, as the official BDD100K toolkit does; with --dataset, those of another set.

    Same letters (-t, -g, -r, --score-file, --out-file, --nproc), numbers and result file as
    `python -m bdd100k.eval.run`; without its silent failures unless `--compat official` asks for them.
    """
    # Scoring multiplies no large matrices, and a pool of threads for it takes longer to start than NumPy.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from bddzoo.evaluation.options import Options

    bare = extras == Extras(seed=extras.seed) and not allow_partial and not lenient
    _refuse(task, dataset, score_file, attribute, compat == "official", evaluator == "official", bare)
    extras.check(task)
    options = Options(
        official=compat == "official",
        allow_partial=allow_partial,
        lenient=lenient,
        workers=jobs or min(4, os.cpu_count() or 1),
        errors=extras.errors,
        attribute=attribute,
    )
    result, score_file = find_predictions(predictions, task, score_file)
    # Before the long work: a mistake in it should not cost a whole evaluation.
    check_targets(out, extras.plots, force)
    more: dict[str, Any] = {}
    known = extras.read_attributes(app, more)
    if evaluator == "official":
        found = _ask_toolkit(task, gt, result, score_file, more)
    else:
        found = _evaluate(app, task, dataset, gt, result, score_file, options)
    for line in found.warnings:
        app.warn(line)
    blocks = extras.add(found, known, more)
    if extras.against:
        their_result, their_scores = find_predictions(extras.against, task, extras.against_score_file)
        plain = replace(options, errors=False)
        other = _evaluate(app, task, dataset, gt, their_result, their_scores, plain)
        for line in other.warnings:
            app.warn(f"--against: {line}")
        blocks.append(compare_with(found, other, extras.against, extras.seed, more))
    if out:
        write_json(out, json_of(found, options, more))
        app.say(f"wrote {out}")
    if app.json:
        app.data_json(json_of(found, options, more))
    elif app.format == "csv":
        app.data(csv_of(found.scores))
    else:
        show(app, found.scores)
        for block in blocks:
            app.data(block)
    _tell_differences(app, found)


def _refuse(
    task: str,
    dataset: str | None,
    score_file: Path | None,
    attribute: str | None,
    compat_official: bool,
    toolkit: bool,
    bare: bool,
) -> None:
    """Say which options do not go together; `bare` is a result without anything more."""
    if toolkit and not bare:
        raise UsageError("--evaluator official gives no more than its result", hint="leave it out")
    if score_file and task not in ("ins_seg", "tagging"):
        raise UsageError("--score-file goes with -t ins_seg: scores of bitmasks", hint="leave it out")
    if attribute and task != "tagging":
        raise UsageError("--attribute goes with -t tagging")
    about_bdd100k = score_file or compat_official or toolkit
    if task == "tagging" and about_bdd100k:
        raise UsageError(
            "the official toolkit has no evaluation of tagging",
            hint="leave out --score-file, --compat and --evaluator",
        )
    if dataset and (task != "sem_seg" or about_bdd100k):
        raise UsageError(
            "--dataset scores label PNGs of sem_seg by openseg.pytorch's definition",
            hint="leave out --score-file, --compat and --evaluator, which are about BDD100K",
        )


def _evaluate(
    app: App,
    task: str,
    dataset: str | None,
    gt: Path,
    result: Path,
    score_file: Path | None,
    options: Options,
) -> Evaluation:
    """Scores of one prediction set."""
    from bddzoo.cli.progress import Bar

    with Bar(app, "scoring") as bar:
        if dataset is not None:
            from bddzoo.datasets.openseg import data_set
            from bddzoo.evaluation.labelled import evaluate_labels

            return evaluate_labels(data_set(dataset), gt, result, options=options, progress=bar.update)
        from bddzoo.evaluation.disk import evaluate

        return evaluate(task, gt, result, score_file=score_file, options=options, progress=bar.update)


def _ask_toolkit(
    task: str, gt: Path, result: Path, score_file: Path | None, extras: dict[str, Any]
) -> Evaluation:
    """Scores of the installed toolkit, labelled as such."""
    from bddzoo.evaluation.metrics.semseg import SemSegAccumulator
    from bddzoo.evaluation.options import Evaluation
    from bddzoo.evaluation.oracle import evaluate_official

    scores, versions = evaluate_official(task, gt, result, score_file)
    extras["evaluator"] = " with ".join(f"{name} {version}" for name, version in versions.items())
    # It does not say how many frames it compared, nor which classes there were.
    extras |= {"compat": "official", "frames": None, "absent_classes": None}
    warnings = []
    if all(math.isnan(value) for value in scores.summary.values()):
        warnings.append("the toolkit gives no number: it compared nothing, or there was nothing to find")
    return Evaluation(scores, SemSegAccumulator(()), "the official toolkit", warnings)


def _tell_differences(app: App, found: Evaluation) -> None:
    """Say what a reader of the bare table would miss."""
    if found.skipped:
        app.warn(
            f"partial, without {number_of(len(found.skipped), found.scores.unit)}: "
            "this is not a score of the whole set"
        )
    if found.official is not None:
        app.warn(f"--compat official would give {headline(found.official)}: {found.official_note}")
    elif found.official_note:
        app.warn(found.official_note)


@opt.command(
    epilog="""\b
Examples:
  bddzoo pack -t sem_seg -r predictions/ -i images/10k/test -o submission.zip
  bddzoo pack -t ins_seg -r predictions/ins_seg.json -o submission.zip
  bddzoo pack -t det -r predictions/ -i images/100k/test -o submission.zip
"""
)
def pack(
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
