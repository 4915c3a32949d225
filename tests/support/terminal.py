"""A terminal of one's own, for what a command prints on one only."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.forked import ask, can_fork, server

ROOT = Path(__file__).resolve().parents[2]


def on_a_terminal(*arguments: str, stream: str = "stdout", **changes: str) -> tuple[int, str]:
    """Run `bddzoo ARGUMENTS` with one of its streams on a terminal; exit status and what came there.

    Args:
        arguments: Of the command.
        stream: `stdout` or `stderr`; the other one goes nowhere.
        changes: Environment variables.
    """
    leader, follower = pty.openpty()
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, stream: follower}
    command = [sys.executable, "-m", "bddzoo", *arguments]
    plain = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    process = subprocess.Popen(command, env={**plain, **changes}, cwd=ROOT, **streams)
    os.close(follower)
    text = _read(leader)
    return process.wait(timeout=60), text


def _read(leader: int) -> str:
    """What comes to a terminal until nobody can write to it any more."""
    chunks = []
    while True:
        try:
            chunk = os.read(leader, 65536)
        except OSError:  # Linux says so when the other side is gone
            break
        if not chunk:
            break
        chunks.append(chunk)
    os.close(leader)
    return b"".join(chunks).decode().replace("\r\n", "\n")


def commands(lines: Sequence[Sequence[str]]) -> None:
    """Run commands one after the other, with marks around what each prints and its exit status."""
    from bddzoo.cli.main import run

    for line in lines:
        print("\x1e", end="", flush=True)
        code = run(list(line))
        sys.stdout.flush()
        print(f"\x1f{code}", end="", flush=True)


_START = "import json, sys; from tests.support.terminal import commands; commands(json.loads(sys.argv[1]))"


def session(
    lines: Sequence[Sequence[object]], columns: int, folder: Path, **changes: str
) -> list[tuple[int, str]]:
    """Run several commands, one after the other in one process, whose stdout is a terminal of that width.

    Returns:
        Exit status of each, and what it printed.
    """
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    words = [[str(word) for word in line] for line in lines]
    hidden = ("NO_COLOR", "COLUMNS", "LINES")
    plain = {name: value for name, value in os.environ.items() if name not in hidden}
    env = {**plain, "TERM": "xterm", **changes}
    with (
        (folder / "stderr").open("wb") as errors,
        Path(os.devnull).open() as none,
        ThreadPoolExecutor() as pool,
    ):
        shown = pool.submit(_read, leader)
        if can_fork(env):
            streams = [none.fileno(), follower, errors.fileno()]
            status = ask(server(), commands, [words], env, str(folder), streams, 300)
        else:
            status = subprocess.run(
                [sys.executable, "-c", _START, json.dumps(words)],
                env={**env, "PYTHONPATH": str(ROOT)},
                cwd=folder,
                stdin=none,
                stdout=follower,
                stderr=errors,
                check=False,
            ).returncode
        os.close(follower)
        text = shown.result()
    assert status == 0, (folder / "stderr").read_text()
    found = [part.rsplit("\x1f", 1) for part in text.split("\x1e")[1:]]
    return [(int(code), shown) for shown, code in found]
