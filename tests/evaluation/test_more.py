"""Slices, intervals, worst frames, plots, stored statistics."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bddzoo.datasets.classes import INS_SEG, SEM_SEG
from bddzoo.errors import MissingError, UsageError
from bddzoo.evaluation import BoxAccumulator, InsSegAccumulator, SemSegAccumulator
from bddzoo.evaluation.metrics.panseg import PanSegAccumulator
from bddzoo.evaluation.slices import frame_scores, intervals, resampled, slice_scores, weights, worst_frames
from bddzoo.evaluation.statistics import dump, load
from tests.evaluation import scenes
from tests.evaluation.cases import same
from tests.evaluation.commands import convert_labels, refused, score
from tests.evaluation.test_oracle import write_png

KINDS = ["sem", "ins", "box", "pan"]


def filled(kind, frames=8, seed=0, names="f{}"):
    """An accumulator, and a function that puts chosen frames into another one, possibly repeatedly."""
    rng = np.random.default_rng(seed)
    out = empty(kind)
    data = []
    for i in range(frames):
        if kind == "sem":
            gt = scenes.class_map(rng)
            data.append((gt, scenes.disturbed(rng, gt)))
        elif kind == "pan":
            items = scenes.objects(rng, 6, classes=40)
            data.append((scenes.paint(items), scenes.paint(scenes.moved(rng, items, classes=40))))
        elif kind == "ins":
            data.append(scenes.ins_frame(rng))
        else:
            items = scenes.objects(rng, 5)
            found = scenes.moved(rng, items) or items
            boxes = np.array([[d[5], d[3], d[6], d[4]] for d in found], float)
            labels = np.array([d[1] - 1 for d in found])
            data.append((scenes.paint(items), boxes, rng.random(len(found)), labels))
        out.update(*data[-1], names.format(i))
    return out, data


def empty(kind):
    return {
        "sem": lambda: SemSegAccumulator(SEM_SEG.names),
        "ins": lambda: InsSegAccumulator(INS_SEG.names),
        "box": lambda: BoxAccumulator(INS_SEG.names),
        "pan": PanSegAccumulator,
    }[kind]()


@pytest.mark.parametrize("kind", KINDS)
def test_stored_statistics_give_the_same_scores(kind):
    scores, _ = filled(kind)
    content = dump(scores)
    again = load(content)
    same(again.compute(), scores.compute())
    assert again.names == scores.names
    assert dump(again) == content or kind == "pan"
    assert len(load(dump(empty(kind)))) == 0


def test_other_bytes_are_no_statistics():
    with pytest.raises(MissingError):
        load(b"PK\3\4 nothing")


@pytest.mark.parametrize("kind", KINDS)
def test_slices_are_the_scores_of_their_frames(kind):
    scores, data = filled(kind)
    attributes = {f"f{i}": {"weather": "rainy" if i % 3 else "clear"} for i in range(7)}
    found = slice_scores(scores, attributes, ["weather"])["weather"]
    assert {k: v.frames for k, v in found.items()} == {"clear": 3, "rainy": 4, "unknown": 1}
    alone = empty(kind)
    for i in (0, 3, 6):
        alone.update(*data[i], f"f{i}")
    same(found["clear"], alone.compute())
    same(scores.compute(np.ones(8, bool)), scores.compute())
    with pytest.raises(UsageError, match="weather"):
        slice_scores(scores, attributes, ["season"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_resample_is_the_score_of_the_drawn_frames(kind):
    scores, data = filled(kind, frames=5)
    draws = resampled(scores, resamples=20, seed=3)
    drawn = np.concatenate(list(weights(5, 20, 3)))
    assert (drawn.sum(axis=1) == 5).all()
    for r in (0, 7, 19):
        again = empty(kind)
        for i, times in enumerate(drawn[r].astype(int).tolist()):
            for k in range(times):
                again.update(*data[i], f"f{i}-{k}")
        summary = again.compute().summary
        for metric, values in draws.items():
            np.testing.assert_allclose(values[r], summary[metric], rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_intervals_are_seeded_and_hold_the_score(kind):
    scores, _ = filled(kind, frames=30)
    first = intervals(scores, resamples=80, seed=1)
    assert first == intervals(scores, resamples=80, seed=1)
    assert first != intervals(scores, resamples=80, seed=2)
    for metric, (low, high) in first.items():
        # Panoptic sets have so many rare classes that draws without them shift the mean.
        assert low <= high
        assert kind == "pan" or low <= scores.compute().summary[metric] <= high
    assert intervals(empty(kind)) == {}


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.sampled_from(KINDS))
def test_frame_scores_are_the_scores_of_single_frames(seed, kind):
    scores, data = filled(kind, frames=3, seed=seed)
    metric, values = frame_scores(scores)
    for i in range(3):
        alone = empty(kind)
        alone.update(*data[i], "f")
        summary = alone.compute().summary
        expected = summary["box_AP50" if kind == "box" else metric]
        if kind == "pan" and not summary["N"]:
            expected = np.nan
        np.testing.assert_allclose(values[i], expected, rtol=1e-9)
    listed = [v for _, v in worst_frames(scores, 2)[1]]
    assert listed == sorted(values[~np.isnan(values)].tolist())[:2]


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(5)
    frames = []
    for i in range(4):
        gt, pred, scores = scenes.ins_frame(rng)
        write_png(tmp_path / f"gt/f{i}.png", gt)
        write_png(tmp_path / f"pred/f{i}.png", pred)
        weather = ["clear", "rainy"][i % 2]
        attributes = {"weather": weather, "timeofday": "night"}
        frames.append({"name": f"f{i}.jpg", "labels": scores, "attributes": attributes})
    (tmp_path / "score.json").write_text(json.dumps(frames))
    return tmp_path


def scored(files, *more):
    return score("ins_seg", files / "gt", files / "pred", "--score-file", files / "score.json", *more)


def test_everything_on_the_command_line(files):
    pytest.importorskip("matplotlib")
    more = ["--ci", "--worst", "2", "--plots", files / "plots"]
    more += ["--by", "weather,timeofday", "--attributes", files / "score.json"]
    done = scored(files, *more)
    assert done.code == 0
    shown = done.out
    assert "95% intervals" in shown
    assert "rainy" in shown
    assert "worst frames by AP50" in shown
    first = (files / "plots/precision-recall-50.svg").read_bytes()
    done = scored(files, *more, "--force", "--format", "json")
    assert done.code == 0
    result = done.data
    assert list(result)[:3] == ["AP", "AP50", "AP75"]
    extra = result["bddzoo"]
    assert extra["slices"]["weather"]["rainy"]["frames"] == 2
    assert len(extra["worst"]) == 2
    assert extra["intervals"]["values"]["AP"][0] <= extra["summary"]["AP"]
    assert "IoU .50" in extra["definitions"]["AP"]
    made = {p.name for p in (files / "plots").iterdir()}
    names = ("precision-recall-50", "precision-recall-75", "reliability")
    assert made == {f"{name}.{s}" for name in names for s in ("png", "svg")}
    again = scored(files, *more)
    assert again.code == 2
    assert "--force" in again.err
    assert (files / "plots/precision-recall-50.svg").read_bytes() == first


def test_csv(files):
    done = scored(files, "--format", "csv")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0].startswith("class,AP,AP50,AP75")
    assert lines[1].startswith("pedestrian,")
    assert lines[-1].startswith("overall,")


def test_confusion_plot(tmp_path):
    pytest.importorskip("matplotlib")
    truth = scenes.class_map(np.random.default_rng(6))
    write_png(tmp_path / "gt/f.png", truth)
    write_png(tmp_path / "pred/f.png", truth)
    done = score("sem_seg", tmp_path / "gt", tmp_path / "pred", "--plots", tmp_path / "plots")
    assert done.code == 0
    assert {p.name for p in (tmp_path / "plots").iterdir()} == {"confusion.png", "confusion.svg"}
    assert "not in the ground truth" in done.out


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (["--by", "weather"], 2),
        (["--by", "season", "--attributes", "score.json"], 2),
        (["--by", "weather", "--attributes", "nowhere.json"], 5),
        (["--evaluator", "official", "--ci"], 2),
    ],
)
def test_mistakes(files, monkeypatch, more, code):
    monkeypatch.chdir(files)
    refused(scored(files, *more), code)


@pytest.mark.parametrize("kind", ["png", "json"])
def test_background_that_is_predicted_as_drivable_is_said(tmp_path, kind):
    truth = np.full((720, 1280), 2, np.uint8)
    truth[500:600, 300:700] = 0
    truth[500:600, 700:900] = 1
    everything = np.where(truth == 2, 0, truth).astype(np.uint8)
    little = truth.copy()
    little[400:500] = 0
    for name, pixels in (("gt", truth), ("all", everything), ("little", little)):
        write_png(tmp_path / name / "f.png", pixels)
        assert convert_labels("drivable", tmp_path / name, "rle", tmp_path / f"{name}.json").code == 0
    end = ".json" if kind == "json" else ""
    for name, said in (("all", True), ("little", False), ("gt", False)):
        shown = score("drivable", tmp_path / f"gt{end}", tmp_path / f"{name}{end}")
        assert shown.code == 0
        assert ("more than half of the background" in shown.err) is said
        assert "100.00" in shown.out
