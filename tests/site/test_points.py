"""The plot of the front page in a real browser."""

from __future__ import annotations

from pathlib import Path

from tests.site.conftest import Opener
from tests.site.front import OURS, TASK, address


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
    assert (page.locator(".canvas a.near").get_attribute("aria-label") or "").startswith("upernet_convnext-b")


def test_the_plot_says_what_it_cannot_draw(visit: Opener, site: Path) -> None:
    page = visit(site / "index.html", "#data=bddzoo-mini&x=mIoU-test")
    assert "Nothing to draw" in (page.locator(f"#{TASK} .plot .none").text_content() or "")
    page.locator(f"#{TASK} select").nth(1).select_option("params")
    page.locator(f"#{TASK} .canvas a").wait_for()
    assert "x=params" in address(page)
