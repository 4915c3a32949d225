import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO

from bddzoo.datasets.classes import SEM_SEG
from bddzoo.datasets.formats.convert import convert
from bddzoo.datasets.formats.mask import read_bitmask, read_mask
from bddzoo.datasets.formats.png import check_png
from bddzoo.errors import BddzooError, MissingError, UsageError
from tests.evaluation import scenes
from tests.evaluation.commands import convert_labels
from tests.evaluation.scenes import seeds
from tests.evaluation.test_oracle import write_png
from tests.shared import shared


@settings(max_examples=25, deadline=None)
@given(seeds, st.permutations(["rle", "color"]), st.sampled_from(["sem_seg", "drivable"]))
def test_class_maps_come_back(tmp_path_factory, seed, way, task):
    rng = np.random.default_rng(seed)
    root = tmp_path_factory.mktemp("maps")
    maps = {f"f{i}": scenes.class_map(rng, classes=19 if task == "sem_seg" else 3) for i in range(3)}
    for name, pixels in maps.items():
        write_png(root / f"masks/{name}.png", pixels)
    here = root / "masks"
    for step in way:
        there = root / (step + (".json" if step == "rle" else ""))
        assert convert(task, here, there, step).frames == 3
        here = there
    convert(task, here, root / "back", "masks")
    for name, pixels in maps.items():
        np.testing.assert_array_equal(read_mask(root / f"back/{name}.png"), pixels)


@settings(max_examples=25, deadline=None)
@given(seeds, st.lists(st.sampled_from(["rle", "coco", "bitmasks"]), min_size=1, max_size=3), st.booleans())
def test_instances_come_back(tmp_path_factory, seed, way, scored):
    rng = np.random.default_rng(seed)
    root = tmp_path_factory.mktemp("instances")
    masks, entries = {}, []
    for i in range(3):
        items = scenes.objects(rng, 5, ids=rng.permutation(np.arange(1, 65536))[:5], flags=range(16))
        masks[f"f{i}"] = scenes.paint(items)
        visible = np.unique(masks[f"f{i}"][..., 2].astype(int) << 8 | masks[f"f{i}"][..., 3])
        labels = [{"index": int(v), "score": float(rng.random())} for v in visible if v]
        entries.append({"name": f"f{i}.jpg", "labels": labels})
        write_png(root / f"start/f{i}.png", masks[f"f{i}"])
    scores = None
    if scored:
        scores = root / "scores-0.json"
        scores.write_text(json.dumps(entries))
    here, kind = root / "start", "bitmasks"
    for k, step in enumerate([*way, "bitmasks"]):
        there = root / (f"{k}-{step}" + ("" if step == "bitmasks" else ".json"))
        if kind != step:
            takes = scores if "bitmasks" in (kind, step) else None
            convert("ins_seg", here, there, step, origin=kind, score_file=takes)
            here, kind = there, step
            if kind != "bitmasks" and scored:
                scores = root / f"scores-{k + 1}.json"
    for name, pixels in masks.items():
        np.testing.assert_array_equal(read_bitmask(here / f"{name}.png"), pixels)
    if scored:
        again = [
            {"name": f["name"], "labels": [{k: v[k] for k in ("index", "score")} for v in f["labels"]]}
            for f in json.loads(scores.read_text())
        ]
        assert again == entries


def test_coco_files_are_coco(tmp_path):
    mask = scenes.paint([(300, 3, 0, 2, 9, 2, 12), (7, 1, 1, 20, 30, 20, 25), (8, 2, 2, 40, 50, 40, 45)])
    write_png(tmp_path / "b/f.png", mask)
    convert("ins_seg", tmp_path / "b", tmp_path / "coco.json", "coco")
    loaded = COCO(str(tmp_path / "coco.json"))
    anns = {a["instance_id"]: a for a in loaded.loadAnns(loaded.getAnnIds())}
    assert anns[300]["bbox"] == [2, 2, 10, 7]
    assert anns[300]["area"] == 70
    assert [anns[i]["iscrowd"] for i in (300, 7, 8)] == [0, 1, 1]
    assert [anns[i]["ignore"] for i in (300, 7, 8)] == [0, 1, 0]
    assert anns[7]["attributes"]["ignored"] is True
    np.testing.assert_array_equal(loaded.annToMask(anns[7]).astype(bool), mask[..., 0] == 1)


