"""`bddzoo score --against`: which of two prediction sets is better."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

FRAMES = 12


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ground truth `gt`, predictions `good` (2% of pixels wrong), `poor` (10%) and `few` (a frame less)."""
    root = tmp_path_factory.mktemp("against")
    rng = np.random.default_rng(7)
    for name in ("gt", "good", "poor", "few"):
        (root / name).mkdir()
    for i in range(FRAMES):
        truth = np.repeat(np.repeat(rng.integers(0, 19, (9, 16), np.uint8), 20, 0), 20, 1)
        for name, share in (("gt", 0.0), ("good", 0.02), ("poor", 0.10), ("few", 0.02)):
            wrong = rng.random(truth.shape) < share
            cv2.imwrite(str(root / name / f"{i:02}.png"), np.where(wrong, (truth + 1) % 19, truth))
    (root / "few" / "00.png").unlink()
    return root


def score(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bddzoo", "score", "-t", "sem_seg", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def against(root: Path, mine: str, other: str) -> dict[str, dict[str, object]]:
    done = score("-g", root / "gt", "-r", root / mine, "--against", root / other, "--format", "json")
    assert done.returncode == 0, done.stderr
    return {row["metric"]: row for row in json.loads(done.stdout)["bddzoo"]["against"]["metrics"]}


def test_the_better_set_is_named_and_the_order_turns_it_round(sets: Path) -> None:
    up, down = against(sets, "good", "poor"), against(sets, "poor", "good")
    assert up["mIoU"]["conclusion"] == "better"
    assert down["mIoU"]["conclusion"] == "worse"
    assert up["mIoU"]["difference"] == pytest.approx(-down["mIoU"]["difference"])
    assert up["mIoU"]["low"] == pytest.approx(-down["mIoU"]["high"])
    assert up["mIoU"]["images"] == FRAMES


def test_a_set_against_itself_is_undecided(sets: Path) -> None:
    for row in against(sets, "good", "good").values():
        assert (row["difference"], row["low"], row["high"]) == (0, 0, 0)
        assert row["conclusion"] == "undecided"


def test_the_table_names_both(sets: Path) -> None:
    done = score("-g", sets / "gt", "-r", sets / "good", "--against", sets / "poor")
    assert done.returncode == 0, done.stderr
    assert f"against {sets / 'poor'}, {FRAMES} frames, 95% intervals of 1000 paired" in done.stdout
    assert "better" in done.stdout


def test_other_frames_are_refused(sets: Path) -> None:
    done = score("-g", sets / "gt", "-r", sets / "good", "--against", sets / "few")
    assert done.returncode == 5
    assert "00" in done.stderr
    assert "Traceback" not in done.stderr
    partial = score("-g", sets / "gt", "-r", sets / "good", "--against", sets / "few", "--allow-partial")
    assert partial.returncode == 4
    assert "not scored on the same images, for one 00" in partial.stderr


def test_a_score_file_without_a_set_is_a_mistake(sets: Path) -> None:
    done = score("-g", sets / "gt", "-r", sets / "good", "--against-score-file", sets / "score.json")
    assert done.returncode == 2
    assert "--against" in done.stderr
