"""A model's page in a real browser."""

from __future__ import annotations

from pathlib import Path

from bddzoo.reports.facts import steps
from bddzoo.reports.info import bibliography
from tests.site.conftest import Opener
from tests.site.front import MEASURED, MODEL, TASK, ids

CLIPBOARD = ["clipboard-read", "clipboard-write"]


def test_a_models_page(visit: Opener, site: Path) -> None:
    page = visit(site / "index.html", "#q=" + MODEL.id.replace("+", "%2B"))
    page.locator(f"#{TASK} tbody a").first.click()
    assert page.locator("h1").text_content() == MODEL.id
    page.locator("pre").wait_for()
    assert page.locator("pre").text_content() == bibliography([MODEL])
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
