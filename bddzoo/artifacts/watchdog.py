"""A limit on how long one wait for a server may take, however often a byte arrives meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import inf

# How long the thread stays that has nothing to look after; the next request needs it again.
LINGER_S = 5.0


class Watch:
    """One connection that somebody waits for.

    Attributes:
        bitten: Whether the wait was ended from outside: it took too long, or the user wants to stop.
            Whatever the connection seems to have said is no answer then.
    """

    def __init__(self, dog: Watchdog, wake: Callable[[], object]) -> None:
        self.bitten = False
        self.due = inf
        self._dog = dog
        self._wake = wake

    def start(self, limit_s: float) -> None:
        """A wait begins that may take `limit_s` seconds."""
        self._dog.expect(self, time.monotonic() + limit_s)

    def rest(self) -> None:
        """The wait is over; nobody waits for the connection now."""
        self.due = inf

    def bite(self) -> None:
        """End the wait."""
        self.bitten = True
        with suppress(Exception):
            self._wake()


class Watchdog:
    """Ends waits that take too long. One thread looks after all of them, while there are any.

    A socket's own timeout starts anew with each byte. Here the whole wait counts: when it is over, the
    connection is shut down, which wakes the thread that waits for it.
    """

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._watches: set[Watch] = set()
        self._thread: threading.Thread | None = None
        self._wakes_at = inf
        self._over = False

    @contextmanager
    def watch(self, wake: Callable[[], object]) -> Iterator[Watch]:
        """Look after a connection.

        Args:
            wake: Shuts the connection down; called from another thread.
        """
        watch = Watch(self, wake)
        with self._lock:
            self._watches.add(watch)
            if self._over:
                watch.bite()
        try:
            yield watch
        finally:
            with self._lock:
                self._watches.discard(watch)

    def expect(self, watch: Watch, due: float) -> None:
        """Let a wait take until `due`, by the monotonic clock."""
        with self._lock:
            watch.due = due
            if self._thread is None or not self._thread.is_alive():
                self._wakes_at = due
                self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
                self._thread.start()
            elif due < self._wakes_at:
                self._lock.notify()

    def end_all(self) -> None:
        """End all waits, and each that begins later."""
        with self._lock:
            self._over = True
            for watch in self._watches:
                watch.bite()

    def _run(self) -> None:
        with self._lock:
            while self._watches:
                now = time.monotonic()
                for watch in self._watches:
                    if watch.due <= now:
                        watch.rest()
                        watch.bite()
                self._wakes_at = min(now + LINGER_S, *(w.due for w in self._watches))
                self._lock.wait(self._wakes_at - now)
            self._thread = None
