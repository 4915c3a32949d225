"""Classes, label values, layouts and tiny versions of the six data sets."""

from __future__ import annotations

import ast
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from bddzoo.datasets.classes import CLASS_SETS
from bddzoo.datasets.doctor import examine
from bddzoo.datasets.identity import dataset_id, published_images, split_size
from bddzoo.datasets.layouts import BddLayout, guess_dataset, labels_of, open_layout
from bddzoo.datasets.mini import make_mini
from bddzoo.datasets.openseg import DATA_SETS, OpensegLayout, class_set, class_set_of, data_set
from bddzoo.errors import MissingError, UsageError
from bddzoo.registry import load_registry
from tests.shared import shared
from tests.support.published import publish

# Where the toolbox keeps what it knows of the data sets: file, class.
METAINFO = {
    "cityscapes": ("cityscapes.py", "CityscapesDataset"),
    "ade20k": ("ade.py", "ADE20KDataset"),
    "lip": ("lip.py", "LIPDataset"),
    "pascal_voc": ("voc.py", "PascalVOCDataset"),
    "pascal_context": ("pascal_context.py", "PascalContextDataset59"),
    "coco_stuff": ("coco_stuff.py", "COCOStuffDataset"),
    "mapillary": ("mapillary.py", "MapillaryDataset_v1"),
}


def metainfo(dataset: str) -> dict[str, Any]:
    """METAINFO of mmsegmentation's data set, read off its source: importing it needs compiled mmcv."""
    spec = find_spec("mmseg")
    assert spec is not None
    assert spec.origin is not None
    file, name = METAINFO[dataset]
    tree = ast.parse((Path(spec.origin).parent / "datasets" / file).read_text(encoding="utf-8"))
    found = next(n for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and n.name == name)
    value = next(
        s.value
        for s in found.body
        if isinstance(s, ast.Assign) and isinstance(s.targets[0], ast.Name) and s.targets[0].id == "METAINFO"
    )
    assert isinstance(value, ast.Call)
    return {str(k.arg): ast.literal_eval(k.value) for k in value.keywords}


@pytest.mark.parametrize("dataset", METAINFO)
def test_names_and_colours_are_the_toolboxs(dataset: str) -> None:
    ours, theirs = class_set(dataset), metainfo(dataset)
    count = 65 if dataset == "mapillary" else len(theirs["classes"])
    assert ours.names == tuple(name.strip() for name in theirs["classes"][:count])
    assert ours.palette == tuple(tuple(c) for c in theirs["palette"][:count])
    assert len(set(ours.names)) == len(ours)


@pytest.mark.parametrize("dataset", DATA_SETS)
def test_values_against_what_was_measured(dataset: str) -> None:
    facts = yaml.safe_load(shared("facts/openseg_facts.yaml").read_text(encoding="utf-8"))["datasets"][
        dataset
    ]
    found = data_set(dataset)
    assert len(found.ids) == len(found.classes) == facts["classes"]
    assert found.images["val"] == facts["val_images"]
    if "label_list" in facts:
        assert list(found.ids) == facts["label_list"]
    elif facts["label_map"].startswith("label - 1"):
        assert found.ids == tuple(range(1, facts["classes"] + 1))
    elif dataset == "coco_stuff":
        unused = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91}
        assert [0, *found.ids] == [i for i in range(183) if i not in unused]
        assert found.classes.names[-1] == "wood"
    else:
        assert found.ids == tuple(range(facts["classes"]))


@settings(deadline=None)
@given(dataset=st.sampled_from(sorted(DATA_SETS)), data=st.data())
def test_classes_come_back_from_files(dataset: str, data: st.DataObject) -> None:
    found = data_set(dataset)
    values = st.lists(st.integers(0, 255), min_size=1, max_size=40)
    classes = np.array(data.draw(values), np.uint8)
    back = found.to_classes(found.to_files(classes))
    known = classes < len(found.ids)
    assert (back[known] == classes[known]).all()
    pixels = np.array(data.draw(values), np.uint8)
    as_classes = found.to_classes(pixels)
    assert ((as_classes == 255) == ~np.isin(pixels, found.ids)).all()
    assert set(found.foreign(pixels.tolist())) == set(pixels.tolist()) - found.void - set(found.ids)


def test_whose_values_they_are() -> None:
    assert "labelTrainIds" in data_set("cityscapes").explain({0, 13, 18, 255})
    assert data_set("lip").explain({30, 150}) == "it could be of ADE20K"
    assert data_set("ade20k").explain({200}) == ""


