from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bddzoo.datasets.classes import INS_SEG, SEM_SEG
from bddzoo.errors import ExitCode
from bddzoo.registry.model import Digest, Elsewhere, GroundTruth, Model, Reported
from bddzoo.results import Verdict, WeightsUsed, best_record, judge
from bddzoo.results.record import decode_record, encode_record
from bddzoo.results.verdict import DEFAULT_TOLERANCE, tolerance_of, worst
from tests.results.factory import MD5, make_model, make_record

ROOT = Path(__file__).resolve().parents[2]
ALL = dict.fromkeys(SEM_SEG.names, 61.592)


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        (61.59, Verdict.REPRODUCED),
        (61.645, Verdict.REPRODUCED),  # 61.59 + 0.005 + 0.05, the border itself
        (61.535, Verdict.REPRODUCED),
        (61.6451, Verdict.BETTER),
        (61.5349, Verdict.DRIFTED),
        (0.0, Verdict.DRIFTED),
        (100.0, Verdict.BETTER),
    ],
)
def test_the_tolerance_is_half_a_printed_unit_and_the_default(value: float, verdict: Verdict) -> None:
    report = judge(make_model(), make_record(value=value))
    assert report.verdict is verdict
    assert report.worst.tolerance == Decimal("0.055")
    assert report.worst.difference == pytest.approx(value - 61.59)
    assert (report.reasons == ()) == (verdict is Verdict.REPRODUCED)


def test_the_printed_precision_counts() -> None:
    model = make_model({"mIoU": "61.6"})
    assert tolerance_of(model, "mIoU", Decimal("61.6")) == Decimal("0.10")
    assert tolerance_of(model, "mIoU", Decimal("62")) == Decimal("0.55")
    assert tolerance_of(model, "AP", Decimal("20.5")) == Decimal("0.15")


def test_the_registry_overrides_the_default() -> None:
    model = make_model(tolerance="0")
    assert judge(model, make_record(model, 61.595)).verdict is Verdict.REPRODUCED
    assert judge(model, make_record(model, 61.5951)).verdict is Verdict.BETTER
    assert judge(make_model(tolerance="2"), make_record(value=60.0)).verdict is Verdict.REPRODUCED


@pytest.mark.parametrize(
    ("changes", "verdict", "reason"),
    [
        ({"protocol": {"limit": 5, "images": 5}}, Verdict.INCOMPARABLE, "limited to 5 images"),
        ({"protocol": {"images": 999, "split_images": 999}}, Verdict.INCOMPARABLE, "999 of 1000"),
        ({"protocol": {"images": 1001}}, Verdict.INCOMPARABLE, "another data set: 1001 images"),
        ({"protocol": {"images": 999, "skipped": ("b1",)}}, Verdict.INCOMPARABLE, "were skipped: b1"),
        ({"protocol": {"skipped": ("b1",)}}, Verdict.INCOMPARABLE, "skipped"),
        ({"protocol": {"partial": True}}, Verdict.INCOMPARABLE, "partial"),
        ({"protocol": {"dataset": "bddzoo-mini"}}, Verdict.INCOMPARABLE, "'dataset' differs"),
        ({"protocol": {"scale": (1024, 512)}}, Verdict.INCOMPARABLE, "'scale' differs"),
        ({"protocol": {"mode": "slide"}}, Verdict.INCOMPARABLE, "'mode' differs"),
        ({"protocol": {"flip": True}}, Verdict.INCOMPARABLE, "'flip' differs"),
        ({"protocol": {"precision": "amp-fp16"}}, Verdict.INCOMPARABLE, "'precision' differs"),
        ({"protocol": {"options": {"score-threshold": "0.3"}}}, Verdict.INCOMPARABLE, "score-threshold"),
        ({"protocol": {"evaluator": "mmseg"}}, Verdict.INCOMPARABLE, "'evaluator' differs"),
        ({"per_class": {"IoU": {**ALL, "car": 61.5}}}, Verdict.UNVERIFIED, "contradicts itself: mIoU is"),
        ({"absent_classes": ("train",)}, Verdict.INCOMPARABLE, "without a value: train"),
        ({"per_class": {"IoU": {**ALL, "car": float("nan")}}}, Verdict.INCOMPARABLE, "without a value: car"),
        (
            {"per_class": {"IoU": {n: v for n, v in ALL.items() if n != "train"}}},
            Verdict.INCOMPARABLE,
            "without a value: train",
        ),
        (
            {"weights": WeightsUsed(name="w", state="verified")},
            Verdict.UNVERIFIED,
            "no digest of the weights is recorded",
        ),
        ({"summary": {"mIoU": float("nan")}}, Verdict.MISSING, "not a number"),
        ({"summary": {"fIoU": 61.59}}, Verdict.MISSING, "was not measured"),
        ({"weights": WeightsUsed(name="w", state="observed")}, Verdict.UNVERIFIED, "observed, not verified"),
        ({"weights": WeightsUsed(name="w", state="unknown")}, Verdict.UNVERIFIED, "unknown, not verified"),
        ({"weights": None}, Verdict.UNVERIFIED, "not recorded"),
        ({"protocol": {"split": "test"}}, Verdict.MISSING, "no number on split 'test'"),
    ],
)
def test_what_is_never_reproduced(changes: dict, verdict: Verdict, reason: str) -> None:
    report = judge(make_model(), make_record(**changes))
    assert report.verdict is verdict
    assert any(reason in text for text in report.reasons), report.reasons


