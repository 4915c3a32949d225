"""Runs a command in this process: the same code, without three seconds of importing torch each time."""

from __future__ import annotations

import contextlib
import io
import json
import os
from dataclasses import dataclass
from typing import Any

from bddzoo.cli.main import run
from tests.cli.command import bddzoo


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """Lines on stderr that are errors."""
        return [line for line in self.err.splitlines() if line.startswith("error:")]

    @property
    def data(self) -> Any:
        """What it printed as JSON."""
        return json.loads(self.out)


def command(*arguments: object) -> Done:
    """Run `bddzoo ARGUMENTS`."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([str(argument) for argument in arguments])
    return Done(code, out.getvalue(), err.getvalue())


def command_apart(*arguments: object) -> Done:
    """Run it as a process that is forked where it can be, and so are those that it starts."""
    settings = {name: value for name, value in os.environ.items() if name.startswith("BDDZOO_")}
    done = bddzoo(*arguments, env=settings)
    return Done(done.returncode, done.stdout, done.stderr)
