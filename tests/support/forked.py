"""Commands in processes that need not start Python and import PyTorch, which takes seconds of CPU.

They are forked from a server, one for each process that runs tests, in which all of that has been done. What
is about starting (imports, signals, terminals, an environment that Python reads when it starts) is tested
with processes that really start, and with `BDDZOO_TEST_ALL=1` all commands do.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import multiprocessing.util
import os
import pickle
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
import weakref
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[2]
ALL = os.environ.get("BDDZOO_TEST_ALL") == "1"
EVERYTHING = "tests.support.preloaded"
# What Python, its libraries and torch read when they start; a process with others cannot be forked.
AT_START = (
    "PATH",
    "PYTHON",
    "LANG",
    "LC_",
    "LD_",
    "TZ",
    "OMP_",
    "GOMP_",
    "MKL_",
    "ATEN_",
    "ONEDNN_",
    "CXX",
    "TORCH_",  # not TORCHINDUCTOR_, which torch reads later, and sets itself where it compiles
)


def can_fork(env: Mapping[str, str]) -> bool:
    """Whether a process with that environment can be forked; where all tests are asked for, none is."""
    ours = _environment()
    return not ALL and all(
        env.get(name) == ours.get(name) for name in {*env, *ours} if name.startswith(AT_START)
    )


def run_forked(
    call: Callable[..., object],
    *arguments: Any,
    env: Mapping[str, str],
    cwd: str | Path | None = None,
    timeout: float = 300,
    imported: str = EVERYTHING,
) -> subprocess.CompletedProcess[str]:
    """Call a function in a process with its own environment, folder and streams, and return how it ended."""
    null = Path(os.devnull)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, null.open("rb") as none:
        streams = [none.fileno(), out.fileno(), err.fileno()]
        status = ask(server(imported), call, arguments, env, str(cwd or Path.cwd()), streams, timeout)
        said = []
        for stream in (out, err):
            stream.seek(0)
            said.append(stream.read().decode().replace("\r\n", "\n"))
    return subprocess.CompletedProcess(list(arguments), status, *said)


def ask(
    address: str,
    call: Callable[..., object],
    arguments: Any,
    env: Mapping[str, str],
    cwd: str,
    streams: list[int],
    timeout: float,
) -> int:
    """Let the server at an address call a function; the exit status, negative after a signal.

    Raises:
        TimeoutExpired: It took longer. The server ends the process.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        request = pickle.dumps((call, arguments, dict(env), cwd))
        socket.send_fds(connection, [len(request).to_bytes(8, "big")], streams)
        connection.sendall(request)
        connection.settimeout(timeout)
        try:
            answer = connection.recv(8)
        except TimeoutError:
            raise subprocess.TimeoutExpired([str(a) for a in arguments], timeout) from None
    assert answer, "the server has ended"
    return int.from_bytes(answer, "big", signed=True)


def command_line(arguments: list[str]) -> None:
    """What `python -m bddzoo ARGUMENTS` does."""
    from bddzoo.__main__ import main

    sys.argv = ["bddzoo", *arguments]
    main()


_PROGRAM = """#!{python} -S
import os, sys
arguments = sys.argv[1:]
if sys.argv[0].endswith("python"):
    if arguments[:2] != ["-m", "bddzoo"]:
        os.execv({python!r}, [{python!r}, *arguments])
    del arguments[:2]
sys.path.insert(0, {root!r})
from tests.support.forked import ask, command_line
status = ask({address!r}, command_line, [arguments], os.environ, os.getcwd(), [0, 1, 2], 600)
sys.exit(status if status >= 0 else 128 - status)
"""


def write_program(path: Path, address: str = "") -> None:
    """Write a program that does what `bddzoo` does, in a forked process with its own streams.

    If it is called `python`, it does so for `python -m bddzoo`, and else what Python does.
    """
    facts = {"python": sys.executable, "root": str(ROOT), "address": address or server()}
    path.write_text(_PROGRAM.format(**facts))
    path.chmod(0o755)


