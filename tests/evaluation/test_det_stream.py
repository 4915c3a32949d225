"""Boxes that a network gives, scored as they come: as what is written of them is scored from the file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from bddzoo.datasets.classes import DET
from bddzoo.datasets.formats.scalabel import Detections, frame_dict, label_dict
from bddzoo.datasets.images import Sample
from bddzoo.datasets.layouts import BddLayout
from bddzoo.evaluation.disk import evaluate
from bddzoo.inference.outputs import PredictionSet
from bddzoo.runs.scorers import DetScorer


def data_set(root: Path, frames: int) -> dict[str, Detections]:
    """A data root with labels of random boxes, and detections near them."""
    random = np.random.default_rng(19)
    labels, found = [], {}
    (root / "images/100k/val").mkdir(parents=True)
    (root / "labels/det_20").mkdir(parents=True)
    for number in range(frames):
        count = int(random.integers(0, 9))
        corner = random.uniform(0, 600, (count, 2)).round(2)
        boxes = np.concatenate([corner, corner + random.uniform(5, 110, (count, 2)).round(2)], axis=1)
        kinds = random.integers(0, 10, count)
        name = f"{number:04d}.jpg"
        (root / "images/100k/val" / name).write_bytes(b"")
        labels.append(
            frame_dict(
                name,
                [
                    label_dict(
                        category="other vehicle" if index == 3 else DET.names[kind],
                        attributes={"crowd": index == 5},
                        box2d=dict(zip(("x1", "y1", "x2", "y2"), box, strict=True)),
                    )
                    for index, (kind, box) in enumerate(zip(kinds.tolist(), boxes.tolist(), strict=True))
                ],
            )
        )
        noisy = boxes + np.array([0, 0, 1, 1]) + random.normal(0, 3, boxes.shape)
        found[name] = Detections(
            noisy.astype(np.float32), random.uniform(0, 1, count).astype(np.float32), kinds
        ).by_class()
    (root / "labels/det_20/det_val.json").write_text(json.dumps(labels), encoding="utf-8")
    return found


def test_stream_and_file_agree(tmp_path: Path) -> None:
    found = data_set(tmp_path, 40)
    listing = BddLayout(tmp_path).listing("det", "val")
    assert [frame.name for frame in listing.frames] == sorted(found)
    assert listing.mismatch() is None
    first, second = DetScorer(DET), DetScorer(DET)
    with PredictionSet(tmp_path / "out", "det") as writer:
        for number, frame in enumerate(listing.frames):
            (first if number % 2 else second).consume(frame, found[frame.name], writer)
    first.merge(second)
    scores = first.compute()
    truth = tmp_path / "labels/det_20/det_val.json"
    disk = evaluate("det", truth, tmp_path / "out/det.json").scores
    assert 20 < scores.summary["box_AP"] < 95
    for metric, row in disk.table.items():
        np.testing.assert_allclose(list(scores.table[metric].values()), list(row.values()), atol=1e-9)
    assert len(set(first.labels.values())) > 30


def test_what_is_labelled_twice_or_not_at_all(tmp_path: Path) -> None:
    data_set(tmp_path, 3)
    (tmp_path / "images/100k/val/more.jpg").write_bytes(b"")
    (tmp_path / "images/100k/val/0001.jpg").unlink()
    listing = BddLayout(tmp_path).listing("det", "val")
    assert (listing.without_label, listing.without_image) == (("more",), ("0001",))
    assert all(isinstance(frame, Sample) for frame in listing.frames)
