"""One model of a sweep on a machine of a Ray cluster, as the process of the sweep sees it."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import Any

from bddzoo.runs.executor import Ended, Order, Run
from bddzoo.runs.plan import log_path
from bddzoo.runs.ray_node import Progress

ASK_S = 0.5
GRACE_S = 15.0
# What Ray says of an actor that could not begin: the line with the reason.
_REASONS = ("RuntimeError", "ModuleNotFoundError", "ImportError", "OSError")


@dataclass
class RayRun(Run):
    """An actor; see `Run`.

    Attributes:
        node: Id of the machine; None while it waits for one.
        fetched_ahead: Whether its machine was told what to fetch.
    """

    bench: Any
    order: Order
    siblings: list[RayRun]
    node: str | None = None
    fetched_ahead: bool = False
    _progress: Progress | None = None
    _began: float = 0.0
    _asked: float = 0.0
    _question: Any = None
    _interrupted: float | None = None

    @property
    def place(self) -> str | None:
        """Name of the machine, and the first digits of its id: one machine may be several nodes."""
        return None if self._progress is None else f"{self._progress.host} {self._progress.node[:6]}"

    @property
    def place_id(self) -> str | None:
        """See `Run`."""
        return self.node

    @property
    def seconds(self) -> float:
        """See `Run`."""
        if self._progress is None:
            return 0.0
        return self._progress.seconds if self._progress.ended else time.monotonic() - self._began

    def poll(self) -> Ended | None:
        """See `Run`."""
        import ray

        if self._question is None:
            if time.monotonic() - self._asked >= ASK_S:
                self._asked, self._question = time.monotonic(), self.bench.ask.remote()
            return self._overdue()
        ready, _ = ray.wait([self._question], timeout=0)
        if not ready:
            return self._overdue()
        question, self._question = self._question, None
        try:
            progress: Progress = ray.get(question)
        except ray.exceptions.ActorUnavailableError:
            return self._overdue()  # for now: it is found, or found dead, when it is asked again
        except ray.exceptions.RayError as error:
            return Ended(None, reason=_lost(error, self.place))
        if self._progress is None:
            self._began = time.monotonic() - progress.seconds
        self._progress, self.node = progress, progress.node
        if progress.ended is not None and progress.log:
            with log_path(self.order.folder, self.order.model).open("ab") as log:
                log.write(progress.log)
        return progress.ended

    def _overdue(self) -> Ended | None:
        """The bench keeps the time limit itself; one that does not is hung, or its machine is."""
        limit = self.order.time_limit_s
        if limit is None or self.seconds < limit + 2 * GRACE_S:
            return None
        return Ended(None, late=True)

    def interrupt(self) -> None:
        """See `Run`."""
        if self._progress is not None:
            self._interrupted = time.monotonic()
            self.bench.interrupt.remote()

    def close(self) -> None:
        """See `Run`."""
        import ray

        try:
            while self._interrupted and time.monotonic() - self._interrupted < GRACE_S:
                if self.poll() is not None:
                    break
                time.sleep(0.1)
        finally:
            with contextlib.suppress(Exception):
                ray.kill(self.bench, no_restart=True)
            if self in self.siblings:
                self.siblings.remove(self)


def _lost(error: Exception, place: str | None) -> str:
    """One line on why an actor is gone."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    told = [line for line in lines if line.startswith(_REASONS)]
    told += [line for line in lines if "died" in line or "killed" in line]
    return f"lost on {place or 'its way to a machine'}: {(told or lines)[0]}"
