"""The layout that a data set's folder has."""

from __future__ import annotations

from pathlib import Path

from bddzoo.datasets.layout import BddLayout
from bddzoo.datasets.mini import read_marker
from bddzoo.datasets.openseg.layout import NESTED, OpensegLayout
from bddzoo.datasets.openseg.sets import DATA_SETS, DataSet, data_set
from bddzoo.registry.types import Model

Layout = BddLayout | OpensegLayout

BDD_LAYOUT = ("bdd100k", "bddzoo-mini")
"""How the ids of data sets in BDD100K's layout begin: a mini set's id ends with its splits and sizes."""


def open_layout(root: Path, dataset: str = "bdd100k") -> Layout:
    """The folder of a data set.

    Args:
        root: The folder.
        dataset: Whose layout it should have, an id of the registry's protocols.

    Raises:
        MissingError: There is no such folder, or it is laid out for something else.
        UsageError: No layout is known for that data set.
    """
    return BddLayout(root) if dataset.startswith(BDD_LAYOUT) else OpensegLayout(root, data_set(dataset))


def guess_dataset(root: Path) -> str:
    """Which data set a folder seems to hold: what a mini set says, Cityscapes by its folders, else BDD100K.

    Five of the six data sets share one layout; which of them a folder holds cannot be told.
    """
    marker = read_marker(root) or {}
    nested = all((root / name).is_dir() for name in NESTED)
    return str(marker.get("dataset") or ("cityscapes" if nested else "bdd100k"))


def layout_of(model: Model, root: Path) -> Layout:
    """The folder of the data set that a model is tested on; see `open_layout`."""
    return open_layout(root, dataset_of(model))


def dataset_of(model: Model) -> str:
    """Id of the data set that a model is tested on; BDD100K's where its protocol is unknown."""
    return model.protocol.dataset if model.protocol else "bdd100k"


def labels_of(model: Model) -> DataSet | None:
    """What a model's label files hold if it is of one of openseg.pytorch's six data sets, or None."""
    return DATA_SETS.get(dataset_of(model))
