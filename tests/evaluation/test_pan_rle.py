"""Panoptic labels as RLE JSON: scored as the toolkit does, and what it gets wrong is told."""

import json

import numpy as np
import pytest

from bddzoo.errors import MissingError
from bddzoo.evaluation.disk import evaluate
from bddzoo.evaluation.options import Options
from tests.evaluation.commands import pack, score
from tests.evaluation.test_oracle import label


def band(rows, shape=(720, 1280)):
    out = np.zeros(shape, bool)
    out[rows] = True
    return out


def frames(path, *labels):
    path.write_text(json.dumps([{"name": f"f{i}.jpg", "labels": found} for i, found in enumerate(labels)]))
    return path


SKY, ROAD = label(1, "sky", band(slice(0, 300))), label(2, "road", band(slice(300, 500)))
CAR = label(3, "car", band(slice(500, 560)))
OTHER_CAR = label(4, "car", band(slice(560, 620)))


def test_stuff_of_a_class_is_one_segment_and_things_are_not(tmp_path):
    more_sky = label(5, "sky", band(slice(640, 720)))
    gt = frames(tmp_path / "gt.json", [SKY, more_sky, CAR, OTHER_CAR])
    pred = frames(tmp_path / "pred.json", [label(1, "sky", band(slice(0, 300)) | band(slice(640, 720))), CAR])
    scores = evaluate("pan_seg", gt, pred).scores
    assert scores.table["PQ"]["sky"] == 100
    assert scores.table["PQ"]["car"] == pytest.approx(100 / 1.5)
    assert scores.groups["PQ"] == {"STUFF": 100, "THING": pytest.approx(100 / 1.5)}
    assert list(scores.to_official()) == ["PQ", "SQ", "RQ", "NUM"]


def test_shared_pixels_of_stuff_give_two_numbers(tmp_path):
    gt = frames(tmp_path / "gt.json", [SKY, label(5, "sky", band(slice(200, 400))), CAR])
    pred = frames(tmp_path / "pred.json", [label(1, "sky", band(slice(0, 400))), CAR])
    done = score("pan_seg", gt, pred, "--format", "json")
    assert done.code == 0
    result = done.data
    assert result["PQ"][0]["sky"] == 100
    assert result["bddzoo"]["official"]["PQ"][0]["sky"] < 100
    assert "share pixels" in done.err
    assert "--compat official would give PQ" in done.err


def test_crowds_are_left_out_and_unknown_categories_named(tmp_path):
    crowd = label(6, "person", band(slice(620, 640)), attributes={"crowd": True})
    gt = frames(tmp_path / "gt.json", [SKY, crowd])
    pred = frames(tmp_path / "pred.json", [SKY, label(7, "unicorn", band(slice(700, 710)))])
    found = evaluate("pan_seg", gt, pred)
    assert found.scores.summary["PQ"] == 100
    assert found.scores.summary["N"] == 1
    assert any("unicorn" in line for line in found.warnings)


def test_predictions_that_overlap_are_dropped_and_named(tmp_path):
    gt = frames(tmp_path / "gt.json", [SKY, ROAD])
    pred = frames(tmp_path / "pred.json", [label(1, "sky", band(slice(0, 301))), ROAD])
    found = evaluate("pan_seg", gt, pred)
    assert found.scores.summary["PQ"] == 0
    assert any("f0.jpg" in line and "dropped" in line for line in found.warnings)


def test_what_makes_the_toolkit_crash(tmp_path):
    """Frames in which nothing counts: refused, and scored where that is asked for."""
    full, empty = [SKY, ROAD], []
    hidden = [label(1, "car", band(slice(0, 10)), attributes={"ignored": True})]
    for truth, found, pq in ((empty, full, 0), (full, hidden, 0)):
        gt, pred = frames(tmp_path / "gt.json", truth), frames(tmp_path / "pred.json", found)
        for options in (Options(), Options(official=True)):
            with pytest.raises(MissingError, match=r"f0\.jpg: no segment that counts"):
                evaluate("pan_seg", gt, pred, options=options)
        assert evaluate("pan_seg", gt, pred, options=Options(lenient=True)).scores.summary["PQ"] == pq


def test_sizes_must_agree(tmp_path):
    gt = frames(tmp_path / "gt.json", [SKY])
    pred = frames(tmp_path / "pred.json", [label(1, "sky", band(slice(0, 9), (1280, 720)))])
    with pytest.raises(MissingError, match=r"f0\.jpg: 720x1280, the ground truth is 1280x720"):
        evaluate("pan_seg", gt, pred)


def test_a_submission_of_labels_is_packed(tmp_path):
    pred = frames(tmp_path / "pred.json", [SKY, ROAD])
    assert pack("pan_seg", pred, tmp_path / "out.zip", "--count", 1).code == 0
    frames(pred, [SKY, label(1, "unicorn", band(slice(400, 410)))])
    again = pack("pan_seg", pred, tmp_path / "out.zip", "--count", 1, "--force")
    assert again.code == 5
    assert "unicorn" in again.err
