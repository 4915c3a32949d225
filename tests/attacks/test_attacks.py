"""A sample of the attacks; `python -m tests.attacks` runs them all and prints counts."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from tests.attacks import KINDS, harness
from tests.attacks.harness import Attack, Tally, prepared, run_all

# Each so many attacks of a kind one runs here. Prime, so that every command and every input gets its turn.
EVERY = {"checkpoints": 179, "labels": 421, "records": 613, "registries": 809, "disks": 23}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_of_the_attacks_is_refused_in_one_line(kind, tmp_path, capsys):
    folder = prepared(tmp_path / "attack")
    tally = run_all(islice(KINDS[kind](folder), 0, None, EVERY[kind]), folder)
    with capsys.disabled():
        print(f"\n{kind}: {tally}")
    assert tally.runs >= 5
    assert tally.faults == []


def run_one(folder: Path, *arguments: object, before: tuple[str, ...] = ()) -> Tally:
    def attacks() -> Iterator[Attack]:
        yield Attack("x", arguments, before=before)

    return run_all(attacks(), prepared(folder / "attack"))


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("touch outside/x; exit 2", "outside of its folder"),
        ('touch "$ATTACK_CANARY"; exit 2', "executed"),
        ("printf '\\033[2J'; exit 2", "prints"),
        ("echo ::error::x; exit 2", "prints"),
        ("echo Traceback '(most recent call last)' >&2; exit 1", "status 1"),
        ("head -c 5000 /dev/zero | tr '\\0' x >&2; exit 2", "a line of"),
        ("kill -SEGV $$", "dies of SIGSEGV"),
    ],
)
def test_what_must_not_happen_is_seen(tmp_path, script, words):
    """A harness that sees nothing would find nothing."""
    tally = run_one(tmp_path, "list", before=("bash", "-c", script))
    assert any(words in fault for fault in tally.faults), tally.faults


def test_hangs_and_memory_are_seen(tmp_path, monkeypatch):
    eats = "import time; x = bytearray(600 << 20); time.sleep(1)"
    tally = run_one(tmp_path / "a", before=("sh", "-c", f"exec python3 -c '{eats}'"))
    assert any("MiB of memory" in fault for fault in tally.faults), tally.faults
    monkeypatch.setattr(harness, "CPU_S", 1)
    tally = run_one(tmp_path / "b", before=("sh", "-c", "while :; do :; done"))
    assert any("takes more than" in fault for fault in tally.faults), tally.faults