def test_batch_and_device_do_not_make_it_incomparable() -> None:
    record = make_record(protocol={"device": "cuda", "batch_size": 8})
    assert judge(make_model(), record).verdict is Verdict.REPRODUCED


def test_unknown_protocol_is_unverified() -> None:
    model = make_model(protocol=False)
    report = judge(model, make_record(model))
    assert report.verdict is Verdict.UNVERIFIED
    assert "protocol is unknown" in report.reasons[0]


def test_nothing_reported_is_missing_and_never_a_pass() -> None:
    for reported in ({}, {"mIoU": None}):
        model = make_model(reported)
        assert judge(model, make_record(model)).verdict is Verdict.MISSING


def test_a_record_of_another_model_is_incomparable() -> None:
    assert judge(make_model(), make_record(make_model(id="other"))).verdict is Verdict.INCOMPARABLE


def test_published_predictions_need_no_weights_nor_inference_fields() -> None:
    record = make_record(weights=None, protocol={"source": "predictions", "scale": None, "mode": None})
    assert judge(make_model(), record).verdict is Verdict.REPRODUCED


def test_the_worst_metric_decides() -> None:
    model = make_model({"AP": "20.5", "box_AP": "24.2"}, task="ins_seg")
    tables = {"AP": dict.fromkeys(INS_SEG.names, 20.5), "box_AP": dict.fromkeys(INS_SEG.names, 24.2)}
    good = make_record(model, summary={"AP": 20.5, "box_AP": 24.2}, per_class=tables)
    assert judge(model, good).verdict is Verdict.REPRODUCED
    tables["box_AP"] = dict.fromkeys(INS_SEG.names, 22.0)
    bad = make_record(model, summary={"AP": 20.5, "box_AP": 22.0}, per_class=tables)
    report = judge(model, bad)
    assert report.verdict is Verdict.DRIFTED
    assert [m.verdict for m in report.metrics] == [Verdict.REPRODUCED, Verdict.DRIFTED]
    assert report.worst is report.metrics[1]
    part = make_record(model, summary={"AP": 20.5}, per_class={"AP": tables["AP"]})
    assert judge(model, part).verdict is Verdict.MISSING


def test_exit_codes() -> None:
    codes = {v: v.exit_code for v in Verdict}
    assert codes == {
        Verdict.REPRODUCED: ExitCode.OK,
        Verdict.DRIFTED: ExitCode.NOT_REPRODUCED,
        Verdict.BETTER: ExitCode.NOT_REPRODUCED,
        Verdict.INCOMPARABLE: ExitCode.INCOMPARABLE,
        Verdict.MISSING: ExitCode.MISSING,
        Verdict.UNVERIFIED: ExitCode.INTEGRITY,
    }
    assert worst([]) is Verdict.MISSING
    assert worst([Verdict.REPRODUCED, Verdict.MISSING]) is Verdict.MISSING


