import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO

from bddzoo.datasets.classes import INS_SEG, SEM_SEG
from bddzoo.errors import MissingError, UsageError
from bddzoo.evaluation import BoxAccumulator, InsSegAccumulator, SemSegAccumulator
from tests.conftest import ALL
from tests.evaluation import scenes
from tests.evaluation.cases import pycocotools_scores
from tests.evaluation.scenes import seeds


def plain_confusion(gt, pred, classes):
    out = np.zeros((classes, classes + 1), np.int64)
    for g, p in zip(gt.ravel().tolist(), pred.ravel().tolist(), strict=True):
        if g < classes:
            out[g, min(p, classes)] += 1
    return out


@settings(max_examples=60, deadline=None)
@given(seeds, st.booleans())
def test_confusion_counts_every_pixel(seed, dense):
    rng = np.random.default_rng(seed)
    gt = scenes.class_map(rng, odd=(19, 255, 30))
    pred = rng.integers(0, 256, gt.shape, np.uint8) if dense else scenes.disturbed(rng, gt)
    scores = SemSegAccumulator(SEM_SEG.names)
    unknown = scores.update(gt, pred, "a")
    assert np.array_equal(scores.matrix, plain_confusion(gt, pred, 19))
    assert unknown == (gt == 30).sum()


@settings(max_examples=30 if ALL else 15, deadline=None)
@given(seeds)
def test_merging_does_not_depend_on_the_split(seed):
    rng = np.random.default_rng(seed)
    whole, ins = SemSegAccumulator(SEM_SEG.names), InsSegAccumulator(INS_SEG.names)
    parts = [SemSegAccumulator(SEM_SEG.names) for _ in range(3)]
    ins_parts = [InsSegAccumulator(INS_SEG.names) for _ in range(3)]
    for i in range(6):
        gt = scenes.class_map(rng)
        pred = scenes.disturbed(rng, gt)
        whole.update(gt, pred, f"f{i}")
        parts[rng.integers(3)].update(gt, pred, f"f{i}")
        frame = scenes.ins_frame(rng)
        ins.update(*frame, f"f{i}")
        ins_parts[rng.integers(3)].update(*frame, f"f{i}")
    for total, split in ((whole, parts), (ins, ins_parts)):
        for other in split[1:]:
            split[0].merge(other)
        np.testing.assert_equal(dict(split[0].compute().table), dict(total.compute().table))


def test_a_missing_prediction_is_all_missed():
    gt = np.array([[0, 0, 13, 255]], np.uint8)
    scores = SemSegAccumulator(SEM_SEG.names)
    scores.update(gt, None, "a")
    result = scores.compute()
    assert result.summary["mIoU"] == 0
    assert result.summary["mRecall"] == 0
    assert "road" not in result.absent
    assert "sky" in result.absent


def test_large_counts_do_not_wrap():
    scores = SemSegAccumulator(["a", "b"])
    counts = np.array([[2**31, 5, 0], [0, 2**31, 0]], np.int64)
    scores.add("one", counts)
    scores.add("two", counts)
    assert scores.matrix[0, 0] == 2**32
    assert scores.compute().summary["mIoU"] == pytest.approx(100, abs=1e-6)


def test_precision_and_recall_are_named_for_what_they_are():
    gt = np.array([[0, 0, 1, 1]], np.uint8)
    pred = np.array([[0, 0, 0, 1]], np.uint8)
    scores = SemSegAccumulator(["a", "b"])
    scores.update(gt, pred, "f")
    result = scores.compute()
    assert result.table["Precision"] == pytest.approx({"a": 200 / 3, "b": 100})
    assert result.table["Recall"] == pytest.approx({"a": 100, "b": 50})
    assert result.to_official()["Acc"][0] == result.table["Precision"]


@pytest.mark.parametrize("kind", ["sem", "ins"])
def test_frames_of_another_size_and_second_copies_are_refused(kind):
    scores = SemSegAccumulator(SEM_SEG.names) if kind == "sem" else InsSegAccumulator(INS_SEG.names)
    tail = () if kind == "sem" else (4,)
    extra = () if kind == "sem" else ([],)
    small, turned = np.zeros((4, 6, *tail), np.uint8), np.zeros((6, 4, *tail), np.uint8)
    with pytest.raises(MissingError, match=r"f1.*4x6.*6x4"):
        scores.update(small, turned, *extra, "f1")
    scores.update(small, small, *extra, "f1")
    with pytest.raises(UsageError, match="f1"):
        scores.update(small, small, *extra, "f1")
    with pytest.raises(UsageError, match="f1"):
        scores.merge(scores)


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        ([{"index": 1, "score": 0.5}, {"index": 1, "score": 0.4}], "twice"),
        ([{"index": 0, "score": 0.5}], "background"),
        ([{"index": 1, "score": float("nan")}], "finite"),
        ([{"index": 1}], "score"),
        ([{"index": "x", "score": 1}], "numeric"),
    ],
)
def test_bad_score_entries_name_the_frame(entries, text):
    mask = scenes.paint([(1, 3, 0, 2, 9, 2, 9)])
    with pytest.raises(MissingError, match=rf"frame-7.*{text}"):
        InsSegAccumulator(INS_SEG.names).update(mask, mask, entries, "frame-7")


