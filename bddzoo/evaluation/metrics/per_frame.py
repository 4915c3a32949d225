"""Statistics by frame: what accumulators have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

from bddzoo.errors import UsageError

if TYPE_CHECKING:
    from typing_extensions import Self

Stats = TypeVar("Stats")


class PerFrame(Generic[Stats]):
    """Statistics of single frames (of tracking: of single videos), by name.

    Args:
        class_names: Names of the classes 0, 1, ...
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names = tuple(class_names)
        self._frames: dict[str, Stats] = {}

    def __len__(self) -> int:
        return len(self._frames)

    def add(self, name: str, stats: Stats) -> None:
        """Add the statistics of one frame.

        Raises:
            UsageError: It was given before.
        """
        if name in self._frames:
            raise UsageError(f"frame {name} was given twice")
        self._frames[name] = stats

    def merge(self, other: Self) -> None:
        """Add the frames of another accumulator (another worker's)."""
        both = self._frames.keys() & other._frames.keys()
        if both:
            raise UsageError(f"frame {min(both)} was given twice")
        self._frames.update(other._frames)

    @property
    def names(self) -> list[str]:
        """Names of the frames, sorted."""
        return sorted(self._frames)

    def in_order(self) -> list[Stats]:
        """Statistics of each frame, in the order of `names`."""
        return [self._frames[name] for name in self.names]
