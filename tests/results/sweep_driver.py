"""Runs a sweep of N models in a process of its own, so that a test can kill it: FOLDER N SLEEP."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bddzoo.registry.model import Model
from bddzoo.runs.local import LocalExecutor
from bddzoo.runs.plan import JobStatus
from bddzoo.runs.sweep import Settings, Sweep
from tests.results.factory import make_models


def settings(folder: Path, *arguments: str, **options: object) -> Settings:
    """Settings of a sweep with the light worker."""
    return Settings(
        arguments=("--log", str(folder / "log.txt"), *arguments),
        results=folder / "results",
        worker=(sys.executable, "-m", "tests.results.sweep_worker"),
        **options,  # type: ignore[arg-type]
    )


def local(
    models: Sequence[Model],
    plan: Settings,
    jobs: int = 1,
    watch: Callable[[Sequence[JobStatus]], None] = lambda jobs: None,
) -> Sweep:
    """A sweep on this machine."""
    return Sweep(models, plan, lambda: LocalExecutor(jobs), watch)


if __name__ == "__main__":
    where, count, sleep = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    local(make_models(count), settings(where, "--sleep", sleep), jobs=2).run()
