"""`bddzoo plot classes` and `slices`: numbers within records.

What the commands of `bddzoo plot` share: where to, and the records.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bddzoo.cli.app import App, ZooCommand, complete_models
from bddzoo.cli.options import find_named, results_option
from bddzoo.errors import IncomparableError, MissingError, UsageError
from bddzoo.text import number_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bddzoo.evaluation.options import Accumulator
    from bddzoo.registry.model import Model
    from bddzoo.results import Record, StoredRecord

Command = Callable[..., Any]


def output_options(function: Command) -> Command:
    """Where to, or what to compare with."""
    options = (
        click.option(
            "-o",
            "--out",
            type=click.Path(dir_okay=False, path_type=Path),
            required=True,
            metavar="FILE",
            help="An .svg or .png; without a suffix, both.",
        ),
        click.option(
            "--check", is_flag=True, help="Write nothing; status 3 if FILE is not what the numbers give now."
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def write(app: App, figure: Figure, out: Path, title: str, *, check: bool, left_out: int = 0) -> int:
    """Write a figure or compare it with its files; returns the exit status."""
    from bddzoo.reports.plots import canvas

    paths = (canvas.check if check else canvas.save)(figure, out, title)
    if app.json:
        app.data_json(
            {"title": title, "files": [str(p) for p in paths], "checked": check, "left_out": left_out}
        )
    else:
        for path in paths:
            app.data(str(path))
        if left_out:
            app.say(f"left out, without these numbers: {number_of(left_out, 'model')}")
    return 0


def records_of(app: App, results: Path | None, models: Sequence[Model]) -> list[Record]:
    """Records of models; what is damaged, and of models that are in no registry, is told and left out."""
    from bddzoo.results import default_root, scan_records

    root = default_root(results)
    wanted, known = {m.id for m in models}, {m.id for m in app.registry.models}
    records, gone = [], dict[str, int]()
    for stored in scan_records(root, on_error=lambda error: app.warn(str(error))):
        record = stored.record
        if record.model in wanted:
            records.append(record)
        elif record.model not in known:
            gone[record.model] = gone.get(record.model, 0) + 1
    for model, count in gone.items():
        app.warn(f"{count} record(s) of {model}, which is not in the registry; left out")
    if not records:
        app.detail(f"no record of these models in {root}")
    return records


TABLES = {"sem_seg": "IoU", "drivable": "IoU", "ins_seg": "AP", "pan_seg": "PQ"}
SUMMARIES = {"IoU": "mIoU"}
MAX_MODELS = 4


@click.command(
    "classes",
    cls=ZooCommand,
    epilog="""\b
A record is its id or the first digits, a path, or a model, which stands for its newest record; a scores file
is what 'bddzoo score --out-file' or the official toolkit wrote.
\b
Examples:
  bddzoo plot classes 3f2a 91bc -o classes
  bddzoo plot classes fpn_r50_512x1024_40k_sem_seg_bdd100k mine.json --name FPN --name mine -o classes.svg
""",
)
@click.argument(
    "references", metavar="RECORD_OR_SCORES...", nargs=-1, required=True, shell_complete=complete_models
)
@click.option("--metric", help="Default: IoU for class maps, AP for instances.")
@click.option("--name", "called", multiple=True, help="What they are called, in their order; repeatable.")
@results_option
@output_options
@click.pass_obj
def classes(
    app: App,
    *,
    references: tuple[str, ...],
    metric: str | None,
    called: tuple[str, ...],
    results: Path | None,
    out: Path,
    check: bool,
) -> int:
    """Values of every class, for up to four records or scores files side by side."""
    from bddzoo.reports.plots.canvas import drawing
    from bddzoo.reports.plots.charts import class_bars

    _count(references, called)
    tables = [_tables(reference, results) for reference in references]
    shared = [name for name in tables[0][2] if all(name in found for _, _, found in tables)]
    chosen = metric or next((TABLES[t] for _, t, _ in tables if t in TABLES), next(iter(shared), ""))
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
    with drawing():
        return write(app, class_bars(values, chosen, title), out, title, check=check)


@click.command(
    "slices",
    cls=ZooCommand,
    epilog="""\b
Examples:
  bddzoo plot slices demo_semfpn_r18n_sem_seg --data mini -o slices
  bddzoo plot slices 3f2a 91bc --by scene --attributes labels/det_20/det_val.json -o scenes.svg
