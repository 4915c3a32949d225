"""Boxes: next to the official toolkit and to pycocotools, what strict mode says, and conversion."""

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given

from bddzoo.datasets import native
from bddzoo.datasets.classes import DET
from bddzoo.datasets.formats.convert import convert
from bddzoo.errors import MissingError
from bddzoo.evaluation import det_frames
from bddzoo.evaluation.disk import evaluate
from bddzoo.evaluation.options import Options
from bddzoo.evaluation.statistics import dump, load
from tests.cli.inprocess import command
from tests.evaluation.cases import COCO_METRICS, assert_same, pycocotools_scores, write_sides
from tests.evaluation.commands import refused, score
from tests.evaluation.scenes import seeds
from tests.evaluation.test_native import using
from tests.evaluation.test_oracle import compare, many

OTHERS = ("bike", "caravan", "motor", "person", "van", "other person", "other vehicle", "trailer")


def box(rng) -> dict:
    x, y = rng.uniform(0, 1100), rng.uniform(0, 600)
    w, h = np.exp(rng.uniform(1, 5.5, 2))
    corners = {"x1": x, "y1": y, "x2": min(x + w, 1279), "y2": min(y + h, 719)}
    return {k: float(round(v, int(rng.choice([0, 1, 6])))) for k, v in corners.items()}


def frame(rng, name: str, *, distractors: bool = True) -> dict:
    labels = []
    for k in range(int(rng.integers(0, 9))):
        names = OTHERS if distractors and rng.random() < 0.15 else DET.names[:4]
        label = {"id": str(k), "category": str(rng.choice(names)), "box2d": box(rng)}
        if rng.random() < 0.3:
            label["attributes"] = {"crowd": bool(rng.random() < 0.4), "ignored": bool(rng.random() < 0.3)}
        labels.append(label)
    if rng.random() < 0.2:
        labels.append({"id": "99", "category": "car"})
    return {"name": name, "labels": labels or None}


def detections(rng, truth: dict) -> list[dict]:
    found = []
    for label in truth["labels"] or []:
        for _ in range(int(rng.integers(0, 3)) if "box2d" in label else 0):
            noise = float(rng.choice([0, 0, 1, 3, 12]))
            corners = {
                k: v + float(round(rng.normal(0, noise + 1e-12), 1)) for k, v in label["box2d"].items()
            }
            corners["x2"] = max(corners["x2"], corners["x1"])
            corners["y2"] = max(corners["y2"], corners["y1"])
            category = label["category"] if rng.random() < 0.8 else str(rng.choice(DET.names))
            found.append({"category": category, "box2d": corners})
    found += [
        {"category": str(rng.choice(DET.names)), "box2d": box(rng)} for _ in range(int(rng.integers(0, 5)))
    ]
    for k, label in enumerate(found):
        label |= {"id": str(k), "score": float(rng.integers(1, 9)) / 8}
    rng.shuffle(found)
    return found


def world(rng, *, distractors: bool = True) -> tuple[list[dict], list[dict]]:
    gt = [frame(rng, f"f{i}.jpg", distractors=distractors) for i in rng.permutation(int(rng.integers(1, 6)))]
    pred = [{"name": f["name"], "labels": detections(rng, f)} for f in gt]
    return gt, pred


def write(root: Path, gt: list[dict], pred: list[dict]) -> tuple[Path, Path]:
    return write_sides(root, gt, {"frames": pred, "groups": None, "config": None}, "det.json")


@many
@given(seeds)
def test_boxes_are_scored_as_by_the_toolkit(toolkit, seed):
    rng = np.random.default_rng(seed)
    gt, pred = world(rng)
    pred = [f for f in pred if rng.random() < 0.9]
    rng.shuffle(pred)
    if rng.random() < 0.1:
        pred = [{**f, "labels": None} for f in pred]
    with tempfile.TemporaryDirectory() as folder:
        assert compare(toolkit, "det", *write(Path(folder), gt, pred))


