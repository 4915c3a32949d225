"""Options of `eval` and `predict` that trade exactness for speed.

The option that names the results folder, and the records that a user names.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bddzoo.cli.app import App, Folder

if TYPE_CHECKING:
    from bddzoo.results import StoredRecord


def speedup_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--amp`, `--channels-last` and `--compile` to a command, as `amp`, `channels_last`, `compiled`."""
    for option in reversed(
        (
            click.option("--amp", is_flag=True, help="Half precision on a GPU; changes the numbers."),
            click.option(
                "--channels-last",
                is_flag=True,
                help="Channels-last layout for every network; changes last bits.",
            ),
            click.option(
                "--compile", "compiled", is_flag=True, help="Through torch.compile; changes last bits."
            ),
        )
    ):
        command = option(command)
    return command


def results_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """The option that names the results folder."""
    return click.option(
        "--results",
        type=Folder(),
        envvar="BDDZOO_RESULTS",
        help="Folder of records. Default: benchmarks/results of the checkout, else the user's data folder.",
    )(function)


def find_named(app: App, results: Path | None, reference: str) -> StoredRecord:
    """The record that a user names, with a warning for each that is damaged; see `find_record`."""
    from bddzoo.results import default_root, find_record

    return find_record(default_root(results), reference, lambda error: app.warn(str(error)))
