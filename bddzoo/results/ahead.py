"""Weights are fetched while networks run."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence


class Prefetcher:
    """Fetches what waits for its turn, one after the other, in a thread that nobody waits for.

    Args:
        fetch: Fetches the weights of a model. What it raises is of no interest here: the process that needs
            the weights meets it again and says it in its own words.
    """

    def __init__(self, fetch: Callable[[str], object]) -> None:
        self._fetch = fetch
        self._waiting: tuple[str, ...] = ()
        self._seen: set[str] = set()
        self._over = False
        self._changed = threading.Condition()
        threading.Thread(target=self._work, daemon=True, name="prefetch").start()

    def offer(self, models: Sequence[str]) -> None:
        """What waits now, in the order in which it will run."""
        with self._changed:
            if tuple(models) != self._waiting:
                self._waiting = tuple(models)
                self._changed.notify()

    def stop(self) -> None:
        """Begin nothing more."""
        with self._changed:
            self._over = True
            self._changed.notify()

    def _work(self) -> None:
        while (model := self._next()) is not None:
            with contextlib.suppress(Exception):
                self._fetch(model)

    def _next(self) -> str | None:
        with self._changed:
            while not self._over:
                model = next((name for name in self._waiting if name not in self._seen), None)
                if model is not None:
                    self._seen.add(model)
                    return model
                self._changed.wait()
        return None
