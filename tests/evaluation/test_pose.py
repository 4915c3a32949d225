"""Poses: next to the official toolkit, and what strict mode says."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given

from bddzoo.evaluation.disk import evaluate
from bddzoo.evaluation.statistics import dump, load
from tests.evaluation.cases import write_sides
from tests.evaluation.commands import score
from tests.evaluation.scenes import seeds
from tests.evaluation.test_oracle import compare, many

NAMES = tuple(f"joint-{k}" for k in range(18))


def graph(joints, **nodes):
    entries = [
        {
            "location": [float(x), float(y)],
            "category": name,
            "id": name,
            **{k: v[at] for k, v in nodes.items()},
        }
        for at, (name, (x, y)) in enumerate(zip(NAMES, joints, strict=True))
    ]
    edges = [{"source": NAMES[0], "target": NAMES[1], "type": None}]
    return {"nodes": entries, "edges": edges, "type": "Pose2D-18Joints"}


def box(low, side):
    corners = (*low, *(low + side))
    return {key: float(value) for key, value in zip(("x1", "y1", "x2", "y2"), corners, strict=True)}


def frame(rng, name, *, people, boxed):
    truth, found = [], []
    for k in range(people):
        low, side = rng.uniform(0, 500, 2), np.exp(rng.uniform(2.5, 5.5, 2))
        joints = np.round(low + rng.uniform(0, 1, (18, 2)) * side)
        hidden = rng.choice(["V", "N", "O"], 18) if rng.random() < 0.9 else ["O"] * 18
        label = {"id": str(k), "category": "pedestrian", "box2d": box(low, side)}
        label["graph"] = graph(joints, visibility=list(map(str, hidden)))
        if rng.random() < 0.2:
            label["attributes"] = {"crowd": bool(rng.random() < 0.5), "ignored": True}
        truth.append(label)
        for _ in range(int(rng.integers(0, 3))):
            moved = joints + rng.normal(0, rng.choice([0, 1, 4, 15]), (18, 2))
            pose = {"id": str(len(found)), "category": "pedestrian", "graph": graph(moved, score=[0.5] * 18)}
            pose["score"] = float(rng.integers(1, 9)) / 8
            if boxed:
                pose["box2d"] = box(low, side)
            found.append(pose)
    if rng.random() < 0.2:
        truth.append({"id": "99", "category": "pedestrian", "box2d": box(low, side)} if people else None)
    return {"name": name, "labels": [label for label in truth if label]}, {"name": name, "labels": found}


def world(rng):
    boxed = bool(rng.random() < 0.3)
    people = (0, 1, 3, 15) if rng.random() < 0.3 else (0, 1, 2, 4)
    pairs = [
        frame(rng, f"f{k}.jpg", people=int(rng.choice(people)), boxed=boxed)
        for k in range(int(rng.integers(1, 5)))
    ]
    rng.shuffle(pairs)
    return [gt for gt, _ in pairs], [pred for _, pred in pairs if rng.random() < 0.9]


@many
@given(seeds)
def test_poses_as_the_toolkit(toolkit, seed):
    with tempfile.TemporaryDirectory() as folder:
        assert compare(toolkit, "pose", *write_sides(Path(folder), *world(np.random.default_rng(seed))))


def _people(change=lambda gt, pred: None):
    gt, pred = frame(np.random.default_rng(1), "a.jpg", people=2, boxed=False)
    pred["labels"] = [
        {**k, "score": 0.5, "graph": graph([n["location"] for n in k["graph"]["nodes"]], score=[1.0] * 18)}
        for k in gt["labels"]
        if "graph" in k
    ]
    for label in pred["labels"]:
        label.pop("box2d")
    change(gt["labels"], pred["labels"])
    return [gt], [pred]


def _turn(gt, pred):
    pred[0]["graph"]["nodes"].reverse()


def _shares(gt, pred):
    for label in pred:
        for node in label["graph"]["nodes"]:
            node["location"] = [v / 1280 for v in node["location"]]


WRONG = {
    "joints in another order": (_turn, "joint 'joint-"),
    "17 joints": (lambda gt, pred: pred[0]["graph"]["nodes"].pop(), "a pose of 17 joints, not 18"),
    "another category": (lambda gt, pred: pred[0].update(category="person"), "unknown category 'person'"),
    "no score": (lambda gt, pred: pred[0].pop("score"), "a pose without a score"),
    "no joints": (lambda gt, pred: pred[0].pop("graph"), "a prediction without joints"),
    "no box": (lambda gt, pred: gt[0].pop("box2d"), "a person without a box2d"),
    "boxes now and then": (lambda gt, pred: pred[0].update(box2d=gt[0]["box2d"]), "where others have one"),
    "shares": (_shares, "not one joint reaches"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_wrong_is_said(kind, tmp_path):
    change, message = WRONG[kind]
    gt, pred = write_sides(tmp_path, *_people(change))
    done = score("pose", gt, pred)
    assert done.code == 5
    assert message in done.err
    assert "Traceback" not in done.err


def test_names_of_joints_may_differ(tmp_path):
    def rename(gt, pred):
        for label in pred:
            for node in label["graph"]["nodes"]:
                node["category"] = "other " + node["category"]

    found = evaluate("pose", *write_sides(tmp_path, *_people(rename)))
    assert found.scores.summary["pose_AP"] == pytest.approx(100)


def test_more_than_twenty_people(toolkit, tmp_path):
    gt, pred = frame(np.random.default_rng(0), "a.jpg", people=25, boxed=False)
    pred["labels"] = [{**k, "score": 0.5} for k in gt["labels"] if "graph" in k]
    paths = write_sides(tmp_path, [gt], [pred])
    assert any("more than 20 people" in line for line in evaluate("pose", *paths).warnings)
    assert compare(toolkit, "pose", *paths)


def test_extras(tmp_path):
    gt, pred = world(np.random.default_rng(11))
    found = {f["name"]: f for f in pred}
    pred = [found.get(f["name"], {**f, "labels": []}) for f in gt]
    paths = write_sides(tmp_path, gt, pred)
    done = score("pose", *paths, "--ci", "--worst", 2, "--against", paths[1], "--format", "json")
    assert done.code == 0
    shown = done.data
    assert list(shown)[:3] == ["AP", "AP50", "AP75"]
    assert set(shown["bddzoo"]["intervals"]["values"]) == {"pose_AP", "pose_AP50", "pose_AP75"}
    assert score("pose", *paths, "--plots", tmp_path / "plots").code == 0
    assert (tmp_path / "plots" / "precision-recall-50.png").is_file()
    assert score("pose", *paths, "--errors").code == 2
    accumulator = evaluate("pose", *paths).accumulator
    assert load(dump(accumulator)).compute().summary == accumulator.compute().summary
