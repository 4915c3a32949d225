"""Tracking: next to the official toolkit and to TrackEval's HOTA, and what strict mode says."""

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given

from bddzoo.errors import MissingError
from bddzoo.evaluation.disk import evaluate
from bddzoo.evaluation.options import Options
from bddzoo.evaluation.statistics import dump, load
from tests.evaluation import scenes, tracks
from tests.evaluation.commands import score
from tests.evaluation.scenes import seeds
from tests.evaluation.test_oracle import OFFICIAL, compare, few, many, write_png


@few
@given(seeds)
def test_boxes_as_the_toolkit(toolkit, seed):
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        assert compare(toolkit, "box_track", *tracks.write(Path(folder), *tracks.world(rng)))


@few
@given(seeds)
def test_masks_as_the_toolkit(toolkit, seed):
    rng = np.random.default_rng(seed)
    gt, pred = tracks.world(rng)
    gt, pred = tracks.masked(gt, apart=rng.random() < 0.5), tracks.masked(pred, apart=rng.random() < 0.9)
    with tempfile.TemporaryDirectory() as folder:
        assert compare(toolkit, "seg_track", *tracks.write(Path(folder), gt, pred))


@pytest.mark.parametrize("case", range(8))
def test_hota_as_trackeval(case, tmp_path):
    found = json.loads((tracks.DATA / "hota.json").read_text())[case]
    scores = evaluate("box_track", *tracks.write(tmp_path, found["gt"], found["pred"])).scores
    for metric in ("HOTA", "DetA", "AssA"):
        ours = {**scores.table[metric], **scores.groups[metric], "OVERALL": scores.summary[metric]}
        theirs = {name: values[metric] for name, values in found["expected"].items()}
        assert {name: ours[name] for name in theirs} == pytest.approx(theirs, rel=1e-9, abs=1e-9)
    assert scores.summary["mHOTA"] == pytest.approx(found["expected"]["AVERAGE"]["HOTA"], rel=1e-9)


def paint_videos(root, rng):
    """Bitmasks of some videos: of objects that move, and of what was found of them."""
    for k in range(int(rng.integers(1, 4))):
        truth = scenes.objects(rng, int(rng.integers(1, 9)), flags=(0, 0, 0, 1, 2, 4), classes=8)
        for at in range(int(rng.integers(1, 5))):
            truth = scenes.moved(rng, truth, classes=8) or truth
            found = scenes.moved(rng, truth, classes=8) or truth
            for side, objects in (("gt", truth), ("pred", found)):
                write_png(root / side / f"v{k}/f{at}.png", scenes.paint(objects))


@few
@given(seeds)
def test_bitmasks_as_the_toolkit(toolkit, seed):
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        paint_videos(root, rng)
        assert compare(toolkit, "seg_track", root / "gt", root / "pred")


def _still(names=("a", "b"), frames=3):
    """Videos of one car that stays, found everywhere."""
    box = {"x1": 10, "y1": 10, "x2": 60, "y2": 40}
    return [
        {
            "name": f"{name}-{at}.jpg",
            "videoName": name,
            "frameIndex": at,
            "labels": [{"id": "7", "category": "car", "box2d": box}],
        }
        for name in names
        for at in range(frames)
    ]


def _frames(change):
    frames = _still()
    change(frames)
    return frames