@many
@given(seeds)
def test_boxes_are_scored_as_by_pycocotools(compiled, seed):
    from pycocotools.coco import COCO

    gt, pred = world(np.random.default_rng(seed), distractors=False)
    # Ties of score go by number there, by name here; both files are numbered in their order.
    for frames in (gt, pred):
        frames.sort(key=lambda f: f["name"])
    if not any(f["labels"] for f in pred):
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        paths = write(root, gt, pred)
        for path in paths:
            convert("det", path, root / f"coco_{path.name}", "coco")
        results = json.loads((root / "coco_det.json").read_text())["annotations"]
        for result in results:
            del result["iscrowd"], result["ignore"], result["attributes"]
        (root / "results.json").write_text(json.dumps(results))
        truth = COCO(str(root / "coco_gt.json"))
        theirs = pycocotools_scores(truth, str(root / "results.json"), "bbox")
        ours = evaluate("det", *paths).scores.summary
        for pair in (
            ("coco_gt.json", "results.json"),
            ("gt.json", "coco_det.json"),
            ("coco_gt.json", "det.json"),
        ):
            sides = [root / name for name in pair]
            assert_same(dict(evaluate("det", *sides).scores.summary), dict(ours))
            plain = outcome(sides, Options())
            with using(compiled):
                assert outcome(sides, Options()) == plain
    for name, value in theirs.items():
        assert ours[f"box_{name}"] == pytest.approx(value, abs=1e-9, nan_ok=True), name


@pytest.fixture
def perfect(tmp_path):
    """Four frames, and predictions that are right; writes both after a change and scores them."""
    rng = np.random.default_rng(5)
    gt = []
    for i in range(4):
        labels = [{"id": str(k), "category": name, "box2d": box(rng)} for k, name in enumerate(DET.names)]
        gt.append({"name": f"f{i}.jpg", "labels": labels})
    pred = json.loads(json.dumps(gt))
    for f in pred:
        for label in f["labels"]:
            label["score"] = 0.9

    def scored(change=lambda gt, pred: None, **options):
        change(gt, pred)
        paths = write(tmp_path, gt, pred)
        return evaluate("det", *paths, options=Options(**options))

    scored.folder = tmp_path
    return scored


@many
@given(seeds)
def test_frames_are_scored_alike_straight_from_their_json(compiled, seed):
    rng = np.random.default_rng(seed)
    gt, pred = world(rng)
    if rng.random() < 0.3:
        odd_one(rng, labels(pred) or [{}])
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        paths = write(Path(folder), gt, pred)
        for frames, options in ((500, Options()), (0, Options(official=True)), (0, Options(errors=True))):
            patch.setattr(det_frames, "_FRAMES", frames)
            plain = outcome(paths, options)
            with using(compiled):
                assert outcome(paths, options) == plain


def odd_one(rng, some: list[dict]) -> None:
    """Something unusual or wrong about one label."""
    label = some[int(rng.integers(len(some)))]
    corner = label.get("box2d", {})
    changes = [
        lambda: label.pop("score", None),
        lambda: label.update(category="submarine"),
        lambda: label.update(score=None),
        lambda: label.update(box2d=None),
        lambda: label.update(attributes={"crowd": "false"}),
        lambda: corner.update(x1=corner.get("x2", 0) + 2),
        lambda: corner.update(x1=1e3, x2=1e3 - 1),
        lambda: corner.update(x2=12345678901234567890),
        lambda: corner.update(y9=7),
        lambda: corner.pop("y1", None),
        lambda: corner.update(y1=True),
    ]
    changes[int(rng.integers(len(changes)))]()


def outcome(paths, options) -> object:
    try:
        found = evaluate("det", *paths, options=options)
    except MissingError as error:
        return error.message
    return dump(found.accumulator), found.warnings, repr(found.scores)


@pytest.mark.parametrize("count", [100, 101])
def test_a_hundred_detections_straight_from_json(perfect, compiled, monkeypatch, count):
    def change(gt, pred):
        gt[1:], pred[1:] = [], []
        pred[0]["labels"] = [one for one in pred[0]["labels"] if one["category"] != "car"]
        add_false("car", {"category": "truck", "attributes": {"crowd": True}}, count)(gt, pred)

    monkeypatch.setattr(det_frames, "_FRAMES", 0)
    monkeypatch.setitem(native._state, "loaded", compiled)
    found = perfect(change)
    assert sum(f.classes.tolist().count(2) for f in found.accumulator.per_frame()) == 100
    assert any("more than 100" in line for line in found.warnings) == (count > 100)


def labels(frames):
    return [label for frame in frames for label in frame["labels"]]


def test_perfect_boxes(perfect):
    found = perfect()
    assert found.scores.summary["box_AP"] == pytest.approx(100)
    assert (found.source, found.warnings, found.official) == ("boxes", [], None)
    assert set(found.scores.to_official()) == set(COCO_METRICS)
    again = load(dump(found.accumulator))
    assert again.task == "det"
    assert_same(again.compute().to_official(), found.accumulator.compute().to_official())


