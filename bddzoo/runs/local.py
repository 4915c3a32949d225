"""Models of a sweep in processes on this machine; weights are fetched while networks run."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import IO

from bddzoo.runs.machine import nvidia_smi
from bddzoo.runs.plan import Executor, Job, JobResult, RunningJob


class Prefetcher:
    """Fetches the weights of waiting models, one after the other, in a thread that the sweep never waits for.

    Args:
        fetch: Fetches the weights of a model. What it raises is ignored: the process that needs the weights
            will fail in the same way and report it.
    """

    def __init__(self, fetch: Callable[[str], object]) -> None:
        self._fetch = fetch
        self._waiting: tuple[str, ...] = ()
        self._seen: set[str] = set()
        self._stopped = False
        self._changed = threading.Condition()
        threading.Thread(target=self._work, daemon=True, name="prefetch").start()

    def offer(self, models: Sequence[str]) -> None:
        """Set the models that wait now, in the order in which they will run."""
        with self._changed:
            if tuple(models) != self._waiting:
                self._waiting = tuple(models)
                self._changed.notify()

    def stop(self) -> None:
        """Start no further download."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def _work(self) -> None:
        while (model := self._next()) is not None:
            with contextlib.suppress(Exception):
                self._fetch(model)

    def _next(self) -> str | None:
        with self._changed:
            while not self._stopped:
                model = next((name for name in self._waiting if name not in self._seen), None)
                if model is not None:
                    self._seen.add(model)
                    return model
                self._changed.wait()
        return None


GRACE_S = 10.0


@dataclass
class LocalExecutor(Executor):
    """Processes on this machine.

    Args:
        jobs: Models at the same time.
        devices: Values of CUDA_VISIBLE_DEVICES, one for each model at the same time; empty to leave it alone.
        fetch: Fetches the weights of a model ahead of its turn; None to prefetch nothing.
    """

    jobs: int = 1
    devices: tuple[str, ...] = ()
    fetch: Callable[[str], object] | None = None
    _prefetcher: Prefetcher | None = field(default=None, init=False)
    _running: list[LocalJob] = field(default_factory=list, init=False)

    def free_slots(self) -> int:
        return self.jobs - len(self._running)

    def order(self, jobs: Sequence[Job]) -> Sequence[Job]:
        return jobs

    def start(self, job: Job, lock: IO[bytes]) -> LocalJob:
        """See `Executor`. The process inherits the lock, which lasts as long as the process lives."""
        taken = {running.device for running in self._running}
        device = next((device for device in self.devices if device not in taken), None)
        chosen = {"CUDA_VISIBLE_DEVICES": device} if device is not None else {}
        with job.log.open("ab") as output:
            process = subprocess.Popen(
                job.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **job.environment(job.results), **chosen},
                pass_fds=(lock.fileno(),),
                # A group of its own: Ctrl-C reaches it through us, and its children can be stopped with it.
                start_new_session=True,
            )
        started = LocalJob(process, device, job.time_limit_s, self._running)
        self._running.append(started)
        return started

    def prefetch(self, models: Sequence[str]) -> None:
        if self.fetch is not None and self._prefetcher is None:
            self._prefetcher = Prefetcher(self.fetch)
        if self._prefetcher is not None:
            self._prefetcher.offer(models)

    def close(self) -> None:
        if self._prefetcher is not None:
            self._prefetcher.stop()


@dataclass
class LocalJob(RunningJob):
    """A process on this machine."""

    process: subprocess.Popen[bytes]
    device: str | None
    time_limit_s: float | None
    running: list[LocalJob]
    _started: float = field(default_factory=time.monotonic)
    _ended: float | None = None
    _interrupted: bool = False

    @property
    def place(self) -> str | None:
        return "this machine" if self.device is None else f"GPU {self.device}"

    @property
    def seconds(self) -> float:
        return (self._ended or time.monotonic()) - self._started

    def poll(self) -> JobResult | None:
        code = self.process.poll()
        late = code is None and self.time_limit_s is not None and self.seconds >= self.time_limit_s
        if late:
            stop_group(self.process, signal.SIGTERM)
        elif code is None:
            return None
        self._ended = time.monotonic()
        self.close()
        return JobResult(code, late)

    def interrupt(self) -> None:
        self._interrupted = True
        signal_group(self.process, signal.SIGINT)

    def close(self) -> None:
        stop_group(self.process, None if self._interrupted else signal.SIGINT)
        if self in self.running:
            self.running.remove(self)


def gpu_groups(per_model: int) -> tuple[str, ...]:
    """Visible GPUs in groups, as values of CUDA_VISIBLE_DEVICES; empty without a GPU or its tools."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        numbers = [n.strip() for n in listed.split(",") if n.strip() and n.strip() != "-1"]
    else:
        numbers = nvidia_smi("--query-gpu=index", timeout_s=60).split()
    groups = [numbers[i : i + per_model] for i in range(0, len(numbers), per_model)]
    return tuple(",".join(group) for group in groups if len(group) == per_model)


def signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to a process and to everything that it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def stop_group(process: subprocess.Popen[bytes], first: signal.Signals | None) -> None:
    """Stop a process, gently at first, and kill whatever it has left running.

    Args:
        process: Leader of a process group.
        first: Signal that asks it to end; None if it was asked already.
    """
    try:
        if process.poll() is None:
            if first is not None:
                signal_group(process, first)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_S)
    finally:  # also after a second Ctrl-C, which must not wait
        signal_group(process, signal.SIGKILL)
        process.wait()
