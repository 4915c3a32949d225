"""Masks on one side and RLE on the other, and COCO JSON: the numbers of the same labels in one form."""

import json
import shutil
import tempfile
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from bddzoo.datasets.formats.convert import convert
from bddzoo.errors import MissingError
from bddzoo.evaluation.disk import evaluate
from bddzoo.evaluation.options import Options
from tests.cli.inprocess import command
from tests.conftest import ALL
from tests.evaluation import scenes
from tests.evaluation.cases import pycocotools_scores, same
from tests.evaluation.commands import refused, score
from tests.evaluation.scenes import seeds
from tests.evaluation.test_oracle import write_png

PLAIN = Path(__file__).parents[1] / "data/evalcases/ins-plain-a"
some = settings(max_examples=15 if ALL else 6, deadline=None)
LENIENT = Options(lenient=True)


@some
@given(seeds)
@pytest.mark.parametrize("task", ["sem_seg", "drivable"])
def test_class_maps_against_rle(task, seed):
    rng = np.random.default_rng(seed)
    classes = 19 if task == "sem_seg" else 3
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for i in range(2):
            truth = scenes.class_map(rng, classes=classes)
            write_png(root / f"gt/a/f{i}.png", truth)
            write_png(root / f"pred/f{i}.png", scenes.disturbed(rng, truth, classes, (255,)))
        for side in ("gt", "pred"):
            convert(task, root / side, root / f"{side}.json", "rle")
        wanted = evaluate(task, root / "gt", root / "pred").scores
        for gt, pred in (("gt", "pred.json"), ("gt.json", "pred")):
            found = evaluate(task, root / gt, root / pred)
            same(found.scores, wanted)
            assert found.official is not None
            assert "does not compare PNG" in found.official_note


@some
@given(seeds)
def test_instances_in_every_form(seed):
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        root, entries = Path(folder), []
        for i in range(3):
            gt, pred, scores = scenes.ins_frame(rng)
            write_png(root / f"gt/f{i}.png", gt)
            write_png(root / f"pred/f{i}.png", pred)
            entries.append({"name": f"f{i}.jpg", "labels": scores})
        (root / "score.json").write_text(json.dumps(entries))
        for form in ("rle", "coco"):
            convert("ins_seg", root / "gt", root / f"gt_{form}.json", form)
            out = root / f"pred_{form}.json"
            convert("ins_seg", root / "pred", out, form, score_file=root / "score.json")
        coco = json.loads((root / "pred_coco.json").read_text())
        numbers = {image["file_name"]: image["id"] for image in coco["images"]}
        truth = json.loads((root / "gt_coco.json").read_text())
        assert numbers == {image["file_name"]: image["id"] for image in truth["images"]}
        (root / "results.json").write_text(json.dumps(coco["annotations"]))
        wanted = evaluate("ins_seg", root / "gt_rle.json", root / "pred_rle.json").scores
        gts = ("gt", "gt_rle.json", "gt_coco.json")
        preds = ("pred", "pred_rle.json", "pred_coco.json", "results.json")
        for gt, pred in product(gts, preds):
            if (gt, pred) == ("gt", "pred") or (pred == "results.json" and gt != "gt_coco.json"):
                continue
            scores = root / "score.json" if pred == "pred" else None
            for options in (Options(), Options(workers=2, errors=True)):
                found = evaluate("ins_seg", root / gt, root / pred, score_file=scores, options=options)
                same(found.scores, wanted)
                mixed = gt == "gt" or pred == "pred"
                assert any("compared as RLE" in line for line in found.warnings) == mixed


@some
@given(seeds)
def test_panoptic_bitmasks_against_rle(seed):
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        frames = {"gt": [], "pred": []}
        for i in range(2):
            truth = scenes.objects(rng, 6, flags=(0, 0, 1, 2), classes=40)
            found = scenes.moved(rng, truth, classes=40) or scenes.objects(rng, 2, classes=40)
            for side, items in (("gt", truth), ("pred", found)):
                write_png(root / f"{side}/f{i}.png", scenes.paint(items))
                frames[side].append({"name": f"f{i}.jpg", "labels": panoptic_labels(scenes.paint(items))})
        for side, content in frames.items():
            (root / f"{side}.json").write_text(json.dumps(content))
        wanted = evaluate("pan_seg", root / "gt.json", root / "pred.json", options=LENIENT).scores
        for gt, pred in (("gt", "pred.json"), ("gt.json", "pred")):
            found = evaluate("pan_seg", root / gt, root / pred, options=LENIENT)
            same(found.scores, wanted)
            assert "stuff class" in found.warnings[-1]


def panoptic_labels(bitmask):
    from bddzoo.datasets.classes import PAN_SEG
    from bddzoo.datasets.formats.rle import encode_rle

    ids = bitmask[..., 2].astype(int) << 8 | bitmask[..., 3]
    out = []
    for ident in np.unique(ids[ids > 0]).tolist():
        category, flags = bitmask[ids == ident][0][:2].tolist()
        attributes = {"ignored": bool(flags & 1), "crowd": bool(flags & 2)}
        name = PAN_SEG.names[category - 1]
        rle = encode_rle(ids == ident)
        out.append({"id": str(ident), "category": name, "rle": rle, "attributes": attributes})
    return out


