"""What a sweep asks of the place where its models run: this machine, or a cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from bddzoo.runs.plan import sweep_folder

SWEEP_VARIABLE = "BDDZOO_SWEEP"
RESULTS_VARIABLE = "BDDZOO_RESULTS"


@dataclass(frozen=True)
class Order:
    """One model that is to be measured once.

    Attributes:
        zoo: Id of its zoo.
        task: Its task.
        model: Its id.
        command: The command that measures it: writes a record to the folder `$BDDZOO_RESULTS` and ends.
        results: Folder that the record belongs to.
        sweep: Id of the sweep, which the record will name.
        time_limit_s: Seconds after which the command is stopped; None for no limit.
        avoid: Places where earlier tries have failed.
    """

    zoo: str
    task: str
    model: str
    command: tuple[str, ...]
    results: Path
    sweep: str
    time_limit_s: float | None = None
    avoid: frozenset[str] = frozenset()

    @property
    def folder(self) -> Path:
        """The sweep's folder, for the lock and the log."""
        return sweep_folder(self.results, self.sweep)

    def environment(self, results: Path) -> dict[str, str]:
        """What the command gets besides the environment that it finds, if it writes to that folder."""
        return {SWEEP_VARIABLE: self.sweep, RESULTS_VARIABLE: str(results)}


@dataclass(frozen=True)
class Ended:
    """How a try ended.

    Attributes:
        code: Exit status; minus the signal's number where one ended it; None where the place was lost.
        late: It was stopped at its time limit.
        reason: Why there is nothing more to know, such as the loss of a machine; else empty.
        files: Names and contents of the files that it wrote elsewhere, and that are to be kept here.
    """

    code: int | None
    late: bool = False
    reason: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)


class Run(Protocol):
    """One try of one model, from its start to its end."""

    @property
    def place(self) -> str | None:
        """Where it runs, in a word for the table; None while it waits for a place."""

    @property
    def place_id(self) -> str | None:
        """What tells the place from others, for `Order.avoid`."""

    @property
    def seconds(self) -> float:
        """How long it has been running, 0 while it waits for a place."""

    def poll(self) -> Ended | None:
        """How it ended, or None while it has not."""

    def interrupt(self) -> None:
        """Ask it to end, as Ctrl-C does; returns at once."""

    def close(self) -> None:
        """Leave nothing of it behind; waits for what was interrupted, and ends it if it takes too long."""


class Executor(Protocol):
    """Where models run."""

    def room(self) -> int:
        """How many models could be started now."""

    def arrange(self, orders: Sequence[Order]) -> Sequence[Order]:
        """What waits, in the order in which it had better be started now."""

    def start(self, order: Order, lock: IO[bytes]) -> Run:
        """Start a try.

        Args:
            order: What to run.
            lock: An open, locked file; what holds it open keeps other sweeps from the model.
        """

    def look_ahead(self, models: Sequence[str]) -> None:
        """Prepare what will be started next, in that order."""

    def close(self) -> None:
        """End; nothing is running any more."""


# Makes the executor when the sweep begins: before, nothing must be started.
ExecutorFactory = Callable[[], Executor]
