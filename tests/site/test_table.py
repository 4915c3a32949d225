"""The table of the front page in a real browser, by mouse and by keyboard."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from bddzoo.registry.query import sort_models
from tests.site.conftest import Opener
from tests.site.front import MEASURED, OURS, REGISTRY, TASK, address, heading, ids, pick


def test_it_opens_with_the_best_first(visit: Opener, site: Path) -> None:
    page = visit(site / "index.html")
    assert ids(page) == [m.id for m in sort_models(OURS, "mIoU-val", reverse=True)]
    assert (
        page.locator(f"#{TASK} .status").text_content()
        == f"{len(OURS)} of {len(REGISTRY.select(task=TASK))} models"
    )
    assert not page.locator("#ins_seg").is_visible()
    assert address(page) == ""


def test_sorting(visit: Opener, site: Path) -> None:
    page = visit(site / "index.html")
    column = page.locator("th[data-k=mIoU-test]").first
    heading(page, "mIoU-test").click()
    assert column.get_attribute("aria-sort") == "descending"
    assert ids(page) == [m.id for m in sort_models(OURS, "mIoU-test", reverse=True)]
    assert address(page) == "sort=-mIoU-test"
    heading(page, "mIoU-test").press("Enter")
    assert column.get_attribute("aria-sort") == "ascending"
    assert ids(page) == [m.id for m in sort_models(OURS, "mIoU-test")]
    heading(page, "mIoU-test").press("Space")
    assert column.get_attribute("aria-sort") is None
    assert ids(page) == [m.id for m in OURS], "as published"
    page.go_back()
    assert column.get_attribute("aria-sort") == "ascending"


def test_rows_without_a_value_come_last(visit: Opener, site: Path) -> None:
    page = visit(site / "index.html", "#data=*&sort=mIoU-val")
    values = page.locator(f"#{TASK} tbody tr td:nth-child(2)").all_text_contents()
    numbers = [float(v) for v in values if v.strip()]
    assert numbers == sorted(numbers)
    assert 0 < len(numbers) < len(values)
    assert not any(v.strip() for v in values[len(numbers) :])


def test_search_as_one_types(visit: Opener, site: Path) -> None:
    page = visit(site / "index.html")
    search = page.locator(f"#{TASK} input[type=search]")
    search.press_sequentially("R101 80K")
    expected = {m.id for m in OURS if "r101" in m.id and "80k" in m.id}
    assert set(ids(page)) == expected
    assert address(page) == "q=R101+80K"
    before = page.evaluate("history.length")
    search.press_sequentially("zzz")
    assert ids(page) == []
    assert "nothing passes" in (page.locator(f"#{TASK} .status").text_content() or "")
    assert page.evaluate("history.length") == before, "typing does not fill the history"
    page.get_by_role("button", name="Clear filters").click()
    assert len(ids(page)) == len(OURS)


def test_filters_live_in_the_address(visit: Opener, site: Path) -> None:
    page = visit(site / "index.html")
    pick(page, "Method", "FCN")
    pick(page, "Method", "PSPNet")
    pick(page, "Backbone", "R-50-D8")
    expected = [m.id for m in OURS if m.method.name in ("FCN", "PSPNet") and m.backbone == "R-50-D8"]
    assert sorted(ids(page)) == sorted(expected)
    assert address(page) == "method=FCN&method=PSPNet&backbone=R-50-D8"
    again = visit(site / "index.html", "#" + address(page))
    assert ids(again) == ids(page)
    pick(again, "Method", "FCN")
    assert {m.method.name for m in OURS if m.id in ids(again)} == {"PSPNet"}
    again.go_back()
    assert ids(again) == ids(page)


def test_zoo_and_verdict_filter_too(visit: Opener, site: Path) -> None:
    page = visit(site / "index.html", "#data=*")
    pick(page, "Verdict", "reproduced")
    assert ids(page) == [MEASURED]
    pick(page, "Verdict", "reproduced")
    pick(page, "Zoo", "vis4d")
    assert ids(page) == [m.id for m in REGISTRY.select(zoo="vis4d")]


def test_data_sets_are_not_mixed_unless_asked(visit: Opener, site: Path) -> None:
    page = visit(site / "index.html")
    page.locator(f"#{TASK} .chips button", has_text="cityscapes").click()
    expected = {m.id for m in REGISTRY.select(task=TASK) if m.protocol and m.protocol.dataset == "cityscapes"}
    assert set(ids(page)) == expected
    page.locator(f"#{TASK} .chips button", has_text="All").click()
    assert ids(page) == [m.id for m in REGISTRY.select(task=TASK)]


def test_choosing_columns(visit: Opener, site: Path) -> None:
    page = visit(site / "index.html")
    assert not heading(page, "zoo").is_visible()
    pick(page, "Columns", "Zoo")
    pick(page, "Columns", "Backbone")
    assert heading(page, "zoo").is_visible()
    assert not heading(page, "backbone").is_visible()
    again = visit(site / "index.html", "#" + address(page))
    assert heading(again, "zoo").is_visible()
    assert not again.locator(f"#{TASK} tbody tr").first.get_by_text("ConvNeXt-B", exact=True).is_visible()
    page.get_by_role("button", name="As at first").click()
    assert address(page) == ""


def test_the_other_task(visit: Opener, site: Path) -> None:
    page = visit(site / "index.html", "#method=FCN")
    page.get_by_role("link", name="Instance segmentation").click()
    assert address(page) == "task=ins_seg"
    models = [m for m in REGISTRY.select(task="ins_seg") if m.zoo.id == "bdd100k-models"]
    assert ids(page, "ins_seg") == [m.id for m in sort_models(models, "AP-val", reverse=True)]
    page.go_back()
    assert {m.method.name for m in OURS if m.id in ids(page)} == {"FCN"}


def test_downloads_hold_what_is_shown(visit: Opener, site: Path) -> None:
    page = visit(
        site / "index.html", "#method=FCN&sort=mIoU-val", permissions=["clipboard-read", "clipboard-write"]
    )
    shown = [m for m in sort_models(OURS, "mIoU-val") if m.method.name == "FCN"]
    page.locator(f"#{TASK} summary", has_text="Export").click()
    texts = []
    for name in ("CSV", "JSON"):
        with page.expect_download() as download:
            page.get_by_role("button", name=f"Download {name}").click()
        assert download.value.suggested_filename == f"bddzoo-{TASK}.{name.lower()}"
        texts.append(Path(download.value.path()).read_text("utf-8"))
    rows = list(csv.DictReader(io.StringIO(texts[0])))
    assert [r["Model"] for r in rows] == [m.id for m in shown]
    assert [r["mIoU val"] for r in rows] == [str(m.reported_value("mIoU")) for m in shown]
    data = json.loads(texts[1])
    assert [r["model"] for r in data] == [m.id for m in shown]
    assert [r["mIoU-val"] for r in data] == [float(m.reported_value("mIoU") or 0) for m in shown]
    assert "zoo" not in data[0]
    page.get_by_role("button", name="Copy as Markdown").click()
    page.get_by_role("button", name="Copied").wait_for()
    lines = page.evaluate("navigator.clipboard.readText()").strip().split("\n")
    assert lines[0].startswith("| Model | mIoU val |")
    assert lines[1].startswith("| :-- | --: |")
    assert len(lines) == 2 + len(shown)
    assert lines[2].startswith(f"| {shown[0].id} | {shown[0].reported_value('mIoU')} |")


def test_menus_close_with_escape(visit: Opener, site: Path) -> None:
    page = visit(site / "index.html")
    summary = page.locator(f"#{TASK} summary", has_text="Method")
    summary.focus()
    page.keyboard.press("Enter")
    page.locator("details.menu[open] label").first.wait_for()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert len(ids(page)) < len(OURS)
    assert page.evaluate("document.activeElement.type") == "checkbox", "the focus stays where it was"
    page.keyboard.press("Escape")
    assert page.locator("details.menu[open]").count() == 0
    assert summary.evaluate("e => e === document.activeElement")
