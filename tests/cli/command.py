"""Runs the command line as a user does: in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.forked import can_fork, command_line, run_forked

ROOT = Path(__file__).resolve().parents[2]


def environment(**changes: str) -> dict[str, str]:
    """This process's environment without bddzoo's own settings, with changes."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("BDDZOO_") or k == "BDDZOO_VENV"}
    return {**kept, "COLUMNS": "200", "OMP_NUM_THREADS": "1", **changes}


def bddzoo(
    *arguments: object, env: dict[str, str] | None = None, before: Sequence[str] = (), **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run `bddzoo ARGUMENTS` to its end; `before` is put in front of the command."""
    command = [*before, sys.executable, "-m", "bddzoo", *map(str, arguments)]
    changed = environment(**(env or {}))
    options.setdefault("timeout", 300)
    plainly = not before and set(options) <= {"timeout", "cwd"}
    if plainly and can_fork(changed):
        return run_forked(command_line, command[3:], env=changed, **options)
    return subprocess.run(command, capture_output=True, text=True, check=False, env=changed, **options)


def without_privileges() -> list[str]:
    """What to put in front of a command so that permissions of files hold for it, whoever runs the tests."""
    if os.geteuid() != 0:
        return []
    drop = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    if shutil.which("setpriv") is None or subprocess.run([*drop, "true"], check=False).returncode:
        pytest.skip("nothing holds root's hands on this machine")
    return drop


def run_here(capsys: pytest.CaptureFixture[str], *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `bddzoo ARGUMENTS` in this process: for what would import torch again and again."""
    from bddzoo.cli.main import run

    capsys.readouterr()
    code = run([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return subprocess.CompletedProcess(list(arguments), code, said.out, said.err)


def end_when(
    command: list[object],
    ready: Callable[[], object],
    end: Callable[[subprocess.Popen[str]], object],
    env: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Start a command, call `end` with its process when `ready()`, and return how it ended."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bddzoo", *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**(env or {})),
        cwd=ROOT,
    )
    deadline = time.monotonic() + 120
    while not ready() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    end(process)
    out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def interrupt(
    command: list[object], ready: Callable[[], object], env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Start a command, send Ctrl-C when `ready()`, and return how it ended."""
    return end_when(command, ready, lambda process: process.send_signal(signal.SIGINT), env)


def plain(stderr: str) -> str:
    """What `--format json` says as events, in the lines that people get: warnings and errors."""
    lines = []
    for line in filter(str.strip, stderr.splitlines()):
        event = json.loads(line) if line.startswith('{"event"') else None
        if event is None:
            lines.append(line)
        elif event["event"] in ("warning", "error"):
            hint = f"; {event['hint']}" if event.get("hint") else ""
            lines.append(f"{event['event']}: {event['text']}{hint}")
    return "\n".join(lines)


def assert_one_line(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """The command failed with this status and said so in exactly one line on stderr, nothing on stdout."""
    lines = plain(done.stderr).splitlines()
    errors = [line for line in lines if line.startswith("error:")]
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    assert len(errors) == 1, done.stderr
    assert lines[-1] == errors[0], done.stderr
    for word in words:
        assert word in errors[0], (word, errors[0])
