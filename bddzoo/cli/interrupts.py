"""Ctrl-C stays Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import click


@contextmanager
def keep_interrupts() -> Iterator[None]:
    """After Ctrl-C, let no other exception out of the block than KeyboardInterrupt.

    Libraries turn it into errors of their own: an import that is cut short leaves half a module behind,
    or comes out as RuntimeError (`__set_name__`), or as ImportError. Those are neither bugs nor bad input.
    """
    pressed = False

    def press(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        pressed = True
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    # Left alone where Ctrl-C is ignored (nohup) or somebody else's, and outside the main thread.
    mine = before is signal.default_int_handler and threading.current_thread() is threading.main_thread()
    if mine:
        signal.signal(signal.SIGINT, press)
    try:
        yield
    except click.exceptions.Exit:  # a command that has dealt with it
        raise
    except Exception as error:
        if pressed:
            raise KeyboardInterrupt from error
        raise
    finally:
        if mine:
            signal.signal(signal.SIGINT, before)
