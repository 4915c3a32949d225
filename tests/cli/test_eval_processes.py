"""`bddzoo eval --gpus N` with gloo processes on the CPU, and what makes a network faster."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.cli.command import assert_one_line, bddzoo, end_when
from tests.cli.conftest import COUNT, TinyZoo
from tests.support import tiny as small
from tests.support.sampling import sampled

MODELS = {"sem_seg": small.SEM_SEG, "ins_seg": small.INS_SEG}


def arguments(
    tiny: TinyZoo, folder: Path, task: str, *more: object, data: Path | None = None
) -> list[object]:
    """A command line whose results and predictions are below a folder."""
    return [
        *("eval", MODELS[task], "--registry", tiny.registry, "--data", data or tiny.data),
        *("--weights", tiny.weights[task], "--results", folder / "results", "--cache", folder / "cache"),
        *("--out", folder / "out", "--device", "cpu", "--format", "json", *more),
    ]


def record(folder: Path) -> dict[str, Any]:
    (path,) = (folder / "results").rglob("*.json")
    return json.loads(path.read_text())


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("task", sampled(MODELS, "ins_seg".__eq__))
def test_two_processes_give_what_one_gives_bit_for_bit(tiny: TinyZoo, tmp_path: Path, task: str) -> None:
    outputs = []
    for count in (1, 2):
        done = bddzoo(*arguments(tiny, tmp_path / str(count), task, "--gpus", count))
        assert done.returncode in (3, 4), done.stderr
        outputs.append(json.loads(done.stdout)["scores"])
    assert outputs[0] == outputs[1]
    one, two = (record(tmp_path / str(count)) for count in (1, 2))
    assert (one["run"]["processes"], two["run"]["processes"]) == (1, 2)
    assert two["protocol"]["images"] == COUNT
    # The protocol holds the digest of the list of images; the statistics, what was counted on each.
    for part in ("protocol", "summary", "per_class", "absent_classes", "statistics", "weights"):
        assert one[part] == two[part]
    assert files(tmp_path / "1/out") == files(tmp_path / "2/out")


@pytest.mark.slow
def test_batches_stay_whole_and_a_bad_image_is_bad(tiny: TinyZoo, tmp_path: Path) -> None:
    """Two processes for four images in batches of three, one of them unreadable."""
    data = Path(shutil.copytree(tiny.data, tmp_path / "data"))
    (data / "images/10k/val/frame00003.jpg").write_bytes(b"no JPEG")
    options = ("--gpus", 2, "--batch-size", 3)
    done = bddzoo(*arguments(tiny, tmp_path, "sem_seg", *options, data=data))
    assert done.returncode == 5
    assert "frame00003.jpg is not a JPEG" in done.stderr or "frame00003.jpg" in done.stderr
    assert "1 of 4 images could not be used" in done.stderr
    assert not list((tmp_path / "results").rglob("*.json"))
    done = bddzoo(*arguments(tiny, tmp_path, "sem_seg", *options, "--skip-bad", "--force", data=data))
    assert done.returncode == 4, done.stderr
    assert record(tmp_path)["protocol"]["skipped"] == ["frame00003.jpg"]
    assert len(list((tmp_path / "out/masks").iterdir())) == 3


def test_weights_that_do_not_fit_are_one_line(tiny: TinyZoo, tmp_path: Path) -> None:
    command = arguments(tiny, tmp_path, "sem_seg", "--gpus", 2, "--weights", tiny.weights["ins_seg"])
    assert_one_line(bddzoo(*command), 6, "does not fit")
    assert files(tmp_path / "out") == {}


def workers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Processes that share the work of a command."""
    try:
        children = psutil.Process(process.pid).children()
        return [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    except psutil.NoSuchProcess:
        return []


def kill_one(
    command: list[object], ready: Callable[[], bool]
) -> tuple[subprocess.CompletedProcess[str], list[psutil.Process]]:
    """How a command ends of which one worker is killed, and its workers."""
    team: list[psutil.Process] = []

    def end(process: subprocess.Popen[str]) -> None:
        team.extend(workers(process))
        os.kill(team[1].pid, signal.SIGKILL)

    return end_when(command, ready, end), team


def interrupt_all(
    command: list[object], ready: Callable[[], bool]
) -> tuple[subprocess.CompletedProcess[str], list[psutil.Process]]:
    """How a command ends that is interrupted from a terminal, which sends Ctrl-C to everyone; its workers."""
    team: list[psutil.Process] = []

    def end(process: subprocess.Popen[str]) -> None:
        team.extend(workers(process))
        for one in (*team, process):
            one.send_signal(signal.SIGINT)

    return end_when(command, ready, end), team


def writing(out: Path) -> Callable[[], bool]:
    return lambda: any(True for _ in out.rglob("*.png"))


ENDS = {
    "death": (kill_one, 5, "of 2 ended before its work was done (signal 9, SIGKILL)"),
    "Ctrl-C": (interrupt_all, 130, "interrupted"),
}


# Of `predict` all of them are tested.
@pytest.mark.slow
@pytest.mark.parametrize("how", sampled(ENDS, lambda how: False))
def test_a_process_that_ends_early_ends_all(tiny: TinyZoo, tmp_path: Path, how: str) -> None:
    end, code, words = ENDS[how]
    data = small.make_data(tmp_path / "data", 800)
    command = arguments(tiny, tmp_path, "sem_seg", "--gpus", 2, data=data)
    done, team = end(command, writing(tmp_path / "out"))
    assert_one_line(done, code, words)
    assert len(team) == 2
    assert not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in team)
    assert files(tmp_path / "out") == {}


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--gpus", 0], 2, "--gpus"),
        (["--gpus", 99, "--device", "cuda"], 5, "GPU"),
        (["--gpus", 99, "--device", "auto"], 5, "--gpus 99: this machine has"),
        (["--amp"], 2, "--amp needs a GPU"),
    ],
)
def test_what_this_machine_cannot_do(
    tiny: TinyZoo, tmp_path: Path, options: list[object], code: int, words: str
) -> None:
    assert_one_line(bddzoo(*arguments(tiny, tmp_path, "sem_seg", *options)), code, words)
    assert not (tmp_path / "results").exists()


@pytest.mark.slow
def test_a_speedup_is_a_protocol_field_that_makes_the_number_incomparable(
    tiny: TinyZoo, tmp_path: Path
) -> None:
    done = bddzoo(*arguments(tiny, tmp_path, "sem_seg", "--channels-last"))
    assert done.returncode == 4, done.stderr
    assert any("channels_last" in reason for reason in json.loads(done.stdout)["verdict"]["reasons"])
    protocol = record(tmp_path)["protocol"]
    assert protocol["options"] == {"channels_last": "on"}
    assert protocol["precision"] == "fp32"
