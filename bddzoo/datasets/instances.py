"""The instances that a network found in one picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass
class Instances:
    """Detected instances of one picture.

    Attributes:
        boxes: (N, 4) float32, corners `x1, y1, x2, y2` in pixels of the original picture.
        scores: (N,) float32, 0..1.
        labels: (N,) int64, class ids from 0.
        masks: (N, H, W) bool, at the size of the original picture.
    """

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    masks: npt.NDArray[np.bool_]

    def __post_init__(self) -> None:
        count = len(self.scores)
        if (
            self.boxes.shape != (count, 4)
            or self.labels.shape != (count,)
            or self.masks.ndim != 3
            or len(self.masks) != count
        ):
            shapes = [tuple(a.shape) for a in (self.boxes, self.scores, self.labels, self.masks)]
            raise ValueError(
                f"instances whose parts do not fit together: boxes, scores, labels, masks {shapes}"
            )

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture, in pixels."""
        _, height, width = self.masks.shape
        return int(height), int(width)

    def take(self, index: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> Instances:
        """The instances at those positions, in that order."""
        return Instances(self.boxes[index], self.scores[index], self.labels[index], self.masks[index])

    def by_class(self) -> Instances:
        """The instances class by class, each class in its present order.

        This is the order in which the zoo's own prediction files list and number them.
        """
        import numpy as np

        return self.take(np.argsort(self.labels, kind="stable"))


def no_instances(height: int, width: int) -> Instances:
    """An empty set for a picture of that size."""
    import numpy as np

    return Instances(
        np.zeros((0, 4), np.float32),
        np.zeros((0,), np.float32),
        np.zeros((0,), np.int64),
        np.zeros((0, height, width), np.bool_),
    )
