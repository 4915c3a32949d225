"""A label without a mask is not an absent label: drawn, or refused in one line, by every command alike."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bddzoo.datasets.classes import INS_SEG
from bddzoo.datasets.formats.convert import convert
from bddzoo.datasets.formats.labels import FLAGS
from bddzoo.datasets.formats.mask import read_bitmask, read_mask, write_mask
from bddzoo.datasets.formats.rle import MAX_OUTSIDE, coco_polygons, decode_rle, draw_poly2d, encode_rle
from bddzoo.errors import MissingError
from tests.cli.inprocess import command
from tests.evaluation.commands import convert_labels, pack, refused, score

SQUARE = [[200, 280], [399, 280], [399, 419], [200, 419]]
POLYGON = {"vertices": SQUARE, "types": "LLLL", "closed": True}
BOX = {"x1": 200, "y1": 280, "x2": 399, "y2": 419}
MASK = np.zeros((720, 1280), bool)
MASK[280:420, 200:400] = True
RLE = encode_rle(MASK)
CATEGORIES = [{"id": 3, "name": "car"}]


def frames(*labels: dict[str, object]) -> list[dict[str, object]]:
    return [{"name": "a.jpg", "labels": [{"id": str(i), **label} for i, label in enumerate(labels)]}]


def coco(segmentation: object, **more: object) -> dict[str, object]:
    return {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 720, "width": 1280}],
        "categories": CATEGORIES,
        "annotations": [{"id": 1, "image_id": 1, "category_id": 3, "segmentation": segmentation}],
        **more,
    }


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("task", ["sem_seg", "ins_seg"])
@pytest.mark.parametrize(
    "polygon", [[POLYGON], [[x, y, "L"] for x, y in SQUARE], [[[*v, "L"] for v in SQUARE]]]
)
def test_polygons_are_drawn_where_they_are_converted(tmp_path, task, polygon):
    file = write(tmp_path / "p.json", frames({"category": "car", "poly2d": polygon}))
    to = "masks" if task == "sem_seg" else "bitmasks"
    convert(task, file, tmp_path / "out", to)
    found = (read_mask if task == "sem_seg" else read_bitmask)(tmp_path / "out/a.png")
    drawn = found == 13 if task == "sem_seg" else found[..., 0] == 3
    assert np.array_equal(drawn, MASK)
    convert(task, file, tmp_path / "rle.json", "rle")
    (label,) = json.loads((tmp_path / "rle.json").read_text())["frames"][0]["labels"]
    assert np.array_equal(decode_rle(label["rle"]), MASK)


def test_polygons_are_drawn_as_the_toolkit_draws_them():
    """Curves included; the toolkit paints through matplotlib, which leaves out some of the edge."""
    pytest.importorskip("scalabel")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from scalabel.label.transforms import poly_to_patch

    rng = np.random.default_rng(0)
    for types in ("LLLLL", "LCCCL", "LLCCCCCC", "LLCCL"):
        angles = np.sort(rng.random(len(types))) * 2 * np.pi
        vertices = [[640 + 300 * np.cos(a), 360 + 250 * np.sin(a)] for a in angles]
        mine = draw_poly2d([{"vertices": vertices, "types": types}], (720, 1280), "x")
        figure = Figure(figsize=(12.8, 7.2), dpi=100, facecolor="black")
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, 1280), ylim=(720, 0))
        axes.axis("off")
        axes.add_patch(poly_to_patch(vertices, types, (1, 1, 1), closed=True))
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        theirs = np.asarray(canvas.buffer_rgba())[..., 0] > 0
        assert (mine & theirs).sum() / (mine | theirs).sum() > 0.98, types


# What no command may take for an empty mask: task, label, and a word of what is said.
def road(**more: object) -> dict[str, object]:
    return {"category": "road", "poly2d": [{**POLYGON, **more}]}


REFUSED = {
    "box": ("ins_seg", {"category": "car", "box2d": BOX, "score": 0.9}, "box|no masks"),
    "box among masks": ("ins_seg", {"category": "bus", "box2d": BOX, "score": 0.9}, "a box instead"),
    "semantic box": ("sem_seg", {"category": "car", "box2d": BOX}, "box|no masks"),
    "line": ("sem_seg", road(closed=False), "line|polygon"),
    "two points": (
        "sem_seg",
        {"category": "road", "poly2d": [{"vertices": SQUARE[:2], "types": "LL"}]},
        "polygon",
    ),
    "wrong types": (
        "sem_seg",
        {"category": "road", "poly2d": [{**POLYGON, "types": "LXLL"}]},
        "types|polygon",
    ),
    "curve cut": ("sem_seg", road(types="LLLC"), "curve|polygon"),
    "no vertices": ("sem_seg", {"category": "road", "poly2d": [{"types": "LLLL"}]}, "vertices|polygon"),
    "far": ("sem_seg", road(vertices=[[2e8, 0], *SQUARE[1:]]), "far outside|polygon"),
    "outside": ("sem_seg", road(vertices=[[x + 2000, y] for x, y in SQUARE]), "nothing is seen|polygon"),
}


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("name", ["convert", "score", "pack", "vis"])
def test_what_has_no_mask_is_refused_by_all(tmp_path, what, name):
    task, label, words = REFUSED[what]
    others = [{"category": "car", "rle": RLE, "score": 0.5}] if "among" in what else []
    file = write(tmp_path / "p.json", frames(label, *others))
    truth = write(tmp_path / "gt.json", frames({"category": "car", "rle": RLE, "score": 1.0}))
    out = tmp_path / "out"
    done = {
        "convert": lambda: convert_labels(task, file, "rle", f"{out}.json"),
        "score": lambda: score(task, truth, file),
        "pack": lambda: pack(task, file, f"{out}.zip", "--count", 1),
        "vis": lambda: command("vis", "color", "-t", task, "-l", file, "-o", out),
    }[name]()
    assert done.code == 5
    said = done.err
    assert any(word in said for word in words.split("|")), said
    assert "Traceback" not in said
    assert "report" not in said
    left = {p.name for p in tmp_path.rglob("*") if p.is_file()} - {"p.json", "gt.json"}
    assert not left
    assert not out.exists()


@pytest.mark.parametrize("kinds", ["json json", "masks json"])
def test_unknown_categories_are_said_by_all(tmp_path, kinds):
    labels = [{"category": "car", "rle": RLE}, {"category": "spaceship", "rle": RLE}]
    pred = write(tmp_path / "p.json", frames(*labels))
    truth = tmp_path / "gt"
    if kinds == "json json":
        truth = write(tmp_path / "gt.json", frames(labels[0]))
    else:
        write_mask(truth / "a.png", np.where(MASK, 13, 255).astype(np.uint8))
    scored = score("sem_seg", truth, pred)
    assert scored.code == 0
    assert "labels of unknown categories are left out" in scored.err + scored.out
    converted = convert_labels("sem_seg", pred, "masks", tmp_path / "m")
    assert converted.code == 0
    assert "labels of unknown categories are left out: spaceship (1)" in converted.err
    write(tmp_path / "p.json", frames({"category": "caravan", "rle": RLE}))
    assert convert_labels("ins_seg", pred, "coco", tmp_path / "c").code == 0, "another name of car"


@pytest.mark.parametrize("to", ["bitmasks", "rle", "coco", "color"])
@pytest.mark.parametrize(
    "rle", [{"counts": "0123", "size": [0, 0]}, {"counts": "zzzzzz999", "size": [720, 1280]}], ids=str
)
def test_masks_that_are_none_are_passed_on_to_no_format(tmp_path, to, rle):
    file = write(tmp_path / "p.json", frames({"category": "car", "rle": rle}))
    out = tmp_path / "out"
    assert "RLE" in refused(convert_labels("ins_seg", file, to, out))
    assert not out.exists()


def test_vis_draws_the_images_of_a_coco_file_whose_masks_are_some(tmp_path):
    """As of every other format: what cannot be drawn is told, and the status is 5."""
    size = {"height": 720, "width": 1280}
    content = coco(
        RLE,
        images=[{"id": 1, "file_name": "a.jpg", **size}, {"id": 2, "file_name": "b.jpg", **size}],
        annotations=[
            {"id": 1, "image_id": 1, "category_id": 3, "segmentation": RLE},
            {"id": 2, "image_id": 2, "category_id": 3, "segmentation": {**RLE, "size": [100, 100]}},
        ],
    )
    file, out = write(tmp_path / "c.json", content), tmp_path / "out"
    done = command("vis", "color", "-t", "ins_seg", "-l", file, "-o", out)
    assert done.code == 5
    assert "image b.jpg: masks of different sizes: [100, 100] and [720, 1280]; skipped" in done.err
    assert [path.name for path in out.glob("*.png")] == ["a.png"]


def test_a_coco_file_may_name_other_categories_and_the_ignored_ones_are_ignored(tmp_path):
    content = coco([TRIANGLE], categories=[{"id": 3, "name": "other vehicle"}, {"id": 4, "name": "kite"}])
    file, out = write(tmp_path / "c.json", content), tmp_path / "out"
    assert convert_labels("ins_seg", file, "bitmasks", out).code == 0
    assert read_bitmask(out / "a.png")[150, 480, :2].tolist() == [INS_SEG.index("car") + 1, FLAGS["ignored"]]


def images(*names: str, number: int = 1) -> list[dict[str, object]]:
    """Small images; their ids count up from 1, or stay 1."""
    return [
        {"id": 1 + i * number, "file_name": name, "height": 9, "width": 9} for i, name in enumerate(names)
    ]


TRIANGLE = [300, 100, 500, 100, 500, 200]
COCO = {
    "no image": (coco([TRIANGLE], images=[]), "1 annotation of no image"),
    "text ids": (
        coco([TRIANGLE], images=[{"id": "1", "file_name": "a.jpg", "height": 720, "width": 1280}]),
        "numbers on one side and text",
    ),
    "same names": (coco([TRIANGLE], images=images("1/a.jpg", "2/a.jpg")), "two images are called a"),
    "same ids": (coco([TRIANGLE], images=images("1.jpg", "2.jpg", number=0)), "id of another"),
    "no segmentation": (coco([]), "no segmentation"),
    "null": (coco(None), "no segmentation"),
    "text": (coco("mask"), "no segmentation"),
    "two points": (coco([[1, 2, 3, 4]]), "polygon of 2 points"),
    "odd": (coco([[1, 2, 3, 4, 5]]), "x, y, x, y"),
    "words": (coco([["a", "b"] * 3]), "x, y, x, y"),
    "far": (coco([[-164.1, -221.8, 2e8, 3.5e8, 226.0, 236.6]]), "far outside"),
    "farther": (coco([[1e9, 100, 500, 1e12, 500, 200]]), "far outside"),
    "huge": (
        coco([TRIANGLE], images=[{"id": 1, "file_name": "a.jpg", "height": 2000000, "width": 2000000}]),
        "can't be meant",
    ),
    "huge RLE": (
        coco({"counts": "0", "size": [2000000000, 3]}),
        "annotation 1: an RLE of size [2000000000, 3], which can't be meant",
    ),
    "negative RLE": (coco({"counts": [-5, 5], "size": [3, -3]}), "do not describe"),
    "short RLE": (coco({"counts": [5], "size": [3, 3]}), "do not describe"),
    "of another size": (
        coco(encode_rle(np.ones((100, 100), bool))),
        "different sizes: [100, 100] and [720, 1280]",
    ),
    "second mask": (
        coco(
            RLE,
            annotations=[
                {"id": i, "image_id": 1, "category_id": 3, "segmentation": mask}
                for i, mask in enumerate((RLE, {"counts": "zzzz9", "size": [720, 1280]}))
            ],
        ),
        "image a.jpg, mask 2: the RLE does not describe 921600 pixels",
    ),
    "no counts": (coco({"size": [3, 3]}), "not an RLE"),
    "counts of a number": (coco({"counts": 4_000_000_000, "size": [3, 3]}), "not an RLE"),
    "counts of a large number": (coco({"counts": 10**30, "size": [3, 3]}), "not an RLE"),
    "endless size": (coco({"counts": "0", "size": [float("inf"), 3]}), "not a COCO file"),
    "category": (coco([TRIANGLE], categories=[{"id": 4, "name": "car"}]), "has category 3"),
    "category twice": (
        coco([TRIANGLE], categories=[{"id": 3, "name": "car"}, {"id": 3, "name": "bus"}]),
        "category 3 is both 'car' and 'bus'",
    ),
    "outside": (coco([[x + 1280 * (i % 2 == 0) for i, x in enumerate(TRIANGLE)]]), "nothing is seen"),
    "results": (
        [{"image_id": 1, "category_id": 3, "segmentation": [TRIANGLE], "score": 0.5}],
        "list of results",
    ),
}


@pytest.mark.parametrize("what", COCO)
@pytest.mark.parametrize("to", ["bitmasks", "rle", "coco"])
def test_coco_files_that_lack_something_are_refused_whole(tmp_path, what, to):
    content, words = COCO[what]
    file = write(tmp_path / "c.json", content)
    assert words in refused(convert_labels("ins_seg", file, to, tmp_path / "out"))
    assert [p.name for p in tmp_path.iterdir()] == ["c.json"], "nothing is left behind"


@pytest.mark.parametrize("key", ["frames", "objects"])
def test_frames_in_frames_are_not_frames_without_labels(tmp_path, key):
    inner = frames({"category": "car", "rle": RLE})
    file = write(tmp_path / "p.json", [{"name": "a.jpg", key: inner}])
    truth = write(tmp_path / "gt.json", inner)
    for done in (
        convert_labels("ins_seg", file, "coco", tmp_path / "c.json"),
        score("ins_seg", truth, file),
        score("sem_seg", file, truth),
        pack("sem_seg", file, tmp_path / "o.zip", "--count", 1),
    ):
        assert f"frame 1 (a.jpg) holds {key} in place of labels" in refused(done)


def test_objects_behind_others_are_counted(tmp_path):
    """A bitmask holds one object a pixel: those that lose all of theirs are said."""
    file = write(tmp_path / "p.json", frames(*[{"category": "car", "rle": RLE}] * 3))
    bitmasks = convert_labels("ins_seg", file, "bitmasks", tmp_path / "out")
    coco_file = convert_labels("ins_seg", file, "coco", tmp_path / "c.json")
    assert (bitmasks.code, coco_file.code) == (0, 0)
    assert "2 objects without a pixel in the bitmasks" in bitmasks.err
    assert "without a pixel" not in coco_file.err


def test_a_failure_leaves_what_was_there(tmp_path):
    """Also where earlier frames were fine, and the folder holds files of somebody else."""
    out = tmp_path / "out"
    write_mask(out / "kept.png", np.zeros((2, 2), np.uint8))
    broken = {
        "name": "b.jpg",
        "labels": [{"id": "1", "category": "car", "rle": {"counts": "9", "size": [4, 4]}}],
    }
    file = write(tmp_path / "p.json", [*frames({"category": "car", "rle": RLE}), broken])
    assert "b.jpg" in refused(convert_labels("ins_seg", file, "bitmasks", out, "--force"))
    assert sorted(p.name for p in out.iterdir()) == ["kept.png"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "p.json"]
    write(file, frames({"category": "car", "rle": RLE}))
    assert convert_labels("ins_seg", file, "bitmasks", out, "--force").code == 0
    assert sorted(p.name for p in out.iterdir()) == ["a.png", "kept.png"]


def test_paths_of_windows(tmp_path):
    images = [{"id": 1, "file_name": "images\\10k\\val\\a.jpg", "height": 720, "width": 1280}]
    convert(
        "ins_seg", write(tmp_path / "c.json", coco([TRIANGLE], images=images)), tmp_path / "out", "bitmasks"
    )
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["a.png"]
    write_mask(tmp_path / "m/a.png", np.zeros((4, 4), np.uint8))
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
        archive.write(tmp_path / "m/a.png", "val\\a.png")
    assert score("sem_seg", tmp_path / "m", tmp_path / "m.zip").code == 0


@pytest.mark.parametrize(
    ("name", "words"),
    [("a.jpg", "a.jpg"), ("a.npy", "a.npy"), ("notes.py", "notes.py"), ("in.zip", "in.zip")],
)
def test_files_of_other_kinds_are_not_taken_for_labels(tmp_path, name, words):
    write_mask(tmp_path / "gt/a.png", np.zeros((720, 1280), np.uint8))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / name).write_bytes(b"PK\x03\x04 or anything")
    for mode in ("strict", "official"):
        line = refused(score("sem_seg", tmp_path / "gt", tmp_path / "other", "--compat", mode))
        assert name in line
        assert "neither" in line


@pytest.mark.parametrize(("mark", "words"), [(b"\xef\xbb\xbf", ""), (b"\xff\xfe", "UTF-16")])
def test_byte_order_marks(tmp_path, mark, words):
    text = json.dumps(frames({"category": "car", "rle": RLE}))
    (tmp_path / "p.json").write_bytes(mark + (text.encode("utf-16-le") if words else text.encode()))
    file = tmp_path / "p.json"
    for done in (
        score("sem_seg", write(tmp_path / "gt.json", json.loads(text)), file),
        convert_labels("sem_seg", file, "masks", tmp_path / "out"),
        pack("sem_seg", file, tmp_path / "o.zip", "--count", 1),
    ):
        assert done.code == (5 if words else 0)
        assert words in done.err


numbers = (
    st.floats(allow_nan=True, allow_infinity=True) | st.integers(-(10**12), 10**12) | st.text(max_size=2)
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(numbers, max_size=9), max_size=3), st.integers(1, 40), st.integers(1, 40))
def test_any_polygon_is_drawn_or_refused_in_one_line(polygons, height, width):
    pairs = [[p[i : i + 2] for i in range(0, len(p), 2)] for p in polygons]
    for draw in (
        lambda: draw_poly2d([{"vertices": p} for p in pairs], (height, width), "x").shape,
        lambda: tuple(coco_polygons(polygons, (height, width), "x")["size"]) if polygons else (height, width),
    ):
        try:
            shape = draw()
        except MissingError as error:
            shape = None if "\n" in error.message else (height, width)
        assert shape == (height, width)


def test_polygons_that_stick_out_are_clipped():
    reach = MAX_OUTSIDE * 40
    around = [[-reach, -reach], [reach, -reach], [reach, reach], [-reach, reach]]
    assert draw_poly2d([{"vertices": around}], (30, 40), "x").all()
    assert decode_rle(coco_polygons([[v for p in around for v in p]], (30, 40), "x")).all()


def test_ids_of_another_scheme_are_named(tmp_path):
    """Cityscapes' 34 ids instead of the 19 classes, as ground truth and as predictions."""
    classes = np.zeros((720, 1280), np.uint8)
    classes[300:] = 13
    write_mask(tmp_path / "gt/a.png", classes)
    write_mask(tmp_path / "ids/a.png", np.where(classes == 13, 26, 7).astype(np.uint8))
    truth, ids = tmp_path / "gt", tmp_path / "ids"
    scored = score("sem_seg", truth, ids)
    assert scored.code == 0
    assert "predicted values that are not a class are counted as wrong" in scored.err
    assert "Cityscapes (labelIds, 0 to 33)" in scored.err
    for done in (
        score("sem_seg", ids, truth),
        pack("sem_seg", ids, tmp_path / "o.zip", "--count", 1),
        convert_labels("sem_seg", ids, "rle", tmp_path / "o.json"),
        command("vis", "color", "-t", "sem_seg", "-l", ids, "-o", tmp_path / "vis"),
    ):
        assert done.code == 5
        assert "cityscapes" in done.err.lower()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["gt", "ids"]


@pytest.mark.parametrize("label", [{"category": "car"}, {"category": "car", "rle": None}])
def test_a_label_with_nothing_is_not_packed_or_converted(tmp_path, label):
    file = write(tmp_path / "p.json", frames({"category": "car", "rle": RLE, "score": 1}, label))
    packed = pack("ins_seg", file, tmp_path / "o.zip", "--count", 1)
    assert "a label without a mask" in refused(packed)
    assert "a label without a mask" in refused(convert_labels("ins_seg", file, "coco", tmp_path / "o"))


def test_suffixes_in_capitals(tmp_path):
    labels = write(tmp_path / "p.JSON", frames({"category": "car", "rle": RLE}))
    convert("ins_seg", labels, tmp_path / "gt", "bitmasks")
    (tmp_path / "pred").mkdir()
    (tmp_path / "pred/a.PNG").write_bytes((tmp_path / "gt/a.png").read_bytes())
    scores = write(tmp_path / "s.JSON", [{"name": "a.jpg", "labels": [{"index": 1, "score": 0.5}]}])
    assert score("ins_seg", tmp_path / "gt", tmp_path / "pred", "--score-file", scores).code == 0
    assert score("sem_seg", labels, labels).code == 0
