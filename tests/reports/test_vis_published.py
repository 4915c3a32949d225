"""Overlays and comparisons of data sets that are laid out as their publishers do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bddzoo.datasets.classes import BITMASK_TASKS, label_values, values_of_no_class
from bddzoo.datasets.formats.mask import read_mask, write_mask
from bddzoo.datasets.formats.readers import refuse_other_labels
from bddzoo.datasets.mini import make_mini
from bddzoo.datasets.openseg import DATA_SETS
from bddzoo.errors import MissingError
from tests.cli.command import assert_one_line
from tests.support.published import publish

PLAIN = ("--alpha", "1", "--no-outlines", "--no-names", "--ext", "png")


@pytest.fixture(scope="module")
def flat(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("flat")
    make_mini(root / "cityscapes", val=2, dataset="cityscapes")
    return root / "cityscapes/val"


@pytest.fixture(scope="module")
def published(flat, tmp_path_factory) -> Path:
    """Two cities, as folders, as archives, and all in one folder."""
    root = tmp_path_factory.mktemp("published")
    for city in ("aachen", "bonn"):
        publish(flat, root / "leftImg8bit/val", root / "gtFine/val", city)
        publish(flat, root / "both", root / "both", city)
    for name in ("leftImg8bit", "gtFine"):
        shutil.make_archive(str(root / name), "zip", root, name)
    return root


def drawn(folder: Path) -> dict[str, np.ndarray]:
    return {
        p.relative_to(folder).with_suffix("").as_posix(): cv2.imread(str(p)) for p in folder.rglob("*.png")
    }


def names(published: Path) -> set[str]:
    root = published / "leftImg8bit/val"
    return {p.relative_to(root).with_suffix("").as_posix() for p in root.rglob("*.png")}


@pytest.mark.parametrize(
    ("images", "labels"),
    [("leftImg8bit/val", "gtFine/val"), ("leftImg8bit", "gtFine"), ("leftImg8bit.zip", "gtFine.zip")],
)
def test_images_find_their_labels_among_all_that_is_published(vis, published, tmp_path, images, labels):
    done = vis("overlay", "-i", published / images, "-l", published / labels, "-o", tmp_path, *PLAIN)
    assert done.returncode == 0, done.stderr
    found = drawn(tmp_path)
    assert found.keys() == names(published)
    for name, image in found.items():
        file = published / "gtFine/val" / f"{name.removesuffix('_leftImg8bit')}_gtFine_labelTrainIds.png"
        classes = read_mask(file)
        table = DATA_SETS["cityscapes"].classes.palette
        for index in np.unique(classes[classes != 255]).tolist():
            assert (image[..., ::-1][classes == index] == table[index]).all()


@pytest.mark.parametrize("task", [[], ["-t", "cityscapes"], ["-t", "sem_seg"]])
def test_label_ids_and_train_ids_are_the_same_image(vis, published, tmp_path, task):
    both = published / "both"
    done = vis("overlay", "-i", both, "-l", both, "-o", tmp_path, *task, *PLAIN)
    assert done.returncode == 0, done.stderr
    found = drawn(tmp_path)
    assert found.keys() == names(published), "labels are not images"
    vis("overlay", "-i", both, "-l", published / "gtFine", "-o", tmp_path / "other", *PLAIN)
    for name, image in drawn(tmp_path / "other").items():
        assert np.array_equal(image, found[name])


def test_only_the_kind_that_is_drawn_is_coloured(vis, published, tmp_path):
    done = vis("color", "-t", "cityscapes", "-l", published / "gtFine", "-o", tmp_path)
    assert done.returncode == 0, done.stderr
    assert all(name.endswith("_labelIds") for name in drawn(tmp_path))
    assert len(drawn(tmp_path)) == 4


def test_predictions_are_compared_under_either_name(vis, published, tmp_path):
    for source in (published / "gtFine/val").rglob("*_labelIds.png"):
        frame = source.name.removesuffix("_gtFine_labelIds.png")
        write_mask(tmp_path / "a" / f"{frame}_leftImg8bit.png", read_mask(source))
        write_mask(tmp_path / "b" / source.parent.name / source.name, np.full_like(read_mask(source), 7))
    done = vis(
        "compare", "-i", published / "leftImg8bit/val", "-g", published / "gtFine/val", "-r", tmp_path / "a",
        "-r", tmp_path / "b", "-t", "cityscapes", "-o", tmp_path / "out", "--format", "json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    frames = json.loads(done.stdout)["frames"]
    assert {frame["name"] for frame in frames} == names(published)
    assert all(frame["shares"]["a"]["right"] == 1 > frame["shares"]["b"]["right"] for frame in frames)


def test_what_a_folder_does_not_hold_is_told(vis, published, tmp_path):
    images = published / "leftImg8bit/val"
    for file in (published / "gtFine/val").rglob("*_labelTrainIds.png"):
        (tmp_path / "trained").mkdir(exist_ok=True)
        shutil.copy(file, tmp_path / "trained")
    for labels, task, words in (
        (tmp_path / "trained", "cityscapes", "gtFine_labelTrainIds (sem_seg)"),
        (published / "gtFine", "ins_seg", "gtFine_labelIds (cityscapes) and gtFine_labelTrainIds (sem_seg)"),
    ):
        done = vis("overlay", "-i", images, "-l", labels, "-t", task, "-o", tmp_path / "out")
        assert_one_line(done, 2, f"holds no labels of {task}", words, "leave out -t")
    done = vis("overlay", "-i", images, "-l", tmp_path / "trained", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr


def test_frames_of_two_cities_are_not_mixed_up(vis, published, tmp_path):
    """The same bare name in two folders is told apart by the folder; without one it is refused."""
    for folder in ("one", "two"):
        write_mask(tmp_path / f"masks/{folder}/x_gtFine_labelIds.png", np.full((8, 8), 7, np.uint8))
        write_mask(tmp_path / f"images/{folder}/x_leftImg8bit.png", np.zeros((8, 8), np.uint8))
    done = vis("overlay", "-i", tmp_path / "images", "-l", tmp_path / "masks", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    one = tmp_path / "images/one/x_leftImg8bit.png"
    done = vis("overlay", "-i", one, "-l", tmp_path / "masks", "-o", tmp_path / "out")
    assert_one_line(done, 5, "x more than once", "one/x_gtFine_labelIds", "two/x_gtFine_labelIds")


@pytest.mark.parametrize("dataset", [name for name in DATA_SETS if name != "cityscapes"])
def test_the_other_data_sets(vis, tmp_path, dataset):
    make_mini(tmp_path / "set", val=2, dataset=dataset)
    val = tmp_path / "set/val"
    done = vis("overlay", "-i", val / "image", "-l", val / "label", "-t", dataset, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").glob("*.jpg"))) == 2


def test_labels_of_another_data_set_are_not_taken_for_the_usual_ones(vis, tmp_path):
    for i in range(3):
        write_mask(tmp_path / f"labels/{i}.png", np.full((8, 8), 3 + 50 * (i > 0), np.uint8))
    done = vis("color", "-t", "sem_seg", "-l", tmp_path / "labels", "-o", tmp_path / "out")
    assert done.returncode == 5
    assert done.stderr.count("holds 53, which is not a class of sem_seg") == 2
    assert "-t ade20k" in done.stderr
    assert "-t cityscapes" not in done.stderr
    assert [p.name for p in (tmp_path / "out").glob("*.png")] == ["0.png"]


@given(st.integers(0, 255))
def test_every_value_is_a_class_or_ignored_or_refused(value):
    pixels = np.full((2, 2), 1, np.uint8)
    pixels[0, 0] = value
    for task in ("sem_seg", "drivable"):
        if value in label_values(task):
            refuse_other_labels(task, pixels, Path("x.png"))
        else:
            with pytest.raises(MissingError, match=f"holds {value}, which is not a class of {task}"):
                refuse_other_labels(task, pixels, Path("x.png"))
    for task in BITMASK_TASKS:
        assert values_of_no_class(task, pixels) == [value] * (value not in label_values(task))