WRONG = {
    "a frame is missing": (lambda f: f.pop(1), "video a lacks 1 of 3 frames: 1"),
    "a frame too many": (lambda f: f.append({**f[0], "frameIndex": 9}), "has 4 frames"),
    "a frame twice": (lambda f: f.append(f[0]), "has frame 0 twice"),
    "no frameIndex": (lambda f: f[0].pop("frameIndex"), "has no frameIndex"),
    "frameIndex as text": (lambda f: f[0].update(frameIndex="0"), "is not a whole number"),
    "no videoName": (lambda f: f[0].pop("videoName"), "has no videoName"),
    "unlike frames": (lambda f: f[0].update(name="c-5.jpg"), "frame 0 is c-5.jpg"),
    "an id twice": (lambda f: f[0]["labels"].append(f[0]["labels"][0]), "car 7 is there twice"),
    "no id": (lambda f: f[0]["labels"][0].pop("id"), "a label without an id"),
    "an id in words": (lambda f: f[0]["labels"][0].update(id="x7"), "track 'x7' is not an integer"),
    "an id beyond": (lambda f: f[0]["labels"][0].update(id=2**31), "beyond 32 bits"),
    "an unknown category": (lambda f: f[0]["labels"][0].update(category="Car"), "unknown category 'Car'"),
    "of detection": (lambda f: f[0]["labels"][0].update(category="traffic light"), "of det (traffic light)"),
    "a mask": (
        lambda f: f[0]["labels"].append(
            {"id": "8", "category": "car", "rle": {"counts": "0", "size": [1, 1]}}
        ),
        "a mask instead of a box",
    ),
    "turned corners": (lambda f: f[0]["labels"][0]["box2d"].update(x2=-50), "second corner"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_wrong_is_said(kind, tmp_path):
    change, message = WRONG[kind]
    gt, pred = tracks.write(tmp_path, _still(), _frames(change))
    done = score("box_track", gt, pred)
    assert done.code == 5
    assert message in done.err
    assert "Traceback" not in done.err


def test_other_videos_are_refused_where_the_toolkit_pairs_them(toolkit, tmp_path):
    gt, pred = tracks.write(tmp_path, _still(), _still(("c", "d")))
    with pytest.raises(MissingError, match="no video in"):
        evaluate("box_track", gt, pred)
    assert compare(toolkit, "box_track", gt, pred)
    assert evaluate("box_track", gt, pred, options=OFFICIAL).scores.summary["mMOTA"] == 12.5


def test_a_missing_video_is_refused_or_left_out(toolkit, tmp_path):
    gt, pred = tracks.write(tmp_path, _still(), _still(("a",)))
    with pytest.raises(MissingError, match="no prediction for 1 of 2 videos: b"):
        evaluate("box_track", gt, pred)
    found = evaluate("box_track", gt, pred, options=Options(allow_partial=True))
    assert found.skipped == ["b"]
    assert found.scores.summary["MOTA"] == 100
    assert found.official is not None
    assert found.official.summary["MOTA"] == 50
    assert compare(toolkit, "box_track", gt, pred)


def test_an_id_twice_as_the_toolkit(toolkit, tmp_path):
    def twice(frames):
        frames[0]["labels"] += [frames[0]["labels"][0]] * 2

    assert compare(toolkit, "box_track", *tracks.write(tmp_path, _frames(twice), _frames(twice)))


def test_shares_of_the_image_are_refused(tmp_path):
    def shares(frames):
        for frame in frames:
            frame["labels"][0]["box2d"] = {"x1": 0.1, "y1": 0.1, "x2": 0.4, "y2": 0.4}

    with pytest.raises(MissingError, match="not one box reaches"):
        evaluate("box_track", *tracks.write(tmp_path, _still(), _frames(shares)))


def test_masks_and_boxes_are_not_mixed(tmp_path):
    gt, pred = tracks.write(tmp_path, _still(), _still())
    with pytest.raises(MissingError, match="holds labels of det or box_track, not of seg_track"):
        evaluate("seg_track", gt, pred)
    write_png(
        tmp_path / "masks/a/0.png", scenes.paint(scenes.objects(np.random.default_rng(0), 2, classes=8))
    )
    with pytest.raises(MissingError, match="boxes come as JSON"):
        evaluate("box_track", gt, tmp_path / "masks")
    with pytest.raises(MissingError, match="holds labels of box_track, not of seg_track"):
        evaluate("seg_track", gt, tmp_path / "masks")


def test_extras(tmp_path):
    rng = np.random.default_rng(3)
    gt, pred = [], []
    for name in ("a", "b", "c", "d"):
        truth, found = tracks.video(rng, name, frames=5, objects=5)
        gt, pred = gt + truth, pred + found
    paths = tracks.write(tmp_path, gt, pred)
    (tmp_path / "attributes.json").write_text(
        json.dumps(
            [{"name": f"{n}.jpg", "attributes": {"weather": w}} for n, w in zip("abcd", "xxyy", strict=True)]
        )
    )
    more = ["--by", "weather", "--attributes", tmp_path / "attributes.json", "--ci", "--worst", 2]
    more += ["--against", paths[1]]
    done = score("box_track", *paths, *more, "--format", "json")
    assert done.code == 0
    found = done.data
    own = found["bddzoo"]
    assert set(own["slices"]["weather"]) == {"x", "y"}
    assert own["slices"]["weather"]["x"]["frames"] == 2
    low, high = own["intervals"]["values"]["MOTA"]
    assert low < found["MOTA"][-1]["OVERALL"] < high
    assert len(own["worst"]) == 2
    assert {row["conclusion"] for row in own["against"]["metrics"]} == {"undecided"}
    shown = score("box_track", *paths, *more)
    assert shown.code == 0
    for words in ("4 videos", "worst videos by MOTA", "resamples of the videos"):
        assert words in shown.out
    table = score("box_track", *paths, "--format", "csv")
    assert table.code == 0
    assert "AVERAGE" in table.out
    assert score("box_track", *paths, "--errors").code == 2
    whole = evaluate("box_track", *paths)
    assert load(dump(whole.accumulator)).compute().summary == whole.scores.summary


@many
@given(seeds)
def test_bitmasks_against_rle(seed):
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        paint_videos(root, rng)
        for side in ("gt", "pred"):
            (root / f"{side}.json").write_text(json.dumps(tracks.of_bitmasks(root / side)))
        plain = evaluate("seg_track", root / "gt", root / "pred")
        for names in (("gt.json", "pred"), ("gt", "pred.json"), ("gt.json", "pred.json")):
            found = evaluate("seg_track", *(root / name for name in names))
            assert str(found.scores) == str(plain.scores), names
            assert found.warnings == []


def test_what_bitmasks_lack_next_to_rle_is_said(tmp_path):
    rng = np.random.default_rng(0)
    for at in range(3):
        write_png(tmp_path / f"gt/a/f{at}.png", scenes.paint(scenes.objects(rng, 3)))
    frames = tracks.of_bitmasks(tmp_path / "gt")
    (tmp_path / "pred.json").write_text(json.dumps(frames[:2]))
    with pytest.raises(MissingError, match=r"video a lacks 1 of 3 frames: f2"):
        evaluate("seg_track", tmp_path / "gt", tmp_path / "pred.json")
    del frames[1]["frameIndex"]
    (tmp_path / "pred.json").write_text(json.dumps(frames))
    with pytest.raises(MissingError, match="has no frameIndex"):
        evaluate("seg_track", tmp_path / "gt", tmp_path / "pred.json")
