"""Statistics next to records: comparing, importing and pruning, with real measurements."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bddzoo.datasets.layouts import BddLayout
from bddzoo.evaluation import SemSegAccumulator, statistics
from bddzoo.results import default_root, write_record
from tests.cli.command import assert_one_line, run_here
from tests.cli.conftest import TinyZoo
from tests.results.factory import CLASSES, make_model, make_record, records_in, stored_in
from tests.support.tiny import INS_SEG, SEM_SEG

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("BDDZOO_RESULTS", str(tmp_path / "results"))
    return lambda *arguments: run_here(capsys, *arguments)


def counted(error: float, frames: int = 40, shift: int = 0) -> bytes:
    """Statistics of frames whose predictions are wrong at a share of the pixels."""
    rng = np.random.default_rng(7)
    found = SemSegAccumulator(CLASSES)
    for index in range(frames):
        truth = rng.integers(0, 3, (20, 20)).astype(np.uint8)
        wrong = rng.random((20, 20)) < error * rng.uniform(0.5, 1.5)
        found.update(truth, np.where(wrong, (truth + 1) % 3, truth).astype(np.uint8), f"f{index + shift}")
    return statistics.dump(found)


def stored(root: Path, model: str, error: float, lie: float = 0.0, **protocol: object) -> Path:
    """A record of what its statistics give, or of more than that."""
    content = {"masks": counted(error)}
    scores = statistics.load(content["masks"]).compute()
    numbers = {"summary": {m: v + lie for m, v in scores.summary.items()}}
    numbers["per_class"] = {m: {c: v + lie for c, v in row.items()} for m, row in scores.table.items()}
    fields = {"image_list": "sha256:1", "ground_truth": "sha256:2", **protocol}
    record = make_record(make_model(id=model), protocol=fields, statistics=content, **numbers)
    return write_record(record, root, content)


def test_a_better_model_is_said_to_be_better(run: Run, tmp_path: Path) -> None:
    root = default_root()
    stored(root, "poor", 0.3)
    stored(root, "good", 0.2)
    done = run("results", "compare", "poor", "good", "--format", "json")
    assert done.returncode == 0, done.stderr
    rows = {row["metric"]: row for row in json.loads(done.stdout)["metrics"]}
    assert rows["mIoU"]["conclusion"] == "better"
    assert 0 < rows["mIoU"]["low"] < rows["mIoU"]["difference"] < rows["mIoU"]["high"]
    assert rows["mIoU"]["difference"] == pytest.approx(rows["mIoU"]["b"] - rows["mIoU"]["a"])
    back = json.loads(run("results", "compare", "good", "poor", "--format", "json").stdout)
    assert next(r for r in back["metrics"] if r["metric"] == "mIoU")["conclusion"] == "worse"
    again = json.loads(run("results", "compare", "poor", "good", "--format", "json").stdout)
    assert again["metrics"] == json.loads(done.stdout)["metrics"], "the same seed gives the same interval"
    table = run("results", "compare", "poor", "good", "--metric", "mIoU")
    assert "b is better" in table.stdout
    assert_one_line(run("results", "compare", "poor", "good", "--metric", "AP"), 5, "no metric 'AP'")


def test_the_same_numbers_are_undecided(run: Run) -> None:
    root = default_root()
    stored(root, "one", 0.3)
    stored(root, "other", 0.3)
    done = run("results", "compare", "one", "other", "--format", "json")
    assert {row["conclusion"] for row in json.loads(done.stdout)["metrics"]} == {"undecided"}


def test_other_images_or_labels_are_incomparable(run: Run) -> None:
    root = default_root()
    stored(root, "one", 0.3)
    stored(root, "other", 0.3, ground_truth="sha256:3")
    assert_one_line(run("results", "compare", "one", "other"), 4, "ground_truth")


def test_statistics_that_are_missing_or_damaged(run: Run) -> None:
    root = default_root()
    write_record(make_record(make_model(id="bare")), root)
    path = stored(root, "full", 0.3, image_list=None, ground_truth=None)
    assert_one_line(run("results", "compare", "bare", "full"), 5, "kept no statistics")
    sidecar = next(path.parent.glob("*.npz"))
    sidecar.write_bytes(sidecar.read_bytes()[:-1])
    assert_one_line(run("results", "compare", "full", "full"), 6, sidecar.name)
    sidecar.unlink()
    assert_one_line(run("results", "compare", "full", "full"), 5, sidecar.name)


@pytest.mark.parametrize(("task", "model"), [("sem_seg", SEM_SEG), ("ins_seg", INS_SEG)])
def test_a_measurement_keeps_what_a_comparison_needs(run: Run, tiny: TinyZoo, task: str, model: str) -> None:
    options = ("--registry", tiny.registry, "--data", tiny.data, "--weights", tiny.weights[task])
    assert run("eval", model, *options).returncode in (0, 3)
    (record,) = stored_in(default_root())
    accumulator = statistics.load(next(record.path.parent.glob("*.npz")).read_bytes())
    assert list(accumulator.names) == [f.name for f in BddLayout(tiny.data).listing(task, "val").frames]
    done = run("results", "compare", record.id, record.id, "--format", "json")
    assert {row["difference"] for row in json.loads(done.stdout)["metrics"]} == {0.0}


def test_import_takes_what_is_whole(run: Run, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    stored(theirs, "one", 0.3)
    stored(theirs, "two", 0.3)
    (theirs / "bad.json").write_text("{")
    done = run("results", "import", theirs, "--format", "json")
    assert done.returncode == 6
    assert "bad.json" in done.stderr
    assert [row["new"] for row in json.loads(done.stdout)] == [True, True]
    (theirs / "bad.json").unlink()
    again = run("results", "import", theirs, "--format", "json")
    assert again.returncode == 0
    assert [row["new"] for row in json.loads(again.stdout)] == [False, False]
    assert {r.model for r in records_in(default_root())} == {"one", "two"}
    assert run("results", "compare", "one", "two").returncode == 0
    assert_one_line(run("results", "import", tmp_path / "absent"), 5, "absent")


def test_a_record_that_its_statistics_belie_is_not_taken_nor_shown(run: Run, tmp_path: Path) -> None:
    path = stored(tmp_path / "theirs", "one", 0.3, lie=0.01)
    done = run("results", "import", tmp_path / "theirs")
    assert done.returncode == 6
    assert "by its statistics of 'masks'" in done.stderr
    assert not list(default_root().rglob("*.json"))
    assert_one_line(run("results", "show", path), 6, "by its statistics of 'masks'")


def test_prune_deletes_only_what_newer_ones_replace(run: Run) -> None:
    root = default_root()
    model = make_model()
    for day in (1, 2, 3):
        write_record(make_record(model, 60.0 + day, run={"started": f"2026-01-0{day}T00:00:00Z"}), root)
    write_record(make_record(model, protocol={"flip": True}), root)
    leftover = root / "bdd100k-models/sem_seg/fcn_r50/.x.json.1-2.tmp"
    leftover.write_text("half")
    import os

    os.utime(leftover, (0, 0))
    assert len(json.loads(run("results", "prune", "--format", "json").stdout)["files"]) == 3
    assert len(records_in(root)) == 4, "nothing is deleted without --yes"
    assert run("results", "prune", "--yes").returncode == 0
    left = records_in(root)
    assert {r.summary["mIoU"] for r in left if not r.protocol.flip} == {63.0}
    assert len(left) == 2
    assert not leftover.exists()


def test_prune_keeps_statistics_that_another_record_names(run: Run) -> None:
    root = default_root()
    content = {"masks": counted(0.3)}
    for day in (1, 2):
        record = make_record(run={"started": f"2026-01-0{day}T00:00:00Z"}, statistics=content)
        write_record(record, root, content)
    assert run("results", "prune", "--yes").returncode == 0
    assert len(list(root.rglob("*.npz"))) == 1
    assert run("results", "compare", "fcn_r50", "fcn_r50").returncode == 0
    shutil.rmtree(root)
