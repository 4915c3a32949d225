"""The data-set doctor on sets that are whole, partial and broken."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from bddzoo.cli.doctor import check_data
from bddzoo.datasets.decode import read_image
from bddzoo.datasets.doctor import SplitReport, examine
from bddzoo.datasets.mini import MARKER, make_mini
from bddzoo.errors import MissingError
from tests.cli.command import bddzoo


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return make_mini(tmp_path_factory.mktemp("doctor") / "set", val=3).root


@pytest.fixture
def root(source, tmp_path) -> Path:
    """A copy to break; without its marker, as a published data set has none."""
    shutil.copytree(source, tmp_path / "set")
    (tmp_path / "set" / MARKER).unlink()
    return tmp_path / "set"


def split_of(root: Path, task: str, split: str = "val", **options) -> SplitReport:
    return next(s for s in examine(root, **options).splits if (s.task, s.split) == (task, split))


def label(root: Path, task: str = "sem_seg") -> Path:
    folder = {"sem_seg": "labels/sem_seg/masks/val", "ins_seg": "labels/ins_seg/bitmasks/val"}[task]
    return min((root / folder).iterdir())


def test_a_mini_set_is_complete(source):
    report = examine(source)
    assert report.usable
    assert report.mini["seed"] == 0
    val = [s for s in report.splits if s.split == "val"]
    assert [(s.state, s.images, s.labels, s.attributes, s.sizes) for s in val] == [
        ("complete", 3, 3, 3, {"1280x720": 3})
    ] * 6
    assert all(s.state == "absent" for s in report.splits if s not in val)


def test_a_part_of_the_published_set_is_usable(root):
    report = split_of(root, "sem_seg")
    assert (report.state, report.expected, report.usable) == ("partial", 1000, True)


@pytest.mark.parametrize(
    ("made", "state", "said"),
    [(2, "surplus", "another set"), (3, "complete", ""), (4, "partial", "a partial set")],
)
def test_fewer_and_more_images_than_the_split_has(source, root, made, state, said):
    (root / MARKER).write_text(json.dumps(json.loads((source / MARKER).read_text()) | {"val": made}))
    report = split_of(root, "sem_seg")
    assert (report.state, report.images, report.expected, report.usable) == (state, 3, made, True)
    assert [said in check.advice for check in check_data(root)] == [True, True]


def test_a_label_without_an_image_is_broken_and_an_image_without_a_label_a_note(root):
    label(root).unlink()
    assert split_of(root, "sem_seg").state == "partial"
    assert split_of(root, "sem_seg").findings[0].what == "images without a label"
    min((root / "images/10k/val").iterdir()).unlink()
    found = split_of(root, "ins_seg")
    assert (found.state, found.findings[0].what, found.findings[0].count) == (
        "broken",
        "labels without an image",
        1,
    )


def test_names_that_do_not_match_at_all(root):
    for path in (root / "labels/sem_seg/masks/val").iterdir():
        path.rename(path.with_name(f"{path.stem}_mask.png"))
    found = split_of(root, "sem_seg")
    assert found.state == "broken"
    assert "has a label" in found.findings[0].what


@pytest.mark.parametrize("task", ["sem_seg", "ins_seg"])
@pytest.mark.parametrize("damage", ["cut", "empty", "flip", "text"])
def test_damaged_labels_are_named(root, task, damage):
    path = label(root, task)
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(
        {
            "cut": content[:middle],
            "empty": b"",
            "flip": content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :],
            "text": b"no such luck",
        }[damage]
    )
    found = split_of(root, task)
    assert (found.state, found.findings[0].count) == ("broken", 1)
    assert str(path) in found.findings[0].examples[0]
    assert split_of(root, task, quick=True).state == "partial"


@pytest.mark.parametrize("damage", [lambda c: c[: len(c) // 2], lambda c: b"", lambda c: b"GIF89a"])
def test_damaged_images_are_named(root, damage):
    path = min((root / "images/10k/val").iterdir())
    path.write_bytes(damage(path.read_bytes()))
    found = split_of(root, "sem_seg")
    assert found.state == "broken"
    assert str(path) in found.findings[0].examples[0]


def test_sizes_and_values_that_do_not_fit(root):
    cv2.imwrite(str(label(root)), np.zeros((1280, 720), np.uint8))
    assert split_of(root, "sem_seg").findings[0].what == "labels of another size than their image"
    cv2.imwrite(str(label(root)), np.full((720, 1280), 77, np.uint8))
    found = split_of(root, "sem_seg").findings[0]
    assert found.what == "labels with values that are not a class"
    assert found.examples[0].endswith(": 77")


def change_boxes(root: Path, change) -> None:
    path = root / "labels/det_20/det_val.json"
    frames = json.loads(path.read_text())
    change(frames)
    path.write_text(json.dumps(frames))


@pytest.mark.parametrize(
    ("change", "what", "words"),
    [
        (lambda f: f[0]["labels"][0].update(category="lane"), "labels that cannot be read", "det_20"),
        (lambda f: f[0]["labels"][0]["box2d"].update(x1="a"), "labels that cannot be read", "x1"),
        (lambda f: f[0]["labels"][0]["box2d"].update(x1=2e3, x2=3e3), "boxes outside", "2000"),
        (lambda f: f.append(f[0]), "more than once", ""),
        (lambda f: f[0].update(name="other.jpg"), "labels without an image", "other"),
        (lambda f: f.clear(), "no frames", ""),
    ],
)  # fmt: skip
def test_faults_of_boxes_are_named(root, change, what, words):
    change_boxes(root, change)
    found = split_of(root, "det")
    told = [fault for fault in found.findings if what in fault.what or what in " ".join(fault.examples)]
    assert found.state == "broken", found
    assert told
    assert words in " ".join([told[0].what, *told[0].examples])


def test_boxes_cut_short(root):
    path = root / "labels/det_20/det_val.json"
    path.write_bytes(path.read_bytes()[:999])
    assert split_of(root, "det").state == "broken"


def test_a_bitmask_among_the_class_maps(root):
    shutil.copy(label(root, "ins_seg"), label(root))
    assert "not a class map" in split_of(root, "sem_seg").findings[0].examples[0]


def test_no_root_at_all(tmp_path):
    with pytest.raises(MissingError, match="does not exist"):
        examine(tmp_path / "nowhere")


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_the_size_of_an_image(tmp_path, suffix):
    path = tmp_path / f"image{suffix}"
    cv2.imwrite(str(path), np.zeros((30, 50, 3), np.uint8))
    assert read_image(path).size == (30, 50)


def test_command_on_a_whole_set(source):
    done = bddzoo("data", "check", "--data", source)
    assert done.returncode == 0, done.stderr
    assert "synthetic mini set" in done.stdout
    assert done.stdout.count("complete") == 6


def test_command_as_json(source):
    done = bddzoo(
        "data", "check", "--data", str(source), "--task", "sem_seg", "--split", "val", "--format", "json"
    )
    data = json.loads(done.stdout)
    assert data["usable"] is True
    assert [s["images"] for s in data["splits"]] == [3]


def test_command_on_a_broken_set(root):
    label(root).write_bytes(b"")
    done = bddzoo("data", "check", "--data", root)
    assert done.returncode == 5
    assert str(label(root)) in done.stdout
    assert "sem_seg val" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_command_on_no_set(tmp_path, name):
    done = bddzoo("data", "check", "--data", tmp_path / name)
    assert done.returncode == 5
    assert done.stderr.count("\n") == 1
