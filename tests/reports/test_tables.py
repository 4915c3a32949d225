"""Tables in our own style."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pytest

from bddzoo.cli.output import table
from bddzoo.registry import Registry, load_registry
from bddzoo.registry.model import Section
from bddzoo.reports.tables import (
    UNKNOWN,
    compact_table,
    latest_records,
    link,
    measured_rows,
    measured_tables,
    render_page,
    section_tables,
    settings_text,
)
from bddzoo.text import csv_table, markdown_table
from tests.registry.facts import PUBLISHED
from tests.results.factory import fail

REGISTRY = load_registry()
SECTIONS = [s for s in REGISTRY.sections if s.zoo.id in PUBLISHED]
LINK = re.compile(r"\[[^\]]*\]\(([^)]*)\)")


@pytest.fixture(scope="module")
def registry() -> Registry:
    return REGISTRY


def cells(row: str) -> list[str]:
    return [c.strip() for c in re.split(r"(?<!\\)\|", row)[1:-1]]


@pytest.mark.parametrize("section", REGISTRY.sections, ids=lambda s: f"{s.zoo.id}-{s.task}")
@pytest.mark.parametrize("render", [compact_table, render_page])
def test_links_are_absolute_and_never_empty(section: Section, render: object) -> None:
    assert callable(render)
    text = render(section)
    assert all(url.startswith(("https://", "http://")) for url in LINK.findall(text))
    assert "]()" not in text
    assert "](None)" not in text


@pytest.mark.parametrize("section", SECTIONS, ids=lambda s: f"{s.zoo.id}-{s.task}")
def test_compact_table_has_every_model_and_number(section: Section) -> None:
    header, rule, *rows = compact_table(section).split("\n")
    names = cells(header)
    assert len(rows) == len(section.models)
    assert all(len(cells(row)) == len(names) for row in [rule, *rows])
    for model, row in zip(section.models, rows, strict=True):
        found = dict(zip(names, cells(row), strict=True))
        assert f"`{model.id}`" in found["Model"]
        for entry in model.reported:
            column = f"{entry.metric} {entry.split}"
            assert found.get(column, UNKNOWN) == (UNKNOWN if entry.value is None else str(entry.value))


@pytest.mark.parametrize("section", SECTIONS, ids=lambda s: f"{s.zoo.id}-{s.task}")
def test_page_has_every_fact_of_the_methods(section: Section) -> None:
    page = render_page(section)
    for method in section.methods:
        assert f"\n## {method.name}\n" in page
        for author in method.authors:
            assert link(author.name, author.url) in page
        if method.paper is not None:
            assert link(method.paper.title, method.paper.url) in page
        if method.code is not None:
            assert f"<{method.code.url}>" in page
    for model in section.models:
        for artifact in model.artifacts:
            for url in (artifact.page or next(iter(artifact.sources), None), artifact.digest_url):
                assert url is None or url in page
        for note in model.notes:
            assert note in page
        for other in model.elsewhere:
            assert other.source in page


def test_settings_in_one_cell(registry: Registry) -> None:
    def text(model_id: str) -> str:
        return settings_text(registry.find(model_id))

    assert text("fpn_r50_gn_dconv_512x1024_40k_sem_seg_bdd100k") == "GN, Deform. Conv., 40K, 512 × 1024"
    assert text("mask_rcnn_r50_fpn_3x_32bs_ins_seg_bdd100k") == "Batch Size 32, 3x, MS-train"
    assert text("fcn-mobilenetv2-cityscapes") == "FCN"


def test_several_sections_have_titles() -> None:
    text = section_tables(SECTIONS)
    for section in SECTIONS:
        assert f"`{section.zoo.id}`, `{section.task}`" in text
    assert "1 model\n" in text
    assert "53 models\n" in text


def test_text_tables() -> None:
    headers, rows, right = ["a", "number"], [["x|y", "1"], ["建物", "22"]], [False, True]
    assert table(headers, rows, room=80) == "a     number\n----  ------\nx|y        1\n建物      22"
    assert markdown_table(headers, rows, right) == (
        "| a | number |\n| :-- | --: |\n| x\\|y | 1 |\n| 建物 | 22 |"
    )
    assert csv_table(headers, [["x,y", 'z"']]) == 'a,number\n"x,y","z"""'


