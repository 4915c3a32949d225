"""Damaged, empty and foreign files of every task: one line that names the file, exit 5, no score."""

import json
import shutil

import pytest

from bddzoo.datasets.classes import TASKS, TRACKED
from bddzoo.evaluation.options import JSON_TASKS
from bddzoo.evaluation.prediction_files import COCO_TASKS
from tests.evaluation.commands import refused, score
from tests.evaluation.test_other_task import NAMES, PNG_TASKS, files, frame

__all__ = ["files"]
OBJECTS = [task for task in PNG_TASKS if task not in ("sem_seg", "drivable")]


def changed(change):
    def spoil(content):
        frames = json.loads(content)
        return json.dumps(change(frames) or frames).encode()

    return spoil


FAULTS = {
    "cut short": lambda content: content[: len(content) * 2 // 3],
    "empty": lambda _: b"",
    "no frames": lambda _: b"[]",
    "no frames in its long form": lambda _: b'{"frames": []}',
    "words": lambda _: b"see the other folder",
    "null": lambda _: b"null",
    "a PNG": lambda _: b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "another object": lambda _: b'{"type": "FeatureCollection", "features": []}',
    "numbers": lambda _: b"[1, 2]",
    "nested without end": lambda _: b"[" * 100_000,
    "UTF-16": lambda content: content.decode().encode("utf-16"),
    "a frame twice": changed(lambda frames: frames.append(frames[0])),
    "a frame without a name": changed(
        lambda frames: [frames[0], {k: v for k, v in frames[1].items() if k != "name"}]
    ),
    "labels that are none": changed(lambda frames: frames[1].update(labels=3, attributes=3)),
    "COCO": lambda _: json.dumps({"images": [], "annotations": [], "categories": []}).encode(),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("task", TASKS)
def test_bad_json(files, tmp_path, task, fault):
    good, bad = files[0][task, "json"], tmp_path / "bad.json"
    bad.write_bytes(FAULTS[fault](good.read_bytes()))
    assert str(bad) in refused(score(task, good, bad))
    if not (fault == "COCO" and task in COCO_TASKS):
        assert str(bad) in refused(score(task, bad, good))


@pytest.mark.parametrize("task", TASKS)
def test_a_frame_that_is_not_there(files, tmp_path, task):
    good, bad = files[0][task, "json"], tmp_path / "bad.json"
    bad.write_text(json.dumps([frame(task, at) for at in (0, 2)]))
    line = refused(score(task, good, bad))
    assert NAMES[1] in line or "lacks 1 of 3 frames: 1" in line
    assert str(bad) in line


@pytest.mark.parametrize("task", [task for task in TASKS if task != "tagging"])
def test_a_side_without_labels_is_said(files, tmp_path, task):
    good, bad = files[0][task, "json"], tmp_path / "bad.json"
    bad.write_text(json.dumps([{**frame(task, at), "labels": []} for at in range(len(NAMES))]))
    for gt, pred, text in (
        (good, bad, "not one frame of the predictions"),
        (bad, good, "of the ground truth"),
    ):
        said = score(task, gt, pred).err
        assert text in said or "no segment that counts" in said
        assert str(bad) in said


@pytest.mark.parametrize("content", [b"", b"no image", b"cut"])
@pytest.mark.parametrize("task", OBJECTS)
def test_bad_bitmasks(files, tmp_path, task, content):
    good, folder = files[0][task, "png"], tmp_path / "bad"
    shutil.copytree(good, folder)
    spoilt = next(folder.rglob(f"{NAMES[1]}.png"))
    spoilt.write_bytes(spoilt.read_bytes()[:-30] if content == b"cut" else content)
    scores = ["--score-file", files[1]] if task == "ins_seg" else []
    assert str(spoilt) in refused(score(task, good, folder, *scores))


@pytest.mark.parametrize("task", [*JSON_TASKS, *TRACKED, "tagging"])
def test_nothing_there(files, tmp_path, task):
    good = files[0][task, "json"]
    (tmp_path / "empty").mkdir()
    assert "empty" in refused(score(task, good, tmp_path / "empty"))
    assert "nowhere" in refused(score(task, good, tmp_path / "nowhere"))
    (tmp_path / "yolo").mkdir()
    (tmp_path / "yolo/a.txt").write_text("0 0.5 0.5 0.1 0.1")
    line = refused(score(task, good, tmp_path / "yolo"))
    assert str(tmp_path / "yolo") in line
    assert "JSON" in line
