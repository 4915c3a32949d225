"""Reference pages and the documents' build: rendered from the code, strict, nothing asked from outside."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bddzoo.cli.main import COMMANDS, run
from bddzoo.cli.tables import commands
from bddzoo.errors import MEANINGS, ExitCode
from bddzoo.reports import documents

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "reference").glob("*.md"))


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda path: path.stem)
def test_rendered_pages_have_not_drifted(page: Path) -> None:
    assert run(["tables", "--check", "-o", str(page)]) == 0


def test_a_page_that_was_changed_by_hand_has_drifted(tmp_path: Path) -> None:
    page = tmp_path / "exit-codes.md"
    text = (ROOT / "docs" / "reference" / "exit-codes.md").read_text(encoding="utf-8")
    page.write_text(text.replace("| 7 | network |", "| 7 | no network |"), encoding="utf-8")
    assert run(["tables", "--check", "-o", str(page)]) == 3


def test_every_command_and_subcommand_is_there() -> None:
    text = commands()
    for name in COMMANDS:
        assert f"\n## bddzoo {name}\n" in text
    assert "\n### bddzoo results compare\n" in text
    assert "`--verify`" in text
    # What ends in the page must not be taken for HTML, nor show click's own marks.
    assert "\b" not in text


def test_every_exit_status_has_a_meaning() -> None:
    assert set(MEANINGS) == set(ExitCode)
    assert documents.exit_codes().count("\n") == len(ExitCode) + 1


def test_every_link_of_the_schema_has_its_section() -> None:
    text = documents.schema()
    sections = {line.removeprefix("## ").lower() for line in text.splitlines() if line.startswith("## ")}
    links = set(re.findall(r"\(#([a-z]+)\)", text))
    assert links
    assert links <= sections


def test_every_operator_is_described() -> None:
    from bddzoo.engines.kernels import NAMES

    rows = documents.operators().splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == list(NAMES)
    assert all(len(row.split("|")[2]) > 10 for row in rows)


@pytest.mark.slow
def test_documents_build_strictly_and_ask_nothing_from_outside(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="needs mkdocs-material, of the dev extra")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(tmp_path / "site")],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) >= len(list((ROOT / "docs").rglob("*.md")))
    for page in pages:
        html = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|link|iframe)\b[^>]*?(?:src|href)=\"(https?:)?//[^\"]*\"", html)
        assert not loaded, f"{page.name} loads something from outside"
