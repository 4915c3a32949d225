"""Which data set a folder holds, so that a number is never compared with one from another set."""

from __future__ import annotations

from pathlib import Path

from bddzoo.datasets.images import OFFICIAL_COUNTS
from bddzoo.datasets.mini.writer import DEFAULT_VAL, VERSION, read_marker
from bddzoo.datasets.openseg.sets import DATA_SETS

BDD100K = "bdd100k"
MINI = "bddzoo-mini"


def dataset_id(root: Path, layout: str = BDD100K) -> str:
    """The data set of a folder.

    Args:
        root: The folder.
        layout: Data set whose layout it was read in.

    Returns:
        `layout`; or for a synthetic mini set `bddzoo-mini`, followed by what it was made with where
        that is not the default, because other frames give other numbers; `NAME-mini` for one in the
        layout of another data set.
    """
    marker = read_marker(root)
    if marker is None:
        return layout
    parts = [f"{marker['dataset']}-mini" if "dataset" in marker else MINI]
    if marker.get("version") != VERSION:
        parts.append(f"v{marker.get('version')}")
    if marker.get("seed") != 0:
        parts.append(f"seed{marker.get('seed')}")
    if marker.get("val") != DEFAULT_VAL:
        parts.append(f"val{marker.get('val')}")
    return "-".join(parts)


def published_images(dataset: str, task: str, split: str) -> int | None:
    """Number of pictures of a published split; None where nobody knows, and for sets made here."""
    if dataset == BDD100K:
        return OFFICIAL_COUNTS.get((task, split))
    return DATA_SETS[dataset].images.get(split) if dataset in DATA_SETS else None


def split_size(root: Path, task: str, split: str, layout: str = BDD100K) -> int | None:
    """Number of pictures that the whole split has, whatever is on disk; None where nobody knows."""
    marker = read_marker(root)
    if marker is None:
        return published_images(layout, task, split)
    count = marker.get(split)
    return count if isinstance(count, int) else None
