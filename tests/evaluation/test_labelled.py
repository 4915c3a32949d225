"""Label folders of openseg.pytorch's data sets, by its trainer's definition."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bddzoo.datasets.openseg import DATA_SETS, data_set
from bddzoo.errors import MissingError
from bddzoo.evaluation.labelled import accumulator_of, count_labels, evaluate_labels
from bddzoo.evaluation.openseg_golden import check_metrics
from bddzoo.evaluation.options import Options
from bddzoo.evaluation.slices import intervals
from bddzoo.evaluation.statistics import dump, load

GOLDEN = Path(__file__).resolve().parents[1] / "data" / "openseg"


def write(folder: Path, **files: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, pixels in files.items():
        assert cv2.imwrite(str(folder / f"{name}.png"), pixels)
    return folder


def test_the_zoos_own_numbers() -> None:
    """Equal to the evaluators and the trainer of openseg.pytorch, class by class."""
    found = check_metrics(GOLDEN)
    assert {f.check for f in found} == set(DATA_SETS) - {"pascal_voc"}  # the zoo has no evaluator of it
    assert {f.status for f in found} == {"equal"}
    assert any(m.name == "IoU of classes" for f in found for m in f.measures)


def test_a_wrong_number_is_found(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "metrics", tmp_path / "metrics")
    path = tmp_path / "metrics" / "metrics.json"
    numbers = json.loads(path.read_text())
    numbers["lip"]["mIoU"] += 1e-9
    numbers["coco_stuff_trainer"]["total"] += 1
    path.write_text(json.dumps(numbers))
    assert {f.check for f in check_metrics(tmp_path) if f.status == "differs"} == {"lip", "coco_stuff"}


@pytest.mark.parametrize(("name", "content"), [("metrics.npz", b"x"), ("metrics.json", b"[1, 2]")])
def test_damaged_scores_are_a_finding(tmp_path: Path, name: str, content: bytes) -> None:
    shutil.copytree(GOLDEN / "metrics", tmp_path / "metrics")
    (tmp_path / "metrics" / name).write_bytes(content)
    (finding,) = check_metrics(tmp_path)
    assert finding.status == "damaged"
    assert name in finding.note


@given(
    dataset=st.sampled_from(sorted(DATA_SETS)),
    gt=st.lists(st.integers(0, 255), min_size=1, max_size=60),
    pred=st.lists(st.integers(0, 255), min_size=1, max_size=60),
)
@settings(max_examples=60, deadline=None)
def test_counts_pixel_by_pixel(dataset: str, gt: list[int], pred: list[int]) -> None:
    found = data_set(dataset)
    size = min(len(gt), len(pred))
    truth, guess = np.array([gt[:size]], np.uint8), np.array([pred[:size]], np.uint8)
    counts = count_labels(found, truth, guess)
    classes = len(found.ids)
    expected = np.zeros((classes, classes + 1), np.int64)
    index = {value: c for c, value in enumerate(found.ids)}
    for g, p in zip(gt[:size], pred[:size], strict=True):
        if g in index:
            expected[index[g], index.get(p, classes)] += 1
    assert (counts.matrix == expected).all()
    assert set(counts.values) == set(gt[:size])
    assert set(counts.missed) == {
        p for g, p in zip(gt[:size], pred[:size], strict=True) if g in index and p not in index
    }


def test_means_are_over_classes_that_occur(tmp_path: Path) -> None:
    """A class that is only predicted counts as 0, one that is nowhere does not count."""
    gt = write(tmp_path / "gt", a=np.array([[0, 0, 0, 0, 255, 255]], np.uint8))
    pred = write(tmp_path / "pred", a=np.array([[0, 0, 0, 1, 2, 2]], np.uint8))
    scores = evaluate_labels(data_set("lip"), gt, pred).scores
    assert scores.summary == pytest.approx({"mIoU": 100 * (0.75 + 0) / 2, "PixelACC": 75, "mRecall": 75})
    assert scores.table["IoU"]["Hat"] == 0
    # On void ground truth a prediction counts nowhere.
    assert "Hair" in scores.absent
    assert np.isnan(scores.table["IoU"]["Hair"])
    assert "ground truth or in the predictions" in scores.to_json()["definitions"]["mIoU"]
    empty = accumulator_of(data_set("lip")).compute()
    assert all(np.isnan(v) for v in empty.summary.values())


def test_statistics_keep_the_definition() -> None:
    rng = np.random.default_rng(0)
    lip = data_set("lip")
    scores = accumulator_of(lip)
    for name in "abcdef":
        gt, pred = rng.integers(0, 6, (2, 20, 20)).astype(np.uint8)
        scores.add(name, count_labels(lip, gt, pred).matrix)
    again = load(dump(scores))
    assert again.compute().summary == scores.compute().summary
    assert set(intervals(again, resamples=20)) == {"mIoU", "PixelACC", "mRecall"}
    low, high = intervals(again, resamples=200)["PixelACC"]
    assert low < scores.compute().summary["PixelACC"] < high
    part = again.compute(np.array([True, *[False] * 5]))
    assert part.frames == 1
    assert "PixelACC" in part.summary


def test_published_cityscapes_and_its_neighbours(tmp_path: Path) -> None:
    labels = np.array([[0, 7, 8, 33]], np.uint8)
    gt = tmp_path / "gtFine/val/ulm"
    write(gt, ulm_1_gtFine_labelIds=labels, ulm_1_gtFine_color=labels, ulm_1_gtFine_instanceIds=labels)
    pred = write(tmp_path / "pred", ulm_1_leftImg8bit=labels)
    found = evaluate_labels(data_set("cityscapes"), tmp_path / "gtFine", pred)
    assert found.scores.summary["mIoU"] == 100
    assert found.scores.frames == 1
    trained = write(tmp_path / "trained", ulm_1=np.array([[0, 0, 1, 18]], np.uint8))
    found = evaluate_labels(data_set("cityscapes"), tmp_path / "gtFine", trained)
    assert found.scores.summary["PixelACC"] == 0
    assert "do the files hold train ids?" in found.warnings[0]


def test_the_last_class_of_openseg_s_own_coco_files(tmp_path: Path) -> None:
    gt = write(tmp_path / "gt", a=np.array([[182, 1]], np.uint8))
    pred = write(tmp_path / "pred", a=np.array([[0, 1]], np.uint8))
    found = evaluate_labels(data_set("coco_stuff"), gt, pred)
    assert found.scores.summary["PixelACC"] == 50
    assert "openseg.pytorch's own tester writes class 182 as 0" in found.warnings[0]


def test_what_is_refused(tmp_path: Path) -> None:
    lip = data_set("lip")
    good = np.array([[0, 1, 255]], np.uint8)
    gt = write(tmp_path / "gt", a=good, b=good, c=good)
    bad = write(tmp_path / "bad", a=np.array([[0, 77, 255]], np.uint8), b=good + 20, c=good)

    def complaint(truth: Path, pred: Path, **options: bool) -> str:
        with pytest.raises(MissingError) as caught:
            evaluate_labels(lip, truth, pred, options=Options(**options))
        text = str(caught.value)
        assert "\n" not in text
        return text

    text = complaint(bad, gt)
    assert "a.png is not a label file of LIP (class, 255 for void): it holds 77" in text
    assert "and so does 1 more" in text
    assert "has no prediction for 2 of 3 frames: b, c" in complaint(gt, write(tmp_path / "one", a=good))
    assert "belongs to a label" in complaint(gt, write(tmp_path / "other", z=good))
    small = write(tmp_path / "small", a=good[:, :2], b=good, c=good)
    assert "is 2x1, the ground truth is 3x1" in complaint(gt, small)
    turned = write(tmp_path / "turned", a=good.T, b=good, c=good)
    assert "is 1x3, the ground truth is 3x1 (transposed?)" in complaint(gt, turned)
    twice = write(tmp_path / "twice", a=good)
    write(tmp_path / "twice" / "more", a=good)
    assert "two files of one frame" in complaint(twice, gt)
    colours = write(tmp_path / "colours", a=np.zeros((1, 3, 3), np.uint8), b=good, c=good)
    assert "is not a class map" in complaint(colours, gt)
    lenient = evaluate_labels(lip, bad, gt, options=Options(lenient=True))
    assert "values that the data set does not have are not counted" in lenient.warnings[0]
    partial = evaluate_labels(lip, gt, small, options=Options(allow_partial=True))
    assert (partial.skipped, partial.scores.partial, partial.scores.frames) == (["a"], True, 2)
    with pytest.raises(MissingError):
        evaluate_labels(lip, tmp_path / "nowhere", gt)


def test_palette_files_are_read_by_index(tmp_path: Path) -> None:
    """As VOC's labels are published."""
    from bddzoo.datasets.formats.png import encode_palette

    pixels = np.array([[0, 5, 20, 255]], np.uint8)
    palette = np.array(data_set("pascal_voc").classes.palette, np.uint8)
    gt = tmp_path / "gt"
    gt.mkdir()
    (gt / "a.png").write_bytes(encode_palette(pixels, palette, gt / "a.png"))
    pred = write(tmp_path / "pred", a=pixels)
    found = evaluate_labels(data_set("pascal_voc"), gt, pred)
    assert found.scores.summary["mIoU"] == 100
    assert found.warnings == []
