"""Settings of the whole suite."""

from __future__ import annotations

import signal

from hypothesis import settings

# How long an example takes says something about the machine, and nothing about the code.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def pytest_configure() -> None:
    """Let the commands that tests start be interrupted.

    A shell's background job ignores Ctrl-C, and so would every process that it starts.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
