"""Which models of a sweep run, in which order, and how long that takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bddzoo.errors import BddzooError
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


def tested_on(
    models: Sequence[Model], data: Path, split: str, *, named: bool
) -> tuple[list[Model], list[str]]:
    """The models that are tested on what a folder holds.

    Args:
        models: The models.
        data: Folder of a data set.
        split: Split that they are measured on.
        named: The user named them: then the folder has to do for every one.

    Returns:
        The models, and the data sets of those that were left out.

    Raises:
        BddzooError: No model is; or one is not that had to be.
    """
    from bddzoo.datasets.layouts import dataset_of, open_layout

    reasons: dict[tuple[str, str], BddzooError] = {}
    for wanted, dataset in sorted({(m.task, dataset_of(m)) for m in models}):
        try:
            open_layout(data, dataset).listing(wanted, split, attributes=False)
        except BddzooError as error:
            reasons[wanted, dataset] = error
    fitting = [m for m in models if (m.task, dataset_of(m)) not in reasons]
    held = {dataset_of(m) for m in fitting}
    for (_, dataset), reason in reasons.items():
        if named or dataset in held:
            raise reason
    if not fitting:
        raise reasons[models[0].task, dataset_of(models[0])]
    return fitting, sorted({dataset for _, dataset in reasons})


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
