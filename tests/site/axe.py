"""What axe-core finds wrong with a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

# The rules that a page of any size runs through.
AT_LEAST = 10


def violations(page: Page) -> list[tuple[str, str, str, str]]:
    """Rule, impact, first place and what is wrong there, of each rule that is broken; skips without axe."""
    axe = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    page.evaluate((Path(axe.__file__).parent / "axe.min.js").read_text("utf-8"))
    passed, found = page.evaluate("axe.run({preload: false}).then((r) => [r.passes.length, r.violations])")
    assert passed > AT_LEAST, "axe has looked"
    return [
        (v["id"], v["impact"], v["nodes"][0]["html"][:120], v["nodes"][0]["failureSummary"][:200])
        for v in found
    ]