def test_coco_polygons_and_plain_counts_are_read(tmp_path):
    square = np.zeros((72, 120), np.uint8)
    square[10:20, 30:40] = 1
    plain = {"counts": [30 * 72 + 10, *([10, 62] * 9), 10, 72 * 80 + 52], "size": [72, 120]}
    data = {
        "images": [{"id": 5, "file_name": "a/f.jpg", "height": 72, "width": 120}],
        "categories": [{"id": 9, "name": "person"}, {"id": 2, "name": "car"}],
        "annotations": [
            {"image_id": 5, "category_id": 9, "segmentation": plain, "iscrowd": 1},
            {"image_id": 5, "category_id": 2, "segmentation": [[50, 30, 60, 30, 60, 40, 50, 40]]},
        ],
    }
    (tmp_path / "c.json").write_text(json.dumps(data))
    convert("ins_seg", tmp_path / "c.json", tmp_path / "b", "bitmasks")
    got = read_bitmask(tmp_path / "b/f.png")
    np.testing.assert_array_equal(got[..., 0] == 1, square == 1)
    assert set(np.unique(got[got[..., 0] == 1][:, 1])) == {2}
    assert (got[..., 0] == 3).sum() == 100


def test_as_the_toolkit_converts(tmp_path):
    case = shared("evalcases/tk-convert")
    convert("sem_seg", case / "sem_masks", tmp_path / "sem.json", "rle")
    convert("ins_seg", case / "ins_masks", tmp_path / "ins.json", "rle", score_file=case / "ins_scores.json")
    for ours, theirs in (("sem.json", "sem_rle.json"), ("ins.json", "ins_rle.json")):
        a = json.loads((tmp_path / ours).read_text())
        b = json.loads((case / "converted" / theirs).read_text())
        assert a.keys() == b.keys()
        assert [f["name"] for f in a["frames"]] == [f["name"] for f in b["frames"]]
        keys = ("category", "score", "rle")
        for mine, other in zip(a["frames"], b["frames"], strict=True):
            rows = [[label[k] for k in keys] for label in mine["labels"]]
            # The toolkit lists detections by score, we as they were.
            rows.sort(key=lambda r: -(r[1] or 0))
            assert rows == [[label[k] for k in keys] for label in other["labels"]]
    convert("ins_seg", case / "bitmasks", tmp_path / "coco.json", "coco")
    a = json.loads((tmp_path / "coco.json").read_text())
    b = json.loads((case / "converted/ins_coco.json").read_text())
    for mine, other in zip(a["annotations"], b["annotations"], strict=True):
        assert {k: mine[k] for k in other} == other
    convert("sem_seg", case / "sem_masks", tmp_path / "colour", "color")
    np.testing.assert_array_equal(read_mask(tmp_path / "colour/0.png"), read_mask(case / "sem_masks/0.png"))


