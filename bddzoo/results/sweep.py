"""Measure many models, one process each, so that a crash or a leak hits one.

What is done is read off the records: a record says which sweep it is of, and it is there whole or not at
all. So a sweep that was killed at any moment goes on where it was, with nothing run twice and nothing lost.
What is running is held by a lock file, whose lock the worker inherits: it lasts as long as either process
lives, and the system drops it when the last one dies. Where there are no file locks two sweeps may run a
model twice; every record is whole even then.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

from bddzoo.errors import ExitCode, MissingError
from bddzoo.registry.types import Model
from bddzoo.results.record import Record
from bddzoo.results.store import path_part, scan_records

State = Literal["waiting", "running", "elsewhere", "done", "failed"]

ENVIRONMENT = "BDDZOO_SWEEP"
POLL_S = 0.2
GRACE_S = 10.0
# Failures that another try may mend: our bug or a crash, a time limit, the network. The rest stays as it is.
_WORTH_A_RETRY = frozenset({int(ExitCode.BUG), int(ExitCode.NETWORK)})


@dataclass(frozen=True)
class Settings:
    """What makes two runs the same sweep, and how it is run.

    Attributes:
        arguments: Arguments of `bddzoo eval` after the model, which are part of the sweep's identity.
        results: Folder of the records.
        jobs: Models at the same time.
        retries: Further tries of a model that crashed, hung or had no network.
        time_limit_s: Seconds after which a model's process is stopped; None for no limit.
        devices: GPU numbers that a job gets, one entry per job at the same time; empty for no choice.
        worker: Command that measures a model: it gets the model's id and `arguments` appended.
        name: Part of the sweep's identity; another name makes another sweep of the same arguments.
    """

    arguments: tuple[str, ...]
    results: Path
    worker: tuple[str, ...]
    jobs: int = 1
    retries: int = 1
    time_limit_s: float | None = None
    devices: tuple[str, ...] = ()
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
        return self.results / ".sweeps" / self.id


@dataclass
class Job:
    """One model of a sweep.

    Attributes:
        model: The model.
        state: See `State`.
        tries: How often it was started by this process.
        reason: Why it failed.
        started: Clock when it was last started.
        seconds: How long the last try took.
        record: The record, once it is done.
    """

    model: Model
    state: State = "waiting"
    tries: int = 0
    reason: str = ""
    started: float = 0.0
    seconds: float = 0.0
    record: Record | None = None
    exit_code: int = 0


@dataclass
class Sweep:
    """Runs the jobs of a sweep on this machine.

    Args:
        models: The models.
        settings: See `Settings`.
        watch: Called whenever a job changes its state, and at every poll.
    """

    models: Sequence[Model]
    settings: Settings
    watch: Callable[[Sequence[Job]], None] = lambda jobs: None
    jobs: list[Job] = field(init=False)
    _running: dict[str, _Worker] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        # The longest first, so that the last job is a short one.
        self.jobs = [Job(model) for model in sorted(self.models, key=weight, reverse=True)]

    def run(self) -> list[Job]:
        """Run until every job is done or failed; returns them.

        Raises:
            MissingError: The results folder cannot be written.
            KeyboardInterrupt: Passed on after the workers were interrupted and have ended.
        """
        with self._writing():
            self.settings.folder.mkdir(parents=True, exist_ok=True)
        self._take_up()
        try:
            while any(job.state not in ("done", "failed") for job in self.jobs):
                self._collect()
                with self._writing():
                    self._start()
                self.watch(self.jobs)
                time.sleep(POLL_S)
        finally:
            for worker in self._running.values():
                worker.stop(signal.SIGINT)
            self._running.clear()
        self.watch(self.jobs)
        return self.jobs

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

    def _start(self) -> None:
        for job in self.jobs:
            if len(self._running) >= self.settings.jobs:
                return
            if job.state not in ("waiting", "elsewhere"):
                continue
            lock = _acquire(self.settings.folder / f"{path_part(job.model.id)}.lock")
            if lock is None:
                job.state = "elsewhere"
                continue
            # Whoever held the lock before may have finished it.
            job.record = self._record_of(job.model)
            if job.record is not None:
                lock.close()
                job.state = "done"
                continue
            job.state, job.tries, job.started = "running", job.tries + 1, time.monotonic()
            self._running[job.model.id] = _Worker.start(job, self.settings, lock, self._free_device())

    def _collect(self) -> None:
        for job in self.jobs:
            worker = self._running.get(job.model.id)
            if worker is None:
                continue
            code = worker.process.poll()
            job.seconds = time.monotonic() - job.started
            limit = self.settings.time_limit_s
            if code is None and (limit is None or job.seconds < limit):
                continue
            late = code is None
            if late:
                worker.stop(signal.SIGTERM)
            del self._running[job.model.id]
            job.record = self._record_of(job.model)
            worker.lock.close()
            job.exit_code = int(ExitCode.BUG) if late or code is None or code < 0 else code
            if job.record is not None:
                # Not reproduced or incomparable is a result, too: the record tells.
                job.state = "done"
            elif job.exit_code in _WORTH_A_RETRY and job.tries <= self.settings.retries:
                job.state = "waiting"
            else:
                job.state = "failed"
                job.reason = f"no end after {limit:.0f} s" if late else worker.last_words(code)

    def _record_of(self, model: Model) -> Record | None:
        known = scan_records(
            self.settings.results,
            zoo=model.zoo.id,
            task=model.task,
            model=model.id,
            on_error=lambda error: None,
        )
        return next((s.record for s in known if s.record.run.sweep == self.settings.id), None)

    def _free_device(self) -> str | None:
        taken = {worker.device for worker in self._running.values()}
        return next((device for device in self.settings.devices if device not in taken), None)


@dataclass
class _Worker:
    """A running process, its lock and its log."""

    process: subprocess.Popen[bytes]
    lock: IO[bytes]
    log: Path
    device: str | None

    @classmethod
    def start(cls, job: Job, settings: Settings, lock: IO[bytes], device: str | None) -> _Worker:
        log = settings.folder / f"{path_part(job.model.id)}.log"
        environment: Mapping[str, str] = {
            **os.environ,
            ENVIRONMENT: settings.id,
            "BDDZOO_RESULTS": str(settings.results),
            **({"CUDA_VISIBLE_DEVICES": device} if device is not None else {}),
        }
        with log.open("ab") as output:
            process = subprocess.Popen(
                [*settings.worker, job.model.id, *settings.arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                pass_fds=(lock.fileno(),),
                # A group of its own: Ctrl-C reaches it through us, and its children can be stopped with it.
                start_new_session=True,
            )
        return cls(process, lock, log, device)

    def stop(self, first: signal.Signals) -> None:
        """Stop the process and everything that it started, gently at first."""
        for number in (first, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
            try:
                self.process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                continue
            break

    def last_words(self, code: int | None) -> str:
        """The last line of the log, or how the process died."""
        with contextlib.suppress(OSError):
            lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
            if lines and (code is None or code >= 0):
                return lines[-1].removeprefix("error: ")
        return f"the process died with status {code}; its output is in {self.log}"


def weight(model: Model) -> float:
    """A guess of how long a model takes, to order a sweep: its parameters, times its windows."""
    params = model.network.params if model.network and model.network.params else 0
    slides = model.protocol is not None and model.protocol.mode == "slide"
    return float(params) * (3 if slides else 1)


def remaining_s(jobs: Sequence[Job], at_once: int) -> float | None:
    """Seconds that the rest may take, from what is done so far; None before the first is done."""
    ended = [(job.seconds, weight(job.model) or 1.0) for job in jobs if job.state == "done" and job.seconds]
    if not ended:
        return None
    rate = sum(seconds for seconds, _ in ended) / sum(load for _, load in ended)
    left = sum(
        (weight(job.model) or 1.0) * rate
        - (time.monotonic() - job.started if job.state == "running" else 0.0)
        for job in jobs
        if job.state not in ("done", "failed")
    )
    return max(0.0, left) / max(1, at_once)


def prefetch(models: Sequence[Model], fetch: Callable[[Model], object]) -> Iterator[str]:
    """Fetch weights in the order of a sweep; yields the ids that failed, which the worker will report."""
    for model in sorted(models, key=weight, reverse=True):
        try:
            fetch(model)
        except Exception:  # whatever it is, the worker meets it again and says it in its own words
            yield model.id


def _acquire(path: Path) -> IO[bytes] | None:
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
        # No locks on this file system: records stay whole, see above.
        return lock
    return lock
