"""The option that names the results folder, and the records that a user names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bddzoo.cli.app import App
from bddzoo.cli.values import Folder

if TYPE_CHECKING:
    from bddzoo.results import StoredRecord


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
