"""The plan of a sweep: which models run, in which order and where, their locks and logs; the Slurm script."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal, Protocol

from bddzoo.errors import BddzooError
from bddzoo.files import path_part
from bddzoo.registry.model import Model
from bddzoo.results.record import Record

State = Literal["waiting", "queued", "running", "elsewhere", "done", "failed"]


@dataclass
class JobStatus:
    """How far a sweep is with one model.

    Attributes:
        model: The model.
        state: `waiting` for its turn; `queued` on a cluster without a free place; `running`; running
            `elsewhere`, in another sweep of the same folder; `done`; `failed`.
        tries: How often this process has started it.
        reason: Why it failed.
        seconds: How long the last try took, or has taken so far.
        place: Where it runs or ran last.
        record: The record, once it is done.
        exit_code: Exit status of the last try.
    """

    model: Model
    state: State = "waiting"
    tries: int = 0
    reason: str = ""
    seconds: float = 0.0
    place: str = ""
    record: Record | None = None
    exit_code: int = 0


def tested_on(
    models: Sequence[Model], data: Path, split: str, *, named: bool
) -> tuple[list[Model], list[str]]:
    """Select the models that a data folder can measure.

    Args:
        models: The models.
        data: Folder of a data set.
        split: Split that they are measured on.
        named: Whether the user named each model, so that none may be left out.

    Returns:
        The models, and the data sets of those that were left out.

    Raises:
        BddzooError: The folder fits no model, or not one that was named.
    """
    from bddzoo.datasets.layouts import open_layout

    reasons: dict[tuple[str, str], BddzooError] = {}
    for wanted, dataset in sorted({(m.task, m.dataset) for m in models}):
        try:
            open_layout(data, dataset).listing(wanted, split, attributes=False)
        except BddzooError as error:
            reasons[wanted, dataset] = error
    fitting = [m for m in models if (m.task, m.dataset) not in reasons]
    held = {m.dataset for m in fitting}
    for (_, dataset), reason in reasons.items():
        if named or dataset in held:
            raise reason
    if not fitting:
        raise reasons[models[0].task, models[0].dataset]
    return fitting, sorted({dataset for _, dataset in reasons})


def weight(model: Model) -> float:
    """Estimate how long a model takes, in any unit: its parameters, times three for sliding windows."""
    params = model.network.params if model.network and model.network.params else 0
    slides = model.protocol is not None and model.protocol.mode == "slide"
    return float(params) * (3 if slides else 1)


def remaining_s(jobs: Sequence[JobStatus], at_once: int) -> float | None:
    """Estimate the seconds that the rest takes, from what is done so far; None before the first is done."""
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


def lock_path(folder: Path, model: str) -> Path:
    """The lock file of a model in a sweep's folder."""
    return folder / f"{path_part(model)}.lock"


def log_path(folder: Path, model: str) -> Path:
    """The file with the output of the processes that measured a model."""
    return folder / f"{path_part(model)}.log"


def last_line(log: Path) -> str:
    """The last line of a log that is not empty; "" without one."""
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 65536))
        lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
        return lines[-1].removeprefix("error: ") if lines else ""
    return ""


def acquire_lock(path: Path) -> IO[bytes] | None:
    """Lock a file; None if another process holds the lock."""
    lock = path.open("ab")
    try:
        import fcntl
    except ImportError:
        return lock
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    except OSError:
        # This file system has no locks. Records stay whole, see `bddzoo.runs.sweep`.
        return lock
    return lock


def slurm_script(models: Sequence[Model], options: Sequence[str], gpus: int) -> str:
    """Write a Slurm job array with one model per task; a task that runs again skips what is done.

    Args:
        models: The models.
        options: Options of `bddzoo sweep`.
        gpus: GPUs for each model; 0 for none.
    """
    ids = "\n".join(f"  {shlex.quote(model.id)}" for model in models)
    command = shlex.join(["bddzoo", "sweep", *options])
    request = f"#SBATCH --gpus={gpus}\n" if gpus else ""
    return f"""\
#!/bin/bash
#SBATCH --job-name=bddzoo-sweep
#SBATCH --array=0-{len(models) - 1}
{request}#SBATCH --requeue
#SBATCH --output=bddzoo-sweep-%A-%a.log
set -euo pipefail
models=(
{ids}
)
exec {command} "${{models[$SLURM_ARRAY_TASK_ID]}}\""""


SWEEP_VARIABLE = "BDDZOO_SWEEP"
RESULTS_VARIABLE = "BDDZOO_RESULTS"


@dataclass(frozen=True)
class Job:
    """One try of one model.

    Attributes:
        model: Id of the model.
        command: The command that measures it. It writes a record to the folder `$BDDZOO_RESULTS`.
        results: Folder that the record belongs to.
        sweep: Id of the sweep, which the record names.
        log: File that the command's output is appended to.
        time_limit_s: Seconds after which the command is stopped; None for no limit.
    """

    model: str
    command: tuple[str, ...]
    results: Path
    sweep: str
    log: Path
    time_limit_s: float | None = None

    def environment(self, results: Path) -> dict[str, str]:
        """Variables that the command needs to write its record to the folder `results`."""
        return {SWEEP_VARIABLE: self.sweep, RESULTS_VARIABLE: str(results)}


@dataclass(frozen=True)
class JobResult:
    """How a try ended.

    Attributes:
        code: Exit status; minus the signal's number if a signal ended it; None if the machine was lost.
        late: It was stopped at its time limit.
        reason: Why nothing more is known, such as the loss of a machine; empty otherwise.
        files: Names and contents of records and statistics that were written on another machine.
        log: Output of the command that is not yet in `Job.log`.
    """

    code: int | None
    late: bool = False
    reason: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)
    log: bytes = b""


class RunningJob(Protocol):
    """One try, from its start to its end."""

    @property
    def place(self) -> str | None:
        """Where it runs, in a word; None while it waits for a place."""

    @property
    def seconds(self) -> float:
        """How long it has been running; 0 while it waits for a place."""

    def poll(self) -> JobResult | None:
        """How it ended; None while it runs."""

    def interrupt(self) -> None:
        """Ask it to end, as Ctrl-C does; returns at once."""

    def close(self) -> None:
        """Stop it if it still runs, after a few seconds if it was interrupted, and release its place."""


class Executor(Protocol):
    """Where models run."""

    def free_slots(self) -> int:
        """How many jobs could be started now."""

    def order(self, jobs: Sequence[Job]) -> Sequence[Job]:
        """The waiting jobs, the one to start first in front."""

    def start(self, job: Job, lock: IO[bytes]) -> RunningJob:
        """Start a try.

        Args:
            job: What to run.
            lock: An open, locked file. While a process holds it open, other sweeps leave the model alone.
        """

    def prefetch(self, models: Sequence[str]) -> None:
        """Fetch the weights of models that will be started next, in that order, while others run."""

    def close(self) -> None:
        """Release everything; no job is running any more."""


# Makes the executor when the sweep begins, so that a sweep with nothing left to do starts nothing.
ExecutorFactory = Callable[[], Executor]
