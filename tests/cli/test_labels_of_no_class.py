"""Labels with pixels of no class: `data check`, `score`, `eval` and `check` give one answer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import pytest

from bddzoo.datasets.classes import label_values
from tests.cli.command import bddzoo, run_here
from tests.cli.conftest import TinyZoo
from tests.support.tiny import INS_SEG, SEM_SEG

LABELS = {"sem_seg": "labels/sem_seg/masks/val", "ins_seg": "labels/ins_seg/bitmasks/val"}
MODELS = {"sem_seg": SEM_SEG, "ins_seg": INS_SEG}
# The value after the last class, one more, and one far away; the first is the toolkit's own for "ignored".
CASES = [("sem_seg", 19), ("sem_seg", 20), ("sem_seg", 254), ("ins_seg", 9), ("ins_seg", 200)]


@pytest.fixture
def spoilt(tiny: TinyZoo, tmp_path: Path, request: pytest.FixtureRequest) -> tuple[str, Path]:
    """A data set with one label, the second, in which two values are of no class."""
    task, value = request.param
    data = tmp_path / "data"
    shutil.copytree(tiny.data, data)
    label = sorted((data / LABELS[task]).glob("*.png"))[1]
    pixels = cv2.imread(str(label), cv2.IMREAD_UNCHANGED)
    if task == "sem_seg":
        pixels[10:12] = value
    else:
        pixels[..., 2][pixels[..., 2] == 3] = value  # red is the category; OpenCV has it third
    cv2.imwrite(str(label), pixels)
    return task, data


@pytest.fixture(scope="module")
def predicted(tiny: TinyZoo, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Predictions of both models."""
    folder = tmp_path_factory.mktemp("predicted")
    for task, model in MODELS.items():
        options = ("--registry", tiny.registry, "--weights", tiny.weights[task], "--device", "cpu")
        places = ("--data", tiny.data, "--results", folder / "results", "--out", folder / task)
        done = bddzoo("eval", model, *options, *places)
        assert done.returncode == 3, done.stderr
    return {task: folder / task for task in MODELS}


@pytest.mark.parametrize("spoilt", CASES, indirect=True, ids=str)
def test_every_command_refuses_them(
    tiny: TinyZoo,
    spoilt: tuple[str, Path],
    predicted: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    task, data = spoilt
    model, registry = MODELS[task], ("--registry", tiny.registry)
    checked = run_here(capsys, "data", "check", "--data", data, "--task", task)
    assert checked.returncode == 5, checked.stdout
    assert "values that are not a class" in checked.stdout
    found = predicted[task] / ("bitmasks" if task == "ins_seg" else "masks")
    more = ("--score-file", predicted[task] / "score.json") if task == "ins_seg" else ()
    scored = run_here(capsys, "score", "-t", task, "-g", data / LABELS[task], "-r", found, *more)
    assert scored.returncode == 5, scored.stdout
    assert "class" in scored.stderr
    results = ("--results", tmp_path / "results")
    own = ("--data", data, "--device", "cpu", *results)
    measured = run_here(capsys, "eval", model, *registry, *own, "--weights", tiny.weights[task])
    assert measured.returncode == 5, measured.stdout
    assert "not a class" in measured.stderr
    assert "reproduced" not in measured.stdout
    assert not list(tmp_path.glob("results/**/*.json"))
    partial = run_here(capsys, "eval", model, *registry, *own, "--weights", tiny.weights[task], "--skip-bad")
    assert partial.returncode == 4, partial.stdout
    chain = ("--link", "predictions", "--predictions", found, "--format", "json")
    looked = run_here(capsys, "check", model, *registry, "--data", data, *chain, *results)
    assert looked.returncode == 5, looked.stdout
    assert json.loads(looked.stdout)[0]["links"][0]["verdict"] == "missing"


@pytest.mark.parametrize("task", ["sem_seg", "ins_seg", "drivable", "pan_seg"])
def test_the_rule(task: str) -> None:
    """A value is a class, or what stands for none: 255 in class maps, 0 in bitmasks."""
    values = label_values(task)
    classes = {"sem_seg": 19, "ins_seg": 8, "drivable": 3, "pan_seg": 40}[task]
    assert len(values) == classes + 1
    assert (255 in values) == (task in ("sem_seg", "drivable"))
    assert classes not in values or task in ("ins_seg", "pan_seg")
