"""Frames scored straight from their JSON give what the same frames give when Python reads them."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bddzoo.datasets import native
from bddzoo.datasets.formats import coco as coco_files
from bddzoo.datasets.formats import frames as frame_files
from bddzoo.datasets.sources import open_source
from bddzoo.errors import MissingError
from bddzoo.evaluation.disk import evaluate
from bddzoo.evaluation.options import Options
from tests.conftest import ALL
from tests.evaluation import scenes

SHAPE = (30, 40)
CATEGORIES = ("pedestrian", "car", "person", "other vehicle", "bicycle")


def labels(rng, truth):
    """Objects of a frame; detections overlap now and then, objects often."""
    ids = scenes.class_map(rng, SHAPE, classes=6, odd=(0,))
    found = []
    for value in np.unique(ids).tolist():
        mask = ids == value
        if rng.random() < 0.2:
            mask = np.roll(mask, 2, axis=1) if truth or rng.random() < 0.2 else mask
        label = {"category": str(rng.choice(CATEGORIES)), "rle": scenes.rle(mask)}
        if rng.random() < 0.5:
            label["attributes"] = {
                "crowd": bool(rng.random() < 0.3),
                "ignored": bool(rng.random() < 0.3),
                "x": 1,
            }
        if not truth or rng.random() < 0.2:
            label["score"] = float(rng.choice([0.5, rng.random(), 1e-7 * rng.random(), 1]))
        found.append(dict(rng.permutation(list(label.items()))) if rng.random() < 0.5 else label)
    return found


def sides(seed, frames=3):
    rng = np.random.default_rng(seed)
    names = [f"f{i}.jpg" for i in range(frames)]
    return [[{"name": n, "labels": labels(rng, truth)} for n in names] for truth in (True, False)]


def outcome(loops, gt, pred, tmp_path, options=None):
    """What `score` has to say, numbers or the reason why not."""
    native._state["loaded"] = loops
    paths = []
    for name, content in (("gt.json", gt), ("pred.json", pred)):
        paths.append(tmp_path / name)
        paths[-1].write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    try:
        found = evaluate("ins_seg", *paths, options=options)
    except MissingError as error:
        return error.message
    finally:
        native._state["loaded"] = None
    matches = [
        (m.classes.tolist(), m.scores.tolist(), m.hits.tolist(), m.ignored.tolist(), m.present.tolist())
        for m in found.accumulator.per_frame()
    ]
    return json.dumps([found.scores.to_json(), found.warnings, matches])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("frames")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_everyday_frames(compiled, folder, seed):
    gt, pred = sides(seed)
    assert outcome(compiled, gt, pred, folder) == outcome(None, gt, pred, folder)


def test_everyday_frames_are_not_declined(compiled, folder, monkeypatch):
    """Otherwise the other tests would compare Python with Python."""
    gt, pred = sides(3)
    del pred[1]["labels"]
    gt[2] |= {"size": {"width": 40, "height": 30}, "videoName": None, "url": 'a\\b"c', "timestamp": -1.5e3}
    seen = []
    taken = compiled.match_frames

    def listen(*args, **options):
        found = taken(*args, **options)
        seen.extend(found[0])
        return found

    monkeypatch.setattr(compiled, "match_frames", listen)
    assert "cannot" not in outcome(compiled, gt, pred, folder)
    assert len(seen) == 3
    assert None not in seen


ODD = [
    None,
    True,
    0,
    -1,
    1.5,
    1e400,
    "",
    "car",
    "false",
    "é",
    [],
    [1],
    [30, 40],
    [40, 30],
    [30, 40, 1],
    {},
    {"crowd": 1},
]
ODD += [
    {"counts": "0", "size": [30, 40]},
    {"counts": "", "size": [0, 0]},
    {"crowd": "no"},
    {"width": 4},
    10**30,
]


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize(
    "place",
    [
        "name",
        "labels",
        "size",
        "videoName",
        "labels.1",
        "labels.1.category",
        "labels.1.rle",
        "labels.1.rle.counts",
        "labels.1.rle.size",
        "labels.1.score",
        "labels.1.attributes",
        "labels.1.attributes.crowd",
        "labels.1.index",
        "labels.1.poly2d",
        "labels.1.box2d",
        "labels.1.unknown",
    ],
)
def test_odd_values(compiled, folder, side, place):
    """Every value of every other type, in every place; by default each in every other place."""
    for odd in ODD if ALL else ODD[(side + len(place)) % 2 :: 2]:
        made = sides(5)
        target = made[side][1]
        *path, last = (int(p) if p.isdigit() else p for p in place.split("."))
        for part in path:
            target = target.setdefault(part, {}) if part == "attributes" else target[part]
        target[last] = odd
        for options in (None, Options(allow_partial=True), Options(official=True)):
            assert outcome(compiled, *made, folder, options) == outcome(None, *made, folder, options), odd


def damaged(data, both, fields):
    """Both sides as JSON, with bytes that are changed, lost or doubled, or more fields."""
    made = [bytearray(json.dumps(side).encode()) for side in both]
    for _ in range(data.draw(st.integers(1, 3))):
        side = made[data.draw(st.integers(0, 1))]
        at = data.draw(st.integers(0, len(side) - 1))
        change = data.draw(st.sampled_from(["put", "lose", "double", "repeat"]))
        if change == "put":
            side[at] = data.draw(st.sampled_from(b'{}[]":,\\0179-.eE truefalsn\n\x00\x1f\x7f\xc3o'))
        elif change == "lose":
            del side[at : at + data.draw(st.integers(1, 20))]
        elif change == "double":
            side[at:at] = side[at : at + data.draw(st.integers(1, 60))]
        else:
            side[at:at] = fields
    return tuple(map(bytes, made))


@settings(max_examples=150, deadline=None)
@given(st.data(), st.integers(0, 50))
def test_damaged_files(compiled, folder, data, seed):
    """Bytes that are changed, lost or doubled: both ways say the same, whatever it is."""
    gt, pred = damaged(data, sides(seed, frames=2), b'"score": 0.5, "index": 1, ')
    assert outcome(compiled, gt, pred, folder) == outcome(None, gt, pred, folder)


def as_coco(gt, pred):
    """The same frames as a COCO file and a list of results."""
    names = sorted(CATEGORIES)
    images = [{"id": i, "file_name": frame["name"]} for i, frame in enumerate(gt)]
    truth, results = [], []
    for side, made in ((gt, truth), (pred, results)):
        for i, frame in enumerate(side):
            for label in frame["labels"]:
                flags = label.get("attributes", {})
                annotation = {"image_id": i, "category_id": names.index(label["category"])}
                annotation |= {"segmentation": label["rle"], "score": label.get("score")}
                if len(made) % 2:
                    annotation |= {"attributes": flags}
                else:
                    annotation |= {
                        "iscrowd": int(flags.get("crowd", 0)),
                        "ignore": int(flags.get("ignored", 0)),
                    }
                made.append(annotation)
    categories = [{"id": k, "name": name} for k, name in enumerate(names)]
    return {"images": images, "annotations": truth, "categories": categories}, results


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_coco_files(compiled, folder, seed):
    made = sides(seed)
    gt, pred = as_coco(*made)
    fast = outcome(compiled, gt, pred, folder)
    assert fast == outcome(None, gt, pred, folder)
    # The warnings name the frames in other ways.
    assert fast.startswith("[")
    assert json.loads(fast)[0::2] == json.loads(outcome(None, *made, folder))[0::2]


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("key", ["image_id", "category_id", "segmentation", "score", "iscrowd", "attributes"])
def test_odd_values_in_coco_files(compiled, folder, side, key):
    for odd in [
        *ODD,
        [[1, 1, 9, 1, 9, 9]],
        {"counts": [600, 600], "size": [30, 40]},
        {"counts": "é", "size": [3, 4]},
    ]:
        made = as_coco(*sides(5))
        (made[0]["annotations"] if side == 0 else made[1])[1][key] = odd
        assert outcome(compiled, *made, folder) == outcome(None, *made, folder), odd


def scattered(truth, results):
    """Annotations of one image all over the file."""
    return {**truth, "annotations": truth["annotations"][::-1][::2] + truth["annotations"][::-1][1::2]}, (
        results[1::2] + results[::2]
    )


def in_another_order(truth, results):
    """Images before and categories behind, and more that nobody reads."""
    info = {"annotations": [], "note": '"annotations": [{}]', "year": 2}
    more = {"images": truth["images"], "annotations": truth["annotations"], "categories": truth["categories"]}
    return more | {"info": info}, [entry | {"area": 1.5, "note": "}]"} for entry in results]


def behind_others_of_their_name(truth, results):
    """The first list that is called so is another one."""
    return {"info": {"annotations": truth["annotations"][:1]}, **truth}, results


def strays(truth, results):
    return truth, [*results, {**results[0], "image_id": 77}]


def named_images(truth, results):
    names = {**truth, "images": [{**image, "id": str(image["id"])} for image in truth["images"]]}
    return {
        **names,
        "annotations": [{**a, "image_id": str(a["image_id"])} for a in truth["annotations"]],
    }, results


@pytest.mark.parametrize(
    "change", [scattered, in_another_order, behind_others_of_their_name, strays, named_images, lambda *a: a]
)
@pytest.mark.parametrize("size", [7, 200, 1 << 22])
def test_coco_files_of_other_kinds(compiled, folder, monkeypatch, change, size):
    """Whatever is around the annotations, and wherever they are cut into pieces."""
    monkeypatch.setattr(coco_files, "CHUNK_BYTES", size)
    made = change(*as_coco(*sides(8)))
    said = outcome(compiled, *made, folder)
    assert said == outcome(None, *made, folder)
    assert said.startswith("[") == (change not in (strays, named_images))
    truth = {**made[0], "annotations": made[1]}
    assert outcome(compiled, made[0], truth, folder) == outcome(None, made[0], truth, folder)


def test_annotations_are_not_held(compiled, folder, monkeypatch):
    """Otherwise the tests of files would be of files that are decoded as a whole."""
    decoded = []
    whole = coco_files._decoded
    monkeypatch.setattr(coco_files, "_decoded", lambda *a: decoded.append(a) or whole(*a))
    for change in (scattered, in_another_order, lambda *a: a):
        assert outcome(compiled, *change(*as_coco(*sides(8))), folder).startswith("[")
    assert decoded == []


@settings(max_examples=150, deadline=None)
@given(st.data(), st.integers(0, 50))
def test_damaged_coco_files(compiled, folder, data, seed):
    gt, pred = damaged(data, as_coco(*sides(seed, frames=2)), b'"score": 0.5, "image_id": 1, "iscrowd": 1, ')
    assert outcome(compiled, gt, pred, folder) == outcome(None, gt, pred, folder)


HEADS = [
    {"name": "a.jpg"},
    {"name": 7, "videoName": None, "frameIndex": None},
    {"name": -7},
    {"name": "a\\b.jpg"},
    {"name": "é.jpg", "videoName": "v"},
    {"name": ""},
    {"name": None},
    {"name": 1.5},
    {"labels": []},
    {"name": "a.jpg", "videoName": "", "frameIndex": 0},
    {"name": "a.jpg", "videoName": "v", "frameIndex": 12},
    {"name": "a.jpg", "videoName": 3, "frameIndex": "12"},
    {"name": "a.jpg", "videoName": "v", "frameIndex": 1.5},
    {"name": "a.jpg", "videoName": "v", "frameIndex": [1]},
    {"name": "a.jpg", "frames": []},
    {"name": "a.jpg", "frames": None, "objects": None},
    {"frames": [{"name": "a.jpg"}], "name": "a.jpg"},
]
AROUND = [
    lambda f: f,
    lambda f: {"frames": f},
    lambda f: {"config": {"imageSize": {"width": 40}}, "frames": f, "groups": [{"frames": 1}]},
    lambda f: {"groups": {"frames": f[:1]}, "frames": f},
    lambda f: {"note": '"frames": [{}]', "frames": f},
    lambda f: {"frames": [*f, -1.5e300]},
    lambda f: {"frames": [-1.5e300]},
    lambda f: {"frames": [f]},
    lambda f: [f],
    lambda f: {"frame": f},
    lambda f: f[0],
]


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("size", [3, 64, 1 << 22])
def test_frames_are_found_alike(compiled, folder, monkeypatch, around, size):
    monkeypatch.setattr(frame_files, "CHUNK_BYTES", size)
    path = folder / "frames.json"
    for head in HEADS:
        found = []
        content = json.dumps(
            around([{"name": "b.jpg", "labels": [{"id": "]}"}]}, head, {"name": "c"}]), indent=1
        )
        path.write_text(content)
        for loops in (None, compiled):
            native._state["loaded"] = loops
            try:
                frames = frame_files.JsonFrames(open_source(path), ["frames.json"])
                data, bounds = frames.contents(range(len(frames)))
                pieces = [json.loads(data[a:b]) for a, b in zip(bounds[::2], bounds[1::2], strict=True)]
                found.append((frames.names, frames.videos, frames.positions, frames.bare, pieces))
            except MissingError as error:
                found.append(error.message)
            finally:
                native._state["loaded"] = None
        assert found[0] == found[1], content
