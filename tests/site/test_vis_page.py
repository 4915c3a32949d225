"""The page of `vis compare --html` in a real browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.reports.vis_data import NAMES, make
from tests.site.conftest import Opener

if TYPE_CHECKING:
    from playwright.sync_api import Page


@pytest.fixture(scope="module")
def page_of(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from bddzoo.cli.main import run

    root = make(tmp_path_factory.mktemp("vis"))
    sides = ["--gt", root / "masks", "--pred", root / "masks.json", "--pred", root / "colours"]
    command = ["-q", "vis", "compare", root / "images", *sides, "-o", root / "out", "--html"]
    assert run([str(argument) for argument in command]) == 0
    return root / "out/index.html"


def divider(page: Page) -> str:
    return str(page.evaluate("document.getElementById('stack').style.getPropertyValue('--at')"))


def shown(page: Page) -> list[str]:
    """Names of the two pictures; both must have been loaded."""
    page.wait_for_function("['under', 'over'].every((id) => document.getElementById(id).naturalWidth > 0)")
    return [str(page.locator(f"#{name}").get_attribute("alt")) for name in ("under", "over")]


def test_it_opens_with_the_two_predictions(visit: Opener, page_of: Path) -> None:
    page = visit(page_of)
    assert shown(page) == [
        f"{page.locator('#frame option:checked').text_content()}: {n}" for n in ("masks", "colours")
    ]
    assert page.locator("#frame option").all_text_contents() == sorted(NAMES)
    assert page.locator("tbody tr").count() == 2


def test_the_divider_moves_by_keyboard_and_mouse(visit: Opener, page_of: Path) -> None:
    page = visit(page_of)
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


def test_frames_are_gone_through_and_the_address_keeps_the_place(visit: Opener, page_of: Path) -> None:
    page = visit(page_of)
    first = shown(page)
    page.keyboard.press("n")
    second = shown(page)
    assert second != first
    page.locator("#right").select_option(label="truth")
    address = page.evaluate("location.hash")
    again = visit(page_of, address)
    assert shown(again) == [second[0], second[1].replace("colours", "truth")]
    page.keyboard.press("Tab")
    page.locator("#previous").click()
    assert shown(page)[0] == first[0]
    assert page.locator("#previous").is_disabled()


def test_it_fits_a_phone(visit: Opener, page_of: Path) -> None:
    page = visit(page_of, viewport={"width": 390, "height": 844})
    shown(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_without_scripts_the_pictures_are_linked(visit: Opener, page_of: Path) -> None:
    page = visit(page_of, java_script_enabled=False)
    links = page.locator("noscript a")
    assert links.count() == 6 * len(NAMES)
    assert not page.locator("#viewer").is_visible()
