"""`bddzoo eval`: run a model on a BDD100K folder, score it, and judge the reported number."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bddzoo.cli.app import App, Folder, ZooCommand, complete_models
from bddzoo.cli.options import results_option, speedup_options
from bddzoo.errors import BddzooError, ExitCode
from bddzoo.text import number_of

if TYPE_CHECKING:
    from bddzoo.evaluation import Scores
    from bddzoo.registry.model import Model
    from bddzoo.results import VerdictReport
    from bddzoo.runs.measure import Measurement

SUMMARY = {
    "sem_seg": ("mIoU", "fIoU", "pAcc", "PixelACC", "mPrecision", "mRecall"),
    "ins_seg": (
        *("AP", "AP50", "AP75", "APs", "APm", "APl"),
        *("AR1", "AR10", "AR100", "box_AP", "box_AP50", "box_AP75"),
    ),
}
PER_CLASS = {
    "sem_seg": ("IoU", "Precision", "Recall"),
    "ins_seg": ("AP", "AP50", "AP75", "box_AP"),
}
DEFINED = ("box_AP",)


@click.command(
    cls=ZooCommand,
    epilog="""\b
Exit status:
  0 reproduced           3 not reproduced       4 incomparable: --limit, --skip-bad, --amp,
  --channels-last, --compile, another data set or an absent class
  5 missing: data, weights, a picture that cannot be used, or no reported number
  6 weights that nobody could verify
\b
Examples:
  bddzoo eval mask_rcnn_r50_fpn_1x_ins_seg_bdd100k --data /data/bdd100k
  bddzoo eval deeplabv3+_r50-d8_512x1024_40k_sem_seg_bdd100k --data /data/bdd100k --out predictions/
  bddzoo eval fpn_r50_512x1024_40k_sem_seg_bdd100k --data /data/bdd100k --limit 20 --device cpu
  bddzoo eval upernet_swin-t_512x1024_80k_sem_seg_bdd100k --data /data/bdd100k --gpus 4 --batch-size 8
  bddzoo eval openseg_ade20k_hrnet_w48_ocr --data /data/ade20k --protocol ade20k-hrnet48-ms
