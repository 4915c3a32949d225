"""Runs a command on hostile input in a process of its own, and says what it did that it must not do."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.cli.command import environment

# Where a command spends more CPU time than this, or waits longer for something, it hangs.
CPU_S, WALL_S = 10, 45
# What a process needs before it reads anything, and how much more it may need for a byte of input.
BASE_BYTES, BASE_BYTES_TORCH, TIMES_INPUT = 300 << 20, 900 << 20, 10
LONGEST_LINE = 2500

_OBEYED = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
    r"|^\s*::[a-z]|##\[",
    re.MULTILINE,
)
# What hostile pickles run, and hostile names point to: both must stay as they are.
CANARY, OUTSIDE = "executed", "outside"


@dataclass(frozen=True)
class Attack:
    """One command on one hostile input.

    Attributes:
        name: What is hostile.
        arguments: What is typed after `bddzoo`.
        codes: Exit statuses that are right; any but 1 where empty.
        size_bytes: Size of the input.
        torch: Whether the command imports torch.
        before: What is put in front of the command.
    """

    name: str
    arguments: Sequence[object]
    codes: Sequence[int] = ()
    size_bytes: int = 0
    torch: bool = False
    before: Sequence[str] = ()

    def __str__(self) -> str:
        return f"{self.name}: bddzoo {' '.join(str(a)[-60:] for a in self.arguments)}"


@dataclass
class Tally:
    """What a series of attacks came to."""

    runs: int = 0
    refused: int = 0
    slowest_s: float = 0.0
    largest_bytes: int = 0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.runs} runs, {self.refused} refused in one line, slowest {self.slowest_s:.1f} s, "
            f"most memory {self.largest_bytes >> 20} MiB, {len(self.faults)} faults"
        )


def prepared(folder: Path) -> Path:
    """A folder for a series of attacks, with something next to it that must not change."""
    (folder / OUTSIDE).mkdir(parents=True)
    (folder / OUTSIDE / "precious").write_text("precious")
    (folder / "inputs").mkdir()
    return folder


def run_all(attacks: Iterable[Attack], folder: Path, say: Callable[[str], object] = len) -> Tally:
    """Run a series of attacks; what went wrong is in the tally, and is said at once."""
    tally = Tally()
    for attack in attacks:
        for fault in _run(attack, folder, tally):
            tally.faults.append(f"{attack}: {fault}")
            say(tally.faults[-1])
    return tally


def _run(attack: Attack, folder: Path, tally: Tally) -> Iterator[str]:
    process = subprocess.Popen(
        [*attack.before, sys.executable, "-m", "bddzoo", *map(str, attack.arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env=environment(
            BDDZOO_CACHE=str(folder / "cache"),
            PYTHONPATH=str(Path(__file__).parents[2]),
            ATTACK_CANARY=str(folder / CANARY),
            OMP_WAIT_POLICY="PASSIVE",
        ),
        start_new_session=True,
        preexec_fn=_limit_cpu,
    )
    peak = [0]
    watcher = threading.Thread(target=_watch, args=(process, peak), daemon=True)
    watcher.start()
    start = time.monotonic()
    try:
        out, err = process.communicate(timeout=WALL_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        yield f"hangs: nothing after {WALL_S} s"
        return
    watcher.join()
    tally.runs += 1
    tally.slowest_s = max(tally.slowest_s, time.monotonic() - start)
    tally.largest_bytes = max(tally.largest_bytes, peak[0])
    code = process.returncode
    said = out.decode("utf-8", "replace") + "\n" + err.decode("utf-8", "replace")
    tally.refused += code > 1
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        yield f"takes more than {CPU_S} s"
    elif code < 0:
        yield f"dies of {signal.Signals(-code).name}"
    elif code == 1 or (attack.codes and code not in attack.codes):
        yield f"status {code}: {said.strip()[-300:]!r}"
    if re.search(r"\.py:\d+: \w*Warning: ", said):
        yield f"a warning of Python's own: {said.strip()[-300:]!r}"
    if "Traceback (most recent" in said or "bug: " in said:
        yield f"a bug: {said.strip()[-300:]!r}"
    if "github" in attack.arguments:
        said = re.sub(r"^::(error|notice) title=", "", said, flags=re.MULTILINE)  # meant to be obeyed
    if match := _OBEYED.search(said):
        yield f"prints {said[max(0, match.start() - 30) : match.end() + 30]!r}"
    longest = max(map(len, err.decode("utf-8", "replace").split("\n")))
    if longest > LONGEST_LINE:
        yield f"a line of {longest} characters"
    most = (BASE_BYTES_TORCH if attack.torch else BASE_BYTES) + TIMES_INPUT * attack.size_bytes
    if peak[0] > most:
        yield f"{peak[0] >> 20} MiB of memory for {attack.size_bytes >> 10} KiB of input"
    if (folder / CANARY).exists():
        (folder / CANARY).unlink()
        yield "code of the file was executed"
    if [p.name for p in (folder / OUTSIDE).iterdir()] != ["precious"]:
        yield "wrote or deleted outside of its folder"


def _limit_cpu() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 1))


def _watch(process: subprocess.Popen[bytes], peak: list[int]) -> None:
    """Read the most memory that a process held, as long as it runs; `ru_maxrss` begins with its parent's."""
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        try:
            text = status.read_text()
        except OSError:
            return
        if match := re.search(r"VmHWM:\s+(\d+)", text):
            peak[0] = max(peak[0], int(match[1]) << 10)
        time.sleep(0.03)
