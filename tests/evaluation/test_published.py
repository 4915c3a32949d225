"""Predictions in the form that zoos publish: boxes next to bitmasks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bddzoo.datasets.classes import INS_SEG
from bddzoo.datasets.formats.mask import read_bitmask
from bddzoo.errors import MissingError
from bddzoo.evaluation.det_frames import score_detections
from bddzoo.evaluation.metrics.detection import boxes_of_bitmask
from bddzoo.evaluation.prediction_files import find_detections
from tests.support.tiny import make_data


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("published") / "data", 4) / "labels"


def perfect(truth: Path) -> list[dict[str, Any]]:
    """Detections that are the boxes of the ground truth, with the last pixels inside as corners."""
    frames = []
    for path in sorted(truth.glob("*.png")):
        boxes, classes, _ = boxes_of_bitmask(read_bitmask(path), path.name)
        found = [
            {
                "category": INS_SEG.names[c],
                "score": 0.9,
                "box2d": {"x1": x, "y1": y, "x2": x + w - 1, "y2": y + h - 1},
            }
            for (x, y, w, h), c in zip(boxes.tolist(), classes.tolist(), strict=True)
        ]
        frames.append({"name": f"{path.stem}.jpg", "labels": found})
    return frames


def scored(truth: Path, folder: Path, frames: list[dict[str, Any]]) -> float:
    (folder / "det.json").write_text(json.dumps({"frames": frames}))
    found = find_detections(folder)
    assert found is not None
    return score_detections(truth, *found).summary["box_AP"]


def test_corners_are_the_last_pixels_inside(labels: Path, tmp_path: Path) -> None:
    truth = labels / "ins_seg" / "bitmasks" / "val"
    frames = perfect(truth)
    assert sum(len(f["labels"]) for f in frames) > 0
    assert scored(truth, tmp_path, frames) == pytest.approx(100.0)
    for frame in frames:
        for label in frame["labels"]:
            label["box2d"]["x2"] += 4
    assert scored(truth, tmp_path, frames) < 100.0


def test_boxes_beside_the_folder_of_bitmasks_are_found(tmp_path: Path) -> None:
    (tmp_path / "bitmasks").mkdir()
    assert find_detections(tmp_path / "bitmasks") is None
    (tmp_path / "det.json").write_text("[]")
    assert find_detections(tmp_path / "bitmasks") is not None


@pytest.mark.parametrize("fault", ["frame", "unknown", "twice", "class", "key", "cut"])
def test_boxes_that_cannot_be_scored_are_one_line(labels: Path, tmp_path: Path, fault: str) -> None:
    truth = labels / "ins_seg" / "bitmasks" / "val"
    frames = perfect(truth)
    first = next(f for f in frames if f["labels"])
    if fault == "frame":
        frames.pop()
    elif fault == "unknown":
        frames.append({"name": "other.jpg", "labels": []})
    elif fault == "twice":
        frames.append(frames[0])
    elif fault == "class":
        first["labels"][0]["category"] = "submarine"
    elif fault == "key":
        del first["labels"][0]["box2d"]["x2"]
    if fault == "cut":
        (tmp_path / "det.json").write_text('[{"name": "a.jpg", "la')
        found = find_detections(tmp_path)
        assert found is not None
        with pytest.raises(MissingError, match=r"det\.json"):
            score_detections(truth, *found)
        return
    with pytest.raises(MissingError, match=r"det\.json"):
        scored(truth, tmp_path, frames)
