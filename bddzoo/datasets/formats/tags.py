"""What a classifier says of a frame, and the JSON that it is kept in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bddzoo.datasets.attributes import SCORE
from bddzoo.datasets.classes import ClassSet
from bddzoo.datasets.formats.scalabel import FrameWriter


@dataclass(frozen=True)
class Tag:
    """The attribute of a frame, predicted.

    Attributes:
        classes: Its classes; their `task` is the attribute.
        probabilities: (C,) float32, their sum is 1.
    """

    classes: ClassSet
    probabilities: npt.NDArray[np.float32]

    @property
    def attribute(self) -> str:
        """Which attribute: `weather` or `scene`."""
        return self.classes.task

    @property
    def name(self) -> str:
        """The class with the highest probability, the first of equals."""
        return self.classes.names[int(self.probabilities.argmax())]

    @property
    def score(self) -> float:
        """Its probability."""
        return float(self.probabilities.max())


class TagJsonWriter(FrameWriter):
    """`tagging.json`: frames with the predicted attribute, and its score, which marks it as predicted."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)

    def __enter__(self) -> TagJsonWriter:
        super().__enter__()
        return self

    def add_tag(self, name: str, tag: Tag) -> None:
        """Append a frame."""
        self.add(name, None, {tag.attribute: tag.name, tag.attribute + SCORE: tag.score})
