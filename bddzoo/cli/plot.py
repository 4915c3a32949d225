"""`bddzoo plot`: plots of the registry's and the records' numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bddzoo.cli import options as opt
from bddzoo.cli.app import App, CommandGroup
from bddzoo.cli.output import check_target
from bddzoo.cli.select import Selection, find_data, find_named
from bddzoo.errors import IncomparableError, IntegrityError, MissingError, UsageError
from bddzoo.text import number_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bddzoo.evaluation.metrics.detection import MatchAccumulator
    from bddzoo.registry.model import Model
    from bddzoo.reports.plots.points import ComparableModels, Point
    from bddzoo.results import Record, StoredRecord

MAX_MODELS = 4


@dataclass(frozen=True)
class Target:
    """Where a plot goes.

    Attributes:
        out: An .svg or .png; without a suffix, both.
        force: Replace what is there.
        check: Write nothing, compare.
    """

    out: Path
    force: bool
    check: bool

    def draw(self, app: App, title: str, make: Callable[[], Figure], left_out: int = 0) -> int:
        """Make a figure and write it, or compare it with its files; returns the exit status."""
        from bddzoo.reports.plots import canvas

        if not self.check:
            for path in canvas.targets(self.out):
                check_target(path, self.force)
        with canvas.drawing():
            paths = (canvas.check if self.check else canvas.save)(make(), self.out, title)
        if app.json:
            files = [str(p) for p in paths]
            app.data_json({"title": title, "files": files, "checked": self.check, "left_out": left_out})
        else:
            for path in paths:
                app.data(str(path))
            if left_out:
                app.say(f"left out, without these numbers: {number_of(left_out, 'model')}")
        return 0


TARGET = opt.gathered(
    Target, out=opt.out_file("An .svg or .png; without a suffix, both."), force=opt.FORCE, check=opt.CHECK
)
RECORD = opt.argument(metavar="RECORD", shell_complete=opt.complete_models)


def records_argument(shown: str) -> Any:
    """Records that are compared."""
    return opt.argument(metavar=shown, nargs=-1, required=True, shell_complete=opt.complete_models)


@dataclass(frozen=True)
class Numbers:
    """Which models, and which of their numbers."""

    selection: Selection
    dataset: str | None
    metric: str | None

    def models(self, app: App) -> ComparableModels:
        """The models, which are of one task and data set."""
        from bddzoo.reports.plots.points import select

        chosen = self.selection.models(app, needed=False)
        return select(chosen, self.selection.task, self.dataset, self.metric)


NUMBERS = opt.gathered(Numbers, selection=opt.SELECTION, dataset=opt.DATASET_OF_NUMBERS, metric=opt.METRIC)
MEASURED = opt.flag("--measured", help="Measured numbers, from records, instead of reported ones.")


@click.group(
    cls=CommandGroup,
    epilog="""\b
Examples:
  bddzoo plot params --zoo bdd100k-models -t sem_seg -o params.svg
  bddzoo plot speed -t sem_seg -o speed
  bddzoo plot classes MODEL_A MODEL_B -o classes.png
  bddzoo plot slices MODEL --by weather,timeofday -o slices
  bddzoo plot reliability MODEL -o reliability
""",
)
def command() -> None:
    """Plot numbers: accuracy against size and speed, splits, verdicts, classes, slices, curves."""


def _trade_off(
    app: App,
    target: Target,
    chosen: ComparableModels,
    points: Sequence[Point],
    title: str,
    x: str,
    y: str,
    *,
    small_x: bool = True,
) -> int:
    from bddzoo.reports.plots.charts import trade_off

    title = f"{title}: {chosen.task}, {chosen.dataset}"
    left_out = len(chosen.models) - len({p.model for p in points})
    return target.draw(app, title, lambda: trade_off(points, x, y, title, small_x=small_x), left_out)


@opt.command(
    group=command,
    epilog="""\b
Examples:
  bddzoo plot params --zoo bdd100k-models -t ins_seg -o params
  bddzoo plot params 'upernet*' --split test -o params.svg
