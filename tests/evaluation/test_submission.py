import json
import zipfile

import cv2
import numpy as np
import pytest

from bddzoo.evaluation.disk import evaluate
from tests.evaluation import commands, scenes
from tests.evaluation.commands import convert_labels, refused
from tests.evaluation.test_oracle import label, write_png

SHAPE = (720, 1280)


def pack(root, task, *more, what="pred", out="s.zip"):
    return commands.pack(task, root / what, root / out, *more)


@pytest.fixture
def masks(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(3):
        truth = scenes.class_map(rng, SHAPE)
        write_png(tmp_path / f"gt/f{i}.png", truth)
        write_png(tmp_path / f"pred/f{i}.png", scenes.disturbed(rng, truth, odd=(255,)))
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / f"images/f{i}.jpg").touch()
    return tmp_path


def test_a_good_submission_is_packed_and_scores_the_same(masks):
    done = pack(masks, "sem_seg", "--images", masks / "images")
    assert done.code == 0
    assert "3 frames in 3 files" in done.err
    assert "submit it at https://eval.ai/web/challenges/challenge-page/1257" in done.err
    packed = evaluate("sem_seg", masks / "gt", masks / "s.zip").scores
    assert packed == evaluate("sem_seg", masks / "gt", masks / "pred").scores
    first = (masks / "s.zip").read_bytes()
    again = pack(masks, "sem_seg", "--count", 3)
    assert again.code == 2
    assert "give --force to replace it" in again.err
    assert pack(masks, "sem_seg", "--count", 3, "--force").code == 0
    assert (masks / "s.zip").read_bytes() == first


def spoil_size(root):
    write_png(root / "pred/f1.png", np.zeros((360, 640), np.uint8))


def spoil_value(root):
    write_png(root / "pred/f1.png", np.full(SHAPE, 24, np.uint8))


def spoil_depth(root):
    assert cv2.imwrite(str(root / "pred/f1.png"), np.zeros(SHAPE, np.uint16))


def spoil_stray(root):
    (root / "pred/notes.txt").write_text("x")


def spoil_name(root):
    (root / "pred/f1.png").rename(root / "pred/g1.png")


def spoil_twice(root):
    write_png(root / "pred/a/f1.png", np.zeros(SHAPE, np.uint8))


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (spoil_size, "f1.png is 640x360, not 1280x720"),
        (spoil_value, "f1.png has pixels of value 24; classes are 0 to 18"),
        (spoil_depth, "16-bit grey"),
        (spoil_stray, "notes.txt"),
        (spoil_name, "lacks 1 of 3 frames: f1"),
        (spoil_twice, "more than once: f1"),
    ],
)
def test_what_the_server_would_refuse(masks, spoil, text):
    spoil(masks)
    assert text in refused(pack(masks, "sem_seg", "--images", masks / "images"))
    assert not (masks / "s.zip").exists()


def test_the_official_number_of_frames(masks):
    assert "has 3 frames, the test set 2000" in refused(pack(masks, "sem_seg"))


def frames(root, change=lambda labels: None):
    out = []
    for i in range(2):
        first, second = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
        first[10:50, 10:50] = True
        second[60:90, 60:90] = True
        labels = [label(1, "car", first, score=0.9), label(2, "person", second, score=0.8)]
        if i:
            change(labels)
        out.append({"name": f"f{i}.jpg", "labels": labels})
    (root / "pred.json").write_text(json.dumps(out))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda labels: labels[1].update(category="tank"), "frame f1.jpg: unknown category 'tank'"),
        (lambda labels: labels[1].pop("score"), "frame f1.jpg: a label of category person has no score"),
        (lambda labels: labels.append({**labels[0]}), "frame f1.jpg: masks share pixels"),
        (lambda labels: labels[1]["rle"].update(size=[1280, 720]), "frame f1.jpg: a mask of 720x1280"),
    ],
)
def test_rle_submissions(tmp_path, change, text):
    frames(tmp_path)
    assert pack(tmp_path, "ins_seg", "--count", 2, what="pred.json").code == 0
    assert zipfile.ZipFile(tmp_path / "s.zip").namelist() == ["pred.json"]
    frames(tmp_path, change)
    assert text in refused(pack(tmp_path, "ins_seg", "--count", 2, what="pred.json", out="t.zip"))
    assert not (tmp_path / "t.zip").exists()


