"""Images of folders and archives, and the labels that belong to each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from bddzoo.datasets.decode import decode_image
from bddzoo.datasets.formats.labels import FrameLabels
from bddzoo.datasets.formats.readers import LabelSet
from bddzoo.datasets.images import (
    IMAGE_SUFFIXES,
    LISTED_SUFFIXES,
    common_folder,
    frame_path,
    need_pairs,
    without_truth,
)
from bddzoo.datasets.sources import open_source
from bddzoo.errors import MissingError


class ImageSet:
    """Images of a folder, an archive, or one file.

    Attributes:
        path: Where they are.
        names: Path of each image below that, without suffix.

    Raises:
        MissingError: There is none, or two differ only in their suffix.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._source = open_source(path)
        members = [m for m in self._source.members if PurePosixPath(m).suffix.lower() in LISTED_SUFFIXES]
        if not members:
            looked = ", ".join(sorted(IMAGE_SUFFIXES))
            raise MissingError(f"no image in {path}", hint=f"looked for {looked}")
        members = without_truth(members)
        top = common_folder(members)
        self._members: dict[str, str] = {}
        for member in members:
            name = str(PurePosixPath(member[len(top) :]).with_suffix(""))
            other = self._members.setdefault(name, member)
            if other != member:
                raise MissingError(
                    f"{path} has two images called {name}: {other} and {member}", hint="move one elsewhere"
                )
        self.names = list(self._members)

    @property
    def stems(self) -> list[str]:
        """Bare name of each image's frame."""
        return [PurePosixPath(frame_path(name)).name for name in self.names]

    def where(self, name: str) -> Path:
        """How an image is called in messages."""
        return self._source.where(self._members[name])

    def read(self, name: str) -> npt.NDArray[np.uint8]:
        """An image: (H, W, 3) uint8, BGR, upright.

        Raises:
            MissingError: It is damaged or not an image.
        """
        return decode_image(self._source.read(self._members[name]), self.where(name)).pixels


@dataclass(frozen=True)
class Pair:
    """An image and the keys of its labels in each label set, None where one has none."""

    name: str
    keys: tuple[str | None, ...]


def pair(images: ImageSet, sets: Sequence[LabelSet]) -> tuple[list[Pair], list[str]]:
    """Find the labels of each image.

    Returns:
        Images with their labels, and the images that one of the sets has no labels of.

    Raises:
        MissingError: Not one image has labels, or a name is not unique.
    """
    pairs = [Pair(name, tuple(one.find(name) for one in sets)) for name in images.names]
    whole = [p for p in pairs if None not in p.keys]
    if not whole:
        for one in sets:
            need_pairs(images.stems, one.stems, images.path, one.path)
        raise MissingError(
            f"no image of {images.path} has labels in {' and '.join(str(one.path) for one in sets)}",
            hint="each of them has labels of others of the images",
        )
    return whole, [p.name for p in pairs if None in p.keys]


def same_size(planes: FrameLabels, size: tuple[int, int], where: str, other: str) -> None:
    """Refuse labels of another size than what they are drawn over.

    Raises:
        MissingError: Both sizes are told.
    """
    if planes.shape != size:
        mine, theirs = (f"{w}x{h}" for h, w in (planes.shape, size))
        turned = " (transposed?)" if planes.shape == size[::-1] else ""
        raise MissingError(
            f"{where} is {mine}, {other} is {theirs}{turned}", hint="labels are drawn at their own size"
        )