""",
)
def params(
    app: App,
    *,
    numbers: Numbers = NUMBERS,
    split: str = opt.SPLIT,
    measured: bool = MEASURED,
    results: Path | None = opt.RESULTS,
    target: Target = TARGET,
) -> int:
    """Accuracy against the number of parameters."""
    from bddzoo.reports.plots.points import by_parameters

    chosen = numbers.models(app)
    points = by_parameters(chosen, split, records_of(app, results, chosen.models) if measured else None)
    told = "measured" if measured else "reported"
    title = f"{told.capitalize()} {chosen.metric} on {split} against parameters"
    y = f"{told} {chosen.metric} on {split}, percent"
    return _trade_off(app, target, chosen, points, title, "parameters, million", y)


@opt.command(
    group=command,
    epilog="""\b
Examples:
  bddzoo plot speed -t sem_seg -o speed
  bddzoo plot speed --zoo demo -t ins_seg -o speed.svg
""",
)
def speed(
    app: App,
    *,
    numbers: Numbers = NUMBERS,
    split: str = opt.SPLIT,
    results: Path | None = opt.RESULTS,
    target: Target = TARGET,
) -> int:
    """Measured accuracy against measured images per second; every device is named."""
    from bddzoo.reports.plots.points import by_speed

    chosen = numbers.models(app)
    points = by_speed(chosen, split, records_of(app, results, chosen.models))
    devices = list(dict.fromkeys(p.group for p in points))
    where = devices[0] if len(devices) == 1 else f"{len(devices)} devices"
    title = f"{chosen.metric} on {split} against speed, on {where}"
    x, y = "measured images per second", f"measured {chosen.metric} on {split}, percent"
    return _trade_off(app, target, chosen, points, title, x, y, small_x=False)


@opt.command(
    group=command,
    epilog="""\b
Examples:
  bddzoo plot latency -t sem_seg -o latency
  bddzoo plot latency --zoo demo -t sem_seg --device '*H100*' -o latency
""",
)
def latency(
    app: App,
    *,
    numbers: Numbers = NUMBERS,
    split: str = opt.SPLIT,
    device: str | None = opt.MEASURED_DEVICE,
    measured: bool = MEASURED,
    results: Path | None = opt.RESULTS,
    target: Target = TARGET,
) -> int:
    """Accuracy against milliseconds an image, from records of 'bddzoo bench'."""
    from bddzoo.reports.plots.points import by_latency
    from bddzoo.results import default_root
    from bddzoo.results.speed import scan_speed

    chosen = numbers.models(app)
    stored = [i.record for i in scan_speed(default_root(results), app.warn_of)]
    records = records_of(app, results, chosen.models) if measured else None
    points = by_latency(chosen, split, stored, records, device)
    title = f"{chosen.metric} on {split} against latency"
    y = f"{'measured' if measured else 'reported'} {chosen.metric} on {split}, percent"
    return _trade_off(app, target, chosen, points, title, "milliseconds an image, network", y)


@opt.command(
    group=command,
    epilog="""\b
Examples:
  bddzoo plot splits --zoo bdd100k-models -t sem_seg -o splits
""",
)
def splits(
    app: App,
    *,
    numbers: Numbers = NUMBERS,
    x: str = opt.option("--x", default="val", metavar="SPLIT", help="Split of the horizontal axis."),
    y: str = opt.option("--y", default="test", metavar="SPLIT", help="Split of the vertical axis."),
    target: Target = TARGET,
) -> int:
    """Reported accuracy on one split against that on another: who is tuned to val?"""
    from bddzoo.reports.plots import charts
    from bddzoo.reports.plots.points import by_split

    chosen = numbers.models(app)
    points = by_split(chosen, x, y)
    title = f"Reported {chosen.metric}, {y} against {x}: {chosen.task}, {chosen.dataset}"
    axes = (f"{chosen.metric} on {x}, percent", f"{chosen.metric} on {y}, percent")
    left_out = len(chosen.models) - len(points)
    return target.draw(app, title, lambda: charts.splits(points, *axes, title), left_out)


@opt.command(
    group=command,
    epilog="""\b
Examples:
  bddzoo plot reported -o reported
  bddzoo plot reported --zoo demo --results benchmarks/results -o reported.svg
""",
)
def reported(
    app: App,
    *,
    selection: Selection = opt.SELECTION,
    split: str = opt.SPLIT,
    results: Path | None = opt.RESULTS,
    target: Target = TARGET,
) -> int:
    """Measured minus reported for every number, with the band of tolerance and the verdict."""
    from bddzoo.reports.plots.charts import reported_against_measured
    from bddzoo.reports.plots.points import verdicts

    models = selection.models(app, needed=False)
    rows = verdicts(models, records_of(app, results, models), split)
    title = f"Reported / measured on {split}, percent, and the tolerance"
    return target.draw(app, title, lambda: reported_against_measured(rows, title))


@opt.command(
    group=command,
    epilog="""\b
