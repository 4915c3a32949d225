"""Tags of frames: by Scalabel's own evaluation, by hand, and what is refused."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from bddzoo.datasets.classes import TAGS
from bddzoo.evaluation.disk import evaluate
from bddzoo.evaluation.options import Options
from bddzoo.evaluation.oracle import toolkit_python
from bddzoo.evaluation.slices import intervals
from bddzoo.evaluation.statistics import dump, load
from tests.evaluation import commands

# Evaluates pairs of files of frames as Scalabel does, by tags whose classes are given.
SCALABEL = """
import json, sys
from importlib import import_module
if not import_module("pydantic").VERSION.startswith("1."):
    sys.modules["pydantic"] = import_module("pydantic.v1")
from scalabel.eval.tagging import evaluate_tagging
from scalabel.label.io import load
from scalabel.label.typing import Category, Config
tags, pairs = map(json.loads, sys.argv[1:])
out = []
for tag, gt, pred in pairs:
    classes = [Category(name=name) for name in tags[tag]]
    config = Config(categories=[Category(name=tag, subcategories=classes)])
    out.append([tag, gt, pred, dict(evaluate_tagging(load(gt, 1).frames, load(pred, 1).frames, config))])
print(json.dumps(out))
"""


def frames(tag, values) -> list[dict]:
    return [{"name": f"f{i:03}.jpg", "attributes": {tag: v}} for i, v in enumerate(values)]


def write(root, name, content):
    (root / name).write_text(json.dumps(content))
    return root / name


def drawn(rng, tag, count):
    classes = list(TAGS[tag])[: int(rng.integers(2, len(TAGS[tag]) + 1))]
    truth = rng.choice(classes, count).tolist()
    guess = [t if rng.random() < 0.6 else str(rng.choice(classes)) for t in truth]
    return truth, guess


@pytest.fixture(scope="module")
def scalabels(tmp_path_factory):
    """Sets of every tag as Scalabel scores them: tag, files of both sides, and its result."""
    if toolkit_python() is None:
        pytest.skip("Scalabel (the 'oracle' extra) is not installed")
    pairs = []
    for tag in TAGS:
        rng, folder = np.random.default_rng(len(tag)), tmp_path_factory.mktemp(tag)
        for k in range(12):
            truth, guess = drawn(rng, tag, int(rng.integers(2, 40)))
            if len({*truth, *guess}) < 2:
                continue  # it gives no means of one class
            files = ((f"gt{k}.json", truth), (f"pred{k}.json", guess))
            pairs.append([tag, *(str(write(folder, name, frames(tag, values))) for name, values in files)])
    command = [toolkit_python(), "-c", SCALABEL, json.dumps(TAGS), json.dumps(pairs)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.parametrize("tag", list(TAGS))
def test_scalabel_gives_the_same(scalabels, tag):
    mine = [(Path(gt), Path(pred), official) for kind, gt, pred, official in scalabels if kind == tag]
    assert mine
    for gt, pred, official in mine:
        found = evaluate("tagging", gt, pred).scores
        assert found.summary["accuracy"] == pytest.approx(official["accuracy"][-1]["AVERAGE"], abs=1e-9)
        for ours, name in (("Precision", "precision"), ("Recall", "recall"), ("F1", "f1_score")):
            total = official[name][-1]["AVERAGE"]
            assert found.summary[f"m{ours}"] == pytest.approx(total, abs=1e-9)
            for kind, value in found.table[ours].items():
                assert value == pytest.approx(official[name][0][f"{tag}.{kind}"], abs=1e-9, nan_ok=True)


@pytest.fixture
def files(tmp_path):
    """Eight frames of weather, six of which are predicted right."""
    truth = ["clear"] * 4 + ["rainy"] * 2 + ["undefined", "snowy"]
    guess = ["clear"] * 3 + ["overcast"] + ["rainy"] * 2 + ["undefined", "rainy"]
    gt = [f | {"labels": [{"id": "1", "category": "car"}]} for f in frames("weather", truth)]
    write(tmp_path, "gt.json", {"frames": gt})
    write(tmp_path, "pred.json", frames("weather", guess))
    write(tmp_path, "preds.json", {"pred_score": [0.9] * 8, "pred_label": [0] * 8, "pred_class": guess})
    return tmp_path


def score(files, pred="pred.json", *more):
    return commands.score("tagging", files / "gt.json", files / pred, *more)


@pytest.mark.parametrize("pred", ["pred.json", "preds.json"])
def test_the_share_that_is_right(files, pred):
    shown = score(files, pred, "--format", "json")
    assert shown.code == 0
    result = shown.data
    assert result["accuracy"] == 75
    summary = result["bddzoo"]["summary"]
    # Of clear 3 of 4 are found, of rainy 2 of 2 (3 are predicted); overcast is in no truth.
    assert result["recall"][0] | {"foggy": None, "partly cloudy": None} == {
        **{"rainy": 100, "snowy": 0, "clear": 75, "overcast": 0, "undefined": 100},
        **{"foggy": None, "partly cloudy": None},
    }
    assert summary["mRecall"] == pytest.approx((100 + 0 + 75 + 0 + 100) / 5)
    assert result["precision"][0]["rainy"] == pytest.approx(200 / 3)
    assert ("in the order of the ground truth" in shown.err) == (pred == "preds.json")


def test_everything_that_class_maps_have(files, tmp_path):
    more = ["--ci", "--worst", "2", "--by", "weather", "--attributes", files / "gt.json"]
    done = score(files, "pred.json", *more, "--against", files / "pred.json", "--format", "json")
    assert done.code == 0
    found = done.data["bddzoo"]
    assert set(found["intervals"]["values"]) == {"accuracy", "mPrecision", "mRecall", "mF1"}
    assert [f["accuracy"] for f in found["worst"]] == [0, 0]
    assert found["slices"]["weather"]["snowy"]["summary"]["accuracy"] == 0
    shown = score(files)
    assert shown.code == 0
    assert "accuracy 75.00" in shown.out
    assert "toolkit calls Acc" not in shown.out
    evaluation = evaluate("tagging", files / "gt.json", files / "pred.json")
    again = load(dump(evaluation.accumulator))
    assert again.compute().summary == evaluation.scores.summary
    low, high = intervals(again)["accuracy"]
    assert low < 75 < high
    pytest.importorskip("matplotlib")
    assert score(files, "pred.json", "--plots", tmp_path / "plots").code == 0
    assert (tmp_path / "plots/confusion.png").is_file()


@pytest.mark.parametrize(
    ("pred", "more", "code", "words"),
    [
        ([], (), 5, "no frame with attributes"),
        (frames("weather", ["clear"] * 7), (), 5, "has no weather for 1 of 8 frames: f007"),
        (frames("weather", ["clear"] * 7 + ["Clear"]), (), 5, "f007: no such class: 'Clear'"),
        (frames("weather", ["clear"] * 8) + frames("weather", ["clear"]), (), 5, "more than once"),
        (frames("scene", ["highway"] * 8), (), 5, "no frame with a scene"),
        (frames("season", ["spring"] * 8), (), 2, "holds none of weather"),
        ([{"name": "f000.jpg", "attributes": {"weather": "clear", "scene": "tunnel"}}], (), 2, "--attribute"),
        ({"pred_class": ["clear"] * 7}, (), 5, "7 predictions without names"),
        ({"pred_class": ["undefined"] * 8}, (), 2, "does not tell its attribute"),
        ({"pred_class": 7}, (), 5, "not a file of predicted classes"),
        (
            [{"name": f"g{i}.jpg", "attributes": {"weather": "clear"}} for i in range(8)],
            (),
            5,
            "for any frame",
        ),
        ([{"name": "f0.jpg", "labels": []}], (), 5, "no frame with attributes"),
        (frames("weather", ["clear"] * 8), ("--compat", "official"), 2, "no evaluation of tagging"),
        (frames("weather", ["clear"] * 8), ("--errors",), 2, "about detections"),
    ],
)
def test_what_cannot_be_scored_is_one_line(files, pred, more, code, words):
    write(files, "pred.json", pred)
    done = score(files, "pred.json", *more)
    assert done.code == code
    (error,) = done.errors
    assert words in error


def test_frames_without_a_prediction_are_not_taken_for_right(files):
    write(files, "pred.json", frames("weather", ["clear"] * 3 + ["overcast"]))
    shown = score(files, "pred.json", "--allow-partial", "--format", "json")
    assert shown.code == 0
    found = shown.data["bddzoo"]
    assert (found["summary"]["accuracy"], found["partial"], len(found["left_out"])) == (75, True, 4)
    # Three right, four without a prediction, one wrong.
    assert "accuracy 87.50" in shown.err


def test_frames_without_a_tag_are_said(files):
    truth = json.loads((files / "gt.json").read_text())
    truth["frames"][0]["attributes"] = None
    write(files, "gt.json", truth)
    found = evaluate("tagging", files / "gt.json", files / "pred.json")
    assert found.scores.frames == 7
    assert "f000" in found.warnings[0]


def test_one_of_several_attributes_is_chosen(files):
    both = [
        f | {"attributes": {**f["attributes"], "scene": "tunnel"}} for f in frames("weather", ["clear"] * 8)
    ]
    write(files, "pred.json", both)
    options = Options(attribute="weather")
    assert evaluate("tagging", files / "gt.json", files / "pred.json", options=options).scores.frames == 8