@given(
    value=st.floats(min_value=0, max_value=100),
    there=st.lists(st.booleans(), min_size=1, max_size=4),
    edited=st.sampled_from([0.0, 0.0, 2.0]),
    limit=st.one_of(st.none(), st.integers(1, 1000)),
    images=st.sampled_from([0, 1, 999, 1000]),
    skipped=st.sampled_from([(), ("a",)]),
    state=st.sampled_from(["verified", "observed", "unknown"]),
)
def test_reproduced_means_that_nothing_stands_in_the_way(
    value: float, there: list, edited: float, limit: int | None, images: int, skipped: tuple, state: str
) -> None:
    model = make_model({"mIoU": "50.00"})
    spread = dict.fromkeys(SEM_SEG.names, value)
    spread |= {n: value if here else None for n, here in zip(SEM_SEG.names, there, strict=False)}
    record = make_record(
        model,
        value,
        per_class={"IoU": {n: v + edited if v is not None else None for n, v in spread.items()}},
        protocol={"limit": limit, "images": images, "skipped": skipped},
        weights=WeightsUsed(name="w", md5=MD5, state=state),  # type: ignore[arg-type]
    )
    whole = all(there) and limit is None and images == 1000 and not skipped
    whole = whole and state == "verified" and not edited
    near = abs(Decimal(repr(value)) - 50) <= Decimal("0.005") + DEFAULT_TOLERANCE["mIoU"]
    report = judge(model, record)
    assert (report.verdict is Verdict.REPRODUCED) == (whole and near)
    assert (not report.reasons) == (whole and near)


def test_a_record_is_immutable() -> None:
    record = make_record()
    with pytest.raises(AttributeError):
        record.model = "x"  # type: ignore[misc]
    assert replace(record, model="x").model == "x"


def test_a_set_of_unknown_size_is_unverified() -> None:
    model = make_model()
    other = replace(model, protocol=replace(model.protocol, dataset="own-set"))
    fields = {"dataset": "own-set", "images": 12, "split_images": None}
    assert judge(other, make_record(other, protocol=fields)).verdict is Verdict.UNVERIFIED
    fields["split_images"] = 12
    assert judge(other, make_record(other, protocol=fields)).verdict is Verdict.REPRODUCED


def test_a_folder_that_claims_to_be_all_of_bdd100k_is_not_believed() -> None:
    record = make_record(protocol={"images": 12, "split_images": 12})
    assert judge(make_model(), record).verdict is Verdict.INCOMPARABLE


def test_a_quick_look_does_not_push_a_whole_measurement_aside() -> None:
    model = make_model()
    old = make_record(value=61.0, run={"started": "2026-01-01T00:00:00Z"})
    whole = make_record(value=61.592, run={"started": "2026-01-02T00:00:00Z"})
    quick = make_record(protocol={"limit": 5, "images": 5}, run={"started": "2026-01-03T00:00:00Z"})
    assert best_record(model, [whole, quick, old]) is whole
    assert best_record(model, [quick]) is quick
    assert best_record(model, [quick], split="test") is None


TRUTH = {"images": "sha256:" + "1" * 64, "labels": "sha256:" + "2" * 64}