def test_colour_maps_are_coloured(tmp_path):
    import cv2

    truth = scenes.class_map(np.random.default_rng(0))
    write_png(tmp_path / "m/f.png", truth)
    convert("sem_seg", tmp_path / "m", tmp_path / "c", "color")
    header = check_png((tmp_path / "c/f.png").read_bytes(), tmp_path)
    assert str(header).startswith("8-bit palette")
    seen = cv2.imread(str(tmp_path / "c/f.png"))[..., ::-1]
    palette = np.zeros((256, 3), np.uint8)
    palette[:19] = SEM_SEG.palette
    np.testing.assert_array_equal(seen, palette[truth])
    # The same colours in an RGB image are read back too.
    assert cv2.imwrite(str(tmp_path / "c/f.png"), seen[..., ::-1])
    convert("sem_seg", tmp_path / "c", tmp_path / "back", "masks")
    np.testing.assert_array_equal(read_mask(tmp_path / "back/f.png"), truth)
    seen[0, 0] = (1, 2, 3)
    assert cv2.imwrite(str(tmp_path / "c/f.png"), seen[..., ::-1])
    with pytest.raises(MissingError, match=r"f\.png: colour #010203"):
        convert("sem_seg", tmp_path / "c", tmp_path / "back", "masks")


def test_overlapping_objects_are_painted_by_score(tmp_path):
    low, high = np.zeros((72, 120), np.uint8), np.zeros((72, 120), np.uint8)
    low[0:10, 0:10] = 1
    high[5:15, 5:15] = 1
    labels = [
        {"id": "1", "category": "car", "score": 0.9, "rle": scenes.rle(high)},
        {"id": "2", "category": "person", "score": 0.1, "rle": scenes.rle(low)},
    ]
    (tmp_path / "p.json").write_text(json.dumps([{"name": "f.jpg", "labels": labels}]))
    convert("ins_seg", tmp_path / "p.json", tmp_path / "b", "bitmasks", score_file=tmp_path / "s.json")
    got = read_bitmask(tmp_path / "b/f.png")
    assert (got[..., 0] == 3).sum() == 100
    assert (got[..., 0] == 1).sum() == 75


@pytest.mark.parametrize(
    ("task", "to", "kind"),
    [("sem_seg", "coco", None), ("ins_seg", "rle", "color"), ("ins_seg", "masks", None)],
)
def test_ways_that_do_not_exist(tmp_path, task, to, kind):
    write_png(tmp_path / "in/f.png", scenes.paint([(1, 3, 0, 2, 9, 2, 12)]))
    with pytest.raises(UsageError):
        convert(task, tmp_path / "in", tmp_path / "out", to, origin=kind)


def test_broken_labels_leave_no_file(tmp_path):
    (tmp_path / "p.json").write_text('[{"name": "f.jpg", "labels": [{"category": "car", "rle": 3}]}]')
    with pytest.raises(BddzooError, match=r"f\.jpg"):
        convert("ins_seg", tmp_path / "p.json", tmp_path / "out.json", "coco")
    assert not (tmp_path / "out.json").exists()
    (tmp_path / "p.json").write_text("nothing")
    with pytest.raises(MissingError, match=r"p\.json is not a COCO file"):
        convert("ins_seg", tmp_path / "p.json", tmp_path / "out.json", "rle")


def test_the_command(tmp_path):
    write_png(tmp_path / "in/f.png", scenes.class_map(np.random.default_rng(0)))
    out = tmp_path / "o.json"
    done = convert_labels("sem_seg", tmp_path / "in", "rle", out)
    assert done.code == 0
    assert "1 frame from masks to rle" in done.err
    again = convert_labels("sem_seg", tmp_path / "in", "rle", out)
    assert again.code == 2
    assert "give --force to replace it" in again.err
    assert convert_labels("sem_seg", tmp_path / "in", "coco", out, "--force").code == 2
    assert convert_labels("sem_seg", tmp_path / "nowhere", "rle", out, "--force").code == 5


def test_labels_are_not_converted_over_themselves(tmp_path):
    write_png(tmp_path / "masks/a.png", np.zeros((4, 4), np.uint8))
    before = (tmp_path / "masks/a.png").read_bytes()
    (tmp_path / "other").symlink_to(tmp_path / "masks")
    for place in ("masks", "other"):
        done = convert_labels("sem_seg", tmp_path / "masks", "color", tmp_path / place, "--force")
        assert done.code == 2
        assert "overwritten" in done.err
    assert (tmp_path / "masks/a.png").read_bytes() == before
