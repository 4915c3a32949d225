"""The pages for everybody: on a phone, in the dark, without scripts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.site.conftest import Opener
from tests.site.front import MEASURED, MODEL, PHONE, REGISTRY, TASK


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
