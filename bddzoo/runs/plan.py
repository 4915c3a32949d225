"""Which models of a sweep run, in which order, and how long that takes.

What a sweep leaves in the results folder besides records: locks, logs, and the folder's own mark.

A sweep as a job array of Slurm.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

from bddzoo.errors import BddzooError
from bddzoo.registry.model import Model
from bddzoo.results.record import Record
from bddzoo.results.store import path_part, scan_records

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


MARK = "mark"


def sweep_folder(results: Path, sweep: str) -> Path:
    """Where a sweep's locks and logs are."""
    return results / ".sweeps" / sweep


def lock_path(folder: Path, model: str) -> Path:
    """The lock file of a model in a sweep's folder."""
    return folder / f"{path_part(model)}.lock"


def log_path(folder: Path, model: str) -> Path:
    """What the processes that measured a model have said."""
    return folder / f"{path_part(model)}.log"


def last_line(log: Path) -> str:
    """The last line of a log that is not empty; empty where there is none."""
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 65536))
        lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
        return lines[-1].removeprefix("error: ") if lines else ""
    return ""


def record_of(results: Path, zoo: str, task: str, model: str, sweep: str) -> Record | None:
    """The record that a sweep has of a model, or None."""
    known = scan_records(results, zoo=zoo, task=task, model=model, on_error=lambda error: None)
    return next((s.record for s in known if s.record.run.sweep == sweep), None)


def acquire_lock(path: Path) -> IO[bytes] | None:
    """The file, locked, or None where another process holds it."""
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
        # No locks on this file system: records stay whole, see `bddzoo.runs.sweep`.
        return lock
    return lock


def folder_mark(folder: Path) -> str:
    """What tells a sweep's folder from one of the same path on another machine; made once.

    Raises:
        OSError: It cannot be written.
    """
    path = folder / MARK
    if not read_mark(folder):
        fresh = path.with_name(f".{MARK}.{uuid.uuid4().hex}")
        try:
            fresh.write_text(uuid.uuid4().hex)
            with contextlib.suppress(FileExistsError):
                path.hardlink_to(fresh)
        except OSError:
            fresh.replace(path)  # no hard links here
        finally:
            fresh.unlink(missing_ok=True)
    return read_mark(folder)


def read_mark(folder: Path) -> str:
    """See `folder_mark`; empty where there is none."""
    try:
        return (folder / MARK).read_text()
    except OSError:
        return ""


def slurm_script(models: Sequence[Model], options: Sequence[str], gpus: int) -> str:
    """A job array with one model per task; a task that is run again finds what is done.

    Args:
        models: The models.
        options: Options of `bddzoo sweep`.
        gpus: GPUs for each model; 0 for none.
    """
    ids = "\n".join(f"  {shlex.quote(model.id)}" for model in models)
    command = shlex.join(["bddzoo", "sweep", *options])
    wish = f"#SBATCH --gpus={gpus}\n" if gpus else ""
    return f"""\
#!/bin/bash
#SBATCH --job-name=bddzoo-sweep
#SBATCH --array=0-{len(models) - 1}
{wish}#SBATCH --requeue
#SBATCH --output=bddzoo-sweep-%A-%a.log
set -euo pipefail
models=(
{ids}
)
exec {command} "${{models[$SLURM_ARRAY_TASK_ID]}}\""""
