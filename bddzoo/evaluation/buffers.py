"""Memory that is used again for the next frame.

Fresh arrays of a picture's size come from the operating system page by page, which takes longer than the
work done in them.
"""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

_local = threading.local()


def buffer(shape: tuple[int, ...], slot: str) -> NDArray[np.uint8]:
    """An array of this thread, shape (...) uint8, with whatever it was used for before.

    Args:
        shape: Shape; a slot keeps one array for each number of dimensions, that of the last size.
        slot: Name; the array is the caller's until the next call with the same name. Without one it is new.
    """
    if not slot:
        return np.empty(shape, np.uint8)
    key = slot + str(len(shape))
    old: NDArray[np.uint8] | None = getattr(_local, key, None)
    if old is None or old.shape != shape:
        old = np.empty(shape, np.uint8)
        setattr(_local, key, old)
    return old