def test_an_instance_of_two_categories_is_refused():
    mask = scenes.paint([(1, 3, 0, 2, 9, 2, 9), (1, 4, 0, 20, 30, 20, 30)])
    with pytest.raises(MissingError, match="f: instance 1"):
        InsSegAccumulator(INS_SEG.names).update(mask, mask, [], "f")


def test_more_than_a_hundred_objects_are_all_counted():
    items = [
        (i + 1, 3, 0, 4 * (i // 20), 4 * (i // 20) + 3, 5 * (i % 20), 5 * (i % 20) + 4) for i in range(150)
    ]
    mask = scenes.paint(items, (72, 120))
    scores = InsSegAccumulator(INS_SEG.names)
    scores.update(mask, mask, [{"index": i + 1, "score": 0.9} for i in range(150)], "f")
    # COCO counts at most 100 detections for each frame and class: a third of the recall is lost.
    assert scores.compute().table["AR100"]["car"] == pytest.approx(100 * 100 / 150)


def test_unscored_instances_are_remarked():
    mask = scenes.paint([(1, 3, 0, 2, 9, 2, 9), (2, 3, 0, 20, 29, 20, 29)])
    remarks = InsSegAccumulator(INS_SEG.names).update(mask, mask, [{"index": 1, "score": 1}], "f")
    assert remarks == ["f: 1 predicted instance without a score entry is not counted"]


def coco_boxes(frames):
    """COCO's own evaluation of the same boxes."""
    images, truth, found = [], [], []
    for i, (items, boxes, scores, labels) in enumerate(frames):
        images.append({"id": i + 1, "width": 120, "height": 72})
        mask = scenes.paint(items)
        ident = mask[..., 2].astype(int) << 8 | mask[..., 3]
        for number in np.unique(ident[ident > 0]):
            ys, xs = np.nonzero(ident == number)
            r, g = mask[ys[0], xs[0], :2].tolist()
            w, h = int(xs.max() - xs.min() + 1), int(ys.max() - ys.min() + 1)
            truth.append(
                {
                    "id": len(truth) + 1,
                    "image_id": i + 1,
                    "category_id": r,
                    "bbox": [int(xs.min()), int(ys.min()), w, h],
                    "area": w * h,
                    "iscrowd": int((g & 3) > 0),
                }
            )
        for box, score, label in zip(boxes.tolist(), scores.tolist(), labels.tolist(), strict=True):
            x1, y1, x2, y2 = box
            found.append(
                {
                    "image_id": i + 1,
                    "category_id": label + 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "score": score,
                }
            )
    coco = COCO()
    coco.dataset = {
        "images": images,
        "annotations": truth,
        "categories": [{"id": k + 1, "name": n} for k, n in enumerate(INS_SEG.names)],
    }
    coco.createIndex()
    return pycocotools_scores(coco, found, "bbox")


@settings(max_examples=40 if ALL else 15, deadline=None)
@given(seeds)
def test_box_ap_is_cocos(seed):
    rng = np.random.default_rng(seed)
    scores, frames = BoxAccumulator(INS_SEG.names), []
    for i in range(4):
        items = scenes.objects(rng, int(rng.integers(1, 8)), flags=(0, 0, 0, 1, 2))
        detections = scenes.moved(rng, items) or scenes.objects(rng, 1)
        boxes = np.array([[d[5], d[3], d[6], d[4]] for d in detections], np.float64)
        boxes[:, :2] += rng.random((len(boxes), 2)).round(3)
        values = rng.integers(1, 9, len(boxes)) / 8
        labels = np.array([d[1] - 1 for d in detections])
        frames.append((items, boxes, values, labels))
        scores.update(scenes.paint(items), boxes, values, labels, f"f{i}")
    theirs = coco_boxes(frames)
    ours = [scores.compute().summary["box_" + name] for name in theirs]
    np.testing.assert_allclose(ours, list(theirs.values()), rtol=1e-9, atol=1e-12)


def test_official_shape_of_empty_ground_truth_is_nan():
    scores = SemSegAccumulator(SEM_SEG.names)
    scores.update(np.full((2, 2), 255, np.uint8), np.zeros((2, 2), np.uint8), "f")
    official = scores.compute().to_official()
    assert list(official) == ["IoU", "Acc", "fIoU", "pAcc"]
    assert np.isnan(official["IoU"][1]["AVERAGE"])
    assert scores.compute().to_json()["summary"]["mIoU"] is None