def test_class_sets_of_models() -> None:
    registry = load_registry()
    labelled = [m for m in registry.models if m.network and m.task in CLASS_SETS]
    counts = {m.network.num_classes: class_set_of(m) for m in labelled if m.network}
    assert all(len(classes) == count for count, classes in counts.items())
    assert labels_of(registry.find("fcn_r50-d8_512x1024_40k_sem_seg_bdd100k")) is None
    lip = labels_of(registry.find("openseg_lip_hrnet_w48_ocr"))
    assert lip is not None
    assert lip.id == "lip"
    with pytest.raises(UsageError, match="no classes are known for data set 'kitti'"):
        class_set("kitti")
    with pytest.raises(UsageError, match="no layout is known"):
        data_set("mapillary")


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All six, two images each, and one of train."""
    root = tmp_path_factory.mktemp("six")
    for name in DATA_SETS:
        make_mini(root / name, val=2, train=1, dataset=name)
    return root


@pytest.mark.parametrize("dataset", DATA_SETS)
def test_tiny_sets(sets: Path, tmp_path: Path, dataset: str) -> None:
    root = sets / dataset
    found = data_set(dataset)
    again = make_mini(tmp_path / "again", val=2, train=1, dataset=dataset)
    assert again.made
    assert not make_mini(root, val=2, train=1, dataset=dataset).made
    frames = open_layout(root, dataset).listing("sem_seg", "val").frames
    assert len(frames) == 2
    for frame in frames:
        assert frame.label is not None
        label = cv2.imread(str(frame.label), cv2.IMREAD_UNCHANGED)
        assert cv2.imread(str(frame.image)).shape[:2] == label.shape
        assert found.foreign(np.unique(label).tolist()) == []
        assert (found.to_classes(label) == 255).any()  # a rim of void
        twin = tmp_path / "again" / frame.label.relative_to(root)
        assert (label == cv2.imread(str(twin), cv2.IMREAD_UNCHANGED)).all()
    assert dataset_id(root, dataset) == f"{dataset}-mini-val2"
    assert split_size(root, "sem_seg", "val", dataset) == 2
    assert published_images(dataset, "sem_seg", "val") == found.images["val"]
    report = examine(root)
    assert (report.dataset, report.usable) == (dataset, True)
    assert {(s.split, s.state) for s in report.splits} == {
        ("train", "complete"),
        ("val", "complete"),
        ("test", "absent"),
    }


def test_the_doctor_finds_labels_of_another_set(sets: Path) -> None:
    report = examine(sets / "coco_stuff", dataset="lip")
    finding = next(f for s in report.splits for f in s.findings)
    assert finding.what == "labels with values that are not a class"
    assert "COCO-Stuff-10K" in finding.examples[0]
    assert not report.usable
    with pytest.raises(UsageError, match="LIP has no ins_seg"):
        examine(sets / "lip", ["ins_seg"])


@pytest.fixture
def nested(sets: Path, tmp_path: Path) -> Path:
    """Cityscapes as it is published."""
    publish(sets / "cityscapes/val", tmp_path / "leftImg8bit/val", tmp_path / "gtFine/val")
    return tmp_path


def test_published_cityscapes(nested: Path) -> None:
    listing = OpensegLayout(nested, data_set("cityscapes")).listing("sem_seg", "val")
    assert listing.mismatch() is None
    assert [f.name.endswith("_leftImg8bit.png") for f in listing.frames] == [True, True]
    assert all(f.label and f.label.name.endswith("_gtFine_labelIds.png") for f in listing.frames)
    assert guess_dataset(nested) == "cityscapes"
    with pytest.raises(MissingError, match="is a Cityscapes folder, LIP is needed"):
        OpensegLayout(nested, data_set("lip"))


def test_images_may_lie_in_images(sets: Path, tmp_path: Path) -> None:
    shutil.copytree(sets / "coco_stuff", tmp_path / "set")
    (tmp_path / "set/val/image").rename(tmp_path / "set/val/images")
    assert len(open_layout(tmp_path / "set", "coco_stuff").listing("sem_seg", "val").frames) == 2


def test_bad_folders(sets: Path, tmp_path: Path) -> None:
    def complaint(root: Path, dataset: str = "ade20k", split: str = "val") -> str:
        with pytest.raises(MissingError) as caught:
            open_layout(root, dataset).listing("sem_seg", split)
        return str(caught.value)

    assert "does not exist" in complaint(tmp_path / "none")
    (tmp_path / "bdd/images/10k/val").mkdir(parents=True)
    assert "is a BDD100K folder, ADE20K is needed" in complaint(tmp_path / "bdd")
    assert "no folder test/image" in complaint(sets / "ade20k", split="test")
    assert f"did you mean --data {sets / 'lip'}?" in complaint(sets / "lip/val", "lip")
    with pytest.raises(UsageError, match="ADE20K has no labels for task 'ins_seg'"):
        open_layout(sets / "ade20k", "ade20k").listing("ins_seg", "val")
    shutil.copytree(sets / "lip", tmp_path / "lip")
    for label in (tmp_path / "lip/val/label").iterdir():
        label.rename(label.with_name("x" + label.name))
    assert "has a label in" in complaint(tmp_path / "lip", "lip")
    with pytest.raises(MissingError, match="has no folder images/10k/val"):
        BddLayout(sets / "lip").listing("sem_seg", "val")
    with pytest.raises(UsageError, match="known: cityscapes"):
        make_mini(tmp_path / "x", dataset="kitti")
