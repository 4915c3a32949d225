"""Cityscapes as it is published, made of a set in the flat layout."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from bddzoo.datasets.formats.mask import read_mask, write_mask, write_rgba
from bddzoo.datasets.openseg import data_set


def publish(flat: Path, images: Path, labels: Path, city: str = "aachen") -> list[str]:
    """Lay out the frames of a flat folder as the published archives do.

    Args:
        flat: Folder with `image/` and `label/`.
        images: Where CITY/*_leftImg8bit.png go.
        labels: Where CITY/*_gtFine_*.png and polygons go; may be the same folder.
        city: Name of the city.

    Returns:
        Names of the frames.
    """
    dataset = data_set("cityscapes")
    names = []
    for number, image in enumerate(sorted((flat / "image").iterdir())):
        name = f"{city}_{number:06}_000019"
        ids = read_mask(flat / "label" / image.name)
        (images / city).mkdir(parents=True, exist_ok=True)
        shutil.copy(image, images / city / f"{name}_leftImg8bit.png")
        base = labels / city / f"{name}_gtFine"
        write_mask(Path(f"{base}_labelIds.png"), ids)
        write_mask(Path(f"{base}_labelTrainIds.png"), dataset.to_classes(ids))
        write_mask(Path(f"{base}_instanceIds.png"), ids)
        write_rgba(Path(f"{base}_color.png"), np.full((*ids.shape, 4), 255, np.uint8))
        Path(f"{base}_polygons.json").write_text("{}", encoding="utf-8")
        names.append(name)
    return names
