"""What sites are built from, and the links of their pages."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import yaml

from tests.cli.command import ROOT
from tests.site.front import MEASURED

RECORDS = ROOT / "benchmarks" / "results"


class NoAliases(yaml.SafeDumper):
    """YAML as the registry has it: what comes twice is written twice."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def write_registry(path: Path, document: object) -> Path:
    path.write_text(yaml.dump(document, Dumper=NoAliases, sort_keys=False))
    return path


class Links(HTMLParser):
    """Links, ids and sources of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value is not None:
                self.links.append(value)
            elif name == "id" and value is not None:
                self.ids.add(value)


def record_of(records: Path, model: str = MEASURED) -> Path:
    return next(records.glob(f"*/*/{model}/*.json"))
