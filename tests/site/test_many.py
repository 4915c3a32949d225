"""Five thousand rows."""

from __future__ import annotations

from itertools import cycle, islice
from pathlib import Path

import pytest
from msgspec.structs import replace

from bddzoo.artifacts.probe import History
from bddzoo.registry import Registry, load_registry
from bddzoo.reports.site.build import front_files
from bddzoo.reports.site.evidence import gather
from bddzoo.reports.site.values import page_names
from tests.site.conftest import Opener

COUNT = 5000


SECTION = load_registry().section("bdd100k-models", "sem_seg")
MANY = [replace(m, id=f"{m.id}_{i:04d}") for i, m in enumerate(islice(cycle(SECTION.models), COUNT))]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The front page of 5,000 models of one task: the registry's, again and again under other names."""
    registry = Registry(None, (SECTION.zoo,), (replace(SECTION, models=tuple(MANY)),))
    folder = tmp_path_factory.mktemp("many")
    problems: list[object] = []
    evidence = gather(registry, folder / "none", report=problems.append, note=problems.append)
    for name, text in front_files(registry, evidence, History(), page_names(MANY)).items():
        (folder / name).write_text(text, "utf-8")
    assert problems == []
    return folder


def test_only_rows_that_are_looked_at_are_laid_out(visit: Opener, many: Path) -> None:
    page = visit(many / "index.html")
    rows, status = page.locator("tbody tr"), page.locator(".status")
    assert status.text_content() == f"{COUNT} of {COUNT} models"
    assert 100 <= rows.count() <= 600
    page.locator("th[data-k=params] button").click()
    assert 100 <= rows.count() <= 600
    shown = rows.count()
    page.locator(".scroll").evaluate("e => { e.scrollTop = e.scrollHeight }")
    page.wait_for_function(f"document.querySelectorAll('tbody tr').length > {shown}")
    page.locator("input[type=search]").fill("_0042")
    assert rows.count() == 1
    page.locator("input[type=search]").fill("fcn_hr48")
    expected = sum(m.id.startswith("fcn_hr48") for m in MANY)
    assert status.text_content() == f"{expected} of {COUNT} models"


def test_a_point_finds_its_row_among_thousands(visit: Opener, many: Path) -> None:
    page = visit(many / "index.html")
    points = page.locator(".canvas a")
    points.first.wait_for()
    assert points.count() == COUNT
    name = (points.first.get_attribute("aria-label") or "").partition(",")[0]
    points.first.focus()
    page.keyboard.press("Enter")
    assert page.locator("tr.marked th").text_content() == name
    assert page.evaluate("document.activeElement.textContent") == name
