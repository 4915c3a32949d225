"""Options of `eval` and `predict` that trade exactness for speed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


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
