"""`bddzoo score`: predictions on disk against ground truth on disk."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bddzoo.cli.app import App, ZooCommand
from bddzoo.errors import UsageError
from bddzoo.text import number_of

if TYPE_CHECKING:
    from bddzoo.evaluation.options import Evaluation, Options

TASKS = ("sem_seg", "drivable", "ins_seg", "pan_seg")
# Those of `bddzoo.datasets.openseg`, which is not imported for --help.
DATASETS = ("cityscapes", "ade20k", "lip", "pascal_voc", "pascal_context", "coco_stuff")
# A check for existence is left to the evaluation, which says what was expected there.
PATH = click.Path(path_type=Path)


@click.command(
    cls=ZooCommand,
    formats=("table", "json", "csv"),
    epilog="""\b
Examples:
  bddzoo score -t sem_seg -g labels/sem_seg/masks/val -r out/masks
  bddzoo score -t ins_seg -g labels/ins_seg/bitmasks/val -r out/bitmasks --score-file out/score.json
  bddzoo score -t sem_seg -g sem_seg_val.json -r predictions.zip --nproc 4 --format json
  bddzoo score -t sem_seg -g masks/val -r out --ci --by weather,timeofday --attributes det_val.json
  bddzoo score -t sem_seg -g masks/val -r mine --against baseline.zip
  bddzoo score -t sem_seg --dataset ade20k -g ade20k/val/label -r out/masks
""",
)
@click.option("-t", "--task", type=click.Choice(TASKS), required=True, help="What was predicted.")
@click.option(
    "-g",
    "--gt",
    type=PATH,
    required=True,
    help="Ground truth: a folder of PNGs, RLE JSON, or a zip of either.",
)
@click.option("-r", "--result", type=PATH, required=True, help="Predictions, of the same kind.")
@click.option(
    "--dataset",
    type=click.Choice(DATASETS),
    help="sem_seg: both hold label PNGs of this data set, in its own ids; openseg.pytorch's metrics.",
)
@click.option("--score-file", type=PATH, help="Scores of predicted bitmasks (ins_seg).")
@click.option("--out-file", type=PATH, help="Write the result there as JSON.")
@click.option(
    "--nproc", type=click.IntRange(1), help="Threads; all cores (at most 4) when not given.", metavar="N"
)
@click.option(
    "--compat",
    type=click.Choice(("strict", "official")),
    default="strict",
    show_default=True,
    help="strict refuses input that the official toolkit scores silently wrong; official gives its number.",
)
@click.option(
    "--evaluator",
    type=click.Choice(("bddzoo", "official")),
    default="bddzoo",
    show_default=True,
    help="official runs the installed bdd100k toolkit itself (the oracle extra).",
)
@click.option("--by", help="Also score slices by frame attribute: weather,scene,timeofday.", metavar="NAMES")
@click.option("--attributes", type=PATH, help="Label JSON (or a folder of them) with the frames' attributes.")
@click.option("--ci", is_flag=True, help="Bootstrap 95% intervals over images.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the bootstrap."
)
@click.option(
    "--against", type=PATH, metavar="PATH", help="Say whether RESULT is better than these: paired bootstrap."
)
@click.option("--against-score-file", type=PATH, help="Scores of the bitmasks in --against (ins_seg).")
@click.option("--worst", type=click.IntRange(1), metavar="N", help="List the N worst frames.")
@click.option("--plots", type=PATH, metavar="DIR", help="Draw confusion matrix or precision-recall curves.")
@click.option("--allow-partial", is_flag=True, help="Score the frames that can be scored; marks the result.")
@click.option("--lenient", is_flag=True, help="Score what only makes the official toolkit crash; says so.")
@click.pass_obj
def command(
    app: App,
    task: str,
    dataset: str | None,
    gt: Path,
    result: Path,
    score_file: Path | None,
    out_file: Path | None,
    nproc: int | None,
    compat: str,
    evaluator: str,
    by: str | None,
    attributes: Path | None,
    ci: bool,
    seed: int,
    against: Path | None,
    against_score_file: Path | None,
    worst: int | None,
    plots: Path | None,
    allow_partial: bool,
    lenient: bool,
) -> None:
    """Score predictions on disk, as the official BDD100K toolkit does; with --dataset, those of another set.

    Same letters, numbers and result file as `python -m bdd100k.eval.run`; without its silent failures
    unless `--compat official` asks for them.
    """
    # Scoring multiplies no large matrices, and a pool of threads for it takes longer to start than NumPy.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from bddzoo.cli.score_extras import Extras
    from bddzoo.cli.score_output import check_targets, json_of, table_of, write_json
    from bddzoo.datasets.attributes import read_attribute_files
    from bddzoo.evaluation.options import Options
    from bddzoo.evaluation.slices import check_keys

    keys = [k.strip() for k in by.split(",") if k.strip()] if by else []
    if bool(keys) != bool(attributes):
        raise UsageError("--by and --attributes go together")
    more_asked = keys or ci or worst or plots or against or allow_partial or lenient
    if evaluator == "official" and more_asked:
        raise UsageError("--evaluator official gives no more than its result", hint="leave it out")
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
        workers=nproc or min(4, os.cpu_count() or 1),
    )
    extras: dict[str, Any] = {}
    # Before the long work: a mistake in it should not cost a whole evaluation.
    check_targets(out_file, plots)
    known = read_attribute_files(attributes) if attributes else {}
    check_keys(known, keys)
    if evaluator == "official":
        found = _ask_toolkit(task, gt, result, score_file, extras)
    else:
        found = _evaluate(app, task, dataset, gt, result, score_file, options)
    for line in found.warnings:
        app.warn(line)
    more = Extras(keys, known, ci, seed, worst, plots)
    blocks = more.add(found, extras)
    if against:
        from bddzoo.cli.score_extras import compare_with

        other = _evaluate(app, task, dataset, gt, against, against_score_file, options)
        for line in other.warnings:
            app.warn(f"--against: {line}")
        blocks.append(compare_with(found, other, against, seed, extras))
    if out_file:
        write_json(out_file, json_of(found, options, extras))
        app.say(f"wrote {out_file}")
    if app.json:
        app.data_json(json_of(found, options, extras))
    else:
        app.data(
            "\n".join([table_of(found, csv=app.format == "csv"), *([] if app.format == "csv" else blocks)])
        )
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
    if dataset is not None:
        from bddzoo.datasets.openseg import data_set
        from bddzoo.evaluation.labelled import evaluate_labels

        return evaluate_labels(data_set(dataset), gt, result, options=options, progress=_progress(app))
    from bddzoo.evaluation.disk import evaluate

    return evaluate(task, gt, result, score_file=score_file, options=options, progress=_progress(app))


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
            f"partial, without {number_of(len(found.skipped), 'frame')}: this is no score of the whole set"
        )
    if found.official is not None:
        from bddzoo.cli.score_output import headline

        app.warn(f"--compat official would give {headline(found.official)}: {found.official_note}")
    elif found.official_note:
        app.warn(found.official_note)


def _progress(app: App) -> Any:
    """A counter on stderr for people; None for machines."""
    if app.quiet or not sys.stderr.isatty():
        return None

    def show(done: int, total: int) -> None:
        if done % 20 == 0 or done == total:
            end = "\r" if done < total else "\r\033[K"
            click.echo(f"{done} of {total} frames{end}", nl=False, err=True)

    return show
