"""What a score passes over is said, and what cannot be meant is refused, in every task that it may be in."""

import json

import cv2
import pytest

from bddzoo.cli.main import run
from bddzoo.datasets.classes import TRACKED
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
def test_a_label_with_no_shape_is_said(capsys, files, tmp_path, task, side):
    good, bad = files[0][task, "json"], changed(task, tmp_path, bare)
    sides = (bad, good) if side == "-g" else (good, bad)
    assert run(["score", "-t", task, "-g", str(sides[0]), "-r", str(sides[1])]) == 0
    said = capsys.readouterr().err
    assert f"labels with neither a mask nor a box are passed over: {bad}, frame {NAMES[0]}.jpg" in said


@pytest.mark.parametrize("value", [0, 50])
@pytest.mark.parametrize("task", ["ins_seg", "pan_seg", "seg_track"])
def test_predicted_objects_of_no_class_are_said(capsys, files, tmp_path, task, value):
    good, folder = files[0][task, "png"], tmp_path / "pred"
    for path in sorted(good.rglob("*.png")):
        pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if path.stem == NAMES[1]:
            pixels[pixels[..., 3] == 1, 2] = value
        copy = folder / path.relative_to(good)
        copy.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(copy), pixels)
    argv = ["score", "-t", task, "-g", str(good), "-r", str(folder)]
    argv += ["--score-file", str(files[1])] if task == "ins_seg" else []
    assert run(argv) == 0
    said = capsys.readouterr().err
    assert "predicted objects of values that are not a class count for nothing: " in said
    assert f"{NAMES[1]}.png" in said


@pytest.mark.parametrize("number", [1e308, -1e308, 2e8])
@pytest.mark.parametrize("task", ["det", "box_track", "pose"])
def test_no_coordinate_is_beyond_all_images(capsys, files, tmp_path, task, number):
    def change(label):
        if task == "pose":
            label["graph"]["nodes"][3]["location"][0] = number
        else:
            label["box2d"]["x2" if number > 0 else "x1"] = number

    good, bad = files[0][task, "json"], changed(task, tmp_path, change)
    for sides in ((good, bad), (bad, good)):
        assert run(["score", "-t", task, "-g", str(sides[0]), "-r", str(sides[1])]) == 5
        (line,) = capsys.readouterr().err.splitlines()
        assert f"{bad}, frame {NAMES[0]}.jpg: Expected `float`" in line


@pytest.mark.parametrize("task", [task for task in SHAPED if task not in TRACKED])
def test_no_frame_in_common_is_no_partial_score(capsys, files, tmp_path, task):
    other = tmp_path / "other.json"
    other.write_text(json.dumps([{**frame(task, 0), "name": "elsewhere.jpg"}]))
    argv = ["score", "-t", task, "-g", str(files[0][task, "json"]), "-r", str(other), "--allow-partial"]
    assert run(argv) == 5
    said = capsys.readouterr()
    assert said.out == ""
    assert f"{other} has no prediction for 3 of 3 frames" in said.err
    assert "matched by name, here they are like" in said.err
    assert "elsewhere.jpg" in said.err


def test_the_file_that_is_broken_is_named(capsys, files, tmp_path):
    good, folder = files[0]["seg_track", "png"], tmp_path / "gt"
    for path in sorted(good.rglob("*.png")):
        pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        pixels[tuple(argwhere[0] for argwhere in (pixels[..., 3] == 1).nonzero())] = (0, 0, 5, 1)
        copy = folder / path.relative_to(good)
        copy.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(copy), pixels)
    for gt, pred, which in ((folder, good, "ground truth"), (good, folder, "prediction")):
        assert run(["score", "-t", "seg_track", "-g", str(gt), "-r", str(pred)]) == 5
        said = capsys.readouterr().err
        assert f"{folder}/v1/{NAMES[0]}.png: instance 1 of the {which}" in said


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
def test_a_file_of_boxes_is_judged_alike(capsys, files, tmp_path, monkeypatch, argv, change, words):
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
    assert run([*argv, str(tmp_path / "root") if argv[0] == "data" else str(bad)]) == 5
    said = capsys.readouterr()
    assert words in " ".join((said.out + said.err).split()), said


def test_the_toolkits_own_words_are_one_line(capsys, files, tmp_path):
    pytest.importorskip("bdd100k")
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps([{**frame("det", 0), "labels": [{"category": "car", "score": 0.5}]}]))
    argv = ["score", "-t", "det", "-g", str(files[0]["det", "json"]), "-r", str(bad)]
    assert run([*argv, "--evaluator", "official"]) in (0, 5)
    assert len(capsys.readouterr().err.splitlines()) <= 1


@pytest.mark.parametrize(
    ("task", "kind"), [("sem_seg", "masks"), ("ins_seg", "bitmasks"), ("ins_seg", "coco")]
)
def test_the_format_that_was_typed_is_not_passed_over(capsys, files, tmp_path, task, kind):
    argv = ["convert-labels", "-t", task, "-l", str(files[0][task, "json"]), "--input-format", kind]
    assert run([*argv, "--to", "rle", "-o", str(tmp_path / "out.json")]) in (2, 5)
    (line,) = capsys.readouterr().err.splitlines()
    assert "holds rle, not" in line or "COCO" in line
    assert not list(tmp_path.iterdir())


def test_plots_of_before_are_replaced_only_when_asked(capsys, files, tmp_path):
    masks = str(files[0]["sem_seg", "png"])
    argv = ["score", "-t", "sem_seg", "-g", masks, "-r", masks, "--plots", str(tmp_path / "plots")]
    assert run(argv) == 0
    capsys.readouterr()
    assert run(argv) == 2
    assert "exists; give --force to replace it, or choose another with --plots" in capsys.readouterr().err
    assert run([*argv, "--force"]) == 0
