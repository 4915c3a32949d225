"""A sweep of real networks through the command line."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from bddzoo.results import scan_records
from tests.cli.command import assert_one_line, bddzoo
from tests.cli.conftest import TinyZoo
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
    records = list(scan_records(tmp_path / "results"))
    assert len(records) == 2
    assert {stored.record.run.sweep for stored in records} == {json.loads(done.stdout)["sweep"]}
    again = sweep(tiny, tmp_path, "--all")
    assert again.returncode == 3
    assert "2 of 2 measured" in again.stderr
    assert len(list(scan_records(tmp_path / "results"))) == 2, "nothing ran twice"


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
    done = sweep(tiny, tmp_path, "--all", "--print-slurm", "--name", "a b")
    assert done.returncode == 0
    assert "#SBATCH --array=0-1" in done.stdout
    assert "--name 'a b'" in done.stdout
    script = tmp_path / "sweep.sh"
    script.write_text(done.stdout)
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