A record is its id or the first digits, a path, or a model, which stands for
its best record; a scores file is what 'bddzoo score -o' or the official
toolkit wrote.
\b
Examples:
  bddzoo plot classes 3f2a 91bc -o classes
  bddzoo plot classes fpn_r50_512x1024_40k_sem_seg_bdd100k mine.json \\
      --name FPN --name mine -o classes.svg
""",
)
def classes(
    app: App,
    *,
    references: tuple[str, ...] = records_argument("RECORD_OR_SCORES..."),
    metric: str | None = opt.METRIC,
    called: tuple[str, ...] = opt.NAME,
    results: Path | None = opt.RESULTS,
    target: Target = TARGET,
) -> int:
    """Values of every class, for up to four records or scores files side by side."""
    from bddzoo.evaluation.metrics.scores import MAIN_TABLE
    from bddzoo.reports.plots.charts import class_bars

    _count(references, called)
    tables = [_tables(app, reference, results) for reference in references]
    shared = [name for name in tables[0][2] if all(name in found for _, _, found in tables)]
    chosen = metric or next((MAIN_TABLE[t] for _, t, _ in tables if t in MAIN_TABLE), next(iter(shared), ""))
    if chosen not in shared:
        known = ", ".join(shared) or "none"
        raise IncomparableError(
            f"no per-class {chosen or 'values'} in all of them", hint=f"they share {known}"
        )
    names = called or _unlike([name for name, _, _ in tables], references)
    values = {
        name: {kind: math.nan if v is None else v for kind, v in found[chosen].items()}
        for name, (_, _, found) in zip(names, tables, strict=True)
    }
    title = f"{chosen} of each class: {', '.join(names)}"
    return target.draw(app, title, lambda: class_bars(values, chosen, title))


@opt.command(
    group=command,
    epilog="""\b
Examples:
  bddzoo plot slices demo_semfpn_r18n_sem_seg --data mini -o slices
  bddzoo plot slices 3f2a --by scene --attributes det_val.json -o scenes.svg
""",
)
def slices(
    app: App,
    *,
    references: tuple[str, ...] = records_argument("RECORD..."),
    by: tuple[tuple[str, ...], ...] = opt.BY,
    data: Path | None = opt.DATA,
    attributes: Path | None = opt.ATTRIBUTES,
    metric: str | None = opt.METRIC,
    called: tuple[str, ...] = opt.NAME,
    results: Path | None = opt.RESULTS,
    target: Target = TARGET,
) -> int:
    """Scores by weather and time of day, from the statistics that records keep of every image."""
    from bddzoo.evaluation.slices import slice_scores
    from bddzoo.reports.plots.charts import slice_bars
    from bddzoo.reports.plots.points import attributes_of, statistics_of

    _count(references, called)
    keys = [key for names in by for key in names] or ["weather", "timeofday"]
    # What is typed: a data set that the environment or the config file names does not speak against a file.
    data = None if attributes is not None else find_data(app, data)
    if data is None and attributes is None:
        raise UsageError(
            "one of --data and --attributes is needed", hint="they tell the weather of each frame"
        )
    stored = [find_named(app, results, reference) for reference in references]
    names = called or _unlike([one.record.model for one in stored], references)
    found: dict[str, dict[str, dict[str, tuple[float, int]]]] = {key: {} for key in keys}
    for name, one in zip(names, stored, strict=True):
        accumulator, chosen = statistics_of(one, metric)
        values = attributes_of(one, accumulator, data, attributes)
        for key, parts in slice_scores(accumulator, values, keys).items():
            found[key][name] = {
                part: (scores.summary[chosen], scores.frames) for part, scores in parts.items()
            }
    title = f"{chosen} by {' and '.join(keys)}: {', '.join(names)}"
    return target.draw(app, title, lambda: slice_bars(found, chosen, title))


@opt.command(
    group=command,
    epilog="""\b
Examples:
  bddzoo plot precision demo_mask_rcnn_r18n_ins_seg -o precision
  bddzoo plot precision 3f2a --iou 0.75 --metric box_AP -o boxes.svg
