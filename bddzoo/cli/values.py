"""Values of options that click would take, and that mean nothing."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click


class Amount(click.FloatRange):
    """A number in a range. `nan` is in every range for click: it is not less than anything."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number; refuses `nan`."""
        found = super().convert(value, param, ctx)
        if math.isnan(found):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return found


class Named(click.Path):
    """A file or folder. An empty name, as of a variable that is not set, would be the current folder."""

    def __init__(self, **options: Any) -> None:
        super().__init__(path_type=Path, **options)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path; refuses an empty one."""
        if value == "":
            self.fail("the name is empty; the current folder is '.'", param, ctx)
        return super().convert(value, param, ctx)


class Folder(Named):
    """A folder."""

    def __init__(self) -> None:
        super().__init__(file_okay=False)
