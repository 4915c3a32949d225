import json

import cv2
import numpy as np
import pytest

from bddzoo.datasets.classes import IGNORED
from bddzoo.datasets.formats.labels import NOTHING
from bddzoo.datasets.formats.mask import write_mask, write_rgba
from bddzoo.datasets.formats.readers import open_labels
from bddzoo.errors import MissingError, UsageError
from bddzoo.reports.vis.work import ImageSet, pair
from tests.cli.command import run_here
from tests.reports.vis_data import NAMES, bitmask, class_map


@pytest.mark.parametrize("kind", ["masks", "masks.zip", "masks.json", "colours"])
def test_every_format_of_class_maps_reads_the_same(data, kind):
    labels = open_labels(data / kind)
    assert labels.task == "sem_seg"
    assert sorted(labels.keys) == sorted(NAMES)
    for seed, name in enumerate(NAMES):
        assert np.array_equal(labels.read(labels.find(name)).class_map, class_map(seed))


@pytest.mark.parametrize("kind", ["bitmasks", "bitmasks.zip", "bitmasks.json", "coco.json"])
def test_every_format_of_instances_reads_the_same(data, kind):
    labels = open_labels(data / kind)
    assert labels.task == "ins_seg"
    for seed, name in enumerate(NAMES):
        planes = labels.read(labels.find(name))
        truth = bitmask(seed)
        background = truth[..., 0] == 0
        expected = np.where(background, NOTHING, truth[..., 0] - 1)
        assert np.array_equal(planes.classes(), expected)
        assert np.array_equal(planes.ids == 0, background)
        assert len(planes.items) == len(np.unique(truth[..., 2:].reshape(-1, 2), axis=0)) - 1


def test_ids_above_255_stay_apart(data):
    planes = open_labels(data / "bitmasks").read(NAMES[0])
    assert 300 in {item.ident for item in planes.items}
    assert np.array_equal(planes.ids == 300, bitmask(0)[..., 2] == 1)


def test_panoptic_bitmasks_are_told_by_their_categories(data):
    assert open_labels(data / "pan").task == "pan_seg"


@pytest.mark.parametrize(
    ("category", "task"), [("parking", "pan_seg"), ("sky", "sem_seg"), ("van", "ins_seg")]
)
def test_the_task_of_json_is_told_by_its_categories(tmp_path, category, task):
    from bddzoo.datasets.formats.rle import encode_rle

    rle = encode_rle(np.eye(4, dtype=bool))
    labels = [{"id": str(i), "category": c, "rle": rle} for i, c in enumerate(("car", category))]
    (tmp_path / "p.json").write_text(json.dumps([{"name": "a.jpg", "labels": labels}]))
    assert open_labels(tmp_path / "p.json").task == task


def test_panoptic_json_has_things_and_stuff(tmp_path):
    from bddzoo.datasets.formats.rle import encode_rle

    left, right = np.zeros((2, 4), bool), np.zeros((2, 4), bool)
    left[:, :2], right[:, 2:] = True, True
    rows = [("1", "garage", left), ("2", "person", right)]
    labels = [{"id": i, "category": c, "rle": encode_rle(m)} for i, c, m in rows]
    (tmp_path / "p.json").write_text(json.dumps([{"name": "a.jpg", "labels": labels}]))
    planes = open_labels(tmp_path / "p.json").read("a")
    assert planes.classes()[0].tolist() == [11, 11, 30, 30]


def test_drivable_area_is_told_by_the_names_in_json(tmp_path):
    masks = tmp_path / "masks"
    write_mask(masks / "a.png", np.array([[0, 1, 2]], np.uint8))
    from bddzoo.datasets.formats.convert import convert

    convert("drivable", masks, tmp_path / "d.json", "rle")
    labels = open_labels(tmp_path / "d.json")
    assert labels.task == "drivable"
    assert labels.read("a").classes().tolist() == [[0, 1, NOTHING]]
    assert open_labels(masks, "drivable").read("a").classes().tolist() == [[0, 1, NOTHING]]


@pytest.mark.parametrize("place", ["inside", "beside", "given"])
def test_scores_are_found(tmp_path, place):
    write_rgba(tmp_path / "p/bitmasks/a.png", bitmask(0))
    entries = [{"name": "a.jpg", "labels": [{"index": 1, "score": 0.9}, {"index": 300, "score": 0.2}]}]
    file = {"inside": "p/bitmasks/score.json", "beside": "p/score.json", "given": "elsewhere.json"}[place]
    (tmp_path / file).write_text(json.dumps(entries))
    given = tmp_path / file if place == "given" else None
    planes = open_labels(tmp_path / "p/bitmasks", None, given).read("a")
    scores = {item.ident: item.score for item in planes.items}
    assert scores[1] == 0.9
    assert scores[300] == 0.2
    # A detection below the limit is not a prediction, one without a score is.
    assert (planes.classes(0.5) == NOTHING).sum() == ((planes.ids == 0) | (planes.ids == 300)).sum()


def test_ignored_and_crowd_objects_do_not_count(tmp_path):
    pixels = np.zeros((1, 4, 4), np.uint8)
    pixels[0, :, 0], pixels[0, :, 1], pixels[0, :, 3] = 3, (0, 1, 2, 4), (1, 2, 3, 4)
    write_rgba(tmp_path / "a.png", pixels)
    assert open_labels(tmp_path).read("a").classes().tolist() == [[2, IGNORED, IGNORED, 2]]