@pytest.fixture
def coco(tmp_path):
    """A COCO file, and its list of results, as the folder that holds them."""
    convert("ins_seg", PLAIN / "gt", tmp_path / "gt.json", "coco")
    convert("ins_seg", PLAIN / "pred", tmp_path / "whole.json", "coco", score_file=PLAIN / "score.json")
    results = json.loads((tmp_path / "whole.json").read_text())["annotations"]
    for result in results:
        for key in ("id", "instance_id", "iscrowd", "ignore", "bbox", "area", "attributes"):
            del result[key]
    (tmp_path / "results.json").write_text(json.dumps(results))
    return tmp_path


def test_coco_as_pycocotools_scores_it(coco):
    from pycocotools.coco import COCO

    ours = evaluate("ins_seg", coco / "gt.json", coco / "results.json")
    assert (ours.source, ours.official, ours.official_note) == ("coco", None, "")
    theirs = pycocotools_scores(COCO(str(coco / "gt.json")), str(coco / "results.json"), "segm")
    assert {name: ours.scores.summary[name] for name in theirs} == pytest.approx(theirs, abs=1e-9)


def test_other_forms_of_segmentations_are_read(coco):
    """Plain counts and polygons; attributes that other programs write do not hide iscrowd."""
    truth = json.loads((coco / "gt.json").read_text())
    first = truth["annotations"][0]
    x, y, w, h = 100, 100, 50, 40
    first["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    first["attributes"] = {"occluded": False}
    first["iscrowd"] = 1
    second = truth["annotations"][1]
    height, width = second["segmentation"]["size"]
    second["segmentation"] = {"size": [height, width], "counts": [10, 20, height * width - 30]}
    (coco / "gt.json").write_text(json.dumps(truth))
    convert("ins_seg", coco / "gt.json", coco / "rle.json", "rle")
    labels = [label for f in json.loads((coco / "rle.json").read_text())["frames"] for label in f["labels"]]
    assert labels[0]["attributes"]["crowd"] is True
    same(
        evaluate("ins_seg", coco / "gt.json", coco / "results.json").scores,
        evaluate("ins_seg", coco / "rle.json", coco / "whole.json").scores,
    )


def changed(coco, name, change):
    data = json.loads((coco / name).read_text())
    change(data)
    (coco / name).write_text(json.dumps(data))


def _category(data):
    data["annotations"][0]["category_id"] = 77


def _image(data):
    data[0]["image_id"] = 999


def _score(data):
    del data[0]["score"]


def _counts(data):
    data[0]["segmentation"]["counts"] = "zzz"


def _no_mask(data):
    del data[0]["segmentation"]


def _twice(data):
    data["images"][0]["file_name"] = data["images"][1]["file_name"]


def _size(data):
    data[0]["segmentation"]["size"] = [10]


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("gt.json", _category, "category 77"),
        ("results.json", _image, "1 annotation of no image"),
        ("results.json", _score, "has no score"),
        ("results.json", _counts, "does not describe"),
        ("results.json", _no_mask, "has no segmentation"),
        ("gt.json", _twice, "two images are called"),
        ("results.json", _size, "size"),
    ],
)
def test_broken_coco_is_one_line(coco, name, change, words):
    changed(coco, name, change)
    assert words in refused(score("ins_seg", coco / "gt.json", coco / "results.json"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-t", "ins_seg", "-g", PLAIN / "gt", "-r", "results.json"), "names images by number"),
        (("-t", "ins_seg", "-g", PLAIN / "gt_rle.json", "-r", "results.json"), "convert-labels"),
        (("-t", "sem_seg", "-g", "gt.json", "-r", "whole.json"), "holds instances"),
        (("-t", "ins_seg", "-g", "gt.json", "-r", "results.json", "--compat", "official"), "to rle"),
        (("-t", "ins_seg", "-g", "gt.json", "-r", "alone"), "no scores for the bitmask"),
        (("-t", "ins_seg", "-g", "gt.json", "-r", "cut.json"), "is not a list of frames"),
    ],
)
def test_what_cannot_be_compared_says_what_can(coco, monkeypatch, arguments, words):
    monkeypatch.chdir(coco)
    shutil.copytree(PLAIN / "pred", coco / "alone")
    (coco / "cut.json").write_text('[{"name": "a')
    assert words in refused(command("score", *arguments))


def test_bitmasks_without_some_scores_are_named(coco):
    entries = json.loads((PLAIN / "score.json").read_text())
    (coco / "score.json").write_text(json.dumps(entries[1:]))
    with pytest.raises(MissingError, match="no scores for the bitmask"):
        evaluate("ins_seg", coco / "gt.json", PLAIN / "pred", score_file=coco / "score.json")
    options = Options(allow_partial=True)
    found = evaluate(
        "ins_seg", coco / "gt.json", PLAIN / "pred", score_file=coco / "score.json", options=options
    )
    assert found.scores.partial
    assert len(found.skipped) == 1
