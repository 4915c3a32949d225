"""Runs a command in this process: the same code, without three seconds of importing torch each time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from bddzoo.cli.main import run


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


def runner(capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """A function that runs `bddzoo ARGUMENTS`."""

    def call(*arguments: object) -> Done:
        capsys.readouterr()
        code = run([str(a) for a in arguments])
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return call
