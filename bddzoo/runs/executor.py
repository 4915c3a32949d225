"""What a sweep asks of the place where its models run: this machine, or a cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

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