def renamed(old, new, side=1):
    def change(*both):
        for label in labels(both[side]):
            if label["category"] == old:
                label["category"] = new

    return change


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize(
    ("name", "alias"),
    [("pedestrian", "person"), ("bicycle", "bike"), ("motorcycle", "motor"), ("car", "van")],
)
def test_names_of_2018_are_mapped(perfect, side, name, alias):
    assert perfect(renamed(name, alias, side)).scores.summary["box_AP"] == pytest.approx(100)


def test_a_predicted_distractor_counts_as_its_class(perfect):
    assert perfect(renamed("car", "other vehicle")).scores.table["box_AP"]["car"] == pytest.approx(100)


def add_false(category, crowd, count=5, score=0.95):
    def change(gt, pred):
        region = {"x1": 0, "y1": 0, "x2": 900, "y2": 700}
        gt[0]["labels"].append({"id": "77", "box2d": region, **crowd})
        for k in range(count):
            corners = {"x1": 10 + 60 * k, "y1": 10, "x2": 60 + 60 * k, "y2": 60}
            label = {"id": str(100 + k), "category": category, "box2d": corners, "score": score}
            pred[0]["labels"].append(label)

    return change


@pytest.mark.parametrize(
    ("category", "region", "forgiven"),
    [
        ("car", {"category": "car", "attributes": {"crowd": True}}, True),
        ("car", {"category": "car", "attributes": {"ignored": True}}, True),
        ("car", {"category": "other vehicle"}, True),
        ("pedestrian", {"category": "car", "attributes": {"crowd": True}}, False),
        ("truck", {"category": "other vehicle"}, False),
    ],
)
def test_regions_forgive_their_own_class_only(perfect, category, region, forgiven):
    value = perfect(add_false(category, region)).scores.table["box_AP"][category]
    assert (value == pytest.approx(100)) == forgiven


def test_a_hundred_false_detections_push_the_true_one_out(perfect):
    def change(gt, pred):
        add_false("car", {"category": "truck", "attributes": {"crowd": True}}, 100)(gt, pred)
        gt[1:], pred[1:] = [], []

    found = perfect(change)
    assert found.scores.table["box_AP"]["car"] == 0
    assert any("more than 100 detections" in line for line in found.warnings)


def shifted(gt, pred):
    for label in labels(pred):
        label["box2d"]["x2"] += 1
        label["box2d"]["y2"] += 1


def noisy(gt, pred):
    rng = np.random.default_rng(0)
    for label in labels(pred):
        for key in label["box2d"]:
            label["box2d"][key] += float(rng.normal(0, 0.5))


def exclusive_and_noisy(gt, pred):
    shifted(gt, pred)
    noisy(gt, pred)


@pytest.mark.parametrize(("change", "said"), [(shifted, True), (exclusive_and_noisy, True), (noisy, False)])
def test_exclusive_corners_are_noticed(either_way, perfect, change, said):
    found = perfect(change)
    assert any("edge behind the box" in line for line in found.warnings) == said
    assert found.scores.summary["box_AP"] < 100


def test_suffixes_are_bridged_and_both_numbers_given(perfect):
    def change(gt, pred):
        for f in pred:
            f["name"] = f["name"].replace(".jpg", ".png")

    found = perfect(change)
    assert found.scores.summary["box_AP"] == pytest.approx(100)
    assert found.official.summary["box_AP"] == 0
    assert any("end differently" in line for line in found.warnings)


def _folder(gt, pred):
    pred[0]["name"] = "val/" + pred[0]["name"]


def _twice(gt, pred):
    pred.append({"name": pred[0]["name"], "labels": []})


def _of_2018(gt, pred):
    gt[0]["labels"].append(
        {"id": "9", "category": "lane", "poly2d": [{"vertices": [[0, 0]], "closed": False}]}
    )


def _capital(gt, pred):
    pred[2]["labels"][0]["category"] = "Car"


def _no_score(gt, pred):
    del pred[1]["labels"][3]["score"]


def _swapped(gt, pred):
    b = pred[1]["labels"][0]["box2d"]
    b["x1"], b["x2"] = b["x2"], b["x1"]


def _normalised(gt, pred):
    for label in labels(pred):
        b = label["box2d"]
        label["box2d"] = {k: v / (1280 if k[0] == "x" else 720) for k, v in b.items()}


def _masks(gt, pred):
    for label in labels(pred):
        label["rle"] = {"counts": "abc", "size": [720, 1280]}
        del label["box2d"]


