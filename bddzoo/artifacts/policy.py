"""How patient and how polite the network code is."""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bddzoo.artifacts.streams import SourceError, Stopped

# How long a host that could not be reached is left alone: in a run over a hundred files a dead host
# costs its timeout once a while, and a short outage does not cost the rest of the run.
DEAD_FOR_S = 120.0


@dataclass(frozen=True)
class Manners:
    """Timeouts, retries and limits; all times in seconds.

    Attributes:
        connect_s: To open a connection.
        read_s: Without a single byte.
        header_s: From a request to the end of the answer's header, bytes arriving or not.
        stall_s: Window in which at least `stall_bytes` of a file must arrive.
        stall_bytes: See `stall_s`.
        attempts: Tries in a row that bring no new bytes before a source is given up.
        connect_attempts: Tries to connect to a host; one that fails them all is left alone for a while.
        backoff_s: First wait between tries; doubles, with jitter.
        backoff_max_s: Longest wait of our own choice.
        retry_after_max_s: Longest wait that a server may ask for; a longer one fails the source.
        connections_per_host: At the same time.
    """

    connect_s: float = 10.0
    read_s: float = 30.0
    header_s: float = 60.0
    stall_s: float = 60.0
    stall_bytes: int = 64 << 10
    attempts: int = 5
    connect_attempts: int = 2
    backoff_s: float = 0.5
    backoff_max_s: float = 30.0
    retry_after_max_s: float = 120.0
    connections_per_host: int = 4

    def wait_s(self, failures: int) -> float:
        """How long to wait after that many failures in a row: full jitter over a doubling bound."""
        bound = min(self.backoff_max_s, self.backoff_s * 2 ** max(0, failures - 1))
        return random.uniform(bound / 2, bound)


class Hosts:
    """Who is being asked at the moment, and who turned out to be dead in this run."""

    def __init__(self, manners: Manners, stop: threading.Event) -> None:
        self._stop = stop
        self._limit = manners.connect_attempts
        self._failed: dict[str, tuple[int, str, float]] = {}
        self._slots: dict[str, threading.Semaphore] = defaultdict(
            lambda: threading.Semaphore(manners.connections_per_host)
        )
        self._lock = threading.Lock()

    @contextmanager
    def slot(self, host: str) -> Iterator[None]:
        """Hold one of the connections to a host."""
        with self._lock:
            slot = self._slots[host]
        while not slot.acquire(timeout=0.2):
            if self._stop.is_set():
                raise Stopped
        try:
            yield
        finally:
            slot.release()

    def why_dead(self, host: str) -> str | None:
        """How a host failed that is not worth asking at the moment, or None."""
        count, why, when = self._failed.get(host, (0, "", 0.0))
        return why if count >= self._limit and time.monotonic() - when < DEAD_FOR_S else None

    def need_alive(self, host: str) -> None:
        """Refuse a host that is not worth asking at the moment.

        Raises:
            SourceError: It is one; the user has been told why, for another file.
        """
        dead = self.why_dead(host)
        if dead is not None:
            raise SourceError(f"{dead} (not asked again in this run)", unreachable=True, told=True)

    def count_failure(self, host: str, why: str) -> None:
        """Remember that a connection could not be opened."""
        with self._lock:
            count = self._failed.get(host, (0, "", 0.0))[0]
            self._failed[host] = (count + 1, why, time.monotonic())

    def count_success(self, host: str) -> None:
        """Remember that a host answers."""
        with self._lock:
            self._failed.pop(host, None)


def sleep(seconds: float, stop: threading.Event) -> None:
    """Wait, unless asked to stop.

    Raises:
        Stopped: The user asked to stop.
    """
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if stop.wait(min(left, 0.2)):
            raise Stopped
