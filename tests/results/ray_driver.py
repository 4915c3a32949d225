"""Runs a sweep of N models on a Ray cluster, in a process of its own: ADDRESS FOLDER N ARGUMENTS..."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bddzoo.runs.plan import JobStatus
from bddzoo.runs.ray import RayExecutor
from bddzoo.runs.sweep import Settings, Sweep
from tests.results.factory import make_models
from tests.results.sweep_driver import settings


def on_ray(
    address: str | None,
    count: int,
    plan: Settings,
    watch: Callable[[Sequence[JobStatus]], None] = lambda jobs: None,
    **options: object,
) -> Sweep:
    """A sweep of `m0`, `m1`, ... with one processor for each model."""
    chosen = {"cpus": 1, "gpus": 0, **options}
    return Sweep(make_models(count), plan, lambda: RayExecutor(address, **chosen), watch)  # type: ignore[arg-type]


if __name__ == "__main__":
    where, folder, number, *arguments = sys.argv[1:]
    try:
        jobs = on_ray(where, int(number), settings(Path(folder), *arguments)).run()
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0 if all(job.state == "done" for job in jobs) else 1)