""",
)
def precision(
    app: App,
    *,
    reference: str = RECORD,
    iou: float = opt.option(
        "--iou", type=click.FloatRange(0.5, 0.95), default=0.5, metavar="X", help="0.50, 0.55, ... 0.95."
    ),
    metric: str | None = opt.METRIC,
    results: Path | None = opt.RESULTS,
    target: Target = TARGET,
) -> int:
    """Precision over recall of each class, from the statistics that a record keeps of every image."""
    from bddzoo.evaluation.metrics.matching import IOU_THRESHOLDS
    from bddzoo.reports.plots.charts import curves

    near = [abs(threshold - iou) for threshold in IOU_THRESHOLDS]
    if min(near) > 1e-9:
        raise UsageError(f"no matches are kept at IoU {iou:g}", hint="they are at 0.50, 0.55, ... 0.95")
    stored, matches = _detections(app, reference, metric, results)
    title = f"Precision over recall at IoU {iou:.2f}: {stored.record.model}"
    return target.draw(app, title, lambda: curves(matches, near.index(min(near))))


@opt.command(
    group=command,
    epilog="""\b
Examples:
  bddzoo plot reliability demo_mask_rcnn_r18n_ins_seg -o reliability
""",
)
def reliability_(
    app: App,
    *,
    reference: str = RECORD,
    metric: str | None = opt.METRIC,
    results: Path | None = opt.RESULTS,
    target: Target = TARGET,
) -> int:
    """Share of detections that are right over their score, from the statistics that a record keeps."""
    from bddzoo.reports.plots.charts import reliability

    stored, matches = _detections(app, reference, metric, results)
    return target.draw(app, f"Reliability of scores: {stored.record.model}", lambda: reliability(matches))


def _detections(
    app: App, reference: str, metric: str | None, results: Path | None
) -> tuple[StoredRecord, MatchAccumulator]:
    """A record and its matched detections.

    Raises:
        UsageError: It is of a task without detections.
    """
    from bddzoo.evaluation.metrics.detection import MatchAccumulator
    from bddzoo.reports.plots.points import statistics_of

    stored = find_named(app, results, reference)
    accumulator, _ = statistics_of(stored, metric)
    if not isinstance(accumulator, MatchAccumulator):
        raise UsageError(f"record {stored.id} is of {stored.record.task}, which has no detections")
    return stored, accumulator


def _count(references: tuple[str, ...], called: tuple[str, ...]) -> None:
    if len(references) > MAX_MODELS:
        raise UsageError(f"{len(references)} to compare; more than {MAX_MODELS} cannot be told apart in bars")
    if called and len(called) != len(references):
        raise UsageError(
            f"{len(called)} --name for {len(references)}", hint="give one for each, in their order"
        )
    if len(set(called)) < len(called):
        raise UsageError("a --name is given twice")


def _unlike(names: list[str], references: tuple[str, ...]) -> tuple[str, ...]:
    """The names, told apart by what the user typed where two are equal."""
    if len(set(names)) == len(names):
        return tuple(names)
    if len(set(references)) < len(references):
        raise UsageError(f"{references[0]} is compared with itself", hint="name two different records")
    return tuple(f"{name} ({reference})" for name, reference in zip(names, references, strict=True))


def _tables(
    app: App, reference: str, results: Path | None
) -> tuple[str, str, dict[str, dict[str, float | None]]]:
    """Name, task ("" if unknown) and per-class tables of a record or a scores file."""
    from bddzoo.results.scorefile import read_score_file

    path = Path(reference)
    try:
        record = find_named(app, results, reference).record
    except IntegrityError:
        if not path.is_file():
            raise
        found = read_score_file(path).classes
        if not found:
            raise MissingError(f"{path} has no values of single classes") from None
        tables: dict[str, dict[str, float | None]] = {metric: dict(row) for metric, row in found.items()}
        return path.stem, "", tables
    return record.model, record.task, record.per_class


def records_of(app: App, results: Path | None, models: Sequence[Model]) -> list[Record]:
    """Records of models; what is damaged, and of models that are in no registry, is told and left out."""
    from bddzoo.results import default_root
    from bddzoo.results.store import records_by_model

    root = default_root(results)
    known = records_by_model(root, app.registry, app.warn_of, app.warn)
    records = [stored.record for model in models for stored in known.get(model.id, ())]
    if not records:
        app.detail(f"no record of these models in {root}")
    return records
