"""Ctrl-C, held off for a moment."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


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
