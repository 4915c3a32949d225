"""The zoos' tables regenerated from the registry, byte for byte."""

from __future__ import annotations

import pytest

from bddzoo.registry import load_registry
from bddzoo.registry.model import Section
from bddzoo.reports.upstream import render_document, render_table
from tests.registry.facts import PUBLISHED, tables
from tests.registry.test_importer import SEEDED, SEEDS
from tests.registry.test_rows import LATER
from tests.shared import shared

SECTIONS = [s for s in load_registry().sections if s.zoo.id in PUBLISHED]
KNOWN_REPAIR = ("Doll√°r", "Dollár")


def name(section: Section) -> str:
    return f"{section.zoo.id}-{section.task}"


def test_every_published_section_is_there() -> None:
    assert sorted((s.zoo.id, s.task) for s in SECTIONS) == sorted(
        [*SEEDS, *(("bdd100k-models", task) for task in LATER)]
    )


@pytest.mark.parametrize("section", SECTIONS, ids=name)
def test_tables_are_byte_for_byte(section: Section) -> None:
    rendered = [render_table(section, method) for method in section.methods]
    assert rendered == tables(section.zoo.id, section.task)
    assert sum(len(table) - 2 for table in rendered) == len(section.models)


@pytest.mark.parametrize("section", SEEDED, ids=name)
def test_document_is_the_zoos_in_order(section: Section) -> None:
    """Headings, papers, authors, tables and code links: every line is in the document, in its order."""
    path = shared(f"seeds/{SEEDS[section.zoo.id, section.task]}")
    lines = path.read_text(encoding="utf-8").replace(*KNOWN_REPAIR).split("\n")
    position = 0
    for line in render_document(section).rstrip("\n").split("\n"):
        if line:
            position = lines.index(line, position) + 1
    # And no table line of the document is left out.
    bars = [line for line in lines if line.startswith("|")]
    assert [line for line in render_document(section).split("\n") if line.startswith("|")] == bars
