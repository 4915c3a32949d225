"""The layout that a data set's folder has.

Images that a user names: files, and folders at any depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bddzoo.datasets.images import IMAGE_SUFFIXES, LISTED_SUFFIXES, BddLayout, walk
from bddzoo.datasets.mini import read_marker
from bddzoo.datasets.openseg import DATA_SETS, NESTED, DataSet, OpensegLayout, data_set
from bddzoo.errors import MissingError, UsageError

if TYPE_CHECKING:
    from bddzoo.registry.model import Model

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


def find_images(inputs: Sequence[Path], out: Path) -> dict[str, Path]:
    """Images of files and folders by file name, in the order given.

    Args:
        inputs: Files and folders.
        out: Folder of the predictions; where it lies in one of the folders, it is passed over.

    Raises:
        MissingError: A file or folder is not there, or a folder holds no image.
        UsageError: The outputs of two images would have the same name.
    """
    images: dict[str, Path] = {}
    stems: dict[str, Path] = {}
    target = out.resolve()
    for item in inputs:
        if item.is_dir():
            paths = walk(item, LISTED_SUFFIXES)
            if item.resolve() in target.parents:
                paths = [path for path in paths if not path.parent.resolve().is_relative_to(target)]
            if not paths:
                raise MissingError(
                    f"no image in folder {item}", hint=f"looked for {', '.join(sorted(IMAGE_SUFFIXES))}"
                )
        elif item.exists():
            paths = [item]
        else:
            raise MissingError(f"no such file or folder: {item}")
        for path in paths:
            other = stems.setdefault(path.stem, path)
            if other is not path:
                same = other.resolve() == path.resolve()
                what = "is given twice" if same else f"and {other} would write outputs of the same name"
                raise UsageError(
                    f"{path} {what}", hint="give it once" if same else "rename one, or use two --out folders"
                )
            images[path.name] = path
    return images
