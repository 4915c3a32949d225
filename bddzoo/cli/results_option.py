"""The option that names the results folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


def results_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """The option that names the results folder."""
    return click.option(
        "--results",
        type=click.Path(file_okay=False, path_type=Path),
        envvar="BDDZOO_RESULTS",
        help="Folder of records. Default: benchmarks/results of the checkout, else the user's data folder.",
    )(function)
