"""Expected rows and networks, taken from the zoos' documents and configs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parents[1] / "data" / "registry"
PUBLISHED = ("bdd100k-models", "vis4d", "openseg.pytorch")


def rows() -> list[tuple[str, str, str, str, dict[str, Any]]]:
    return [tuple(row) for row in json.loads((DATA / "rows.json").read_text(encoding="utf-8"))]


def networks() -> dict[str, dict[str, Any]]:
    return {n["id"]: n for n in json.loads((DATA / "networks.json").read_text(encoding="utf-8"))}


def tables(zoo: str, task: str) -> list[list[str]]:
    text = (DATA / f"{zoo}-{task}.tables.md").read_text(encoding="utf-8")
    return [block.split("\n") for block in text.rstrip("\n").split("\n\n")]
