"""The pages in a real browser: what people do with them, by mouse, by keyboard, and without scripts."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bddzoo.registry import load_registry
from bddzoo.registry.query import sort_models
from bddzoo.reports.cite import bibtex
from bddzoo.reports.commands import steps
from tests.site.conftest import Opener

if TYPE_CHECKING:
    from playwright.sync_api import Page

REGISTRY = load_registry()
TASK = "sem_seg"
OURS = [m for m in REGISTRY.select(task=TASK) if m.protocol and m.protocol.dataset == "bdd100k"]
MODEL = REGISTRY.find("deeplabv3+_r50-d8_512x1024_40k_sem_seg_bdd100k")
MEASURED = "demo_semfpn_r18n_sem_seg"
INSTANCES = "models/demo_mask_rcnn_r18n_ins_seg.html"
CLIPBOARD = ["clipboard-read", "clipboard-write"]
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True}


def ids(page: Page, task: str = TASK) -> list[str]:
    return page.locator(f"#{task} tbody tr th").all_text_contents()


def heading(page: Page, key: str, task: str = TASK) -> Any:
    return page.locator(f"#{task} th[data-k='{key}'] button")


def address(page: Page) -> str:
    return page.url.partition("#")[2]


def pick(page: Page, menu: str, name: str) -> None:
    """Tick or untick a box of a menu."""
    found = page.locator(f"#{TASK} details.menu", has=page.locator("summary", has_text=menu))
    if found.get_attribute("open") is None:
        found.locator("summary").click()
    found.locator("label", has=page.get_by_text(name, exact=True)).locator("input").click()


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


def test_the_plot_by_keyboard(visit: Opener, site: Path) -> None:
    page = visit(site / "index.html")
    points = page.locator(f"#{TASK} .canvas a")
    assert points.count() == len([m for m in OURS if m.network and m.network.params])
    assert page.locator(f"#{TASK} .canvas a[tabindex='0']").count() == 1, "one stop of the tabulator"
    page.locator(f"#{TASK} .canvas a[tabindex='0']").focus()
    tip = page.locator(f"#{TASK} .tip b")
    first = tip.text_content()
    for key in ("ArrowRight", "ArrowUp", "End"):
        page.keyboard.press(key)
    name = tip.text_content()
    assert name != first
    params = {m.id: m.network.params or 0 for m in OURS if m.network}
    assert params[name or ""] == max(params.values())
    assert f"{name}, mIoU val" in (page.locator("a:focus").get_attribute("aria-label") or "")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.closest('tr').className") == "marked"
    assert page.evaluate("document.activeElement.textContent") == name


def test_the_plot_by_mouse(visit: Opener, site: Path) -> None:
    page = visit(site / "index.html")
    point = page.locator(f"#{TASK} .canvas a").last
    box = point.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    name = page.locator(f"#{TASK} .tip b").text_content()
    assert name == (point.get_attribute("aria-label") or "").partition(",")[0]
    page.mouse.down()
    page.mouse.up()
    row = page.locator("tr.marked")
    assert row.locator("th").text_content() == name
    assert row.locator("a").evaluate("e => e === document.activeElement")
    page.mouse.move(5, 5)
    page.locator("tr", has_text="upernet_convnext-b").first.hover()
    assert page.locator(".canvas a.near").get_attribute("aria-label").startswith("upernet_convnext-b")


def test_the_plot_says_what_it_cannot_draw(visit: Opener, site: Path) -> None:
    page = visit(site / "index.html", "#data=bddzoo-mini&x=mIoU-test")
    assert "Nothing to draw" in (page.locator(f"#{TASK} .plot .none").text_content() or "")
    page.locator(f"#{TASK} select").nth(1).select_option("params")
    page.locator(f"#{TASK} .canvas a").wait_for()
    assert "x=params" in address(page)


def test_a_models_page(visit: Opener, site: Path) -> None:
    page = visit(site / "index.html", "#q=" + MODEL.id.replace("+", "%2B"))
    page.locator(f"#{TASK} tbody a").first.click()
    assert page.locator("h1").text_content() == MODEL.id
    page.locator("pre").wait_for()
    assert page.locator("pre").text_content() == bibtex(MODEL)
    assert page.locator(".cmd code").all_text_contents() == [s.command for s in steps(MODEL)]
    text = page.locator("main").inner_text()
    assert MODEL.method.paper is not None
    assert MODEL.protocol is not None
    for word in (MODEL.method.paper.title, MODEL.method.authors[0].name, MODEL.protocol.id, "not probed"):
        assert word in text
    weights = MODEL.artifact("weights")
    assert weights is not None
    assert page.locator(f"a[href='{weights.sources[0]}']").count() == 1
    assert "{model}" not in text
    assert page.frames == [page.main_frame], "the frame that brought the facts has gone"
    page.locator(".brand").click()
    assert ids(page)


def test_copying_a_command(visit: Opener, site: Path) -> None:
    page = visit(site / "models" / f"{MEASURED}.html", permissions=CLIPBOARD)
    page.get_by_role("button", name="Copy the command: Verify").click()
    page.get_by_text("Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == f"bddzoo fetch {MEASURED} --verify"


def test_colours_follow_the_system_and_the_button(visit: Opener, site: Path) -> None:
    page = visit(site / "index.html", color_scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(background)
    page.get_by_role("button", name="Switch to light colours").click()
    light = page.evaluate(background)
    assert sum(map(int, re.findall(r"\d+", light))) > 600 > 150 > sum(map(int, re.findall(r"\d+", dark)))
    page.reload()
    assert page.evaluate(background) == light, "the choice is kept"


@pytest.mark.parametrize(
    "name", ["index.html", "facts.html", f"models/{MEASURED}.html", "models/demo_mask_rcnn_r18n_ins_seg.html"]
)
def test_a_phone_scrolls_down_only(visit: Opener, site: Path, name: str) -> None:
    page = visit(site / name, **PHONE)
    if name.startswith("models"):
        page.locator("pre").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    if name == "index.html":
        page.locator(f"#{TASK} .plot summary").tap()
        page.locator(f"#{TASK} .canvas a").first.wait_for()
        page.locator(f"#{TASK} summary", has_text="Columns").tap()
        pop = page.locator(f"#{TASK} details[open] .pop").bounding_box()
        assert pop is not None
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        # The name and its first number are on the screen together.
        cell = page.locator(f"#{TASK} tbody tr").first.locator("td").first.bounding_box()
        assert cell is not None
        assert cell["x"] + cell["width"] <= 390


def test_without_scripts_everything_can_be_read(visit: Opener, site: Path) -> None:
    page = visit(site / "index.html", java_script_enabled=False)
    rows = page.locator("tbody tr")
    assert rows.count() == len(REGISTRY.models)
    assert rows.first.is_visible()
    assert page.locator("#ins_seg").is_visible()
    assert page.get_by_role("link", name="Instance segmentation").get_attribute("href") == "#ins_seg"
    page.get_by_role("link", name=MODEL.id, exact=True).click()
    assert str(MODEL.reported_value("mIoU")) in page.locator("main").inner_text()
    page.get_by_role("link", name="References").click()
    assert page.url.endswith("facts.html#" + page.url.partition("#")[2])
    assert "@inproceedings{chen2018encoder," in page.locator("main").inner_text()
    phone = visit(site / "index.html", java_script_enabled=False, **PHONE)
    assert phone.locator("tbody tr").first.is_visible()


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


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(visit: Opener, site: Path, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    script = (Path(axe.__file__).parent / "axe.min.js").read_text("utf-8")
    visits = [
        ("index.html", "", "details.menu:nth-of-type(2) > summary"),
        ("index.html", "#task=ins_seg&q=demo&data=*", None),
        (f"models/{MEASURED}.html", "", None),
        (INSTANCES, "", None),
        ("facts.html", "", None),
    ]
    for name, where, click in visits:
        page = visit(site / name, where, color_scheme=scheme)
        if name.startswith("models"):
            page.locator("pre").wait_for()
        if click:
            page.locator(click).first.click()
        page.evaluate(script)
        found = page.evaluate("axe.run({preload: false}).then((r) => [r.passes.length, r.violations])")
        assert found[0] > 10, "axe has looked"
        serious = [
            (v["id"], v["nodes"][0]["html"][:120], v["nodes"][0]["failureSummary"][:200])
            for v in found[1]
            if v["impact"] in ("serious", "critical")
        ]
        assert serious == [], (name, scheme)
