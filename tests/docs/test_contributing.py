"""The journeys of CONTRIBUTING lead through files that exist, and stay short enough to be read."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("journey", "most"), [("fetch", 14), ("eval", 20), ("check", 8)])
def test_a_journey_names_existing_files_and_few(journey, most):
    section = re.search(rf"### `bddzoo {journey}.*?(?=\n##)", TEXT, re.DOTALL)
    assert section is not None
    files = re.findall(r"`(bddzoo/[\w/]+\.py)`", section[0])
    assert [f for f in files if not (ROOT / f).is_file()] == []
    assert files
    assert len(files) <= most