def test_links_in_markdown() -> None:
    assert link("a", None) == "a"
    assert link("a", "https://x.org/b (1)") == "[a](https://x.org/b%20%281%29)"


def record(registry: Registry, model_id: str, value: float, started: str, **fields: object) -> object:
    from bddzoo.results.record import Fingerprint, RunInfo, WeightsUsed, new_record

    model = registry.find(model_id)
    given = {"dataset": "bdd100k", "split": "val", "images": 1000, "split_images": 1000, **fields}
    return new_record(
        model,
        summary={"mIoU": value, "AP": value, "box_AP": value + 6},
        per_class={},
        protocol=Fingerprint.of(model, **given),
        weights=WeightsUsed(name="x.pth", md5="0" * 32, sha256="0" * 64, state="verified"),
        run=RunInfo(started=started, duration_s=1.0),
    )


def test_measured_beside_reported(registry: Registry, tmp_path: Path) -> None:
    from bddzoo.results import write_record

    name = "fcn_r50-d8_512x1024_40k_sem_seg_bdd100k"
    section = registry.section("bdd100k-models", "sem_seg")
    write_record(record(registry, name, 12.0, "2025-01-01T00:00:00Z"), tmp_path)  # type: ignore[arg-type]
    write_record(record(registry, name, 59.8123, "2025-02-03T00:00:00Z"), tmp_path)  # type: ignore[arg-type]
    verdict = "reproduced (not compared: image list, ground truth)"
    records = latest_records(tmp_path, [section], fail)
    assert measured_rows(registry.find(name), records.get(name)) == [
        (
            "mIoU-val",
            "59.80",
            "59.81",
            "+0.01",
            "reproduced (not compared: image list, ground truth)",
            "2025-02-03",
        )
    ]
    text = measured_tables([section], tmp_path, fail)
    assert "1 of 53 measured" in text
    assert f"| `{name}` | mIoU-val | 59.80 | 59.81 | +0.01 | {verdict} | 2025-02-03 |" in text
    # What was not measured is missing, never a pass.
    assert text.count("| missing |") == 52
    assert text.count("reproduced") == 1


@pytest.mark.parametrize(
    ("value", "fields", "verdict", "difference"),
    [
        (50.0, {}, "drifted", "-9.80"),
        (70.0, {}, "better-than-reported", "+10.20"),
        (59.80, {}, "reproduced (not compared: image list, ground truth)", "0.00"),
        (59.80, {"images": 10, "limit": 10, "partial": True}, "incomparable", "0.00"),
        (float("nan"), {}, "missing", UNKNOWN),
    ],
)
def test_verdicts_in_tables(
    registry: Registry, value: float, fields: dict, verdict: str, difference: str
) -> None:
    name = "fcn_r50-d8_512x1024_40k_sem_seg_bdd100k"
    made = record(registry, name, value, "2025-02-03T00:00:00Z", **fields)
    (row,) = measured_rows(registry.find(name), made)  # type: ignore[arg-type]
    assert row[3:5] == (difference, verdict)


def test_instance_models_have_a_row_per_number(registry: Registry) -> None:
    name = "mask_rcnn_r50_fpn_1x_ins_seg_bdd100k"
    made = record(registry, name, 16.24, "2025-02-03T00:00:00Z")
    rows = measured_rows(registry.find(name), made)  # type: ignore[arg-type]
    assert [(r[0], r[1], r[2]) for r in rows] == [
        ("AP-val", "16.24", "16.24"),
        ("box_AP-val", "22.34", "22.24"),
    ]
    assert Decimal(rows[1][3]) == Decimal("-0.10")
