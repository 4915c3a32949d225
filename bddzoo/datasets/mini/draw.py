"""Random draws that are the same on every machine and with every version of NumPy.

Only the raw 64-bit words of PCG64 are used (NumPy promises those; it does not promise the streams of
`Generator`), and only the four basic operations on floats, which IEEE 754 fixes to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.random import PCG64, SeedSequence
from numpy.typing import NDArray

T = TypeVar("T")
Colour = tuple[int, int, int]


class Draw:
    """A stream of random draws that belongs to one purpose.

    Args:
        *key: Non-negative integers that name the stream; equal keys give equal streams.
    """

    def __init__(self, *key: int) -> None:
        self._bits = PCG64(SeedSequence(list(key)))

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """A float in [low, high)."""
        word = int(self._bits.random_raw())
        return low + (high - low) * ((word >> 11) * (1.0 / (1 << 53)))

    def integer(self, low: int, high: int) -> int:
        """An integer in low..high, both ends included."""
        return low + int(self._bits.random_raw()) % (high - low + 1)

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self.uniform() < probability

    def pick(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[int(self._bits.random_raw()) % len(items)]

    def around(self, centre: float, spread: float) -> float:
        """A bell-shaped draw in [centre - spread, centre + spread] (mean of three uniforms)."""
        return centre + spread * ((self.uniform() + self.uniform() + self.uniform()) * (2.0 / 3.0) - 1.0)

    def vary(self, colour: Colour, spread: int) -> Colour:
        """A colour near the given one."""
        grey = self.integer(-spread, spread)
        r, g, b = (c + grey + self.integer(-spread, spread) // 3 for c in colour)
        return (clip(r), clip(g), clip(b))

    def noise(self, height: int, width: int) -> NDArray[np.uint8]:
        """(height, width) uint8 of white noise."""
        count = height * width
        words = self._bits.random_raw(-(-count // 8))
        return np.asarray(words, dtype="<u8").view(np.uint8)[:count].reshape(height, width)


def clip(value: float) -> int:
    """The value as a grey level, 0..255."""
    return 0 if value < 0 else 255 if value > 255 else int(value)


def shade(colour: Colour, factor: float) -> Colour:
    """The colour made brighter or darker."""
    return (clip(colour[0] * factor), clip(colour[1] * factor), clip(colour[2] * factor))


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """`one` blended with `other`, which gets the given share."""
    r, g, b = (clip(a + (c - a) * share) for a, c in zip(one, other, strict=True))
    return (r, g, b)
