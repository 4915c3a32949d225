"""Sweeps on a Ray cluster: each model is a plain Ray task, and its record comes back as bytes.

Only the process of the sweep writes records, and it holds the model's lock, so a model has one record
whatever happens to machines. Ray itself retries nothing (`max_retries=0`): a machine that is lost is a failed
try like any other, and the sweep starts the next one on another machine. If the process of the sweep is
killed, Ray ends its tasks; the models that were running are begun again by the next sweep.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from bddzoo.errors import MissingError, NetworkError, UsageError
from bddzoo.results.manage import pack_records
from bddzoo.runs.local import stop_group
from bddzoo.runs.plan import Executor, Job, JobResult, RunningJob
from bddzoo.version import __version__

CONNECT_S = 10.0
# How often the list of nodes is read, and how long none may have room: an autoscaler may start some.
NODES_S = 2.0
NO_NODES_S = 600.0
# How long an interrupted task may take to end, and a task beyond its own time limit.
GRACE_S = 15.0
LOG_BYTES = 1_000_000
# Only records travel through it; by default Ray reserves a third of the memory.
OBJECT_STORE_BYTES = 256 * 1024**2
# Paths of sockets may have 107 characters, of which Ray needs about 60.
_FOLDER_CHARACTERS = 40
# Runs a command that the kernel kills when its parent dies (prctl(2), PR_SET_PDEATHSIG; kept over execve):
# Ray kills its workers, but not what they have started.
_DIES_WITH_PARENT = (
    "-c",
    "import ctypes, os, sys; getattr(ctypes.CDLL(None), 'prctl', max)(1, 9);"
    "os.execvp(sys.argv[1], sys.argv[1:])",
)
_ERRORS_AT_START = ("RuntimeError", "ModuleNotFoundError", "ImportError", "OSError")


def run_job(job: Job, python: str, version: str) -> Iterator[tuple[str, str] | JobResult]:
    """The Ray task: measure one model in a process of its own.

    Args:
        job: What to run.
        python: Interpreter in the job's command; this machine's is used instead.
        version: Version of bddzoo of the sweep.

    Yields:
        First this machine's name and node id, as soon as it has room; then the result.

    Raises:
        RuntimeError: This machine has another version of bddzoo.
    """
    import ray

    host = socket.gethostname()
    if version != __version__:
        raise RuntimeError(f"{host} has bddzoo {__version__}, the sweep runs {version}: install the same")
    yield host, str(ray.get_runtime_context().get_node_id())
    with tempfile.TemporaryDirectory(prefix="bddzoo-sweep-", ignore_cleanup_errors=True) as folder:
        log, results = Path(folder, "log"), Path(folder, "results")
        results.mkdir()
        with log.open("wb") as output:
            process = subprocess.Popen(
                _local_command(job.command, python),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **job.environment(results)},
                start_new_session=True,
            )
        late = False
        deadline = time.monotonic() + (job.time_limit_s or float("inf"))
        try:
            while process.poll() is None and not late:
                time.sleep(0.1)  # not one long wait, which Ray could not interrupt
                late = time.monotonic() >= deadline
        finally:
            stop_group(process, signal.SIGTERM if late else signal.SIGINT)
        result = JobResult(
            process.returncode, late, files=pack_records(results), log=log.read_bytes()[-LOG_BYTES:]
        )
    # Nothing may be left to do after it: a generator may not be resumed after what is taken for its last.
    yield result


def run_quietly(command: tuple[str, ...], python: str) -> None:
    """A Ray task that runs a command, such as fetching weights, and ignores how it ends."""
    quiet = subprocess.DEVNULL
    subprocess.run(_local_command(command, python), stdin=quiet, stdout=quiet, stderr=quiet, check=False)


def _local_command(command: Sequence[str], python: str) -> list[str]:
    local = [sys.executable if part == python else part for part in command]
    return [sys.executable, *_DIES_WITH_PARENT, *local]


@dataclass
class RayJob(RunningJob):
    """A Ray task, as the process of the sweep sees it."""

    job: Job
    outputs: Any
    running: list[RayJob]
    tried: set[str]
    node: str | None = None
    prefetched_next: bool = False
    _host: str = ""
    _began: float = 0.0
    _interrupted: float | None = None
    _ended: bool = False

    @property
    def place(self) -> str | None:
        # One machine may be several nodes.
        return None if self.node is None else f"{self._host} {self.node[:6]}"

    @property
    def seconds(self) -> float:
        return 0.0 if self.node is None else time.monotonic() - self._began

    def poll(self) -> JobResult | None:
        import ray

        ready, _ = ray.wait([self.outputs], timeout=0)
        if not ready:
            limit = self.job.time_limit_s
            # The task keeps its limit itself, unless its machine hangs.
            return JobResult(None, late=True) if limit and self.seconds > limit + 2 * GRACE_S else None
        try:
            output = ray.get(next(self.outputs))
        except (ray.exceptions.RayError, StopIteration) as error:
            self._ended = True
            return JobResult(None, reason=f"lost on {self.place or 'its way to a machine'}: {_reason(error)}")
        if isinstance(output, JobResult):
            self._ended = True
            return output
        (self._host, self.node), self._began = output, time.monotonic()
        self.tried.add(self.node)
        return None

    def interrupt(self) -> None:
        self._interrupted = time.monotonic()
        self._cancel(force=False)

    def close(self) -> None:
        try:
            while self._interrupted and time.monotonic() - self._interrupted < GRACE_S:
                if self.poll() is not None:
                    break
                time.sleep(0.1)
        finally:
            # Ray aborts this process where it is told to kill a task that is just ending.
            if not self._ended:
                self._cancel(force=True)
            if self in self.running:
                self.running.remove(self)

    def _cancel(self, *, force: bool) -> None:
        import ray

        with contextlib.suppress(Exception):  # it has ended, or the cluster is gone
            ray.cancel(self.outputs, force=force)


@dataclass(frozen=True)
class Node:
    """A machine of the cluster: its id, processors and GPUs."""

    id: str
    cpus: float
    gpus: float


@dataclass
class RayExecutor(Executor):
    """A Ray cluster.

    Args:
        address: See `connected`.
        gpus: GPUs for each model; None for one if the cluster has any.
        cpus: Processors for each model; None for the share of the smallest machine that belongs to its GPUs,
            or for the whole machine if no GPUs are asked for.
        jobs: Models at the same time; None for as many as have room. More than have room wait in Ray's
            queue, for which an autoscaler starts machines.
        fetch: Command that fetches a model's weights; the model's id is appended. Empty to prefetch nothing.

    Raises:
        NetworkError: See `connected`, which raises more.
        MissingError: No machine has room for a single model.
    """

    address: str | None = None
    gpus: int | None = None
    cpus: int | None = None
    jobs: int | None = None
    fetch: tuple[str, ...] = ()
    _running: list[RayJob] = field(default_factory=list, init=False)
    _prefetched: dict[str, str] = field(default_factory=dict, init=False)
    _tried: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set), init=False)
    _nodes: list[Node] = field(default_factory=list, init=False)
    _listed: float = field(default=float("-inf"), init=False)
    _had_room: float = field(default_factory=time.monotonic, init=False)

    def __post_init__(self) -> None:
        with contextlib.ExitStack() as stack:
            stack.enter_context(connected(self.address))
            self._list_nodes()
            if self.gpus is None:
                self.gpus = int(any(node.gpus >= 1 for node in self._nodes))
            if self.jobs is None and not self._capacity():
                raise MissingError(
                    f"no machine of the Ray cluster has {self._needs()}",
                    hint="choose other --gpus or --device, or give --jobs to wait for machines",
                )
            self._stack = stack.pop_all()

    def _needs(self) -> str:
        return f"{self.gpus} GPUs and {self._cpus()} processors for a model"

    def _cpus(self) -> int:
        if self.cpus is not None:
            return self.cpus
        if not self.gpus:
            return int(max(1, min((node.cpus for node in self._nodes if node.cpus >= 1), default=1)))
        shares = [node.cpus * self.gpus / node.gpus for node in self._nodes if node.gpus >= self.gpus]
        return int(max(1, min(shares, default=1)))

    def _slots(self, node: Node) -> int:
        by_cpu = int(node.cpus // self._cpus())
        return min(by_cpu, int(node.gpus // self.gpus)) if self.gpus else by_cpu

    def _capacity(self) -> int:
        return sum(self._slots(node) for node in self._nodes)

    def _list_nodes(self) -> None:
        import ray

        if time.monotonic() - self._listed < NODES_S:
            return
        self._listed = time.monotonic()
        with contextlib.suppress(Exception):  # the head is busy: the old list stays
            self._nodes = [
                Node(node["NodeID"], float(has.get("CPU", 0)), float(has.get("GPU", 0)))
                for node in ray.nodes()
                if node.get("Alive") and (has := node.get("Resources", {}))
            ]

    def free_slots(self) -> int:
        """See `Executor`.

        Raises:
            MissingError: For ten minutes no machine could have run a model.
        """
        self._list_nodes()
        slots = self._capacity() if self.jobs is None else self.jobs
        if slots:
            self._had_room = time.monotonic()
        elif time.monotonic() - self._had_room > NO_NODES_S:
            raise MissingError(
                f"for {NO_NODES_S / 60:.0f} minutes no machine of the Ray cluster has had {self._needs()}",
                hint="start the sweep again when there are machines: it goes on where it was",
            )
        return slots - len(self._running)

    def _free_nodes(self) -> set[str]:
        busy = Counter(task.node for task in self._running)
        return {node.id for node in self._nodes if busy[node.id] < self._slots(node)}

    def order(self, jobs: Sequence[Job]) -> Sequence[Job]:
        """See `Executor`: first what a free machine has prefetched, last what a busy one has prefetched."""
        free, known = self._free_nodes(), {node.id for node in self._nodes}

        def turn(job: Job) -> int:
            node = self._prefetched.get(job.model)
            return 1 if node not in known else 0 if node in free else 2

        return sorted(jobs, key=turn)

    def start(self, job: Job, lock: IO[bytes]) -> RayJob:
        """See `Executor`. The process of the sweep keeps the lock."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        free, tried = self._free_nodes(), self._tried[job.model]
        node = self._prefetched.pop(job.model, None)
        if node not in free or node in tried:
            # After a failed try another machine, if one is free.
            node = min(free - tried, default=None) if tried else None
        task = ray.remote(run_job).options(
            num_returns="streaming",
            max_retries=0,
            num_cpus=self._cpus(),
            num_gpus=self.gpus,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=True) if node else "DEFAULT",
        )
        outputs = task.remote(job, sys.executable, __version__)
        started = RayJob(job, outputs, self._running, tried)
        self._running.append(started)
        return started

    def prefetch(self, models: Sequence[str]) -> None:
        """See `Executor`: a machine that runs a model fetches the one that will probably come after it."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        rest = iter([model for model in models if model not in self._prefetched])
        for task in self._running if self.fetch else ():
            if task.node is None or task.prefetched_next or (model := next(rest, None)) is None:
                continue
            task.prefetched_next, self._prefetched[model] = True, task.node
            there = NodeAffinitySchedulingStrategy(task.node, soft=False)
            fetch = ray.remote(run_quietly).options(num_cpus=0, max_retries=0, scheduling_strategy=there)
            fetch.remote((*self.fetch, model), sys.executable)

    def close(self) -> None:
        self._stack.close()


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Connect to a cluster; disconnect at the end, and end a cluster that was started for it.

    Args:
        address: `HOST:PORT` of the cluster, or `auto` for the one that this machine belongs to; None for
            `$RAY_ADDRESS`, and without it a cluster of this machine alone.

    Raises:
        ImportError: Ray is not installed.
        NetworkError: Nothing answers at the address.
        UsageError: The cluster runs another version of Ray or Python, or the address makes no sense.
        MissingError: No cluster could be started.
    """
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    require_ray()
    import ray

    _check_address(address)
    options: dict[str, Any] = {"address": address, "log_to_driver": False}
    options |= {"logging_level": logging.CRITICAL, "configure_logging": True}
    temporary = _short_folder() if address == "local" else None
    if temporary is not None:
        options |= {"object_store_memory": OBJECT_STORE_BYTES, "include_dashboard": False}
        options |= {"_temp_dir": temporary}
    try:
        try:
            ray.init(**options)
        except ConnectionError as error:
            raise NetworkError(
                f"no Ray cluster at '{address}': {_reason(error)}",
                hint="start one with 'ray start --head', or leave --address away",
            ) from error
        except (RuntimeError, ValueError) as error:
            if temporary is not None:
                raise MissingError(f"Ray cannot be started here: {_reason(error)}") from error
            raise UsageError(f"the Ray cluster at '{address}' cannot be used: {_reason(error)}") from error
        yield
    finally:
        with contextlib.suppress(Exception):
            ray.shutdown()
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def require_ray() -> None:
    """Import Ray, without usage reports and without messages on standard output, which is for data.

    Raises:
        ImportError: It is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
    import ray  # noqa: F401


def _check_address(address: str) -> None:
    """Connect to the port: Ray itself tries for minutes if nothing listens."""
    if address in ("auto", "local"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageError(f"'{address}' is not an address of a Ray cluster", hint="write HOST:PORT, or auto")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except OSError as error:
        raise NetworkError(
            f"nothing answers at '{address}': {error.strerror or error}",
            hint="start the cluster with 'ray start --head', or leave --address away",
        ) from error


def _short_folder() -> str:
    folder = tempfile.mkdtemp(prefix="bddzoo-ray-")
    if len(folder) > _FOLDER_CHARACTERS:
        shutil.rmtree(folder)
        folder = tempfile.mkdtemp(prefix="bddzoo-ray-", dir="/tmp")
    return folder


def _reason(error: BaseException) -> str:
    """The line of Ray's long messages that says what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    telling = [line for line in lines if line.startswith(_ERRORS_AT_START)]
    telling += [line for line in lines if "died" in line or "killed" in line]
    return (telling or lines)[0]