@functools.cache
def server(imported: str = EVERYTHING) -> str:
    """Address of this process's server that has imported a module, started when it is first asked for."""
    folder = tempfile.mkdtemp(prefix="forked-")
    address = f"{folder}/socket"
    code = f"from tests.support.forked import serve; serve({address!r}, {imported!r})"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=_environment(),
    )
    assert process.stdin
    assert process.stdout

    def end() -> None:
        process.stdin.close()
        process.wait()
        shutil.rmtree(folder)

    atexit.register(end)
    assert process.stdout.readline() == b"ready\n", "the server did not start"
    return address


@functools.cache
def _environment() -> dict[str, str]:
    """The server's; several threads cannot be forked."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def serve(address: str, imported: str) -> None:
    """Answer requests until stdin is closed."""
    import_module(imported)
    # Collecting, and finalizing what libraries hold, would touch and so copy all pages in each process.
    gc.freeze()
    weakref.finalize._registry.clear()

    # Commands that commands start are forked as well.
    python = Path(address).with_name("python")
    write_program(python, address)
    sys.executable = str(python)
    multiprocessing.util.spawnv_passfds = _fork_in_place_of_spawning
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ended, wakeup = os.pipe()
    os.set_blocking(wakeup, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakeup)
    running: dict[int, socket.socket] = {}
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        print("ready", flush=True)
        while True:
            ready = select.select([0, ended, listener, *running.values()], [], [])[0]
            if 0 in ready:
                os._exit(0)  # some libraries complain when Python ends in order
            if ended in ready:
                os.read(ended, 1 << 10)
            for pid, connection in list(running.items()):
                if connection in ready:  # who asked has gone
                    os.kill(pid, signal.SIGKILL)
                found, status = os.waitpid(pid, os.WNOHANG)
                if found:
                    with running.pop(pid), contextlib.suppress(OSError):
                        connection.sendall(os.waitstatus_to_exitcode(status).to_bytes(8, "big", signed=True))
            if listener in ready:
                connection, _ = listener.accept()
                request, streams = _receive(connection)
                pid = os.fork()
                if pid == 0:
                    _inside(request, streams)
                running[pid] = connection
                for stream in streams:
                    os.close(stream)


def _fork_in_place_of_spawning(path: str, arguments: list[bytes], streams: Sequence[int]) -> int:
    """What multiprocessing starts by `python -c CODE`: with the streams that it passes on, and no others."""
    pid = os.fork()
    if pid:
        return pid
    for number in (signal.SIGTERM, signal.SIGHUP):  # a new program does not have the handlers of the old one
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    kept = sorted({2, *streams, multiprocessing.util.MAXFD})
    for below, above in pairwise(kept):
        os.closerange(below + 1, above)
    words = [os.fsdecode(word) for word in arguments]
    sys.argv = ["-c", *words[words.index("-c") + 2 :]]
    _run_to_end(exec, words[words.index("-c") + 1], {})


def _receive(connection: socket.socket) -> tuple[bytes, list[int]]:
    head, streams, _, _ = socket.recv_fds(connection, 8, 3)
    data = bytearray()
    while len(data) < int.from_bytes(head, "big"):
        data += connection.recv(1 << 16)
    return bytes(data), streams


def _inside(request: bytes, streams: list[int]) -> None:
    """What a forked process does, as Python's own start and end do it."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    call, arguments, env, cwd = pickle.loads(request)
    os.environ.clear()
    os.environ.update(env)
    sys.path[:0] = filter(None, env.get("PYTHONPATH", "").split(os.pathsep))
    os.chdir(cwd)
    _run_to_end(call, *arguments)


def _run_to_end(call: Callable[..., object], *arguments: Any) -> NoReturn:
    status: object = 0
    try:
        call(*arguments)
    except SystemExit as ended:
        status = ended.code
        if isinstance(status, str):
            print(status, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    with contextlib.suppress(BaseException):  # a signal while it ends
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status if isinstance(status, int) else int(status is not None))