@pytest.mark.parametrize("known", ["none", "same", "other"])
@pytest.mark.parametrize("what", ["images", "labels"])
@pytest.mark.parametrize("measured", [True, False])
def test_ground_truth_and_image_list_are_compared_by_digests(what: str, known: str, measured: bool) -> None:
    """Another one is incomparable, an unknown one is said; nothing is taken for compared that was not."""
    model = make_model()
    same = TRUTH[what].partition(":")[2]
    digest = Digest("sha256", same if known == "same" else "f" * 64, "computed")
    if known != "none":
        truth = {"val": GroundTruth(**{what: digest})}
        model = replace(model, protocol=replace(model.protocol, ground_truth=truth))
    field = {"images": "image_list", "labels": "labels"}[what]
    record = make_record(model, protocol={field: TRUTH[what]} if measured else {})
    report = judge(model, record)
    name = {"images": "image list", "labels": "ground truth"}[what]
    if known == "none" or not measured:
        assert (report.verdict, name in report.not_compared) == (Verdict.REPRODUCED, True)
        assert f"not compared: {', '.join(report.not_compared)}" in report.scope
    elif known == "same":
        assert (report.verdict, name in report.compared) == (Verdict.REPRODUCED, True)
    else:
        assert report.verdict is Verdict.INCOMPARABLE
        assert name not in (*report.compared, *report.not_compared)
        assert any(name in reason for reason in report.reasons)


def with_other_protocol(own: str = "61.59", other: str = "70.00") -> Model:
    """A model whose number by a second protocol, with another scale, was published elsewhere."""
    model = make_model({"mIoU": own})
    protocols = {"q": replace(model.protocol, id="q", scale=(640, 360))}
    number = Reported("val", "mIoU", "", Decimal(other))
    return replace(model, protocols=protocols, elsewhere=(Elsewhere("a paper", (number,), protocol="q"),))


@pytest.mark.parametrize("named", [True, False])
def test_a_record_is_judged_by_the_protocol_that_it_was_measured_by(named: bool) -> None:
    """Also one of an earlier version, which does not name it."""
    model = with_other_protocol()
    record = make_record(model.tested_by("q"), 70.001)
    if not named:
        record = replace(record, protocol=replace(record.protocol, id=msgspec.UNSET))
    for judged in (model, model.tested_by("q")):
        report = judge(judged, record)
        assert (report.verdict, report.protocol) == (Verdict.REPRODUCED, "q")
        assert report.reported == Decimal("70.00")
    own = judge(model, make_record(model, 61.59))
    assert (own.verdict, own.protocol, own.reported) == (Verdict.REPRODUCED, "p", Decimal("61.59"))


def test_a_measurement_by_another_protocol_replaces_none_by_the_models_own() -> None:
    model = with_other_protocol()
    own = make_record(model, 50.0, run={"started": "2020-01-01T00:00:00Z"})
    other = make_record(model.tested_by("q"), 70.0, run={"started": "2021-01-01T00:00:00Z"})
    assert best_record(model, [own, other]) is own
    assert best_record(model, [other]) is other


def test_nothing_published_for_a_protocol_is_missing() -> None:
    model = with_other_protocol()
    other = model.tested_by("r", replace(model.protocol, id="r"))
    for judged in (model, other):
        report = judge(judged, make_record(other))
        assert (report.verdict, report.protocol) == (Verdict.MISSING, "r")
        assert "no number on split 'val'" in report.reasons[0]


def test_records_of_earlier_versions_keep_their_names() -> None:
    """Fields that they lack are not written: the same bytes, so the same name and no second record."""
    folders = (ROOT / "tests/surface/samples/results", ROOT / "benchmarks/results")
    paths = [path for folder in folders for path in folder.rglob("*.json") if path.parent.name != "speed"]
    assert paths
    for path in paths:
        data = path.read_bytes()
        assert encode_record(decode_record(data, str(path))) == data


def test_first_digits_of_a_digest_are_enough_where_that_is_asked_for():
    record = make_record(weights=WeightsUsed(name="w", md5=MD5, state="prefix"))
    report = judge(make_model(), record)
    assert report.verdict is Verdict.UNVERIFIED
    assert "weights" in report.not_compared
    accepted = judge(make_model(), make_record(weights=record.weights.with_accepted_prefix()))
    assert accepted.verdict is Verdict.REPRODUCED
    assert "weights (first digits of the digest)" in accepted.compared
    for state in ("observed", "unknown"):
        claimed = make_record(weights=WeightsUsed(name="w", state=state, accepted=True))
        assert judge(make_model(), claimed).verdict is Verdict.UNVERIFIED
