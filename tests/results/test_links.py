"""The link between the registry and the zoo's own document: what is compared, and what is noticed."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
from msgspec.structs import replace

from bddzoo.registry import load_registry
from bddzoo.registry.model import Link, Model, Section
from bddzoo.reports.upstream import render_document
from bddzoo.results import Verdict
from bddzoo.results.links import attempt, check_registry, check_scores

REGISTRY = load_registry()
# Those whose documents print numbers; openseg.pytorch's does not.
ZOOS = ("bdd100k-models", "vis4d")
SECTIONS = [section for section in REGISTRY.sections if section.zoo.id in ZOOS]


def named(section: Section) -> str:
    return f"{section.zoo.id}-{section.task}"


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each section's document, as its zoo prints it."""
    folder = tmp_path_factory.mktemp("documents")
    found = {}
    for section in SECTIONS:
        found[named(section)] = folder / f"{named(section)}.md"
        found[named(section)].write_text(render_document(section), encoding="utf-8")
    return found


def changes(model: Model, split: str) -> dict[str, Model]:
    """One change a field that the document prints: each must be noticed."""
    weights = model.artifact("weights")
    found = {
        "number": replace(
            model,
            reported=tuple(
                replace(r, value=r.value + Decimal("0.01")) if r.split == split and r.value is not None else r
                for r in model.reported
            ),
        ),
        "decimals": replace(
            model,
            reported=tuple(
                replace(r, value=Decimal(f"{r.value}0")) if r.split == split and r.value is not None else r
                for r in model.reported
            ),
        ),
        "heading": replace(model, method=replace(model.method, name="Other")),
        "backbone": replace(model, backbone="Other"),
    }
    if model.method.paper is not None and model.method.paper.url:
        other = Link(model.method.paper.title, "https://127.0.0.1/other")
        found["paper"] = replace(model, method=replace(model.method, paper=other))
    if model.settings:
        first = next(iter(model.settings))
        found["settings"] = replace(model, settings={**model.settings, first: "other"})
    if weights is not None and weights.sources:
        moved = replace(weights, sources=("https://127.0.0.1/other.pth",), printed=None)
        files = tuple(moved if a.kind == "weights" else a for a in model.artifacts)
        found["links"] = replace(model, artifacts=files)
    if weights is not None and weights.digest_url:
        files = tuple(
            replace(a, digest_url="https://127.0.0.1/other.md5") if a.kind == "weights" else a
            for a in model.artifacts
        )
        found["md5"] = replace(model, artifacts=files)
    return found


@pytest.mark.parametrize("section", SECTIONS, ids=named)
def test_a_row_as_its_zoo_prints_it_holds_and_every_change_is_noticed(
    section: Section, documents: dict[str, Path]
) -> None:
    document = documents[named(section)]
    split = next(r.split for m in section.models for r in m.reported if r.value is not None)
    models = [m for m in section.models if any(r.split == split and r.value is not None for r in m.reported)]
    assert models
    for model in models[:: max(1, len(models) // 6)]:
        result = check_registry(model, [document], split)
        assert (result.verdict, result.reasons) == (Verdict.REPRODUCED, ())
        assert {"numbers", "names"} <= set(result.compared)
        assert ("links" in result.compared) == any(a.sources for a in model.artifacts)
        for what, changed in changes(model, split).items():
            # The row is found by its id where it has one; without, a change of name hides it altogether.
            broken = attempt("registry", lambda m=changed: check_registry(m, [document], split))
            assert broken.verdict is not Verdict.REPRODUCED, f"{model.id}: {what}"
            assert broken.reasons, f"{model.id}: {what}"
            assert broken.looked == bool(broken.source)


def test_a_link_that_nobody_could_look_at_says_so(tmp_path: Path) -> None:
    model = SECTIONS[0].models[0]
    result = attempt("registry", lambda: check_registry(model, [tmp_path / "none.md"]))
    assert (result.verdict, result.looked, result.outcome) == (Verdict.MISSING, False, "not looked at")
    assert result.compared == ()


@pytest.mark.parametrize(
    ("ident", "key", "total"),
    [
        ("faster_rcnn_r50_fpn_1x_det_bdd100k", "AP", "OVERALL"),
        ("mask_rcnn_r50_fpn_1x_ins_seg_bdd100k", "AP", "OVERALL"),
        ("resnet50_5x_weather_tag_bdd100k", "accuracy_top-1", None),
    ],
)
@pytest.mark.parametrize("off", [0, 1])
def test_a_scores_file_calls_metrics_by_the_toolkits_names(tmp_path, ident, key, total, off):
    model = REGISTRY.find(ident)
    reported = next(
        r for r in model.reported if r.split == "val" and r.metric in ("AP", "box_AP", "accuracy")
    )
    value = float(reported.value) + off
    content = {key: [{"car": value}, {total: value}] if total else value}
    (tmp_path / "scores.json").write_text(json.dumps(content))
    result = check_scores(model, tmp_path / "scores.json")
    measured = [m.measured for m in result.metrics if m.metric == reported.metric]
    assert measured == [value]
    assert (result.metrics[0].difference == pytest.approx(0, abs=0.005)) == (not off)