""",
)
@click.argument("references", metavar="RECORD...", nargs=-1, required=True, shell_complete=complete_models)
@click.option(
    "--by",
    multiple=True,
    default=("weather", "timeofday"),
    show_default=True,
    help="Attribute of frames; repeatable.",
)
@click.option(
    "--data", type=click.Path(path_type=Path), help="Data set whose label files tell the attributes."
)
@click.option("--attributes", type=click.Path(path_type=Path), help="Label JSON that tells the attributes.")
@click.option("--metric", help="Default: mIoU for class maps, AP for instances.")
@click.option("--name", "called", multiple=True, help="What they are called, in their order; repeatable.")
@results_option
@output_options
@click.pass_obj
def slices(
    app: App,
    *,
    references: tuple[str, ...],
    by: tuple[str, ...],
    data: Path | None,
    attributes: Path | None,
    metric: str | None,
    called: tuple[str, ...],
    results: Path | None,
    out: Path,
    check: bool,
) -> int:
    """Scores by weather and time of day, from the statistics that records keep of every image."""
    from bddzoo.evaluation.slices import slice_scores
    from bddzoo.reports.plots.canvas import drawing
    from bddzoo.reports.plots.charts import slice_bars

    _count(references, called)
    if (data is None) == (attributes is None):
        raise UsageError(
            "one of --data and --attributes is needed", hint="they tell the weather of each frame"
        )
    stored = [find_named(app, results, reference) for reference in references]
    names = called or _unlike([one.record.model for one in stored], references)
    found: dict[str, dict[str, dict[str, tuple[float, int]]]] = {key: {} for key in by}
    for name, one in zip(names, stored, strict=True):
        accumulator, chosen = _accumulator(one, metric)
        values = _attributes(one, accumulator, data, attributes)
        for key, parts in slice_scores(accumulator, values, by).items():
            found[key][name] = {
                part: (scores.summary[chosen], scores.frames) for part, scores in parts.items()
            }
    title = f"{chosen} by {' and '.join(by)}: {', '.join(names)}"
    with drawing():
        return write(app, slice_bars(found, chosen, title), out, title, check=check)


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


def _tables(reference: str, results: Path | None) -> tuple[str, str, dict[str, dict[str, float | None]]]:
    """Name, task ("" if unknown) and per-class tables of a record or a scores file."""
    from bddzoo.errors import IntegrityError
    from bddzoo.results import default_root, find_record
    from bddzoo.results.scorefile import read_scores

    path = Path(reference)
    try:
        record = find_record(default_root(results), reference).record
    except IntegrityError:
        if not path.is_file():
            raise
        _, found = read_scores(path)
        if not found:
            raise MissingError(f"{path} has no values of single classes") from None
        tables: dict[str, dict[str, float | None]] = {metric: dict(row) for metric, row in found.items()}
        return path.stem, "", tables
    return record.model, record.task, record.per_class


def _accumulator(stored: StoredRecord, metric: str | None) -> tuple[Accumulator, str]:
    """Statistics of a record's images that hold a metric, and the metric.

    Raises:
        MissingError: It kept none that do.
    """
    from bddzoo.evaluation import statistics
    from bddzoo.results.store import read_statistics

    record = stored.record
    table = TABLES.get(record.task, "mIoU")
    chosen = metric or SUMMARIES.get(table, table)
    known: list[str] = []
    for name in record.statistics:
        accumulator = statistics.load(read_statistics(stored, name))
        summary = accumulator.compute().summary
        if chosen in summary:
            return accumulator, chosen
        known += summary
    if not record.statistics:
        raise MissingError(
            f"record {stored.id} of {record.model} kept no statistics of its images", hint="measure it again"
        )
    raise MissingError(f"record {stored.id} has no metric '{chosen}'", hint="it has " + ", ".join(known))


def _attributes(
    stored: StoredRecord, accumulator: Accumulator, data: Path | None, file: Path | None
) -> dict[str, dict[str, str]]:
    from bddzoo.datasets import attributes

    if file is not None:
        return attributes.read_attribute_files(file)
    assert data is not None
    record = stored.record
    stems = [Path(name.split("\0", maxsplit=1)[0]).stem for name in accumulator.names]
    found = attributes.read_attributes(data, record.task, record.protocol.split, stems)
    if not found:
        raise MissingError(
            f"{data} does not tell the attributes of the frames of record {stored.id}",
            hint="name a label JSON with --attributes",
        )
    return found


COMMANDS = (classes, slices)
