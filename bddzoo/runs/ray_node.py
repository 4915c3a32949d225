"""The part of a sweep over machines that runs on them: one `Bench` for one model.

It is a Ray actor that outlives the process which made it, so that a sweep whose own process was killed finds
its models still running. It runs nothing heavy itself: the model is measured by a process of its own, on a
leash (see `bddzoo.runs.ray_node`) that ends with the actor, however that ends.

Holds processes for one that may vanish: `python -m bddzoo.runs.ray_node FOLDER LIMIT COMMAND...`.

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
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from bddzoo import __version__
from bddzoo.runs.executor import Ended, Order
from bddzoo.runs.local import signal_group, stop_group
from bddzoo.runs.plan import acquire_lock, lock_path, read_mark, record_of
from bddzoo.runs.transfer import keep_records, pack_records

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


# Seconds without a question after which nobody is taken to be there to ask, and after which what was found
# is given up.
LONELY_S = 5.0
LINGER_S = 600.0
LOG_BYTES = 1_000_000


@dataclass(frozen=True)
class Progress:
    """What a bench answers when it is asked.

    Attributes:
        host: Name of the machine.
        node: Id of the node in the cluster.
        seconds: How long the command has been running, or ran.
        ended: How it ended, or None.
        log: What the command printed, its last megabyte; empty while it runs.
    """

    host: str
    node: str
    seconds: float
    ended: Ended | None = None
    log: bytes = b""


class Bench:
    """Measures one model on the machine where it lives.

    Args:
        order: What to run.
        python: The interpreter in the order's command, which is replaced by this machine's.
        version: Version of bddzoo that the order is from.
        mark: Mark of the sweep's folder; see `bddzoo.runs.plan.folder_mark`.

    Raises:
        RuntimeError: This machine has another version of bddzoo, or starts no process.
    """

    def __init__(self, order: Order, python: str, version: str, mark: str) -> None:
        if version != __version__:
            raise RuntimeError(
                f"{socket.gethostname()} has bddzoo {__version__}, the sweep runs {version}: install the same"
            )
        import ray

        self._order, self._python, self._mark = order, python, mark
        self._node = str(ray.get_runtime_context().get_node_id())
        self._folder = Path(tempfile.mkdtemp(prefix="bddzoo-sweep-"))
        self._log = self._folder / "log"
        results = self._folder / "results"
        results.mkdir()
        self._began = self._asked = time.monotonic()
        self._ended: Ended | None = None
        self._seconds = 0.0
        command = [sys.executable, "-m", "bddzoo.runs.ray_node", str(self._folder)]
        with self._log.open("wb") as output:
            starter = subprocess.Popen(
                [*command, str(order.time_limit_s or 0), *self._local(order.command)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **order.environment(results)},
                start_new_session=True,
            )
        assert starter.stdin is not None
        self._orders = starter.stdin
        if starter.wait() != 0:
            raise RuntimeError(f"no process can be started on {socket.gethostname()}")
        threading.Thread(target=self._look_after, daemon=True).start()

    def ask(self) -> Progress:
        """How far it is. Everything that was found travels with the answer."""
        self._asked = time.monotonic()
        ended = self._ended
        seconds = self._seconds if ended else time.monotonic() - self._began
        log = b""
        if ended is not None:
            with contextlib.suppress(OSError):
                log = self._log.read_bytes()[-LOG_BYTES:]
        return Progress(socket.gethostname(), self._node, seconds, ended, log)

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        self._tell("interrupt")

    def ahead(self, command: tuple[str, ...]) -> None:
        """Run something beside, such as fetching what comes next; it ends with this bench."""
        self._tell(f"also {json.dumps(self._local(command))}")

    def _local(self, command: tuple[str, ...]) -> list[str]:
        return [sys.executable if part == self._python else part for part in command]

    def _tell(self, line: str) -> None:
        with contextlib.suppress(OSError):
            self._orders.write(line.encode() + b"\n")
            self._orders.flush()

    def _look_after(self) -> None:
        """Wait for the end; then wait to be asked, and take care of the record where nobody asks."""
        while (ended := self._status()) is None:
            time.sleep(0.1)
        self._seconds, self._ended = time.monotonic() - self._began, ended
        self._asked = max(self._asked, time.monotonic() - LONELY_S / 2)
        patience = LINGER_S if ended.files else 2 * LONELY_S
        while time.monotonic() - self._asked < patience:
            time.sleep(1.0)
            if time.monotonic() - self._asked > LONELY_S and self._publish():
                break
        shutil.rmtree(self._folder, ignore_errors=True)
        os._exit(0)

    def _status(self) -> Ended | None:
        try:
            status = json.loads((self._folder / STATUS).read_text())
        except OSError:
            if alive(self._folder):
                return None
            end_group(self._folder)
            return Ended(None, reason=f"the process that held the model on {socket.gethostname()} has died")
        try:
            files = pack_records(self._folder / "results")
        except OSError as error:
            return Ended(None, reason=f"what it wrote on {socket.gethostname()} cannot be read: {error}")
        return Ended(status["code"], status["late"], files=files)

    def _publish(self) -> bool:
        """Keep the record where it belongs, if the folder is this machine's too and no sweep is running.

        A sweep that is running holds the lock, and gets the record by asking.
        """
        order, ended = self._order, self._ended
        if ended is None or not ended.files or not self._mark or read_mark(order.folder) != self._mark:
            return False
        with contextlib.suppress(Exception):
            lock = acquire_lock(lock_path(order.folder, order.model))
            if lock is None:
                return False
            with lock:
                if record_of(order.results, order.zoo, order.task, order.model, order.sweep) is None:
                    keep_records(ended.files, order.results, model=order.model, sweep=order.sweep)
            return True
        return False
