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
    sys.exit(run())


def _leave(number: int, frame: object) -> None:
    os.write(2, b"error: interrupted\n")
    os._exit(130)


if __name__ == "__main__":
    main()
