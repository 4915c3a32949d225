"""Entry point of the `bddzoo` command and of `python -m bddzoo`."""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    """Run the command line and exit the process with the documented status.

    Ctrl-C while the command line itself is being imported ends the process at once: nothing was begun
    that would have to be undone.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
    from bddzoo.cli.main import run

    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, before)
    status = run()
    if status == 0:
        _end()
    sys.exit(status)


def _end() -> None:
    """End the process at once: Python takes as long to take all modules apart as a small set to score.

    Whatever was registered for the end is done. With other threads or a profiler, Python ends as always.
    """
    import atexit
    import threading

    if threading.active_count() > 1 or sys.getprofile() or sys.gettrace():
        return
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        return
    os._exit(0)


def _leave(number: int, frame: object) -> None:
    os.write(2, b"error: interrupted\n")
    os._exit(130)


if __name__ == "__main__":
    main()