def test_where_instances_of_json_overlap_the_better_one_is_seen(tmp_path):
    from bddzoo.datasets.formats.rle import encode_rle

    first, second = np.zeros((4, 6), bool), np.zeros((4, 6), bool)
    first[:, :4], second[:, 2:] = True, True
    labels = [
        {"id": "1", "category": "car", "score": 0.9, "rle": encode_rle(first)},
        {"id": "2", "category": "bus", "score": 0.5, "rle": encode_rle(second)},
    ]
    (tmp_path / "p.json").write_text(json.dumps([{"name": "a.jpg", "labels": labels}]))
    assert open_labels(tmp_path / "p.json").read("a").classes()[0].tolist() == [2, 2, 2, 2, 4, 4]


def test_images_and_labels_are_matched_by_bare_name_where_that_is_enough(tmp_path):
    write_mask(tmp_path / "masks/val/x.png", np.zeros((2, 2), np.uint8))
    write_mask(tmp_path / "masks/train/y.png", np.zeros((2, 2), np.uint8))
    for name in ("x", "y", "z"):
        write_mask(tmp_path / f"images/{name}.png", np.zeros((2, 2), np.uint8))
    images, labels = ImageSet(tmp_path / "images"), open_labels(tmp_path / "masks")
    pairs, lacking = pair(images, [labels])
    assert [(p.name, *p.keys) for p in pairs] == [("x", "val/x"), ("y", "train/y")]
    assert lacking == ["z"]


def test_a_name_that_is_there_twice_is_refused(tmp_path):
    for folder in ("masks", "colormaps"):
        write_mask(tmp_path / folder / "x.png", np.zeros((2, 2), np.uint8))
    with pytest.raises(MissingError, match=r"x more than once: .*one kind"):
        open_labels(tmp_path).find("x")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([{"name": "a", "labels": [{"category": "car", "box2d": {}}]}], "a label without a mask"),
        ([{"name": "a", "labels": [{"index": 1, "score": 0.5}]}], "its labels have none"),
        ({"mIoU": 1}, "neither a list of frames nor a COCO file"),
        ([], "no frames"),
    ],
)
def test_json_without_masks_is_refused(tmp_path, content, words):
    (tmp_path / "x.json").write_text(json.dumps(content))
    with pytest.raises(MissingError, match=words):
        list(open_labels(tmp_path / "x.json").frames())


def test_the_wrong_task_is_refused_once(data):
    with pytest.raises(MissingError, match="not a bitmask"):
        open_labels(data / "masks", "ins_seg")
    with pytest.raises(MissingError, match="belongs to no class of sem_seg"):
        open_labels(data / "bitmasks", "sem_seg")
    with pytest.raises(MissingError, match=r"holds labels of pan_seg, not of ins_seg.*-t"):
        open_labels(data / "pan", "ins_seg")
    with pytest.raises(UsageError, match="COCO"):
        open_labels(data / "coco.json", "pan_seg")


def test_no_images_no_labels(tmp_path, data):
    with pytest.raises(MissingError, match="no image in"):
        ImageSet(data / "masks.json")
    with pytest.raises(MissingError, match="neither PNG nor JSON"):
        open_labels(tmp_path)
    write_mask(tmp_path / "other.png", np.zeros((2, 2), np.uint8))
    images, labels = ImageSet(tmp_path), open_labels(data / "masks")
    with pytest.raises(MissingError, match=r"has a label in .*images like"):
        pair(images, [labels])


def test_boxes_are_drawn_from_either_format_at_the_size_of_the_image(vis, capsys, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for name in ("a", "b"):
        cv2.imwrite(str(images / f"{name}.png"), np.zeros((60, 90, 3), np.uint8))
    box = {"x1": 10, "y1": 20, "x2": 39, "y2": 49}
    frames = [
        {"name": "a.jpg", "labels": [{"category": "traffic light", "box2d": box, "score": 0.9}]},
        {"name": "b.jpg", "labels": [{"category": "car", "box2d": box, "score": 0.1}]},
    ]
    (tmp_path / "det.json").write_text(json.dumps(frames))
    convert = ("convert-labels", "-t", "det", "-l", tmp_path / "det.json", "--to", "coco")
    assert run_here(capsys, *convert, "-o", tmp_path / "coco.json").returncode == 0
    drawn = {}
    for kind in ("det", "coco"):
        done = vis(
            "overlay", "-t", "det", "-i", images, "-l", tmp_path / f"{kind}.json", "-o", tmp_path / kind,
            "--ext", "png", "--no-names",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        drawn[kind] = [cv2.imread(str(tmp_path / kind / f"{name}.png")) for name in ("a", "b")]
    for found, other in zip(drawn["det"], drawn["coco"], strict=True):
        assert np.array_equal(found, other)
    seen = np.argwhere(drawn["det"][0].max(axis=2) > 100)  # edges are smooth
    assert seen.min(axis=0).tolist() == [20, 10]
    assert seen.max(axis=0).tolist() == [49, 39]
    assert not drawn["det"][1].any(), "its score is below the least"
    for kind in ("det", "coco"):
        told = vis(
            "overlay", "-i", images, "-l", tmp_path / f"{kind}.json", "-o", tmp_path / f"{kind} told",
            "--ext", "png", "--no-names",
        )  # fmt: skip
        assert told.returncode == 0, told.stderr
        assert np.array_equal(cv2.imread(str(tmp_path / f"{kind} told" / "a.png")), drawn["det"][0])
