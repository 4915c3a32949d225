"""Models of a sweep on the machines of a Ray cluster.

Each model gets an actor (`bddzoo.runs.ray_node.Bench`) on a machine with enough free GPUs and processors.
Records travel back, so the machines need no common folder; only the process of the sweep writes them, and it
holds the model's lock, so that every model has one record whatever happens to machines in between. A machine
that is lost is a try that failed. Actors have names and outlive the process of the sweep: if that is killed,
the next one finds them and asks them, and nothing runs twice.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from bddzoo import __version__
from bddzoo.errors import MissingError
from bddzoo.runs.executor import Executor, Order
from bddzoo.runs.plan import folder_mark
from bddzoo.runs.ray_cluster import Node, connected, list_nodes
from bddzoo.runs.ray_node import Bench
from bddzoo.runs.ray_run import RayRun

NODES_S = 2.0
# Nodes come back, or are started by an autoscaler.
NO_NODES_S = 600.0


@dataclass
class RayExecutor(Executor):
    """A Ray cluster.

    Args:
        results: Results folder; with the sweep it makes the names of the actors unique.
        sweep: Id of the sweep.
        address: See `bddzoo.runs.ray_cluster.connected`.
        gpus: GPUs for each model; None for one where the cluster has any.
        cpus: Processors for each model; None for a fair share of the smallest machine: what belongs to the
            GPUs, or the whole machine where none are asked for.
        jobs: Models at the same time; None for as many as have room. More than have room wait in the
            cluster's queue, which makes an autoscaler start machines.
        fetch: Command that fetches a model's weights: it gets the model's id appended; empty for none.

    Raises:
        NetworkError: See `connected`, which raises more.
        MissingError: No machine has room for a single model.
    """

    results: Path
    sweep: str
    address: str | None = None
    gpus: int | None = None
    cpus: int | None = None
    jobs: int | None = None
    fetch: tuple[str, ...] = ()
    _running: list[RayRun] = field(default_factory=list, init=False)
    _ahead: dict[str, str] = field(default_factory=dict, init=False)
    _nodes: list[Node] = field(default_factory=list, init=False)
    _looked: float = field(default=float("-inf"), init=False)
    _last_room: float = field(default_factory=time.monotonic, init=False)

    def __post_init__(self) -> None:
        place = hashlib.sha256(str(self.results).encode()).hexdigest()[:12]
        self._stack = contextlib.ExitStack()
        self._stack.enter_context(connected(self.address, f"bddzoo-{self.sweep}-{place}"))
        try:
            self._look_around()
            if self.gpus is None:
                self.gpus = int(any(node.gpus >= 1 for node in self._nodes))
            if self.jobs is None and not self._capacity():
                raise MissingError(
                    f"no machine of the Ray cluster has {self._wish()}",
                    hint="choose other --gpus-per-model or --device, or give --jobs to wait for machines",
                )
        except BaseException:
            self._stack.close()
            raise

    def _wish(self) -> str:
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

    def _look_around(self) -> None:
        if time.monotonic() - self._looked < NODES_S:
            return
        with contextlib.suppress(Exception):  # the head is busy: what was known stays
            self._nodes = list_nodes()
        self._looked = time.monotonic()

    def room(self) -> int:
        """See `Executor`.

        Raises:
            MissingError: For long there has been no machine that could run a model.
        """
        self._look_around()
        room = self._capacity() if self.jobs is None else self.jobs
        if room:
            self._last_room = time.monotonic()
        elif time.monotonic() - self._last_room > NO_NODES_S:
            raise MissingError(
                f"for {NO_NODES_S / 60:.0f} minutes no machine of the Ray cluster has had {self._wish()}",
                hint="start the sweep again when there are machines: it goes on where it was",
            )
        return room - len(self._running)

    def arrange(self, orders: Sequence[Order]) -> Sequence[Order]:
        """See `Executor`: first what a machine with room has fetched already, last what a busy one should do.

        That is what only the busy one has fetched, or what has failed on all that have room.
        """
        free = self._free()
        known = {node.id for node in self._nodes}

        def turn(order: Order) -> int:
            if order.avoid and not free - order.avoid and known - order.avoid:
                return 3
            node = self._ahead.get(order.model)
            return 1 if node not in known else 0 if node in free else 2

        return sorted(orders, key=turn)

    def _free(self) -> set[str]:
        busy = Counter(run.node for run in self._running)
        return {node.id for node in self._nodes if busy[node.id] < self._slots(node)}

    def start(self, order: Order, lock: IO[bytes]) -> RayRun:
        """See `Executor`. The lock stays with this process."""
        import ray

        actor = ray.remote(Bench).options(
            name=order.model,
            lifetime="detached",
            get_if_exists=True,  # one that has outlived the sweep that made it
            max_restarts=0,
            num_cpus=self._cpus(),
            num_gpus=self.gpus,
            scheduling_strategy=self._strategy(order),
        )
        bench = actor.remote(order, sys.executable, __version__, folder_mark(order.folder))
        run = RayRun(bench, order, self._running)
        self._running.append(run)
        return run

    def _strategy(self, order: Order) -> Any:
        """A machine that has the weights already, or one where it has not failed yet, if there is room."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        free = self._free()
        wanted = self._ahead.pop(order.model, None)
        if wanted not in free or wanted in order.avoid:
            others = sorted(free - order.avoid)
            wanted = others[0] if order.avoid and others else None
        return "DEFAULT" if wanted is None else NodeAffinitySchedulingStrategy(wanted, soft=True)

    def look_ahead(self, models: Sequence[str]) -> None:
        """See `Executor`: a machine that runs a model fetches the one that will probably come after it."""
        if not self.fetch:
            return
        rest = [model for model in models if model not in self._ahead]
        for run in self._running:
            if rest and run.node is not None and not run.fetched_ahead:
                run.fetched_ahead = True
                self._ahead[rest[0]] = run.node
                run.bench.ahead.remote((*self.fetch, rest.pop(0)))

    def close(self) -> None:
        """See `Executor`."""
        self._stack.close()
