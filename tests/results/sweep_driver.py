"""Runs a sweep of N models in a process of its own, so that a test can kill it: FOLDER N SLEEP."""

from __future__ import annotations

import sys
from pathlib import Path

from bddzoo.results.sweep import Settings, Sweep
from tests.results.factory import make_model


def settings(folder: Path, *arguments: str, **options: object) -> Settings:
    """Settings of a sweep with the light worker."""
    return Settings(
        arguments=("--log", str(folder / "log.txt"), *arguments),
        results=folder / "results",
        worker=(sys.executable, "-m", "tests.results.sweep_worker"),
        **options,  # type: ignore[arg-type]
    )


if __name__ == "__main__":
    where, count, sleep = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    models = [make_model(id=f"m{i}") for i in range(count)]
    Sweep(models, settings(where, "--sleep", sleep, jobs=2)).run()