""",
)
@click.argument("model_id", metavar="MODEL", shell_complete=complete_models)
@click.option(
    "--data",
    "root",
    required=True,
    type=click.Path(path_type=Path),
    metavar="ROOT",
    help="Folder of the model's data set; for BDD100K the one that holds images/ and labels/.",
)
@click.option(
    "--split",
    default="val",
    show_default=True,
    type=click.Choice(["train", "val", "test"]),
    help="Split to evaluate on.",
)
@click.option(
    "--device", default="auto", show_default=True, metavar="auto|cpu|cuda[:N]", help="Where to run."
)
@click.option("--batch-size", type=click.IntRange(min=1), metavar="N", help="Pictures per forward pass.")
@click.option(
    "--gpus",
    "processes",
    type=click.IntRange(min=1),
    default=1,
    metavar="N",
    help="Share the pictures among N processes, each on a GPU of its own; with --device cpu, on the CPU.",
)
@click.option(
    "--protocol",
    "protocol_id",
    metavar="NAME",
    help="Test by another protocol of the registry; judged by the number that was published for it.",
)
@speedup_options
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N pictures.")
@click.option(
    "-o",
    "--out",
    type=Folder(),
    metavar="DIR",
    help="Also write the predictions.",
)
@click.option("--overwrite", is_flag=True, help="Replace predictions that are in --out already.")
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
@results_option
@click.option(
    "--skip-bad", is_flag=True, help="Leave out pictures that cannot be used; the record is partial."
)
@click.pass_obj
def command(
    app: App,
    model_id: str,
    root: Path,
    split: str,
    device: str,
    batch_size: int | None,
    processes: int,
    protocol_id: str | None,
    amp: bool,
    channels_last: bool,
    compiled: bool,
    limit: int | None,
    out: Path | None,
    overwrite: bool,
    weights: Path | None,
    sources: tuple[str, ...],
    results: Path | None,
    skip_bad: bool,
) -> int:
    """Run a model on its data set, score it with the zoo's own metrics, and judge the reported number.

    The measurement is written as a record, with everything that it depends on. A picture that cannot be
    used is reported and makes the command fail at the end, without a record, unless --skip-bad is given.
    """
    from bddzoo.cli.progress import PictureBar
    from bddzoo.cli.weights import obtain_weights
    from bddzoo.inference.load import check_device_name
    from bddzoo.inference.speedups import Speedups
    from bddzoo.results import check_root, default_root, judge, write_record
    from bddzoo.runs.measure import Options, Watcher, check_data, measure

    model = app.registry.find(model_id)
    if protocol_id is not None:
        model = under(app, model, protocol_id)
    check_device_name(device)
    speedups = Speedups(amp, channels_last, compiled)
    options = Options(split, device, batch_size, limit, out, overwrite, skip_bad, processes, speedups)
    # Looked at before anything is downloaded: a wrong folder should not cost a gigabyte.
    check_root(default_root(results))
    check_data(model, root, options, Watcher())
    path, used = obtain_weights(app, model, weights, sources)
    with PictureBar(app, model.id) as bar:
        watcher = Watcher(bar.step, bar.update, bar.warn)
        outcome = measure(model, root, path, used, options, watcher, command=_command_line())
    report = record_path = unwritten = None
    if outcome.record is not None:
        report = judge(model, outcome.record)
        try:
            record_path = write_record(outcome.record, default_root(results), outcome.statistics)
        except BddzooError as error:  # the numbers are shown all the same: they may have taken hours
            unwritten = error
    _show(app, model, outcome, report, record_path)
    if unwritten is not None:
        raise unwritten
    if report is None:
        app.error(
            f"{len(outcome.failures)} of {outcome.total} pictures could not be used, nothing was recorded",
            hint="repair the data set, or leave them out with --skip-bad",
        )
        return int(ExitCode.MISSING)
    return int(report.exit_code)


def under(app: App, model: Model, name: str) -> Model:
    """A model as it is tested by another protocol, with the numbers that were published for that.

    Raises:
        UsageError: There is no such protocol, or it is of another data set.
    """
    from bddzoo.errors import UsageError
    from bddzoo.registry.problems import unknown

    protocol = app.registry.protocols.get(name)
    if protocol is None:
        raise UsageError(unknown("protocol", name, app.registry.protocols))
    if model.protocol is not None and protocol.dataset != model.protocol.dataset:
        raise UsageError(
            f"protocol {name} is of {protocol.dataset}, model {model.id} of {model.protocol.dataset}",
            hint=f"'bddzoo info {model.id}' names its own",
        )
    return model.tested_by(name, protocol)


def _show(
    app: App, model: Model, outcome: Measurement, report: VerdictReport | None, record_path: Path | None
) -> None:
    from bddzoo.cli.output import describe_verdict, verdict_json

    if app.json:
        app.data_json(
            {
                "model": model.id,
                "images": outcome.scores.frames,
                "images_in_all": outcome.total,
                "scores": outcome.scores.to_json(),
                "failures": [{"name": name, "reason": reason} for name, reason in outcome.failures],
                "record": str(record_path) if record_path else None,
                "verdict": verdict_json(report),
            }
        )
        return
    part = f"{outcome.scores.frames} of " if outcome.failures else ""
    app.data(f"{model.id}: {part}{number_of(outcome.total if part else outcome.scores.frames, 'picture')}\n")
    app.data(summary_table(outcome.scores) + "\n")
    app.data(class_table(outcome.scores) + "\n")
    if report is not None:
        app.data(describe_verdict(report))
    if record_path is not None:
        app.say(f"record: {record_path}")


def summary_table(scores: Scores) -> str:
    """Metrics over all classes, with the definition of those that the official toolkit does not have."""
    from tabulate import tabulate

    from bddzoo.evaluation import DEFINITIONS

    names = [name for name in SUMMARY[scores.task] if name in scores.summary]
    table = tabulate(
        [[_percent(scores.summary[name]) for name in names]],
        headers=names,
        disable_numparse=True,
        stralign="right",
    )
    notes = [f"{name}: {DEFINITIONS[name]}" for name in DEFINED if name in scores.summary]
    return "\n".join([table, *notes])


def class_table(scores: Scores) -> str:
    """Metrics of each class; classes without ground truth are marked."""
    from tabulate import tabulate

    metrics = [metric for metric in PER_CLASS[scores.task] if metric in scores.table]
    rows: list[list[Any]] = []
    for name in scores.table[metrics[0]]:
        absent = name in scores.absent
        values = ["absent" if absent else _percent(scores.table[metric][name]) for metric in metrics]
        rows.append([name, *values])
    align = ["left"] + ["right"] * len(metrics)
    return tabulate(rows, headers=["class", *metrics], disable_numparse=True, colalign=align)


def _percent(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.2f}"


def _command_line() -> list[str]:
    return ["bddzoo", *sys.argv[1:]]
