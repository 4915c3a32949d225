"""Axe-core on every kind of page, in light and dark, on a desk and on a phone."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tests.site.axe import violations
from tests.site.conftest import Opener
from tests.site.front import INSTANCES, MEASURED, PHONE
from tests.support.sampling import sampled_rows

DESK: dict[str, Any] = {}
# Page, its address, and what is opened on it.
VISITS = [
    ("index.html", "", "details.menu:nth-of-type(2) > summary"),
    ("index.html", "#task=ins_seg&q=demo&data=*", None),
    (f"models/{MEASURED}.html", "", None),
    (f"models/{INSTANCES}.html", "", None),
    ("facts.html", "", None),
]


# Each colour scheme and each device once by default.
LOOKS = sampled_rows(
    product(("light", "dark"), (DESK, PHONE)), lambda look: (look[0] == "dark") == bool(look[1])
)


@pytest.mark.parametrize(
    ("scheme", "device"), LOOKS, ids=["light-desk", "light-phone", "dark-desk", "dark-phone"]
)
def test_nothing_on_the_site(visit: Opener, small_site: Path, scheme: str, device: dict[str, Any]) -> None:
    for name, where, click in VISITS:
        page = visit(small_site / name, where, color_scheme=scheme, **device)
        if name.startswith("models"):
            page.locator("pre").wait_for()
        if click:
            page.locator(click).first.click()
        assert violations(page) == [], name


@pytest.mark.parametrize("device", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_on_a_comparison(
    visit: Opener, compare_page: Path, scheme: str, device: dict[str, Any]
) -> None:
    page = visit(compare_page, color_scheme=scheme, **device)
    page.wait_for_function("document.getElementById('over').naturalWidth > 0")
    assert violations(page) == []


def test_nothing_on_a_comparison_without_scripts(visit: Opener, compare_page: Path) -> None:
    """Axe itself needs scripts: the page is shown as it is without them."""
    page = visit(compare_page)
    page.evaluate(
        "const n = document.querySelector('noscript'); const d = document.createElement('div');"
        "d.innerHTML = n.textContent; n.replaceWith(d); document.getElementById('viewer').hidden = true;"
    )
    assert page.get_by_text("The slider needs scripts").is_visible()
    assert violations(page) == []
