"""`bddzoo score`: predictions on disk against ground truth on disk."""

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
from bddzoo.datasets.classes import TASKS
from bddzoo.datasets.sources import find_predictions
from bddzoo.errors import UsageError
from bddzoo.text import number_of

if TYPE_CHECKING:
    from bddzoo.evaluation.options import Evaluation, Options


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
    by: tuple[tuple[str, ...], ...] = opt.BY,
    attributes: Path | None = opt.ATTRIBUTES,
    ci: bool = opt.flag("--ci", help="Bootstrap 95% intervals over images."),
    seed: int = opt.SEED,
    against: Path | None = opt.option(
        "--against",
        type=Named(),
        metavar="PATH",
        help="Say whether the predictions are better than these: paired bootstrap.",
    ),
    against_score_file: Path | None = opt.option(
        "--against-score-file",
        type=Named(),
        metavar="FILE",
        help="Scores of the bitmasks in --against (ins_seg).",
    ),
    worst: int | None = opt.WORST,
    errors: bool = opt.flag(
        "--errors", help="Say what is wrong with detections, and what each kind costs (TIDE)."
    ),
    calibration: bool = opt.flag(
        "--calibration", help="Say whether scores of detections are the share that is right (ECE)."
    ),
    plots: Path | None = opt.option(
        "--plots",
        type=Named(),
        metavar="DIR",
        help="Draw confusion matrix, or precision-recall curves and reliability diagram.",
    ),
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
    from bddzoo.cli.score_output import Extras, check_targets, csv_of, json_of, show, write_json
    from bddzoo.evaluation.options import DETECTED, Options

    keys = [key for names in by for key in names]
    if bool(keys) != bool(attributes):
        raise UsageError("--by and --attributes go together")
    more_asked = keys or ci or worst or errors or calibration or plots or against or allow_partial or lenient
    if evaluator == "official" and more_asked:
        raise UsageError("--evaluator official gives no more than its result", hint="leave it out")
    if (errors or calibration) and task not in DETECTED:
        raise UsageError(
            "--errors and --calibration are about detections", hint="they go with -t " + " or ".join(DETECTED)
        )
    if score_file and task not in ("ins_seg", "tagging"):
        raise UsageError("--score-file goes with -t ins_seg: scores of bitmasks", hint="leave it out")
    if attribute and task != "tagging":
        raise UsageError("--attribute goes with -t tagging")
    if task == "tagging" and (score_file or compat == "official" or evaluator == "official"):
        raise UsageError(
            "the official toolkit has no evaluation of tagging",
            hint="leave out --score-file, --compat and --evaluator",
        )
    if dataset and (task != "sem_seg" or score_file or compat == "official" or evaluator == "official"):
        raise UsageError(
            "--dataset scores label PNGs of sem_seg by openseg.pytorch's definition",
            hint="leave out --score-file, --compat and --evaluator, which are about BDD100K",
        )
    if against_score_file and not against:
        raise UsageError("--against-score-file goes with --against")
    options = Options(
        official=compat == "official",
        allow_partial=allow_partial,
        lenient=lenient,
        workers=jobs or min(4, os.cpu_count() or 1),
        errors=errors,
        attribute=attribute,
    )
    result, score_file = find_predictions(predictions, task, score_file)
    extras: dict[str, Any] = {}
    # Before the long work: a mistake in it should not cost a whole evaluation.
    check_targets(out, plots)
    if out:
        check_target(out, force)
    if plots:
        check_target(plots, force, "--plots")
    known: dict[str, dict[str, str]] = {}
    if attributes:
        from bddzoo.datasets.attributes import predicted, read_attribute_files
        from bddzoo.evaluation.slices import check_keys

        known = read_attribute_files(attributes)
        check_keys(known, keys)
        if marked := predicted(known, keys):
            extras["predicted_attributes"] = marked
    if evaluator == "official":
        found = _ask_toolkit(task, gt, result, score_file, extras)
    else:
        found = _evaluate(app, task, dataset, gt, result, score_file, options)
    for line in found.warnings:
        app.warn(line)
    for key in extras.get("predicted_attributes", ()):
        app.warn(f"{key} of {attributes} is what a network predicted, not a label")
    more = Extras(keys, known, ci, seed, worst, calibration, plots)
    blocks = more.add(found, extras)
    if against:
        from bddzoo.cli.score_output import compare_with

        their_result, their_scores = find_predictions(against, task, against_score_file)
        plain = replace(options, errors=False)
        other = _evaluate(app, task, dataset, gt, their_result, their_scores, plain)
        for line in other.warnings:
            app.warn(f"--against: {line}")
        blocks.append(compare_with(found, other, against, seed, extras))
    if out:
        write_json(out, json_of(found, options, extras))
        app.say(f"wrote {out}")
    if app.json:
        app.data_json(json_of(found, options, extras))
    elif app.format == "csv":
        app.data(csv_of(found.scores))
    else:
        show(app, found.scores)
        for block in blocks:
            app.data(block)
    _tell_differences(app, found)


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
        from bddzoo.cli.score_output import headline

        app.warn(f"--compat official would give {headline(found.official)}: {found.official_note}")
    elif found.official_note:
        app.warn(found.official_note)
