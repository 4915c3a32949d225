"""A record whose parts disagree is noticed, and no real one is taken for one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bddzoo.datasets.classes import INS_SEG, PAN_SEG, SEM_SEG
from bddzoo.evaluation import BoxAccumulator, InsSegAccumulator, Scores
from bddzoo.evaluation.metrics.panseg import pan_scores
from bddzoo.evaluation.metrics.scores import contradictions
from bddzoo.evaluation.metrics.semseg import semseg_scores
from bddzoo.evaluation.metrics.tracking import WIDTH, track_scores
from bddzoo.registry import load_registry
from bddzoo.results import Verdict, judge
from bddzoo.results.scorefile import read_score_file
from tests.evaluation import scenes
from tests.evaluation.cases import runs
from tests.results.factory import make_record, records_in

ROOT = Path(__file__).resolve().parents[2]
RECORDS = records_in(ROOT / "benchmarks/results")


def counted(rng: np.random.Generator, rule: str) -> Scores:
    """Scores of class maps in which some classes do not occur, in ground truth or anywhere."""
    found, more, other = rng.integers(0, 1000, (3, 19)) * (rng.random((3, 19)) < [[0.6], [0.8], [0.8]])
    return semseg_scores(np.stack((found, found + more, found + other)), SEM_SEG.names, 3, "sem_seg", rule)


def instances(rng: np.random.Generator) -> Scores:
    masks, boxes = InsSegAccumulator(INS_SEG.names), BoxAccumulator(INS_SEG.names)
    for name in "ab":
        truth, found, scores = scenes.ins_frame(rng)
        masks.update(truth, found, scores, name)
        count = len(scores)
        low = rng.uniform(0, 60, (count, 2))
        det = np.concatenate((low, low + rng.uniform(1, 60, (count, 2))), axis=1)
        boxes.update(truth, det, rng.random(count), rng.integers(0, 8, count), name)
    return masks.compute().with_scores(boxes.compute())


def panoptic(rng: np.random.Generator) -> Scores:
    counts = rng.integers(0, 9, (4, len(PAN_SEG.names))).astype(float)
    counts[:, rng.random(counts.shape[1]) < 0.4] = 0
    counts[0] *= counts[1] > 0
    return pan_scores(counts, PAN_SEG.names, 30, 3)


def tracked(rng: np.random.Generator) -> Scores:
    return track_scores(rng.integers(0, 9, (8, WIDTH)).astype(float), INS_SEG.names, 2, "box_track")


KINDS: dict[str, Callable[[np.random.Generator], Scores]] = {
    **{rule: lambda rng, rule=rule: counted(rng, rule) for rule in ("bdd100k", "openseg", "tagging")},
    "ins_seg": instances,
    "pan_seg": panoptic,
    "tracking": tracked,
}


def parts(scores: Scores, digits: int = 15) -> tuple[dict, dict]:
    """Summary and tables as records have them, rounded."""

    def plain(row: dict) -> dict:
        return {k: round(v, digits) if v is not None else None for k, v in row.items()}

    content = scores.to_json()
    return plain(content["summary"]), {m: plain(row) for m, row in content["per_class"].items()}


def of_file(path: Path, task: str = "") -> list[str]:
    """What contradicts itself in a file of scores, as it is judged."""
    found = read_score_file(path, task)
    record = make_record(summary=found.summary, per_class=found.classes, protocol={"source": "scores"})
    return list(contradictions(record.summary, record.per_class, found.absent, printed=True))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), digits=st.sampled_from([0, 1, 2, 15]))
def test_real_scores_do_not_and_edited_ones_do(
    kind: str, seed: int, digits: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rng = np.random.default_rng(seed)
    scores = KINDS[kind](rng)
    assert list(contradictions(*parts(scores), scores.absent)) == []
    assert list(contradictions(*parts(scores, digits), printed=True)) == []
    path = tmp_path_factory.mktemp("scores") / "scores.json"
    path.write_text(json.dumps(scores.to_official()))
    assert of_file(path) == []

    summary, table = parts(scores)
    there = [
        (metric, name)
        for metric, row in table.items()
        for name, value in row.items()
        if value is not None and name not in scores.absent and table.get("N", {}).get(name, 1)
    ]
    if kind == "tracking" or not there:
        return
    metric, name = there[rng.integers(len(there))]
    if metric != "N":
        table[metric][name] += float(rng.choice([-7, -0.001, 0.001, 7]))
        (line,) = contradictions(summary, table, scores.absent)
        assert metric in line
    if kind == "bdd100k" and scores.absent and summary["mIoU"]:
        assert any("mIoU" in line for line in contradictions(*parts(scores)))


@pytest.mark.parametrize(("folder", "argv", "outcome"), runs(lambda _, outcome: "result" in (outcome or {})))
def test_what_the_official_toolkit_gave(folder: Path, argv: list[str], outcome: dict, tmp_path: Path) -> None:
    (tmp_path / "scores.json").write_text(json.dumps(outcome["result"]))
    assert of_file(tmp_path / "scores.json", argv[argv.index("-t") + 1]) == []


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.task)
def test_a_record_with_an_edited_class_is_unverified(record) -> None:
    model = load_registry(None).find(record.model)
    assert judge(model, record).verdict is Verdict.REPRODUCED
    for metric, row in record.per_class.items():
        name = next(n for n, v in row.items() if v is not None)
        edited = {**record.per_class, metric: {**row, name: row[name] + 1}}
        report = judge(model, replace(record, per_class=edited))
        assert report.verdict is Verdict.UNVERIFIED
        assert any("contradicts itself" in reason for reason in report.reasons), report.reasons


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.task)
def test_a_record_of_other_weights_than_the_registrys_is_unverified(record) -> None:
    model = load_registry(None).find(record.model)
    known = {d.algorithm for d in model.artifact("weights").digests}
    assert known & {"md5", "sha256"}
    for algorithm in known:
        other = replace(record.weights, **{algorithm: "f" * len(getattr(record.weights, algorithm))})
        report = judge(model, replace(record, weights=other))
        assert report.verdict is Verdict.UNVERIFIED
        assert f"the {algorithm} of the weights is not the one" in report.reasons[0]
