import json
from pathlib import Path

import pytest

from bddzoo.datasets.images import walk
from bddzoo.datasets.layouts import BddLayout
from bddzoo.errors import MissingError, UsageError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for stem in ("b", "a", "c"):
        touch(tmp_path / f"images/10k/val/{stem}.jpg")
        touch(tmp_path / f"labels/sem_seg/masks/val/{stem}.png")
        touch(tmp_path / f"labels/ins_seg/bitmasks/val/{stem}.png")
    return tmp_path


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def test_frames_are_matched_and_ordered(root):
    frames = BddLayout(root).listing("sem_seg", "val").frames
    assert [(f.name, f.stem) for f in frames] == [("a.jpg", "a"), ("b.jpg", "b"), ("c.jpg", "c")]
    assert frames[0].image == root / "images/10k/val/a.jpg"
    assert frames[0].label == root / "labels/sem_seg/masks/val/a.png"
    assert (
        BddLayout(root).listing("ins_seg", "val").frames[2].label
        == root / "labels/ins_seg/bitmasks/val/c.png"
    )


def test_mismatched_names_are_reported(root):
    touch(root / "images/10k/val/lonely.jpg")
    touch(root / "labels/sem_seg/masks/val/stray1.png")
    touch(root / "labels/sem_seg/masks/val/stray2.png")
    listing = BddLayout(root).listing("sem_seg", "val")
    assert listing.without_label == ("lonely",)
    assert listing.without_image == ("stray1", "stray2")
    assert listing.mismatch() == (
        "2 labels without an image (first: stray1), 1 image without a label (first: lonely)"
    )
    assert len(listing.frames) == 3
    assert BddLayout(root).listing("ins_seg", "val").without_image == ()


def test_hidden_and_foreign_files_are_passed_over(root):
    for name in (".DS_Store", "._a.jpg", "Thumbs.db", "notes.txt"):
        touch(root / "images/10k/val" / name)
        touch(root / "labels/sem_seg/masks/val" / name)
    listing = BddLayout(root).listing("sem_seg", "val")
    assert (len(listing.frames), listing.mismatch()) == (3, None)


def test_folders_are_walked_and_duplicates_refused(root):
    (root / "images/10k/val/a.jpg").rename(touch(root / "images/10k/val/deep/x.jpg").with_name("a.jpg"))
    assert [f.stem for f in BddLayout(root).listing("sem_seg", "val").frames] == ["a", "b", "c"]
    touch(root / "images/10k/val/deep/b.png")
    with pytest.raises(MissingError, match="two files named 'b'"):
        BddLayout(root).listing("sem_seg", "val")


def test_test_split_needs_no_labels(root):
    touch(root / "images/10k/test/t.jpg")
    (frame,) = BddLayout(root).listing("ins_seg", "test").frames
    assert (frame.name, frame.label) == ("t.jpg", None)


def test_wrong_roots_say_what_is_expected(root, tmp_path_factory):
    with pytest.raises(MissingError, match="does not exist"):
        BddLayout(root / "nowhere")
    with pytest.raises(MissingError, match="is not a folder"):
        BddLayout(root / "images/10k/val/a.jpg")
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(
        MissingError, match=r"has no folder images/10k/val \(expected: the images, \*\.jpg\)"
    ) as error:
        BddLayout(empty).listing("sem_seg", "val")
    assert error.value.hint == "it is empty"
    with pytest.raises(MissingError) as error:
        BddLayout(root / "images").listing("sem_seg", "val")
    assert error.value.hint == f"did you mean --data {root}?"
    touch(root / "images/10k/train/a.jpg")
    with pytest.raises(MissingError, match=r"no folder labels/sem_seg/masks/train"):
        BddLayout(root).listing("sem_seg", "train")
    with pytest.raises(UsageError, match="no data layout for task 'pose'"):
        BddLayout(root).listing("pose", "val")


def test_empty_and_unmatched_folders(root):
    (root / "labels/sem_seg/masks/train").mkdir()
    touch(root / "images/10k/train/a.jpg")
    with pytest.raises(MissingError, match="holds none of what is expected there"):
        BddLayout(root).listing("sem_seg", "train")
    touch(root / "labels/sem_seg/masks/train/a_mask.png")
    with pytest.raises(
        MissingError, match=r"no image of .* has a label .*images like 'a', labels like 'a_mask'"
    ):
        BddLayout(root).listing("sem_seg", "train")


@pytest.mark.parametrize("bare", [True, False])
def test_attributes_come_from_the_official_files(root, bare):
    rows = [
        {
            "name": "a.jpg",
            "attributes": {"weather": "rainy", "scene": "highway", "timeofday": "night", "x": [1]},
        },
        {"name": "b.jpg", "attributes": None, "labels": [{"poly2d": [[0, 1]]}]},
        {"name": "zz.jpg", "attributes": {"weather": "clear"}},
    ]
    path = touch(root / "labels/det_20/det_val.json")
    path.write_text(json.dumps(rows if bare else {"frames": rows, "config": {}}))
    nearer = touch(root / "labels/sem_seg/polygons/sem_seg_val.json")
    nearer.write_text(json.dumps([{"name": "b.png", "attributes": {"weather": "foggy"}}]))
    a, b, c = BddLayout(root).listing("sem_seg", "val").frames
    assert a.attributes == {"weather": "rainy", "scene": "highway", "timeofday": "night"}
    assert b.attributes == {"weather": "foggy"}
    assert c.attributes == {}


def test_a_broken_attribute_file_is_named(root):
    touch(root / "labels/det_20/det_val.json").write_text('{"frames": [{"name": 3}]}')
    with pytest.raises(MissingError, match=r"det_val\.json is not a list of frames"):
        BddLayout(root).listing("sem_seg", "val")
    assert BddLayout(root).listing("sem_seg", "val", attributes=False).frames


def test_links_that_go_in_circles_are_walked_once(tmp_path):
    for name in ("a/one.jpg", "b/two.jpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    (tmp_path / "a" / "to_b").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "to_a").symlink_to(tmp_path / "a")
    (tmp_path / "b" / "self").symlink_to(tmp_path)
    assert sorted(p.name for p in walk(tmp_path, [".jpg"])) == ["one.jpg", "two.jpg"]
    assert [p.name for p in walk(tmp_path / "a", [".jpg"])] == ["one.jpg", "two.jpg"]
