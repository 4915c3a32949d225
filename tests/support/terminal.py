"""A terminal of one's own, for what a command prints on one only."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
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
    return process.wait(timeout=60), b"".join(chunks).decode().replace("\r\n", "\n")
