"""The page of `vis compare --html` in a real browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.reports.vis_data import NAMES
from tests.site.conftest import Opener

if TYPE_CHECKING:
    from playwright.sync_api import Page


CONTROLS = ("previous", "next", "left", "right")


def divider(page: Page) -> str:
    return str(page.evaluate("document.getElementById('stack').style.getPropertyValue('--at')"))


def shown(page: Page) -> list[str]:
    """Names of the two images; both must have been loaded."""
    page.wait_for_function("['under', 'over'].every((id) => document.getElementById(id).naturalWidth > 0)")
    return [str(page.locator(f"#{name}").get_attribute("alt")) for name in ("under", "over")]


def test_it_opens_with_the_two_predictions(visit: Opener, compare_page: Path) -> None:
    page = visit(compare_page)
    assert shown(page) == [
        f"{page.locator('#frame option:checked').text_content()}: {n}" for n in ("masks", "colours")
    ]
    assert page.locator("#frame option").all_text_contents() == sorted(NAMES)
    assert page.locator("tbody tr").count() == 2


def test_the_divider_moves_by_keyboard_and_mouse(visit: Opener, compare_page: Path) -> None:
    page = visit(compare_page)
    shown(page)
    page.locator("#at").focus()
    page.keyboard.press("ArrowRight")
    assert divider(page) == "51%"
    page.keyboard.press("Home")
    assert divider(page) == "0%"
    box = page.locator("#stack").bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, middle)
    page.mouse.up()
    assert divider(page) == "25%"


def test_frames_are_gone_through_and_the_address_keeps_the_place(visit: Opener, compare_page: Path) -> None:
    page = visit(compare_page)
    first = shown(page)
    page.keyboard.press("n")
    second = shown(page)
    assert second != first
    page.locator("#right").select_option(label="truth")
    address = page.evaluate("location.hash")
    again = visit(compare_page, address)
    assert shown(again) == [second[0], second[1].replace("colours", "truth")]
    page.keyboard.press("Tab")
    page.locator("#previous").click()
    assert shown(page)[0] == first[0]
    assert page.locator("#previous").is_disabled()


def test_it_fits_a_phone(visit: Opener, compare_page: Path) -> None:
    page = visit(compare_page, viewport={"width": 390, "height": 844})
    shown(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    # Buttons and menus stand two and two.
    previous, following, left, right = (page.locator(f"#{n}").bounding_box() for n in CONTROLS)
    assert previous
    assert following
    assert left
    assert right
    assert previous["y"] == following["y"]
    assert left["y"] == right["y"] > previous["y"]
    table = page.locator(".wide")
    assert table.evaluate("e => e.scrollWidth <= e.clientWidth"), "short names leave room for all columns"


def test_without_scripts_the_images_are_linked(visit: Opener, compare_page: Path) -> None:
    page = visit(compare_page, java_script_enabled=False)
    links = page.locator("noscript a")
    assert links.count() == 6 * len(NAMES)
    assert not page.locator("#viewer").is_visible()
