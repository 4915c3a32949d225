"""Ctrl-C, held off for a moment or answered in order."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def no_interrupts() -> Iterator[None]:
    """Ignore Ctrl-C meanwhile, in processes started meanwhile too; does nothing outside of the main thread.

    For the short time in which results are put in their place, or in which workers are started whose parent
    gets the signal too and ends them in order.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def on_interrupt(stop: Callable[[], None]) -> Iterator[None]:
    """Meanwhile the first Ctrl-C calls `stop`, and only a second one raises KeyboardInterrupt.

    For a process that listens to others: an exception in the middle of a message would cost the message. Does
    nothing outside of the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def press(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        stop()

    before = signal.signal(signal.SIGINT, press)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
