"""In which order the models of a sweep run, and how long that takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from bddzoo.registry.types import Model
from bddzoo.results.record import Record

State = Literal["waiting", "queued", "running", "elsewhere", "done", "failed"]


@dataclass
class Job:
    """One model of a sweep.

    Attributes:
        model: The model.
        state: `waiting` for its turn; `queued` on a cluster without a free place; `running`; running
            `elsewhere`, by another sweep of the same folder; `done`; `failed`.
        tries: How often it was started by this process.
        reason: Why it failed.
        seconds: How long the last try took, or has taken so far.
        place: Where it runs or ran last.
        failed_at: Ids of the places where a try failed.
        record: The record, once it is done.
        exit_code: Exit status of the last try.
    """

    model: Model
    state: State = "waiting"
    tries: int = 0
    reason: str = ""
    seconds: float = 0.0
    place: str = ""
    failed_at: set[str] = field(default_factory=set)
    record: Record | None = None
    exit_code: int = 0


def weight(model: Model) -> float:
    """A guess of how long a model takes, to order a sweep: its parameters, times its windows."""
    params = model.network.params if model.network and model.network.params else 0
    slides = model.protocol is not None and model.protocol.mode == "slide"
    return float(params) * (3 if slides else 1)


def largest_first(models: Sequence[Model]) -> list[Model]:
    """The longest first, so that the last to run is a short one."""
    return sorted(models, key=weight, reverse=True)


def remaining_s(jobs: Sequence[Job], at_once: int) -> float | None:
    """Seconds that the rest may take, from what is done so far; None before the first is done."""
    ended = [(job.seconds, weight(job.model) or 1.0) for job in jobs if job.state == "done" and job.seconds]
    if not ended:
        return None
    rate = sum(seconds for seconds, _ in ended) / sum(load for _, load in ended)
    left = sum(
        max(0.0, (weight(job.model) or 1.0) * rate - (job.seconds if job.state == "running" else 0.0))
        for job in jobs
        if job.state not in ("done", "failed")
    )
    return left / max(1, at_once)
