"""A file of one task given to the scoring of another is refused in one line, whichever two they are."""

import json
from contextlib import nullcontext

import cv2
import numpy as np
import pytest

from bddzoo.datasets.classes import DRIVABLE, PAN_SEG, SEM_SEG, TASKS, TRACKED
from bddzoo.datasets.formats.other_task import TRACKS_LOST
from bddzoo.engines.registry_config import is_buildable
from bddzoo.errors import MissingError
from bddzoo.registry import load_registry
from bddzoo.runs.measure import MeasureOptions, Watcher, check_data
from tests.cli.inprocess import command
from tests.evaluation.commands import convert_labels, pack, refused, score
from tests.evaluation.test_oracle import label

SIZE = (720, 1280)
NAMES = [f"v1-{at:07d}" for at in range(3)]
OBJECTS = ("car", "car", "pedestrian", "bus")
MAPS = ("sem_seg", "drivable")
PNG_TASKS = ("sem_seg", "drivable", "ins_seg", "pan_seg", "seg_track")


def corners(at, number):
    x = 40 + 300 * number + 5 * at
    return x, 200, x + 150, 300


def mask(at, number):
    out = np.zeros(SIZE, bool)
    x1, y1, x2, y2 = corners(at, number)
    out[y1 : y2 + 1, x1 : x2 + 1] = True
    return out


def stuff(at):
    """Sky, road and a sign of panoptic segmentation alone, around the objects."""
    out = np.ones(SIZE, bool)
    for number in range(len(OBJECTS)):
        out &= ~mask(at, number)
    rows = np.arange(720)[:, None]
    return {
        "sky": out & (rows < 400),
        "road": out & (rows >= 420),
        "banner": out & (rows >= 400) & (rows < 420),
    }


def semantic(at):
    named = {name: part for name, part in stuff(at).items() if name != "banner"}
    for number, name in enumerate(OBJECTS):
        name = name.replace("pedestrian", "person")
        named[name] = named.get(name, False) | mask(at, number)
    return named


def panoptic(at):
    things = [(name.replace("pedestrian", "person"), mask(at, k)) for k, name in enumerate(OBJECTS)]
    return [*stuff(at).items(), *things]


def drivable(at):
    parts = {"direct": mask(at, 0), "alternative": mask(at, 1)}
    return {**parts, "background": ~(parts["direct"] | parts["alternative"])}


def boxes(at, names):
    return [
        {
            "id": str(k + 1),
            "category": name,
            "score": 0.9,
            "box2d": dict(zip(("x1", "y1", "x2", "y2"), corners(at, k), strict=True)),
        }
        for k, name in enumerate(names)
    ]


def pose(at):
    (found,) = boxes(at, ["pedestrian"])
    nodes = [
        {"id": str(k), "location": [60.0 + k, 210.0 + k], "category": f"j{k}", "visibility": "V"}
        for k in range(18)
    ]
    return [{**found, "graph": {"type": "Pose2D-18Joints", "nodes": nodes, "edges": []}}]


LABELS = {
    "sem_seg": lambda at: [label(k, *pair) for k, pair in enumerate(semantic(at).items(), 1)],
    "drivable": lambda at: [label(k, *pair) for k, pair in enumerate(drivable(at).items(), 1)],
    "ins_seg": lambda at: [label(k + 1, name, mask(at, k), score=0.9) for k, name in enumerate(OBJECTS)],
    "pan_seg": lambda at: [label(k, *pair) for k, pair in enumerate(panoptic(at), 1)],
    "det": lambda at: boxes(at, ["car", "pedestrian", "traffic sign"]),
    "box_track": lambda at: boxes(at, OBJECTS),
    "pose": pose,
}
LABELS["seg_track"] = LABELS["ins_seg"]


def frame(task, at):
    head = {"name": f"{NAMES[at]}.jpg"}
    if task == "tagging":
        return {**head, "attributes": {"weather": "clear"}}
    if task in TRACKED:
        head |= {"videoName": "v1", "frameIndex": at}
    return {**head, "labels": LABELS[task](at)}


