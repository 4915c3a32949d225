"""Which data set a folder holds, so that a number is never compared with one from another set."""

from __future__ import annotations

from pathlib import Path

from bddzoo.datasets.layout import OFFICIAL_COUNTS
from bddzoo.datasets.mini.writer import DEFAULT_VAL, VERSION, read_marker

BDD100K = "bdd100k"
MINI = "bddzoo-mini"


def dataset_id(root: Path) -> str:
    """The data set of a folder in BDD100K's layout.

    Returns:
        `bdd100k`; or for a synthetic mini set `bddzoo-mini`, followed by what it was made with where
        that is not the default, because other frames give other numbers.
    """
    marker = read_marker(root)
    if marker is None:
        return BDD100K
    parts = [MINI]
    if marker.get("version") != VERSION:
        parts.append(f"v{marker.get('version')}")
    if marker.get("seed") != 0:
        parts.append(f"seed{marker.get('seed')}")
    if marker.get("val") != DEFAULT_VAL:
        parts.append(f"val{marker.get('val')}")
    return "-".join(parts)


def split_size(root: Path, task: str, split: str) -> int | None:
    """Number of pictures that the whole split has, whatever is on disk; None where nobody knows."""
    marker = read_marker(root)
    if marker is None:
        return OFFICIAL_COUNTS.get((task, split))
    count = marker.get(split)
    return count if isinstance(count, int) else None
