"""The plot of the front page in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bddzoo.results.speed import Device, Timing, write_speed
from tests.cli.inprocess import Done
from tests.results.test_speed import record as speed_record
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


def test_latency_on_a_device_is_an_axis_with_a_front(
    visit: Opener, bddzoo: Callable[..., Done], tmp_path: Path
) -> None:
    # The slowest is the worst as well: it is no compromise.
    times = {"fcn_hr48_512x1024_40k": 30.0, "fcn_r50-d8_512x1024_40k": 5.0, "fpn_r50_512x1024_40k": 40.0}
    for name, ms in times.items():
        device = Device(name="Test GPU", type="cuda", threads=1)
        model = f"{name}_sem_seg_bdd100k"
        values = {"zoo": "bdd100k-models", "timings": (Timing(times_ms=(ms,)),)}
        write_speed(speed_record(model=model, device=device, **values), tmp_path / "results")
    done = bddzoo("site", "build", "-o", tmp_path / "site", "--results", tmp_path / "results")
    assert done.code == 0, done.err
    page = visit(tmp_path / "site/index.html", "#data=bdd100k")
    page.locator(f"#{TASK} .axes select").nth(1).select_option("ms.Test GPU, 1280x720")
    points = page.locator(f"#{TASK} .canvas a")
    assert points.count() == len(times)
    told = [points.nth(i).get_attribute("aria-label") or "" for i in range(len(times))]
    assert [label.rpartition(" ")[2] for label in told] == ["5", "30", "40"]
    front = page.locator(f"#{TASK} path.front").get_attribute("d") or ""
    assert front.count("L") == 1, "two models, from the fastest to the best"
    page = visit(tmp_path / "site/models/fcn_hr48_512x1024_40k_sem_seg_bdd100k.html")
    assert "Test GPU, 1280x720130" in (page.locator("table.classes").text_content() or "")