def _corner(gt, pred):
    del pred[0]["labels"][0]["box2d"]["y2"]


def _missing(gt, pred):
    pred.pop()


def _empty(gt, pred):
    pred.clear()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_folder, "has no prediction for 1 of 4 frames"),
        (_twice, "has frame f0.jpg more than once"),
        (_of_2018, "unknown category 'lane'; the labels of 2018"),
        (_capital, "f2.jpg: unknown category 'Car'; known are"),
        (_no_score, "f1.jpg: a box without a score"),
        (_swapped, "f1.jpg: a box whose second corner is left of or above its first"),
        (_normalised, "not one box reaches beyond the first pixel"),
        (_masks, "-t ins_seg"),
        (_corner, "missing required field `y2`"),
        (_missing, "has no prediction for 1 of 4 frames"),
        (_empty, "has no prediction for 4 of 4 frames"),
    ],
)
def test_what_the_toolkit_gets_wrong_is_refused(perfect, change, words):
    with pytest.raises(MissingError):
        perfect(change)
    line = refused(score("det", perfect.folder / "gt.json", perfect.folder / "det.json"))
    assert words in line.replace("(", ";")


def test_the_right_half_of_a_set(perfect):
    found = perfect(_missing, allow_partial=True)
    assert found.scores.partial
    assert found.scores.summary["box_AP"] == pytest.approx(100)
    assert found.official.summary["box_AP"] < 100


def test_everything_that_instances_have(perfect, tmp_path):
    perfect(noisy)
    # The folder holds det.json, as what predict wrote does.
    sides = (perfect.folder / "gt.json", perfect.folder)
    more = ["--errors", "--calibration", "--ci", "--worst", 2, "--against", perfect.folder]
    done = score("det", *sides, *more, "--format", "json")
    assert done.code == 0
    found = done.data
    assert list(found)[:12] == list(COCO_METRICS)
    more = found["bddzoo"]
    assert set(more["intervals"]["values"]) == {"box_AP", "box_AP50", "box_AP75"}
    assert more["errors"]["AP50"] == pytest.approx(more["summary"]["box_AP50"])
    assert len(more["worst"]) == 2
    assert "under the name 'AP'" in more["definitions"]["box_AP"]
    assert {row["metric"] for row in more["against"]["metrics"]} >= {"box_AP"}
    pytest.importorskip("matplotlib")
    assert score("det", *sides, "--plots", tmp_path / "plots").code == 0
    assert (tmp_path / "plots/precision-recall-75.png").is_file()


def test_the_toolkit_scores_boxes_for_us(perfect, toolkit):
    perfect()
    sides = (perfect.folder / "gt.json", perfect.folder / "det.json")
    done = score("det", *sides, "--evaluator", "official", "--format", "json")
    assert done.code == 0
    assert done.data["bddzoo"]["summary"]["box_AP"] == pytest.approx(100)


def test_conversion_there_and_back(perfect, tmp_path):
    def change(gt, pred):
        gt[0]["labels"][0] |= {"category": "other person", "attributes": {"occluded": True}}
        gt[1]["labels"][0]["attributes"] = {"crowd": True}

    before = perfect(change)
    for name in ("gt", "det"):
        convert("det", perfect.folder / f"{name}.json", tmp_path / f"{name}_coco.json", "coco")
        done = convert("det", tmp_path / f"{name}_coco.json", tmp_path / f"{name}_again.json", "boxes")
        assert (done.kind, done.frames) == ("coco", 4)
    after = evaluate("det", tmp_path / "gt_again.json", tmp_path / "det_again.json")
    assert_same(after.scores.to_official(), before.scores.to_official())
    first = json.loads((tmp_path / "gt_again.json").read_text())["frames"][0]["labels"][0]
    assert first["category"] == "pedestrian"
    assert (first["attributes"]["ignored"], first["attributes"]["occluded"]) == (True, True)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--to", "rle"), 2, "det has no format 'rle'"),
        (("--to", "coco", "--input-format", "coco"), 2, "holds boxes, not coco"),
        (("--to", "coco", "-l", "nowhere.json"), 5, "nowhere.json"),
    ],
)
def test_conversions_that_cannot_be(perfect, tmp_path, monkeypatch, arguments, code, words):
    perfect()
    monkeypatch.chdir(perfect.folder)
    done = command("convert-labels", "-t", "det", "-l", "gt.json", "-o", tmp_path / "x.json", *arguments)
    assert done.code == code
    assert words in done.err
    assert not (tmp_path / "x.json").exists()
