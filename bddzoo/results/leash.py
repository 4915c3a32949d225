"""Holds processes for one that may vanish: `python -m bddzoo.results.leash FOLDER LIMIT COMMAND...`.

Runs the command, and whatever else it is told to, each in a process group of its own. When the other end of
its standard input is closed, which also happens when the process that held it was killed, all of it is
killed, and the folder is deleted. Nothing outlives its reason.

How the command ended stands in FOLDER/status, as JSON: `code` (minus the signal's number where one ended it)
and `late` (it was stopped after LIMIT seconds; 0 is no limit). Lines that are understood on standard input:
`interrupt`, and `also COMMAND` with the command as a JSON list, for something that runs beside.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

from bddzoo.results.local import signal_group, stop_group

STATUS = "status"
PID = "pid"
OWN_PID = "leash"


class Leash:
    """See the module.

    Args:
        folder: Folder of the command, which goes with it.
        limit_s: Seconds; 0 for no limit.
        command: The command; what it prints goes where our output goes.
    """

    def __init__(self, folder: Path, limit_s: float, command: list[str]) -> None:
        self._folder = folder
        self._limit_s = limit_s
        self._main = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        self._beside: list[subprocess.Popen[bytes]] = []
        (folder / PID).write_text(str(self._main.pid))

    def run(self) -> None:
        """Wait for the end of the command, and then for the end of our standard input."""
        waiter = threading.Thread(target=self._wait, daemon=True)
        waiter.start()
        # Read without a buffer: a line must be acted on when it comes.
        with os.fdopen(0, "rb", buffering=0, closefd=False) as orders:
            for line in iter(orders.readline, b""):
                with contextlib.suppress(ValueError, OSError):
                    self._obey(line.decode().strip())
        for process in (self._main, *self._beside):
            signal_group(process, signal.SIGKILL)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _obey(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word == "interrupt":
            for process in (self._main, *self._beside):
                signal_group(process, signal.SIGINT)
        elif word == "also":
            quiet = subprocess.DEVNULL
            command = [str(part) for part in json.loads(rest)]
            self._beside.append(
                subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)
            )

    def _wait(self) -> None:
        late = False
        try:
            self._main.wait(self._limit_s or None)
        except subprocess.TimeoutExpired:
            late = True
        stop_group(self._main, signal.SIGTERM)
        fresh = self._folder / f".{STATUS}"
        with contextlib.suppress(OSError):  # the folder is gone: nobody asks any more
            fresh.write_text(json.dumps({"code": self._main.returncode, "late": late}))
            fresh.replace(self._folder / STATUS)


def end_group(folder: Path) -> None:
    """Kill the command of a leash that has died itself."""
    with contextlib.suppress(OSError, ValueError):
        os.killpg(int((folder / PID).read_text()), signal.SIGKILL)


def alive(folder: Path) -> bool:
    """Whether the leash of a folder still holds."""
    try:
        os.kill(int((folder / OWN_PID).read_text()), 0)
    except (OSError, ValueError):
        return False
    return True


def main() -> None:
    """See the module. The process that was started ends at once, and a child of it does the work."""
    folder, limit, *command = sys.argv[1:]
    # Ray kills the children of its workers, and only those, which would cut the leash and let the rest loose.
    if (child := os.fork()) != 0:
        (Path(folder) / OWN_PID).write_text(str(child))
        os._exit(0)
    os.setsid()
    # Ctrl-C at the terminal is for whoever holds the other end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    leash = Leash(Path(folder), float(limit), command)
    leash.run()
    os._exit(0)


if __name__ == "__main__":
    main()
