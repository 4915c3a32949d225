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
from pathlib import Path

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


_SESSION = """
import json, os, sys
from bddzoo.cli.main import run
for line in json.loads(sys.argv[1]):
    sys.stdout.write("\\x1e")
    sys.stdout.flush()
    code = run(line)
    sys.stdout.flush()
    sys.stdout.write(f"\\x1f{code}")
    sys.stdout.flush()
"""


def session(
    lines: Sequence[Sequence[object]], columns: int, folder: Path, **changes: str
) -> list[tuple[int, str]]:
    """Run several commands, one after the other in one process, whose stdout is a terminal of that width.

    Returns:
        Exit status of each, and what it printed.
    """
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    words = json.dumps([[str(word) for word in line] for line in lines])
    hidden = ("NO_COLOR", "COLUMNS", "LINES")
    plain = {name: value for name, value in os.environ.items() if name not in hidden}
    with (folder / "stderr").open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", _SESSION, words],
            env={**plain, "TERM": "xterm", "PYTHONPATH": str(ROOT), **changes},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=follower,
            stderr=errors,
        )
    os.close(follower)
    text = _read(leader)
    process.wait(timeout=60)
    assert process.returncode == 0, (folder / "stderr").read_text()
    found = [part.rsplit("\x1f", 1) for part in text.split("\x1e")[1:]]
    return [(int(code), shown) for shown, code in found]
