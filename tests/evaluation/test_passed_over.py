"""What a score passes over is said, and what cannot be meant is refused, in every task that it may be in."""

import json

import cv2
import pytest

from bddzoo.datasets.classes import TRACKED
from tests.cli.inprocess import command
from tests.evaluation.commands import convert_labels, refused, score
from tests.evaluation.test_other_task import NAMES, files, frame

__all__ = ["files"]
SHAPED = ("sem_seg", "drivable", "ins_seg", "pan_seg", "det", "box_track", "seg_track")


def changed(task, tmp_path, change):
    frames = [frame(task, at) for at in range(len(NAMES))]
    change(frames[0]["labels"][0])
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(frames))
    return path


def bare(label):
    for key in ("rle", "box2d"):
        label.pop(key, None)


@pytest.mark.parametrize("side", ["-g", "-r"])
@pytest.mark.parametrize("task", SHAPED)
def test_a_label_with_no_shape_is_said(files, tmp_path, task, side):
    good, bad = files[0][task, "json"], changed(task, tmp_path, bare)
    sides = (bad, good) if side == "-g" else (good, bad)
    done = score(task, *sides)
    assert done.code == 0
    assert f"labels with neither a mask nor a box are passed over: {bad}, frame {NAMES[0]}.jpg" in done.err


def repainted(folder, copy, change):
    """A copy of bitmasks whose pixels are changed, by the path of each."""
    for path in sorted(folder.rglob("*.png")):
        pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        change(path, pixels)
        there = copy / path.relative_to(folder)
        there.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(there), pixels)
    return copy


@pytest.mark.parametrize("value", [0, 50])
@pytest.mark.parametrize("task", ["ins_seg", "pan_seg", "seg_track"])
def test_predicted_objects_of_no_class_are_said(files, tmp_path, task, value):
    def change(path, pixels):
        if path.stem == NAMES[1]:
            pixels[pixels[..., 3] == 1, 2] = value

    good = files[0][task, "png"]
    scores = ["--score-file", files[1]] if task == "ins_seg" else []
    done = score(task, good, repainted(good, tmp_path / "pred", change), *scores)
    assert done.code == 0
    assert "predicted objects of values that are not a class count for nothing: " in done.err
    assert f"{NAMES[1]}.png" in done.err


@pytest.mark.parametrize("number", [1e308, -1e308, 2e8])
@pytest.mark.parametrize("task", ["det", "box_track", "pose"])
def test_no_coordinate_is_beyond_all_images(files, tmp_path, task, number):
    def change(label):
        if task == "pose":
            label["graph"]["nodes"][3]["location"][0] = number
        else:
            label["box2d"]["x2" if number > 0 else "x1"] = number

    good, bad = files[0][task, "json"], changed(task, tmp_path, change)
    for sides in ((good, bad), (bad, good)):
        assert f"{bad}, frame {NAMES[0]}.jpg: Expected `float`" in refused(score(task, *sides))


@pytest.mark.parametrize("task", [task for task in SHAPED if task not in TRACKED])
def test_no_frame_in_common_is_no_partial_score(files, tmp_path, task):
    other = tmp_path / "other.json"
    other.write_text(json.dumps([{**frame(task, 0), "name": "elsewhere.jpg"}]))
    said = score(task, files[0][task, "json"], other, "--allow-partial")
    assert (said.code, said.out) == (5, "")
    assert f"{other} has no prediction for 3 of 3 frames" in said.err
    assert "matched by name, here they are like" in said.err
    assert "elsewhere.jpg" in said.err


def test_the_file_that_is_broken_is_named(files, tmp_path):
    def change(path, pixels):
        pixels[tuple(argwhere[0] for argwhere in (pixels[..., 3] == 1).nonzero())] = (0, 0, 5, 1)

    good = files[0]["seg_track", "png"]
    folder = repainted(good, tmp_path / "gt", change)
    for gt, pred, which in ((folder, good, "ground truth"), (good, folder, "prediction")):
        done = score("seg_track", gt, pred)
        assert done.code == 5
        assert f"{folder}/v1/{NAMES[0]}.png: instance 1 of the {which}" in done.err


def twice(frames):
    frames.append(frames[0])


def in_shares(frames):
    for at in frames[0]["labels"]:
        at["box2d"] = {key: value / 1280 for key, value in at["box2d"].items()}


@pytest.mark.parametrize(
    ("change", "words"), [(twice, "more than once"), (in_shares, "not one box reaches beyond the first")]
)
@pytest.mark.parametrize(
    "argv",
    [
        ["score", "-t", "det", "-g", "good", "-r"],
        ["score", "-t", "det", "-r", "good", "-g"],
        ["convert-labels", "-t", "det", "--to", "coco", "-o", "out", "-l"],
        ["pack", "-t", "det", "--count", "3", "-o", "out", "-r"],
        ["vis", "overlay", "-i", ".", "-o", "out", "-l"],
        ["data", "check", "-t", "det", "--split", "val", "--data"],
    ],
    ids=lambda argv: " ".join(argv[:2]),
)
def test_a_file_of_boxes_is_judged_alike(files, tmp_path, monkeypatch, argv, change, words):
    monkeypatch.chdir(tmp_path)
    frames = [frame("det", at) for at in range(len(NAMES))]
    change(frames)
    bad = tmp_path / "root/labels/det_20/det_val.json"
    bad.parent.mkdir(parents=True)
    bad.write_text(json.dumps(frames))
    images = tmp_path / "root/images/100k/val"
    images.mkdir(parents=True)
    for name in NAMES:
        assert cv2.imwrite(str(images / f"{name}.jpg"), cv2.UMat(720, 1280, cv2.CV_8UC3).get())
    paths = {"good": str(files[0]["det", "json"]), ".": str(images)}
    argv = [paths.get(word, word) for word in argv]
    said = command(*argv, tmp_path / "root" if argv[0] == "data" else bad)
    assert said.code == 5
    assert words in " ".join((said.out + said.err).split()), said


def test_the_toolkits_own_words_are_one_line(files, tmp_path):
    pytest.importorskip("bdd100k")
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps([{**frame("det", 0), "labels": [{"category": "car", "score": 0.5}]}]))
    done = score("det", files[0]["det", "json"], bad, "--evaluator", "official")
    assert done.code in (0, 5)
    assert len(done.err.splitlines()) <= 1


@pytest.mark.parametrize(
    ("task", "kind"), [("sem_seg", "masks"), ("ins_seg", "bitmasks"), ("ins_seg", "coco")]
)
def test_the_format_that_was_typed_is_not_passed_over(files, tmp_path, task, kind):
    done = convert_labels(task, files[0][task, "json"], "rle", tmp_path / "out.json", "--input-format", kind)
    assert done.code in (2, 5)
    (line,) = done.err.splitlines()
    assert "holds rle, not" in line or "COCO" in line
    assert not list(tmp_path.iterdir())


def test_plots_of_before_are_replaced_only_when_asked(files, tmp_path):
    masks = files[0]["sem_seg", "png"]
    plots = ("--plots", tmp_path / "plots")
    assert score("sem_seg", masks, masks, *plots).code == 0
    again = score("sem_seg", masks, masks, *plots)
    assert again.code == 2
    assert "exists; give --force to replace it, or choose another with --plots" in again.err
    assert score("sem_seg", masks, masks, *plots, "--force").code == 0
