"""Kinds of errors, confusion of classes and calibration, next to hotcoco and tidecv and by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bddzoo.datasets.classes import INS_SEG
from bddzoo.errors import UsageError
from bddzoo.evaluation.metrics.detection import MatchAccumulator, box_iou
from bddzoo.evaluation.metrics.errors import IGNORED, RIGHT, ErrorAccumulator, calibration, frame_errors
from bddzoo.evaluation.metrics.matching import Candidates, match_frame
from tests.evaluation.commands import refused, score

DATA = Path(__file__).parents[1] / "data"
# Boxes of four classes in twelve frames, and what hotcoco and tidecv say of them.
PEERS = json.loads((DATA / "errors/peers.json").read_text())
WORLDS = PEERS["worlds"]
NAMES = list("0123")
PLAIN = DATA / "evalcases/ins-plain-a"


def candidates(objects, detections) -> Candidates:
    """Of one frame: rows of class, x, y, w, h and crowd or score."""
    gt, found = (np.array(rows, float).reshape(-1, 6) for rows in (objects, detections))
    crowd = gt[:, 5] > 0
    return Candidates(
        iou=box_iou(found[:, 1:5], gt[:, 1:5], crowd),
        scores=found[:, 5],
        pred_class=found[:, 0].astype(np.int64),
        pred_areas=found[:, 3] * found[:, 4],
        gt_class=gt[:, 0].astype(np.int64),
        gt_areas=gt[:, 3] * gt[:, 4],
        gt_ignored=crowd,
        gt_crowd=crowd,
    )


def frames_of(world):
    for f in range(12):
        rows = ([row[1:] for row in world[key] if row[0] == f] for key in ("objects", "detections"))
        yield f"{f:02}", candidates(*rows)


def errors_of(world) -> dict:
    out = ErrorAccumulator(NAMES)
    for name, found in frames_of(world):
        out.add(name, frame_errors(found, coco=True))
    return out.compute()


def check_errors(ours, tide) -> None:
    assert ours["AP50"] == pytest.approx(100 * tide["ap_base"], abs=1e-9)
    for kind, gain in tide["delta_ap"].items():
        entry = {**ours["errors"], **ours["extremes"]}[kind]
        assert entry["gain"] == pytest.approx(100 * gain, abs=1e-9), kind
    for kind, count in tide["counts"].items():
        assert ours["errors"][kind]["count"] == count, kind


@pytest.mark.parametrize("number", [0, 1])
def test_errors_are_those_of_hotcoco(number):
    world = WORLDS[number]
    ours = errors_of(world)
    check_errors(ours, world["tide"])
    assert ours["confusion"]["matrix"] == world["confusion"]


def test_detections_that_crowds_forgive_are_no_errors():
    """tidecv gives each of them a kind, too, which then costs nothing."""
    world = WORLDS[2]
    frames = [frame_errors(found, coco=True) for _, found in frames_of(world)]
    forgiven = sum(int((f.kinds == IGNORED).sum()) for f in frames)
    ours = {kind: entry["count"] for kind, entry in errors_of(world)["errors"].items()}
    theirs = world["tidecv"]["counts"]
    assert forgiven == 6
    assert sum(theirs.values()) == sum(ours.values()) + forgiven
    for kind in ("Cls", "Both", "Dupe", "Miss"):
        assert ours[kind] == theirs[kind]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_calibration_is_that_of_hotcoco(number):
    world = WORLDS[number]
    matches = MatchAccumulator(NAMES)
    for name, found in frames_of(world):
        matches.add(name, match_frame(found, classes=4, coco=True))
    ours, theirs = calibration(matches), world["calibration"]
    assert ours["ECE"] == pytest.approx(100 * theirs["ece"], abs=1e-9)
    assert ours["MCE"] == pytest.approx(100 * theirs["mce"], abs=1e-9)
    assert ours["detections"] == theirs["num_detections"]
    for name, value in theirs["per_category"].items():
        assert ours["per_class"][name] == pytest.approx(100 * value, abs=1e-9)
    # The worst bin is worse than the mean, and all detections are in some bin.
    assert ours["MCE"] >= ours["ECE"] > 0
    assert sum(b["count"] for b in ours["bins"]) == ours["detections"]


def test_the_peer_that_is_installed_still_says_so(tmp_path):
    hotcoco = pytest.importorskip("hotcoco", reason="hotcoco (benchmarks/speed/peers.txt) is not installed")
    world = WORLDS[0]
    truth = {
        "images": [{"id": f + 1, "width": 400, "height": 400, "file_name": f"{f}.jpg"} for f in range(12)],
        "categories": [{"id": k + 1, "name": name} for k, name in enumerate(NAMES)],
        "annotations": [
            {
                "id": i,
                "image_id": f + 1,
                "category_id": c + 1,
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": 0,
            }
            for i, (f, c, *box, _) in enumerate(world["objects"], 1)
        ],
    }
    found = [
        {"image_id": f + 1, "category_id": c + 1, "bbox": box, "score": score}
        for f, c, *box, score in world["detections"]
    ]
    (tmp_path / "gt.json").write_text(json.dumps(truth))
    (tmp_path / "found.json").write_text(json.dumps(found))
    gt = hotcoco.COCO(str(tmp_path / "gt.json"))
    evaluator = hotcoco.COCOeval(gt, gt.loadRes(str(tmp_path / "found.json")), "bbox")
    evaluator.evaluate()
    ours = errors_of(world)
    check_errors(ours, evaluator.tide_errors())
    np.testing.assert_array_equal(ours["confusion"]["matrix"], evaluator.confusion_matrix()["matrix"])


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_errors_are_found_by_the_matching_that_scores(seed, coco_rule):
    rng = np.random.default_rng(seed)
    detections, objects = rng.integers(0, 12, 2)
    found = Candidates(
        iou=rng.choice([0.0, 0.05, 0.3, 0.5, 0.7, 1.0], (detections, objects)),
        scores=rng.choice([0.1, 0.5, 0.9], detections),
        pred_class=rng.integers(0, 3, detections),
        pred_areas=np.full(detections, 10.0),
        gt_class=rng.integers(0, 3, objects),
        gt_areas=np.full(objects, 10.0),
        gt_ignored=rng.random(objects) < 0.3,
        gt_crowd=rng.random(objects) < 0.3,
    )
    errors = frame_errors(found, coco=coco_rule)
    matches = match_frame(found, classes=3, coco=coco_rule)
    order = np.argsort(errors.classes, kind="stable")
    ignored = (matches.ignored[0] & 1) > 0
    right = ((matches.hits[0] & 1) > 0) & ~ignored
    np.testing.assert_array_equal(errors.classes[order], matches.classes)
    np.testing.assert_array_equal(errors.scores[order], matches.scores)
    np.testing.assert_array_equal(errors.kinds[order] == RIGHT, right)
    np.testing.assert_array_equal(errors.kinds[order] == IGNORED, ignored)
    assert not (errors.gt_found & ~errors.gt_counts).any()


# A car at 0, a truck at 200, a car at 400, a crowd of cars at 600.
OBJECTS = [
    (0, 0, 0, 100, 100, 0),
    (1, 200, 0, 100, 100, 0),
    (0, 400, 0, 100, 100, 0),
    (0, 600, 0, 200, 100, 1),
]


@pytest.mark.parametrize(
    ("detection", "kind", "mended"),
    [
        ((0, 200, 0, 100, 100, 0.8), "Cls", [50.4950495, 100.0]),
        ((0, 460, 0, 100, 100, 0.8), "Loc", [100.0, 0.0]),
        ((0, 260, 0, 100, 100, 0.8), "Both", [50.4950495, 0.0]),
        ((0, 5, 0, 100, 100, 0.8), "Dupe", [50.4950495, 0.0]),
        ((0, 900, 0, 100, 100, 0.8), "Bkg", [50.4950495, 0.0]),
    ],
)
def test_one_error_of_each_kind(detection, kind, mended):
    # Best score first is the wrong one, so that it costs; then the car at 0.
    detections = [(*detection[:5], 0.7), (0, 0, 0, 100, 100, 0.9), (0, 650, 0, 50, 50, 0.6)]
    out = ErrorAccumulator(["car", "truck"])
    out.add("a", frame_errors(candidates(OBJECTS, detections), coco=True))
    found = out.compute()
    assert {k: e["count"] for k, e in found["errors"].items() if k != "Miss" and e["count"]} == {kind: 1}
    assert found["AP50"] == pytest.approx(50.4950495 / 2)
    # One of two cars is found, first: 51 of 101 recall points. The truck is not.
    gain = found["errors"][kind]["per_class"]
    assert [gain["car"]["gain"] + 50.4950495, gain["truck"]["gain"]] == pytest.approx(mended, abs=1e-6)
    assert found["errors"]["Miss"]["count"] == (1 if kind in ("Cls", "Loc") else 2)


def test_confusion_by_hand():
    detections = [
        (1, 0, 0, 100, 100, 0.9),  # a truck on the car at 0
        (0, 0, 0, 100, 100, 0.8),  # the car is taken
        (1, 200, 0, 100, 100, 0.7),
        (1, 650, 0, 50, 50, 0.6),  # on the crowd, which counts for nothing
    ]
    out = ErrorAccumulator(["car", "truck"])
    out.add("a", frame_errors(candidates(OBJECTS, detections), coco=True))
    assert out.compute()["confusion"]["matrix"] == [[0, 1, 1], [0, 1, 0], [1, 0, 0]]
    assert out.compute(0.75)["confusion"]["matrix"] == [[0, 1, 1], [0, 0, 1], [1, 0, 0]]


def test_nothing_at_all():
    out = ErrorAccumulator(["car"])
    assert np.isnan(out.compute()["AP50"])
    out.add("a", frame_errors(candidates([], []), coco=True))
    out.add("b", frame_errors(candidates([(0, 0, 0, 10, 10, 0)], []), coco=False))
    found = out.compute()
    assert (found["AP50"], found["errors"]["Miss"]["count"]) == (0, 1)
    assert np.isnan(calibration(MatchAccumulator(["car"]))["ECE"])


SIDES = (PLAIN / "gt_rle.json", PLAIN / "pred_rle.json")


def test_the_command_from_both_inputs(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    more = ("--errors", "--calibration")
    masks = (PLAIN / "gt", PLAIN / "pred", "--score-file", PLAIN / "score.json")
    both = [score("ins_seg", *sides, *more, "--format", "json") for sides in (SIDES, masks)]
    assert [done.code for done in both] == [0, 0]
    rle, bitmasks = (done.data["bddzoo"] for done in both)
    # No crowds and no ties: both rules find the same.
    assert (rle["errors"], rle["calibration"]) == (bitmasks["errors"], bitmasks["calibration"])
    assert rle["errors"]["AP50"] == pytest.approx(rle["summary"]["AP50"], abs=1e-9)
    assert rle["errors"]["errors"]["Cls"]["count"] == 2
    done = score("ins_seg", *SIDES, *more)
    assert done.code == 0
    shown = done.out
    for words in ("not official numbers", "pedestrian for train (1)", "ECE 14.69"):
        assert words in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert shown.count("pedestrian ") >= 2  # the class column is whole, in both parts of the table


def test_errors_change_no_number():
    results = []
    for more in ([], ["--errors"]):
        done = score("ins_seg", *SIDES, "--format", "json", "--allow-partial", *more)
        assert done.code == 0
        results.append(done.data["bddzoo"]["per_class"])
    assert results[0] == results[1]


def test_plots_of_detections(tmp_path):
    pytest.importorskip("matplotlib")
    assert score("ins_seg", *SIDES, "--errors", "--plots", tmp_path / "plots").code == 0
    names = {p.stem for p in (tmp_path / "plots").iterdir()}
    assert names == {"precision-recall-50", "precision-recall-75", "reliability", "confusion"}


def test_scores_that_are_no_probabilities(tmp_path):
    frames = json.loads((PLAIN / "pred_rle.json").read_text())
    frames = frames if isinstance(frames, list) else frames["frames"]
    for frame in frames:
        for label in frame["labels"] or []:
            label["score"] *= 20
    (tmp_path / "logits.json").write_text(json.dumps(frames))
    sides = (PLAIN / "gt_rle.json", tmp_path / "logits.json")
    done = score("ins_seg", *sides, "--calibration")
    assert done.code == 2
    assert "are not probabilities" in done.err
    # What needs no probabilities is there.
    pytest.importorskip("matplotlib")
    assert score("ins_seg", *sides, "--errors", "--plots", tmp_path / "plots").code == 0
    assert "reliability" not in {p.stem for p in (tmp_path / "plots").iterdir()}


@pytest.mark.parametrize("option", ["--errors", "--calibration"])
def test_only_detections_have_errors(tmp_path, option):
    assert "about detections" in refused(score("sem_seg", tmp_path, tmp_path, option), 2)


def test_calibration_names_the_range():
    matches = MatchAccumulator(INS_SEG.names)
    matches.add("a", match_frame(candidates([], [(0, 0, 0, 9, 9, -3.5)]), classes=8, coco=True))
    with pytest.raises(UsageError, match=r"from -3.5 to -3.5"):
        calibration(matches)
