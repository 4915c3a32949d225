from __future__ import annotations

import json
from pathlib import Path

import pytest

from bddzoo.datasets.classes import SEM_SEG
from bddzoo.registry import load_registry
from bddzoo.results import Record, WeightsUsed, write_record
from tests.cli.command import assert_one_line, bddzoo
from tests.results.factory import make_record

MODEL = "fcn_r50-d8_512x1024_40k_sem_seg_bdd100k"


def record(value: float, started: str, **changes) -> Record:
    model = load_registry(None).find(MODEL)
    return make_record(model, value, run={"started": started}, **changes)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    root = tmp_path / "results"
    write_record(record(59.81, "2026-01-01T00:00:00Z"), root)
    spread = {**dict.fromkeys(SEM_SEG.names, 58.0), "road": 59.81, "car": 54.0, "sky": 60.19}
    write_record(record(58.0, "2026-01-02T00:00:00Z", per_class={"IoU": spread}), root)
    return root


def test_ls_shows_the_verdict_of_each_record(results: Path) -> None:
    done = bddzoo("results", "ls", "--results", results, "--format", "json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [row["verdict"]["verdict"] for row in rows] == ["reproduced", "drifted"]
    table = bddzoo("results", "ls", "fcn*", "--latest", env={"BDDZOO_RESULTS": str(results)})
    assert "drifted" in table.stdout
    assert "reproduced" not in table.stdout
    assert bddzoo("results", "ls", "psp*", "--results", results).stdout == ""


def test_a_corrupted_record_is_warned_about_and_the_rest_is_shown(results: Path) -> None:
    (results / f"bdd100k-models/sem_seg/{MODEL}/0000000000000000.json").write_text("{half")
    done = bddzoo("results", "ls", "--results", results, "--format", "json")
    assert done.returncode == 0
    assert len(json.loads(done.stdout)) == 2
    assert done.stderr.count('"warning"') == 1
    assert "0000000000000000.json: not a record" in done.stderr


def test_show_prints_all_that_is_known(results: Path) -> None:
    table = bddzoo("results", "show", MODEL, "--results", results)
    assert table.returncode == 0, table.stderr
    for word in ("verdict: drifted", "±0.055", "car", "54.00"):
        assert word in table.stdout, word
    value = json.loads(bddzoo("results", "show", MODEL, "--results", results, "--format", "json").stdout)
    assert value["per_class"]["IoU"]["car"] == 54.0
    assert value["verdict"]["metrics"][0]["tolerance"] == 0.055


def test_diff_explains_what_it_did_to_each_class(results: Path, tmp_path: Path) -> None:
    other = record(
        57.0,
        "2026-01-03T00:00:00Z",
        protocol={"flip": True},
        weights=WeightsUsed(name="w", sha256="f" * 64, state="verified"),
    )
    path = write_record(other, tmp_path / "other")
    done = bddzoo("results", "diff", MODEL, path, "--results", results, "--format", "json")
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert {field["field"] for field in value["fields"]} >= {"protocol.flip", "weights.sha256"}
    assert value["classes"]["IoU"][0]["name"] in SEM_SEG.names
    table = bddzoo("results", "diff", MODEL, path, "--results", results)
    assert "which change them" in table.stdout


def test_a_reference_to_nothing_is_one_line(results: Path) -> None:
    assert_one_line(bddzoo("results", "show", "no-such", "--results", results), 5, "no record 'no-such'")
    assert_one_line(bddzoo("results", "diff", "x", "--results", results), 2)


def test_results_without_torch_or_numpy(results: Path) -> None:
    code = (
        "import sys; from bddzoo.cli.main import run; "
        f"code = run(['results', 'ls', '--results', {str(results)!r}]); "
        "assert not {'torch', 'numpy', 'cv2'} & set(sys.modules), 'heavy import'; sys.exit(code)"
    )
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
