"""Threads that read before the network and write after it, with bounded memory."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


def prefetch(function: Callable[[T], R], items: Iterable[T], *, workers: int, depth: int) -> Iterator[R]:
    """Results of `function` over `items`, in order, computed by threads ahead of their use.

    Args:
        function: Runs in a thread; an error it raises comes out where its result would have.
        items: Taken one at a time, in the caller's thread.
        workers: Threads.
        depth: Results that may wait or be in the making at any time; bounds the memory.
    """
    pool = ThreadPoolExecutor(max_workers=max(1, workers), thread_name_prefix="bddzoo-read")
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= max(1, depth):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class Sink(Generic[T]):
    """A thread that consumes values behind the caller, in order.

    Use as a context manager: leaving the block waits until everything is consumed. An error of the
    consumer is raised in the caller at its next `put`, or when the block is left; what was put after
    it is dropped. Where the block is left by an error, what waits is dropped, too, unless the error is
    one of `finish_on`.

    Args:
        consume: Called in the thread with each value.
        depth: Values that may wait; `put` blocks when they do.
        finish_on: Errors of the block upon which what waits is consumed all the same.
    """

    def __init__(
        self,
        consume: Callable[[T], None],
        *,
        depth: int = 2,
        finish_on: tuple[type[BaseException], ...] = (),
    ) -> None:
        self._consume = consume
        self._finish_on = finish_on
        self._queue: queue.Queue[T | None] = queue.Queue(maxsize=max(1, depth))
        self._error: BaseException | None = None
        self._abandoned = False
        self._thread = threading.Thread(target=self._run, name="bddzoo-write", daemon=True)

    def __enter__(self) -> Sink[T]:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._abandoned = kind is not None and not issubclass(kind, self._finish_on)
        self._queue.put(None)
        self._thread.join()
        if kind is None:
            self._raise()

    def put(self, value: T) -> None:
        """Hand a value to the thread."""
        self._raise()
        self._queue.put(value)

    def _run(self) -> None:
        while (value := self._queue.get()) is not None:
            if self._error is not None or self._abandoned:
                continue
            try:
                self._consume(value)
            except BaseException as error:  # handed over to the caller's thread
                self._error = error

    def _raise(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            self._abandoned = True
            raise error