def test_bitmask_submissions(tmp_path):
    mask = scenes.paint([(1, 3, 0, 2, 9, 2, 9), (300, 8, 0, 20, 29, 20, 29)], SHAPE)
    write_png(tmp_path / "pred/f.png", mask)
    scores = tmp_path / "scores.json"
    entries = [{"index": 1, "score": 0.5}, {"index": 300, "score": 0.5}]
    scores.write_text(json.dumps([{"name": "f.jpg", "labels": entries}]))
    more = ["--count", 1, "--score-file", scores, "--force"]
    assert pack(tmp_path, "ins_seg", *more).code == 0
    assert zipfile.ZipFile(tmp_path / "s.zip").namelist() == ["f.png", "score.json"]
    assert evaluate("ins_seg", tmp_path / "pred", tmp_path / "s.zip").scores.summary["AP50"] > 99
    scores.write_text(json.dumps([{"name": "f.jpg", "labels": entries[:1]}]))
    assert "instances without a score: 300" in refused(pack(tmp_path, "ins_seg", *more))
    write_png(tmp_path / "pred/f.png", scenes.paint([(1, 9, 0, 2, 9, 2, 9)], SHAPE))
    assert "holds labels of pan_seg, not of ins_seg" in refused(pack(tmp_path, "ins_seg", *more))
    assert pack(tmp_path, "pan_seg", "--count", 1, "--force").code == 0


@pytest.mark.parametrize(("task", "to"), [("ins_seg", "coco"), ("sem_seg", "color")])
def test_a_format_that_the_server_does_not_read_names_the_command_that_helps(masks, task, to):
    label = "pred/f0.png"
    if task == "ins_seg":
        bitmask = np.zeros((*SHAPE, 4), np.uint8)
        bitmask[10:90, 10:90] = (3, 0, 0, 1)
        assert cv2.imwrite(str(masks / label), cv2.cvtColor(bitmask, cv2.COLOR_RGBA2BGRA))
    out = masks / ("other.json" if to == "coco" else "other")
    assert convert_labels(task, masks / label, to, out).code == 0
    line = refused(pack(masks, task, "--count", 1, what=out.name))
    assert f"bddzoo convert-labels --to {'rle' if to == 'coco' else 'masks'}" in line


def boxes(root, change=lambda frame: None):
    out = []
    for i in range(2):
        corners = {"x1": 10.0, "y1": 10.0, "x2": 59.5, "y2": 40.0}
        out.append(
            {"name": f"f{i}.jpg", "labels": [{"id": "1", "category": "car", "score": 0.9, "box2d": corners}]}
        )
    change(out[1])
    (root / "det.json").write_text(json.dumps({"frames": out}))


BAD_BOXES = {
    "another category": (lambda f: f["labels"][0].update(category="lane"), "f1.jpg: unknown category 'lane'"),
    "no score": (lambda f: f["labels"][0].pop("score"), "f1.jpg: a box without a score"),
    "no box": (lambda f: f["labels"][0].pop("box2d"), "f1.jpg: a label without a box"),
    "corners": (lambda f: f["labels"][0]["box2d"].update(x2=2.0), "f1.jpg: a box whose second corner"),
    "shares": (
        lambda f: f["labels"][0]["box2d"].update(x1=0.1, y1=0.1, x2=0.2, y2=0.2),
        "f1.jpg: not one box reaches beyond the first pixel",
    ),
    "a PNG's name": (lambda f: f.update(name="f1.png"), "f1.png: it would be taken for missing"),
    "twice": (lambda f: f.update(name="f0.jpg"), "has frames more than once: f0"),
    "a name that is not there": (lambda f: f.update(name="g.jpg"), "lacks 1 of 2 frames: f1"),
}


@pytest.mark.parametrize("kind", BAD_BOXES)
def test_submissions_of_boxes(tmp_path, kind):
    (tmp_path / "images").mkdir()
    for i in range(2):
        (tmp_path / f"images/f{i}.jpg").touch()
    more = ["--images", tmp_path / "images"]
    boxes(tmp_path)
    done = pack(tmp_path, "det", *more, what=".")
    assert done.code == 0
    assert "submit it at https://eval.ai/web/challenges/challenge-page/1260" in done.err
    assert zipfile.ZipFile(tmp_path / "s.zip").namelist() == ["det.json"]
    change, text = BAD_BOXES[kind]
    boxes(tmp_path, change)
    assert text in refused(pack(tmp_path, "det", *more, what="det.json", out="t.zip"))
    assert not (tmp_path / "t.zip").exists()


def test_the_test_set_of_detection_has_20000_frames(tmp_path):
    boxes(tmp_path)
    assert "has 2 frames, the test set 20000" in refused(pack(tmp_path, "det", what="det.json"))


def test_there_is_no_challenge_of_tagging(tmp_path):
    (tmp_path / "pred.json").write_text("[]")
    line = refused(pack(tmp_path, "tagging", what="pred.json"), 2)
    assert "BDD100K has no challenge of tagging" in line
