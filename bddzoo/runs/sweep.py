"""Measure many models, one process each, so that a crash or a leak hits one.

What is done is read off the records: a record says which sweep it is of, and it is there whole or not at
all. So a sweep that was killed at any moment goes on where it was, with nothing run twice and nothing lost.
What is running is held by a lock file, which the system unlocks when the last process that has it open dies:
on this machine the worker inherits it, so that it lasts as long as either of them. Where there are no file
locks two sweeps may run a model twice; every record is whole even then.

Where the models run is the executor's business: see `bddzoo.runs.local` and `bddzoo.runs.ray_executor`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from bddzoo.errors import BddzooError, ExitCode, MissingError
from bddzoo.registry.model import Model
from bddzoo.results.record import Record
from bddzoo.results.store import scan_records
from bddzoo.runs.executor import Ended, Executor, ExecutorFactory, Order, Run
from bddzoo.runs.plan import (
    Job,
    acquire_lock,
    largest_first,
    last_line,
    lock_path,
    log_path,
    record_of,
    sweep_folder,
)
from bddzoo.runs.transfer import keep_records

POLL_S = 0.2
FULL_BYTES = 64 * 1024
# Failures that another try may mend: our bug or a crash, a time limit, the network. The rest stays as it is.
_WORTH_A_RETRY = frozenset({int(ExitCode.BUG), int(ExitCode.NETWORK)})


@dataclass(frozen=True)
class Settings:
    """What makes two runs the same sweep, and how it is run.

    Attributes:
        arguments: Arguments of `bddzoo eval` after the model, which are part of the sweep's identity.
        results: Folder of the records.
        worker: Command that measures a model: it gets the model's id and `arguments` appended.
        retries: Further tries of a model that crashed, hung or had no network.
        time_limit_s: Seconds after which a model's process is stopped; None for no limit.
        name: Part of the sweep's identity; another name makes another sweep of the same arguments.
    """

    arguments: tuple[str, ...]
    results: Path
    worker: tuple[str, ...]
    retries: int = 1
    time_limit_s: float | None = None
    name: str = ""

    @property
    def id(self) -> str:
        """The same name, arguments and version make the same sweep, which can so be taken up again."""
        from bddzoo import __version__

        identity = json.dumps([self.name, __version__, *self.arguments])
        return hashlib.sha256(identity.encode()).hexdigest()[:12]

    @property
    def folder(self) -> Path:
        """Locks and logs of the sweep."""
        return sweep_folder(self.results, self.id)


@dataclass
class Sweep:
    """Runs the jobs of a sweep.

    Args:
        models: The models.
        settings: See `Settings`.
        executor: Makes what runs them.
        watch: Called whenever a job changes its state, and at every poll.
    """

    models: Sequence[Model]
    settings: Settings
    executor: ExecutorFactory
    watch: Callable[[Sequence[Job]], None] = lambda jobs: None
    jobs: list[Job] = field(init=False)
    _running: dict[str, tuple[Run, IO[bytes]]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.jobs = [Job(model) for model in largest_first(self.models)]

    def run(self) -> list[Job]:
        """Run until every job is done or failed; returns them.

        Raises:
            MissingError: The results folder cannot be written, or there is no place for the models to run.
            KeyboardInterrupt: Passed on after the workers were interrupted and have ended.
        """
        with self._writing():
            self.settings.folder.mkdir(parents=True, exist_ok=True)
        self._take_up()
        if self._open():
            with contextlib.closing(self.executor()) as executor:
                try:
                    while self._open():
                        self._collect()
                        with self._writing():
                            self._start(executor)
                        self.watch(self.jobs)
                        time.sleep(POLL_S)
                finally:
                    self._stop()
        self.watch(self.jobs)
        return self.jobs

    def _open(self) -> bool:
        return any(job.state not in ("done", "failed") for job in self.jobs)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """What keeps locks and logs from being written is one line."""
        try:
            yield
        except OSError as error:
            raise MissingError(
                f"cannot write to {self.settings.results}: {error.strerror or error}",
                hint="choose a folder with --results DIR or BDDZOO_RESULTS",
            ) from error

    def _take_up(self) -> None:
        """Mark what an earlier run of the same sweep has done."""
        found = {
            stored.record.model: stored.record
            for stored in scan_records(self.settings.results, on_error=lambda error: None)
            if stored.record.run.sweep == self.settings.id
        }
        for job in self.jobs:
            if job.model.id in found:
                job.state, job.record = "done", found[job.model.id]

    def _start(self, executor: Executor) -> None:
        waiting = {job.model.id: job for job in self.jobs if job.state in ("waiting", "elsewhere")}
        for order in executor.arrange([self._order(job) for job in waiting.values()]):
            if executor.room() <= 0:
                break
            name = order.model
            job = waiting[name]
            lock = acquire_lock(lock_path(self.settings.folder, name))
            if lock is None:
                job.state = "elsewhere"
                continue
            # Whoever held the lock before may have finished it.
            job.record = self._record_of(job.model)
            if job.record is not None:
                lock.close()
                job.state = "done"
                continue
            job.tries, job.seconds = job.tries + 1, 0.0
            try:
                run = executor.start(order, lock)
            except BaseException:
                lock.close()
                raise
            self._running[name] = run, lock
            self._look_at(job, run)
        executor.look_ahead([job.model.id for job in self.jobs if job.state == "waiting"])

    def _order(self, job: Job) -> Order:
        settings = self.settings
        return Order(
            zoo=job.model.zoo.id,
            task=job.model.task,
            model=job.model.id,
            command=(*settings.worker, job.model.id, *settings.arguments),
            results=settings.results,
            sweep=settings.id,
            time_limit_s=settings.time_limit_s,
            avoid=frozenset(job.failed_at),
        )

    @staticmethod
    def _look_at(job: Job, run: Run) -> None:
        place = run.place
        job.place, job.seconds = place or "", run.seconds
        job.state = "queued" if place is None else "running"

    def _collect(self) -> None:
        for job in self.jobs:
            if job.model.id not in self._running:
                continue
            run, lock = self._running[job.model.id]
            ended = run.poll()
            self._look_at(job, run)
            if ended is None:
                continue
            try:
                self._settle(job, ended, run.place_id)
            finally:
                if job.state != "failed" or not ended.files:
                    run.close()  # else it is kept for a sweep that finds a place to write to
                del self._running[job.model.id]
                lock.close()

    def _settle(self, job: Job, ended: Ended, place: str | None) -> None:
        """Keep what a try has brought, and decide what becomes of the model."""
        code = ended.code
        job.exit_code = int(ExitCode.BUG) if ended.late or code is None or code < 0 else code
        try:
            keep_records(ended.files, self.settings.results, model=job.model.id, sweep=self.settings.id)
        except BddzooError as error:
            job.state, job.reason, job.exit_code = "failed", error.message, int(error.exit_code)
            return
        job.record = self._record_of(job.model)
        if job.record is not None:
            # Not reproduced or incomparable is a result, too: the record tells.
            job.state = "done"
            return
        job.failed_at |= {place} if place else set()
        if job.exit_code in _WORTH_A_RETRY and job.tries <= self.settings.retries:
            job.state = "waiting"
            return
        job.state = "failed"
        late = f"no end after {self.settings.time_limit_s:.0f} s" if ended.late else ""
        job.reason = late or ended.reason or self._last_words(job, code)

    def _stop(self) -> None:
        """End what is running: all are asked at once, and then waited for."""
        try:
            for run, _ in self._running.values():
                run.interrupt()
        finally:
            with contextlib.ExitStack() as rest:  # every one is closed, whatever comes between
                for run, lock in self._running.values():
                    rest.callback(lock.close)
                    rest.callback(run.close)
                self._running.clear()

    def _record_of(self, model: Model) -> Record | None:
        return record_of(self.settings.results, model.zoo.id, model.task, model.id, self.settings.id)

    def _last_words(self, job: Job, code: int | None) -> str:
        """The last line of the log, or how the process died."""
        log = log_path(self.settings.folder, job.model.id)
        words = last_line(log) if code is None or code >= 0 else ""
        if words:
            return words
        with contextlib.suppress(OSError):
            if shutil.disk_usage(log.parent).free < FULL_BYTES:
                return f"the process died with status {code}; no space is left for its output in {log}"
        return f"the process died with status {code}; its output is in {log}"
