"""Measure many models, one process each, so that a crash or a leak affects one model only.

The records say what is done: each names its sweep, and each is there whole or not at all. So a sweep that was
killed at any moment goes on where it was: a finished model is never run again, and no model gets two records.
A lock file protects what is running. The system releases it when the last process that has it open dies; on
this machine the worker inherits it. On a file system without locks two sweeps may run a model at the same
time; every record is whole even then.

Where the models run is up to the executor: see `bddzoo.runs.local` and `bddzoo.runs.ray`.
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

from bddzoo.errors import BddzooError, ExitCode
from bddzoo.registry.model import Model
from bddzoo.results.manage import keep_records
from bddzoo.results.record import Record
from bddzoo.results.store import cannot_write, scan_records
from bddzoo.runs.plan import (
    Executor,
    ExecutorFactory,
    Job,
    JobResult,
    JobStatus,
    RunningJob,
    acquire_lock,
    last_line,
    lock_path,
    log_path,
    weight,
)
from bddzoo.version import __version__

POLL_S = 0.2
FULL_BYTES = 64 * 1024
# Failures that another try may mend: a crash, a time limit, the network.
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
        """Digest of name, version and arguments: what agrees in these is one sweep and can be resumed."""
        identity = json.dumps([self.name, __version__, *self.arguments])
        return hashlib.sha256(identity.encode()).hexdigest()[:12]

    @property
    def folder(self) -> Path:
        """Folder of the sweep's locks and logs."""
        return self.results / ".sweeps" / self.id


@dataclass
class Sweep:
    """Runs the jobs of a sweep."""

    models: Sequence[Model]
    settings: Settings
    executor: ExecutorFactory
    watch: Callable[[Sequence[JobStatus]], None] = lambda jobs: None
    jobs: list[JobStatus] = field(init=False)
    _running: dict[str, tuple[RunningJob, IO[bytes]]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        # The longest first, so that the last to run is a short one.
        self.jobs = [JobStatus(model) for model in sorted(self.models, key=weight, reverse=True)]

    def run(self) -> list[JobStatus]:
        """Run until every job is done or failed; returns them.

        Raises:
            MissingError: The results folder cannot be written, or there is no machine for the models.
            KeyboardInterrupt: Passed on after the workers were interrupted and have ended.
        """
        with self._writing():
            self.settings.folder.mkdir(parents=True, exist_ok=True)
        self._mark_done()
        if self._unfinished():
            with contextlib.closing(self.executor()) as executor:
                try:
                    while self._unfinished():
                        self._collect()
                        with self._writing():
                            self._start(executor)
                        self.watch(self.jobs)
                        time.sleep(POLL_S)
                finally:
                    self._stop()
        self.watch(self.jobs)
        return self.jobs

    def _unfinished(self) -> bool:
        return any(job.state not in ("done", "failed") for job in self.jobs)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Turn a failure to write locks or logs into one line."""
        try:
            yield
        except OSError as error:
            raise cannot_write(self.settings.results, error.strerror or str(error)) from error

    def _mark_done(self) -> None:
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
        for job in executor.order([self._job(status.model) for status in waiting.values()]):
            if executor.free_slots() <= 0:
                break
            status = waiting[job.model]
            lock = acquire_lock(lock_path(self.settings.folder, job.model))
            if lock is None:
                status.state = "elsewhere"
                continue
            # Another sweep may have finished it before it released the lock.
            status.record = self._record_of(status.model)
            if status.record is not None:
                lock.close()
                status.state = "done"
                continue
            status.tries += 1
            try:
                running = executor.start(job, lock)
            except BaseException:
                lock.close()
                raise
            self._running[job.model] = running, lock
            self._update(status, running)
        executor.prefetch([status.model.id for status in self.jobs if status.state == "waiting"])

    def _job(self, model: Model) -> Job:
        settings = self.settings
        return Job(
            model=model.id,
            command=(*settings.worker, model.id, *settings.arguments),
            results=settings.results,
            sweep=settings.id,
            log=log_path(settings.folder, model.id),
            time_limit_s=settings.time_limit_s,
        )

    @staticmethod
    def _update(status: JobStatus, running: RunningJob) -> None:
        status.place, status.seconds = running.place or "", running.seconds
        status.state = "queued" if running.place is None else "running"

    def _collect(self) -> None:
        for status in self.jobs:
            if status.model.id not in self._running:
                continue
            running, lock = self._running[status.model.id]
            result = running.poll()
            self._update(status, running)
            if result is None:
                continue
            try:
                self._settle(status, result)
            finally:
                running.close()
                del self._running[status.model.id]
                lock.close()

    def _settle(self, status: JobStatus, result: JobResult) -> None:
        """Keep what a try has produced, and decide how the model goes on."""
        code, log = result.code, log_path(self.settings.folder, status.model.id)
        status.exit_code = int(ExitCode.BUG) if result.late or code is None or code < 0 else code
        if result.log:
            with contextlib.suppress(OSError), log.open("ab") as file:
                file.write(result.log)
        try:
            keep_records(result.files, self.settings.results, model=status.model.id, sweep=self.settings.id)
        except BddzooError as error:
            status.state, status.reason, status.exit_code = "failed", error.message, int(error.exit_code)
            return
        status.record = self._record_of(status.model)
        if status.record is not None:
            status.state = "done"  # "not reproduced" and "incomparable" are results, too
        elif status.exit_code in _WORTH_A_RETRY and status.tries <= self.settings.retries:
            status.state = "waiting"
        else:
            late = f"no end after {self.settings.time_limit_s:.0f} s" if result.late else ""
            status.state, status.reason = "failed", late or result.reason or _last_words(log, code)

    def _stop(self) -> None:
        """End what is running: interrupt all at once, then wait for each."""
        try:
            for running, _ in self._running.values():
                running.interrupt()
        finally:
            with contextlib.ExitStack() as stack:  # each one is closed, even after a second Ctrl-C
                for running, lock in self._running.values():
                    stack.callback(lock.close)
                    stack.callback(running.close)
                self._running.clear()

    def _record_of(self, model: Model) -> Record | None:
        """The record that this sweep has made of a model, or None."""
        own = {"zoo": model.zoo.id, "task": model.task, "model": model.id}
        known = scan_records(self.settings.results, **own, on_error=lambda error: None)
        return next((s.record for s in known if s.record.run.sweep == self.settings.id), None)


def _last_words(log: Path, code: int | None) -> str:
    """The last line of the log, or how the process died."""
    if (code is None or code >= 0) and (line := last_line(log)):
        return line
    with contextlib.suppress(OSError):
        if shutil.disk_usage(log.parent).free < FULL_BYTES:
            return f"the process died with status {code}; no space is left for its output in {log}"
    return f"the process died with status {code}; its output is in {log}"
