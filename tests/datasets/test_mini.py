"""Writing the mini set: the official layout, whole or not at all."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from bddzoo.datasets.classes import INS_SEG, PAN_SEG, PAN_STUFF, SEM_SEG
from bddzoo.datasets.formats.mask import read_bitmask, read_mask
from bddzoo.datasets.identity import digest_label_files
from bddzoo.datasets.layouts import BddLayout
from bddzoo.datasets.mini import frame_name, make_mini, read_marker
from bddzoo.datasets.mini.frame import render
from bddzoo.errors import MissingError, UsageError
from bddzoo.evaluation.det_frames import digest_box_labels
from bddzoo.registry import load_registry
from tests.cli.command import assert_one_line, bddzoo

DEMO = {
    "sem_seg": "demo_semfpn_r18n_sem_seg",
    "ins_seg": "demo_mask_rcnn_r18n_ins_seg",
    "drivable": "demo_semfpn_r18n_drivable",
    "det": "demo_faster_rcnn_r18n_det",
}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return make_mini(tmp_path_factory.mktemp("mini") / "set", seed=3, train=2, val=3).root


def files(root: Path) -> dict[str, tuple[int, int]]:
    return {
        str(p.relative_to(root)): (p.stat().st_ino, p.stat().st_size) for p in root.rglob("*") if p.is_file()
    }


def test_layout_is_complete(root):
    names = {split: [frame_name(3, split, i) for i in range(n)] for split, n in (("train", 2), ("val", 3))}
    expected = {"mini.json", "labels/det_20/det_train.json", "labels/det_20/det_val.json"}
    for split, stems in names.items():
        for stem in stems:
            expected |= {
                f"images/10k/{split}/{stem}.jpg",
                f"labels/sem_seg/masks/{split}/{stem}.png",
                f"labels/drivable/masks/{split}/{stem}.png",
                f"labels/ins_seg/bitmasks/{split}/{stem}.png",
                f"labels/pan_seg/bitmasks/{split}/{stem}.png",
            }
    assert set(files(root)) == expected
    assert len(set(names["train"]) | set(names["val"])) == 5


def test_the_layout_reader_finds_frames_labels_and_attributes(root):
    for task in ("sem_seg", "ins_seg", "drivable", "det", "pan_seg", "tagging"):
        frames = BddLayout(root).listing(task, "val").frames
        assert len(frames) == 3
        assert all(
            f.label is not None and set(f.attributes) == {"weather", "scene", "timeofday"} for f in frames
        )


def test_files_hold_what_was_drawn(root):
    frame, stem = render(3, "val", 1), frame_name(3, "val", 1)
    assert np.array_equal(read_mask(root / f"labels/sem_seg/masks/val/{stem}.png"), frame.sem)
    assert np.array_equal(read_mask(root / f"labels/drivable/masks/val/{stem}.png"), frame.drivable)
    assert np.array_equal(read_bitmask(root / f"labels/ins_seg/bitmasks/val/{stem}.png"), frame.bitmask)
    assert np.array_equal(read_bitmask(root / f"labels/pan_seg/bitmasks/val/{stem}.png"), frame.panoptic)
    image = cv2.imread(str(root / f"images/10k/val/{stem}.jpg"))
    assert image.shape == (720, 1280, 3)
    assert np.abs(image[..., ::-1].astype(float) - frame.image).mean() < 8


def test_panoptic_labels_are_the_objects_and_the_stuff_of_the_others(root):
    for index in range(3):
        frame = render(3, "val", index)
        whole = frame.panoptic
        ids = whole[..., 2].astype(int) << 8 | whole[..., 3]
        things = frame.bitmask[..., 0] > 0
        assert (whole[things, 1:] == frame.bitmask[things, 1:]).all()
        assert (whole[things, 0] > PAN_STUFF).all()
        assert ((ids > 0) == (things | (frame.sem < 11))).all()
        for number in np.unique(ids[ids > 0]):
            (value,) = np.unique(whole[ids == number, 0])
            name = PAN_SEG.names[value - 1]
            if value <= PAN_STUFF:
                assert set(np.unique(frame.sem[ids == number])) == {SEM_SEG.index(name)}
            else:
                (value,) = np.unique(frame.bitmask[ids == number, 0])
                assert name.replace("person", "pedestrian") == INS_SEG.names[value - 1]


def test_what_can_be_driven_on_is_road(root):
    for index in range(3):
        frame = render(3, "val", index)
        driven = frame.drivable < 2
        assert set(np.unique(frame.drivable)) <= {0, 1, 2}
        assert driven.any()
        assert (frame.sem[driven] == 0).all()
        assert (frame.drivable[-80:, 640] == 0).mean() > 0.2, "the own lane is in front of the car"


def test_detection_labels_are_frames_of_the_official_shape(root):
    rows = json.loads((root / "labels/det_20/det_val.json").read_text())
    assert [r["name"] for r in rows] == [f"{frame_name(3, 'val', i)}.jpg" for i in range(3)]
    for row in rows:
        assert set(row["attributes"]) == {"weather", "scene", "timeofday"}
        for label in row["labels"]:
            box = label["box2d"]
            assert 0 <= box["x1"] <= box["x2"] <= 1279
            assert 0 <= box["y1"] <= box["y2"] <= 719


def test_making_it_again_changes_nothing(root):
    before = files(root)
    report = make_mini(root, seed=3, train=2, val=3)
    assert not report.made
    assert files(root) == before


def test_more_frames_leave_the_others_as_they_were(root, tmp_path):
    other = make_mini(tmp_path / "set", seed=3, val=1).root
    stem = frame_name(3, "val", 0)
    for path in (f"images/10k/val/{stem}.jpg", f"labels/ins_seg/bitmasks/val/{stem}.png"):
        assert (other / path).read_bytes() == (root / path).read_bytes()


def test_another_mini_set_is_replaced_and_a_damaged_one_made_whole(tmp_path):
    root = make_mini(tmp_path / "set", val=1).root
    assert make_mini(root, val=1, seed=9).made
    assert read_marker(root)["seed"] == 9
    assert len(list(root.rglob("*.jpg"))) == 1
    next(root.rglob("*.jpg")).unlink()
    assert make_mini(root, val=1, seed=9).made
    assert len(list(root.rglob("*.jpg"))) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "set").mkdir()
    assert make_mini(tmp_path / "set", val=1).made


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "set").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        make_mini(tmp_path / "set", val=1)


@pytest.mark.parametrize(
    ("numbers", "message"), [({"val": 0}, "0 train and 0 val"), ({"seed": -1}, "out of range")]
)
def test_numbers_that_make_no_sense(tmp_path, numbers, message):
    with pytest.raises(UsageError, match=message):
        make_mini(tmp_path / "set", **numbers)


def test_a_parent_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MissingError, match="cannot write"):
        make_mini(tmp_path / "file" / "set", val=1)


def stop(done: int, total: int) -> None:
    raise KeyboardInterrupt


def test_an_interruption_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        make_mini(tmp_path / "set", val=2, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_the_old_set(tmp_path):
    root = make_mini(tmp_path / "set", val=1).root
    before = files(root)
    with pytest.raises(KeyboardInterrupt):
        make_mini(root, val=2, progress=stop)
    assert files(root) == before
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_command_makes_a_set_and_says_so(tmp_path):
    done = bddzoo("data", "mini", "--out", tmp_path / "set", "--val", "1", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "root": str(tmp_path / "set"),
        "train": 0,
        "val": 1,
        "seed": 0,
        "dataset": None,
        "made": True,
    }
    again = bddzoo("data", "mini", "--out", tmp_path / "set", "--val", "1")
    assert again.returncode == 0
    assert "unchanged" in again.stdout


def test_command_refuses_a_foreign_folder_in_one_line(tmp_path):
    precious = tmp_path / "set" / "thesis.txt"
    precious.parent.mkdir()
    precious.write_text("work of years")
    done = bddzoo("data", "mini", "--out", precious.parent)
    assert_one_line(done, 2, "holds no mini set", str(precious.parent))
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert precious.read_text() == "work of years"
    assert len(list(tmp_path.rglob("*"))) == 2


@pytest.mark.parametrize("args", [["--val", "-1"], ["--seed", "x"], ["--val", "0"]])
def test_command_refuses_bad_numbers(tmp_path, args):
    done = bddzoo("data", "mini", "--out", tmp_path / "set", *args)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "set").exists()


def test_command_imports_no_torch():
    code = "import sys, bddzoo.cli.main as m; m.run(['data', 'mini', '-h']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("False")


@pytest.mark.slow
@pytest.mark.parametrize("task", DEMO)
def test_the_registry_has_the_digest_of_its_labels(mini_set, task):
    known = load_registry(None).find(DEMO[task]).protocol.ground_truth["val"]
    frames = BddLayout(mini_set).listing(task, "val").frames
    labels = [(f.name, f.label) for f in frames]
    digest = digest_box_labels(labels) if task == "det" else digest_label_files(task, labels)
    assert digest == f"{known.labels.algorithm}:{known.labels.hex}", (
        "the labels changed: write their digest into registry.yaml"
    )