def class_map(parts, names, void):
    out = np.full(SIZE, void, np.uint8)
    for name, part in parts.items():
        out[part] = names.index(name)
    return out


def png(task, at):
    if task == "sem_seg":
        return class_map(semantic(at), SEM_SEG.names, 255)
    if task == "drivable":
        return class_map(drivable(at), DRIVABLE.names, 2)
    out = np.zeros((*SIZE, 4), np.uint8)
    if task == "pan_seg":
        found = [(PAN_SEG.index(name) + 1, part) for name, part in panoptic(at)]
    else:
        found = [(value, mask(at, k)) for k, value in enumerate((3, 3, 1, 5))]
    for number, (value, part) in enumerate(found, 1):
        # As OpenCV has them: blue, green, red, alpha.
        out[part] = (0, 0, value, number)
    return out


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The same frames in the files of every task, by task and kind."""
    root = tmp_path_factory.mktemp("files")
    found = {}
    for task in TASKS:
        found[task, "json"] = root / f"{task}.json"
        found[task, "json"].write_text(json.dumps([frame(task, at) for at in range(len(NAMES))]))
        for at, name in enumerate(NAMES) if task in PNG_TASKS else ():
            folder = found[task, "png"] = root / task
            inner = folder / "v1" if task == "seg_track" else folder
            inner.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(inner / f"{name}.png"), png(task, at))
    scores = [{"index": k, "score": 0.9} for k in range(1, 5)]
    (root / "scores.json").write_text(json.dumps([{"name": f"{n}.jpg", "labels": scores} for n in NAMES]))
    return found, root / "scores.json"


def scored(files, task, gt, pred, predicted):
    found, scores = files
    more = ["--score-file", scores] if predicted == ("ins_seg", "png") == pred else []
    return score(task, found[gt], found[pred], *more)


KINDS = [(task, kind) for kind in ("json", "png") for task in TASKS if kind == "json" or task in PNG_TASKS]


@pytest.mark.parametrize(("asked", "kind"), KINDS)
def test_only_the_task_itself_is_scored(files, asked, kind):
    for other, other_kind in KINDS:
        if other == asked:
            continue
        turned = [((other, other_kind), (asked, kind))]
        if asked == "tagging" or "png" in (kind, other_kind):
            turned = []  # frames of all tasks may have attributes
        for gt, pred in [((asked, kind), (other, other_kind)), *turned]:
            line = refused(scored(files, asked, gt, pred, (asked, kind)))
            assert line.startswith("error: "), (gt, pred)
            assert "cannot be scored: " not in line, (gt, pred)


@pytest.mark.parametrize(("asked", "kind"), KINDS)
def test_the_task_itself_is_scored(files, asked, kind):
    done = scored(files, asked, (asked, kind), (asked, kind), (asked, kind))
    assert done.code == 0, done
    assert "another" not in done.err


# Commands that take one path of labels or predictions, by name.
ONE_SIDE = {
    "convert-labels": lambda task, *of: convert_labels(
        task, of[0], "coco" if task == "det" else "rle", "out", *of[1:]
    ),
    "pack": lambda task, *of: pack(task, of[0], "out", "--count", len(NAMES), *of[1:]),
    "vis": lambda task, *of: command("vis", "color", "-t", task, "-o", "out", "-l", *of),
}


@pytest.mark.parametrize("asked", ["sem_seg", "drivable", "ins_seg", "pan_seg", "det"])
@pytest.mark.parametrize("name", ONE_SIDE)
def test_only_files_of_the_task_are_taken(files, tmp_path, monkeypatch, name, asked):
    if (name, asked) in (("convert-labels", "pan_seg"), ("vis", "det")):
        pytest.skip("the command does not have the task")
    monkeypatch.chdir(tmp_path)
    for other, kind in KINDS:
        source, scores = files[0][other, kind], []
        if kind == "png" and "ins_seg" in (asked, other) and name != "vis":
            scores = ["--score-file", files[1]] if asked == "ins_seg" else []
        done = ONE_SIDE[name](asked, source, *scores, "--force")
        status, case = done.code, f"{source}: {done}"
        tracks = name != "pack" and (asked, other) in (("det", "box_track"), ("ins_seg", "seg_track"))
        if other == asked or tracks:
            assert status == 0 or kind == "png", case
            assert tracks == (TRACKS_LOST in case) or status, case
            continue
        assert status == 5, case
        assert str(source) in case, case


@pytest.mark.parametrize("other", ["pose", "tagging", "sem_seg"])
def test_frames_of_a_video_are_of_their_task_all_the_same(tmp_path, other):
    frames = [{**frame(other, at), "videoName": "v1", "frameIndex": at} for at in range(len(NAMES))]
    (tmp_path / "videos.json").write_text(json.dumps(frames))
    done = pack("det", tmp_path / "videos.json", tmp_path / "out", "--count", 3)
    assert done.code == 5
    assert f"holds labels of {other}" in done.err


@pytest.mark.parametrize(("task", "kind", "to"), [("det", "boxes", "coco"), ("ins_seg", "bitmasks", "rle")])
def test_what_predict_wrote_of_one_task_is_found_among_the_rest(files, tmp_path, task, kind, to):
    found, scores = files
    out = tmp_path / "out"
    out.mkdir()
    parts = {"det.json": found["det", "json"], "ins_seg.json": found["ins_seg", "json"], "score.json": scores}
    for name, part in {**parts, "bitmasks": found["ins_seg", "png"]}.items():
        (out / name).symlink_to(part)
    done = convert_labels(task, out, to, tmp_path / "x.json")
    assert done.code == 0
    assert f"{len(NAMES)} frames from {kind} to {to}" in done.err


@pytest.mark.parametrize("asked", ["sem_seg", "drivable", "ins_seg", "pan_seg", "det"])
def test_data_check_and_eval_refuse_labels_of_another_task(files, tmp_path, asked):
    root = tmp_path / "data"
    (root / "images/10k/val").mkdir(parents=True)
    for name in NAMES:
        assert cv2.imwrite(str(root / f"images/10k/val/{name}.jpg"), np.zeros((*SIZE, 3), np.uint8))
    asked_kind = "json" if asked == "det" else "png"
    model = next(m for m in load_registry().models if m.task == asked and is_buildable(m))
    for other, kind in KINDS:
        if kind != asked_kind or (asked, other) in (("sem_seg", "drivable"), ("det", "box_track")):
            continue
        labels = root / {"png": f"labels/{asked}/{'masks' if asked in MAPS else 'bitmasks'}/val"}.get(
            kind, "labels/det_20/det_val.json"
        )
        labels.parent.mkdir(parents=True, exist_ok=True)
        labels.unlink(missing_ok=True)
        labels.symlink_to(files[0][other, kind])
        done = command("data", "check", "--data", root, "-t", asked, "--split", "val")
        assert done.code == (0 if asked == other else 5), (other, done)
        with nullcontext() if asked == other else pytest.raises(MissingError):
            check_data(model, root, MeasureOptions(), Watcher())


def test_categories_of_nobody_are_refused_where_there_are_no_others(tmp_path, files):
    found, _ = files
    frames = json.loads(found["drivable", "json"].read_text())
    for one in frames:
        one["labels"] = [{**each, "category": f"area/{each['category']}"} for each in one["labels"]]
    (tmp_path / "old.json").write_text(json.dumps(frames))
    done = score("drivable", found["drivable", "json"], tmp_path / "old.json")
    assert done.code == 5
    said = done.err
    assert "old.json has no category of drivable, but area/alternative" in said
    assert "known are direct, alternative" in said


def test_a_stray_category_is_left_out_and_its_file_named_once(tmp_path, files):
    found, _ = files
    frames = json.loads(found["sem_seg", "json"].read_text())
    for one in frames:
        one["labels"] += [{**one["labels"][0], "category": name} for name in ("unicorn", "dragon")]
    (tmp_path / "odd.json").write_text(json.dumps(frames))
    done = score("sem_seg", found["sem_seg", "json"], tmp_path / "odd.json")
    assert done.code == 0
    said = done.err
    assert f"unknown categories are left out: {tmp_path / 'odd.json'}, unicorn, dragon\n" in said
