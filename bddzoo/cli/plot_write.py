"""What the commands of `bddzoo plot` share: where to, and the records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bddzoo.cli.app import App
from bddzoo.words import number_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bddzoo.registry.types import Model
    from bddzoo.results import Record

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
