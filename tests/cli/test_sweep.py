"""A sweep of real networks through the command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from bddzoo.errors import install_hint
from tests.cli.command import ROOT, assert_one_line, bddzoo, environment
from tests.cli.conftest import TinyZoo
from tests.results.factory import stored_in
from tests.support.tiny import INS_SEG, SEM_SEG


def sweep(tiny: TinyZoo, folder: Path, *more: object) -> subprocess.CompletedProcess[str]:
    options = ("--registry", tiny.registry, "--data", tiny.data, "--from", tiny.folder, "--device", "cpu")
    places = ("--cache", folder / "cache", "--results", folder / "results")
    return bddzoo("sweep", *options, *places, *more)


def test_a_sweep_measures_every_model_once(tiny: TinyZoo, tmp_path: Path) -> None:
    done = sweep(tiny, tmp_path, "--all", "--jobs", "2", "--format", "json")
    assert done.returncode == 3, done.stderr
    rows = {row["model"]: row for row in json.loads(done.stdout)["models"]}
    assert {row["state"] for row in rows.values()} == {"done"}
    assert rows.keys() == {SEM_SEG, INS_SEG}
    assert rows[SEM_SEG]["verdict"] == "drifted", "random weights do not give the reported number"
    records = stored_in(tmp_path / "results")
    assert len(records) == 2
    assert {stored.record.run.sweep for stored in records} == {json.loads(done.stdout)["sweep"]}
    again = sweep(tiny, tmp_path, "--all")
    assert again.returncode == 3
    assert "2 of 2 measured" in again.stderr
    assert len(stored_in(tmp_path / "results")) == 2, "nothing ran twice"


def test_a_model_that_cannot_be_fetched_is_missing(tiny: TinyZoo, tmp_path: Path) -> None:
    options = ("--registry", tiny.registry, "--data", tiny.data, "--retries", "0")
    done = bddzoo("sweep", SEM_SEG, *options, "--cache", tmp_path / "c", "--results", tmp_path / "r")
    assert done.returncode == 5, done.stderr
    assert "failed" in done.stdout
    assert "source" in done.stdout


@pytest.mark.parametrize("arguments", [[], ["no-such"]])
def test_bad_arguments(tiny: TinyZoo, tmp_path: Path, arguments: list[str]) -> None:
    done = sweep(tiny, tmp_path, *arguments)
    assert_one_line(done, 5 if arguments else 2)
    assert not (tmp_path / "results").exists()


def test_a_wrong_data_root_costs_no_process(tiny: TinyZoo, tmp_path: Path) -> None:
    done = bddzoo("sweep", "--all", "--registry", tiny.registry, "--data", tmp_path / "absent")
    assert_one_line(done, 5, "absent does not exist")


def test_a_slurm_script_is_shell(tiny: TinyZoo, tmp_path: Path) -> None:
    done = sweep(tiny, tmp_path, "--all", "--print-slurm", "--tag", "a b", "--time-limit", "600")
    assert done.returncode == 0
    for option in ("--registry", "--cache", "--results", "--from", "--time-limit 600"):
        assert f"{option} " in done.stdout + " ", "a task runs what was asked for"
    assert "--gpus" not in done.stdout, "none on the CPU"
    several = ("sweep", "--all", "--print-slurm", "--gpus", "4", "--data", tiny.data)
    wish = bddzoo(*several, "--registry", tiny.registry, "--results", tmp_path / "r").stdout
    assert "#SBATCH --gpus=4\n" in wish
    assert "--gpus 4" in wish
    assert "#SBATCH --array=0-1" in done.stdout
    assert "--tag 'a b'" in done.stdout
    script = tmp_path / "sweep.sh"
    script.write_text(done.stdout)
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    places = {"SLURM_ARRAY_TASK_ID": "0", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = ["bash", str(script)]
    ran = subprocess.run(command, env=environment(**places), capture_output=True, text=True, check=False)
    assert ran.returncode == 3, ran.stderr
    records = stored_in(tmp_path / "results")
    assert [stored.record.model for stored in records] == [SEM_SEG], "one task, one model"


def processes_of(folder: Path) -> list[str]:
    """Command lines of the processes that were given something in the folder."""
    lines = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in lines.splitlines() if str(folder) in line]


@pytest.mark.slow
def test_a_sweep_on_a_ray_cluster_of_its_own(
    tiny: TinyZoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real networks; the same records as a sweep on this machine, and no process or file is left."""
    pytest.importorskip("ray", reason="needs bddzoo[ray]")
    temporary = tempfile.mkdtemp(prefix="zoo-", dir="/tmp")
    monkeypatch.setenv("TMPDIR", temporary)
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "0")
    there = sweep(tiny, tmp_path / "ray", "--all", "--executor", "ray", "--format", "json")
    monkeypatch.delenv("TMPDIR")
    assert there.returncode == 3, there.stderr
    wait_until = time.monotonic() + 30
    while (left := [*Path(temporary).glob("bddzoo-*"), *processes_of(Path(temporary))]) and (
        time.monotonic() < wait_until
    ):
        time.sleep(0.2)
    assert left == []
    shutil.rmtree(temporary)
    assert json.loads(there.stdout), "nothing but data on standard output"
    here = sweep(tiny, tmp_path / "here", "--all", "--format", "json")
    assert json.loads(here.stdout) == json.loads(there.stdout), "verdicts, numbers and the sweep's id"
    for where in ("ray", "here"):
        assert len(stored_in(tmp_path / where / "results")) == 2
    stored = [max((tmp_path / w / "results").rglob(f"{SEM_SEG}/*.npz")).name for w in ("ray", "here")]
    assert stored[0] == stored[1], "what was counted on each image came along"


def test_without_ray_one_line_says_what_to_install(tiny: TinyZoo, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['ray'] = None; from bddzoo.cli.main import run; sys.exit(run(sys.argv[1:]))"
    )
    options = ("--all", "--executor", "ray", "--registry", tiny.registry, "--data", tiny.data)
    command = [sys.executable, "-c", code, "sweep", *map(str, options), "--results", str(tmp_path / "r")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment(), cwd=ROOT)
    assert_one_line(done, 5, "ray", install_hint("ray"))
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (("--address", "auto"), 2, "--executor ray"),
        (("--executor", "ray", "--address", "nowhere"), 2, "HOST:PORT"),
        (("--executor", "ray", "--address", "127.0.0.1:9"), 7, "nothing answers at '127.0.0.1:9'"),
        (("--executor", "ray", "--gpus", "0"), 2, "gpus"),
    ],
)
def test_bad_ways_to_name_a_cluster(
    tiny: TinyZoo, tmp_path: Path, options: tuple[str, ...], status: int, words: str
) -> None:
    if "ray" in options:
        pytest.importorskip("ray", reason="needs bddzoo[ray]")
    assert_one_line(sweep(tiny, tmp_path, "--all", *options), status, words)
