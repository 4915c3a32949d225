import json

import cv2
import numpy as np
import pytest

from bddzoo.datasets.attributes import predicted, read_attribute_files
from bddzoo.datasets.classes import CLASS_SETS
from bddzoo.datasets.formats.mask import paint_ids, read_bitmask, read_mask
from bddzoo.datasets.formats.rle import decode_rle
from bddzoo.datasets.formats.scalabel import Instances, PanopticMap, Tag
from bddzoo.errors import MissingError, UsageError
from bddzoo.inference.outputs import PredictionSet


def some_instances() -> Instances:
    masks = np.zeros((3, 10, 12), bool)
    masks[0, 2:6, 2:6] = True
    masks[1, 2:6, 2:6] = True  # hidden below the first
    masks[2, 4:9, 4:9] = True
    boxes = np.array([[2, 2, 6, 6], [2, 2, 6, 6], [4, 4, 9, 9]], np.float32)
    return Instances(boxes, np.array([0.9, 0.3, 0.5], np.float32), np.array([0, 2, 7]), masks)


def names(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_a_semantic_set(tmp_path):
    class_map = np.array([[0, 1], [18, 255]], np.uint8)
    with PredictionSet(tmp_path / "out", "sem_seg") as writer:
        writer.add_class_map("a.jpg", class_map)
    assert names(tmp_path / "out") == ["masks/a.png", "sem_seg.json"]
    assert np.array_equal(read_mask(tmp_path / "out/masks/a.png"), class_map)
    (frame,) = json.loads((tmp_path / "out/sem_seg.json").read_text())["frames"]
    assert [la["category"] for la in frame["labels"]] == ["road", "sidewalk", "bicycle"]


def test_an_instance_set(tmp_path):
    instances = some_instances()
    with PredictionSet(tmp_path, "ins_seg", rle=True, overlays=True) as writer:
        writer.add_instances("a.jpg", instances)
        writer.add_overlay("a.jpg", np.zeros((10, 12, 3), np.uint8))
    assert names(tmp_path) == ["bitmasks/a.png", "det.json", "ins_seg.json", "overlays/a.jpg", "score.json"]
    ids = paint_ids(instances)
    assert np.array_equal(read_bitmask(tmp_path / "bitmasks/a.png")[..., 3], ids)
    (frame,) = json.loads((tmp_path / "score.json").read_text())
    assert [la["index"] for la in frame["labels"]] == [1, 2, 3]
    (frame,) = json.loads((tmp_path / "ins_seg.json").read_text())["frames"]
    # No two masks share a pixel, or the official toolkit would drop the frame; the hidden one is gone.
    assert [la["category"] for la in frame["labels"]] == ["pedestrian", "bicycle"]
    masks = [decode_rle(la["rle"]) for la in frame["labels"]]
    assert np.array_equal(masks[0], ids == 1)
    assert np.array_equal(masks[1], ids == 3)
    (frame,) = json.loads((tmp_path / "det.json").read_text())["frames"]
    assert frame["labels"][2]["box2d"] == {"x1": 4, "y1": 4, "x2": 8, "y2": 8}
    assert cv2.imread(str(tmp_path / "overlays/a.jpg")).shape == (10, 12, 3)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_run_leaves_nothing(tmp_path, error):
    def run():
        with PredictionSet(tmp_path / "out", "sem_seg") as writer:
            writer.add_class_map("a.jpg", np.zeros((2, 2), np.uint8))
            raise error

    with pytest.raises(error):
        run()
    assert list(tmp_path.iterdir()) == [], "not even the folder"


def test_predictions_are_not_overwritten_unasked(tmp_path):
    def write(value, **options):
        with PredictionSet(tmp_path, "sem_seg", **options) as writer:
            writer.add_class_map(f"{value}.jpg", np.full((2, 2), value, np.uint8))

    write(1)
    with pytest.raises(UsageError, match=r"holds predictions already: masks, sem_seg\.json"):
        write(2)
    (tmp_path / "mine.txt").write_text("kept")
    write(2, overwrite=True)
    assert names(tmp_path) == ["masks/2.png", "mine.txt", "sem_seg.json"]
    with PredictionSet(tmp_path, "ins_seg") as writer:
        writer.add_instances("a.jpg", some_instances())
    assert "masks/2.png" in names(tmp_path)


def test_a_failed_replacement_keeps_the_old_set(tmp_path):
    with PredictionSet(tmp_path, "sem_seg") as writer:
        writer.add_class_map("old.jpg", np.zeros((2, 2), np.uint8))

    def run():
        with PredictionSet(tmp_path, "sem_seg", overwrite=True) as writer:
            writer.add_class_map("new.jpg", np.zeros((2, 2), np.uint8))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        run()
    assert names(tmp_path) == ["masks/old.png", "sem_seg.json"]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(MissingError, match="cannot write"),
        PredictionSet(tmp_path / "file" / "out", "sem_seg"),
    ):
        pass


def test_a_panoptic_set(tmp_path):
    values = np.array([[16, 16, 1000], [40, 2002, 1000], [40, 2002, 39]], np.int32)
    with PredictionSet(tmp_path, "pan_seg") as writer:
        writer.add("a.jpg", PanopticMap(values))
    assert names(tmp_path) == ["bitmasks/a.png", "pan_seg.json"]
    bitmask = read_bitmask(tmp_path / "bitmasks/a.png")
    # road, person, bicycle, sky; nothing where the network says nothing.
    assert bitmask[..., 0].tolist() == [[7, 7, 31], [0, 33, 31], [0, 33, 30]]
    assert bitmask[..., 3].tolist() == [[1, 1, 3], [0, 4, 3], [0, 4, 2]]
    assert not bitmask[..., 1:3].any()
    (frame,) = json.loads((tmp_path / "pan_seg.json").read_text())["frames"]
    found = {la["id"]: la["category"] for la in frame["labels"]}
    assert found == {"16": "road", "39": "sky", "1000": "person", "2002": "bicycle"}
    for label in frame["labels"]:
        assert np.array_equal(decode_rle(label["rle"]), values == int(label["id"]))


def test_parts_of_a_panoptic_set_keep_their_ids(tmp_path):
    with PredictionSet(tmp_path, "pan_seg") as writer:
        for name in ("x", "y"):
            with writer.part(name) as part:
                part.add(f"{name}.jpg", PanopticMap(np.array([[16, 1000]], np.int32)))
            writer.absorb(name)
    frames = json.loads((tmp_path / "pan_seg.json").read_text())["frames"]
    assert [[la["id"] for la in frame["labels"]] for frame in frames] == [["16", "1000"]] * 2


def test_a_set_of_tags(tmp_path):
    tag = Tag(CLASS_SETS["weather"], np.array([0, 0.1, 0.2, 0.4, 0.3, 0, 0], np.float32))
    with PredictionSet(tmp_path, "tagging", overlays=True) as writer:
        writer.add("a.jpg", tag)
    assert names(tmp_path) == ["tagging.json"]
    (frame,) = json.loads((tmp_path / "tagging.json").read_text())["frames"]
    assert (frame["labels"], frame["attributes"]["weather"]) == (None, "overcast")
    assert frame["attributes"]["weather_score"] == pytest.approx(0.4)
    assert predicted(read_attribute_files(tmp_path / "tagging.json"), ["weather", "scene"]) == ["weather"]
