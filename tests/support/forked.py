"""Processes that do not import torch, which takes two seconds of CPU: forked from one that has done so."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

# What Python and torch read when they start; a process with others cannot be forked.
AT_START = (
    *("PATH", "PYTHONPATH", "PYTHONIOENCODING", "LANG", "LC_ALL"),
    *("OMP_NUM_THREADS", "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA"),
)


def can_fork(env: Mapping[str, str]) -> bool:
    """Whether a process with that environment can be forked."""
    return all(env.get(name) == os.environ.get(name) for name in AT_START)


def run_forked(
    call: Callable[..., object],
    *arguments: Any,
    env: Mapping[str, str],
    cwd: str | Path | None = None,
    timeout: float = 300,
) -> subprocess.CompletedProcess[str]:
    """Call a function in a process with its own environment, folder and streams, and return how it ended."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch"])
    with tempfile.TemporaryDirectory() as folder:
        streams = [Path(folder, name) for name in ("out", "err")]
        inside = (call, arguments, dict(env), str(cwd or Path.cwd()), streams)
        process = context.Process(target=_inside, args=inside)
        process.start()
        process.join(timeout)
        if process.is_alive():
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired([str(a) for a in arguments], timeout)
        out, err = (stream.read_text() for stream in streams)
    return subprocess.CompletedProcess(list(arguments), process.exitcode or 0, out, err)


def _inside(
    call: Callable[..., object], arguments: Any, env: dict[str, str], cwd: str, streams: list[Path]
) -> None:
    os.environ.clear()
    os.environ.update(env)
    sys.path[:0] = filter(None, env.get("PYTHONPATH", "").split(os.pathsep))
    os.chdir(cwd)
    for number, path in enumerate(streams, 1):
        with path.open("wb") as stream:
            os.dup2(stream.fileno(), number)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    status: object = 0
    try:
        call(*arguments)
    except SystemExit as ended:
        status = ended.code
    except BaseException:
        traceback.print_exc()
        status = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status if isinstance(status, int) else 0)
