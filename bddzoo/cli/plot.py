"""`bddzoo plot`: plots of the registry's and the records' numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bddzoo.cli.app import App, CommandGroup, ZooCommand, complete_models, complete_tasks, complete_zoos
from bddzoo.cli.options import results_option
from bddzoo.cli.plot_records import COMMANDS, output_options, records_of, write

if TYPE_CHECKING:
    from bddzoo.reports.plots.points import Selection

Command = Callable[..., Any]


@click.group(
    cls=CommandGroup,
    epilog="""\b
Examples:
  bddzoo plot params --zoo bdd100k-models --task sem_seg -o params.svg
  bddzoo plot speed --task sem_seg -o speed
  bddzoo plot classes MODEL_A MODEL_B -o classes.png
  bddzoo plot slices MODEL --by weather --by timeofday --data /data/bdd100k -o slices
""",
)
def command() -> None:
    """Plot numbers: accuracy against size and speed, splits, verdicts, classes, slices."""


for _more in COMMANDS:
    command.add_command(_more)


def model_options(function: Command) -> Command:
    """Which models, and which of their numbers."""
    options = (
        click.argument("patterns", metavar="[MODEL]...", nargs=-1, shell_complete=complete_models),
        click.option("--zoo", shell_complete=complete_zoos, help="Only this zoo."),
        click.option("--task", shell_complete=complete_tasks, help="Only this task."),
        click.option("--dataset", help="Only this data set. Default: bdd100k where there are several."),
        click.option(
            "--where", "conditions", multiple=True, help="A condition, as in 'bddzoo list'; repeatable."
        ),
        click.option("--metric", help="Default: mIoU for class maps, AP for instances."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def _select(app: App, **given: Any) -> Selection:
    from bddzoo.reports.plots.points import select

    models = app.registry.select(given["patterns"], zoo=given["zoo"], where=given["conditions"])
    return select(models, given["task"], given["dataset"], given["metric"])


@command.command(
    "params",
    cls=ZooCommand,
    epilog="""\b
Examples:
  bddzoo plot params --zoo bdd100k-models --task ins_seg -o params
  bddzoo plot params 'upernet*' --split test -o params.svg
""",
)
@model_options
@click.option("--split", default="val", show_default=True, help="Split that the numbers are of.")
@click.option("--measured", is_flag=True, help="Measured numbers, from records, instead of reported ones.")
@results_option
@output_options
@click.pass_obj
def params(
    app: App, /, *, split: str, measured: bool, results: Path | None, out: Path, check: bool, **given: Any
) -> int:
    """Accuracy against the number of parameters."""
    from bddzoo.reports.plots.canvas import drawing
    from bddzoo.reports.plots.charts import trade_off
    from bddzoo.reports.plots.points import by_parameters

    chosen = _select(app, **given)
    points = by_parameters(chosen, split, records_of(app, results, chosen.models) if measured else None)
    told = "measured" if measured else "reported"
    title = (
        f"{told.capitalize()} {chosen.metric} on {split} against parameters: {chosen.task}, {chosen.dataset}"
    )
    with drawing():
        figure = trade_off(
            points, "parameters, million", f"{told} {chosen.metric} on {split}, percent", title, small_x=True
        )
        return write(app, figure, out, title, check=check, left_out=len(chosen.models) - len(points))


@command.command(
    "speed",
    cls=ZooCommand,
    epilog="""\b
Examples:
  bddzoo plot speed --task sem_seg -o speed
  bddzoo plot speed --zoo demo --task ins_seg --results benchmarks/results -o speed.svg
""",
)
@model_options
@click.option("--split", default="val", show_default=True, help="Split that the numbers are of.")
@results_option
@output_options
@click.pass_obj
def speed(app: App, /, *, split: str, results: Path | None, out: Path, check: bool, **given: Any) -> int:
    """Measured accuracy against measured images per second; every device is named."""
    from bddzoo.reports.plots.canvas import drawing
    from bddzoo.reports.plots.charts import trade_off
    from bddzoo.reports.plots.points import by_speed

    chosen = _select(app, **given)
    points = by_speed(chosen, split, records_of(app, results, chosen.models))
    devices = list(dict.fromkeys(p.group for p in points))
    where = devices[0] if len(devices) == 1 else f"{len(devices)} devices"
    title = f"{chosen.metric} on {split} against speed, on {where}: {chosen.task}, {chosen.dataset}"
    with drawing():
        x, y = "measured images per second", f"measured {chosen.metric} on {split}, percent"
        figure = trade_off(points, x, y, title, small_x=False)
        left_out = len(chosen.models) - len({p.model for p in points})
        return write(app, figure, out, title, check=check, left_out=left_out)


@command.command(
    "splits",
    cls=ZooCommand,
    epilog="""\b
Examples:
  bddzoo plot splits --zoo bdd100k-models --task sem_seg -o splits
""",
)
@model_options
@click.option("--x", default="val", show_default=True, help="Split of the horizontal axis.")
@click.option("--y", default="test", show_default=True, help="Split of the vertical axis.")
@output_options
@click.pass_obj
def splits_(app: App, /, *, x: str, y: str, out: Path, check: bool, **given: Any) -> int:
    """Reported accuracy on one split against that on another: who is tuned to val?"""
    from bddzoo.reports.plots.canvas import drawing
    from bddzoo.reports.plots.charts import splits
    from bddzoo.reports.plots.points import by_split

    chosen = _select(app, **given)
    points = by_split(chosen, x, y)
    title = f"Reported {chosen.metric}, {y} against {x}: {chosen.task}, {chosen.dataset}"
    with drawing():
        figure = splits(points, f"{chosen.metric} on {x}, percent", f"{chosen.metric} on {y}, percent", title)
        return write(app, figure, out, title, check=check, left_out=len(chosen.models) - len(points))


@command.command(
    "reported",
    cls=ZooCommand,
    epilog="""\b
Examples:
  bddzoo plot reported -o reported
  bddzoo plot reported --zoo demo --results benchmarks/results -o reported.svg
""",
)
@click.argument("patterns", metavar="[MODEL]...", nargs=-1, shell_complete=complete_models)
@click.option("--zoo", shell_complete=complete_zoos, help="Only this zoo.")
@click.option("--task", shell_complete=complete_tasks, help="Only this task.")
@click.option("--split", default="val", show_default=True, help="Split that the numbers are of.")
@results_option
@output_options
@click.pass_obj
def reported(
    app: App,
    /,
    *,
    patterns: tuple[str, ...],
    zoo: str | None,
    task: str | None,
    split: str,
    results: Path | None,
    out: Path,
    check: bool,
) -> int:
    """Measured minus reported for every number, with the band of tolerance and the verdict."""
    from bddzoo.reports.plots.canvas import drawing
    from bddzoo.reports.plots.charts import reported_against_measured
    from bddzoo.reports.plots.points import verdicts

    models = app.registry.select(patterns, zoo=zoo, task=task)
    rows = verdicts(models, records_of(app, results, models), split)
    title = f"Reported / measured on {split}, percent, and the tolerance"
    with drawing():
        return write(app, reported_against_measured(rows, title), out, title, check=check)
