"""Where a prediction is right, wrong, or silent, pixel by pixel."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import IntEnum
from functools import lru_cache
from typing import TYPE_CHECKING

from bddzoo.datasets.classes import Colour
from bddzoo.datasets.formats.labels import IGNORED, NOTHING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Plane = npt.NDArray[np.uint8]


class Outcome(IntEnum):
    """What a pixel of a prediction is."""

    NOTHING = 0
    RIGHT = 1
    WRONG = 2
    MISSED = 3
    EXTRA = 4
    IGNORED = 5


WORDS: Mapping[Outcome, str] = {
    Outcome.RIGHT: "right",
    Outcome.WRONG: "wrong class",
    Outcome.MISSED: "missed",
    Outcome.EXTRA: "false alarm",
    Outcome.IGNORED: "ignored",
}
# Okabe and Ito's colours (2008), which colour-blind eyes can tell apart. What is ignored is hatched as well.
COLOURS: Mapping[Outcome, Colour] = {
    Outcome.RIGHT: (0, 114, 178),
    Outcome.WRONG: (213, 94, 0),
    Outcome.MISSED: (240, 228, 66),
    Outcome.EXTRA: (204, 121, 167),
    Outcome.IGNORED: (120, 120, 120),
}
# What is right lies under the eye's attention, and what is not above it.
ALPHAS: Mapping[Outcome, float] = {
    Outcome.RIGHT: 0.35,
    Outcome.WRONG: 0.8,
    Outcome.MISSED: 0.8,
    Outcome.EXTRA: 0.8,
    Outcome.IGNORED: 0.6,
}
HATCH = 8


def outcomes(truth: Plane, prediction: Plane) -> Plane:
    """What each pixel of a prediction is: (H, W) uint8, values of `Outcome`.

    Args:
        truth: Classes, (H, W) uint8, as `FrameLabels.classes` gives them.
        prediction: The same of a prediction.
    """
    import numpy as np

    pairs = truth.astype(np.uint16) << 8 | prediction
    return np.take(_table(), pairs)


@lru_cache(maxsize=1)
def _table() -> Plane:
    """Outcome by truth << 8 | prediction, (65536,) uint8."""
    import numpy as np

    table = np.full((256, 256), Outcome.WRONG, np.uint8)
    np.fill_diagonal(table, Outcome.RIGHT)
    # A prediction that ignores a pixel says nothing about it.
    for silent in (NOTHING, IGNORED):
        table[:, silent] = Outcome.MISSED
        table[NOTHING, silent] = Outcome.NOTHING
    table[NOTHING, :NOTHING] = Outcome.EXTRA
    table[IGNORED] = Outcome.IGNORED
    return table.reshape(-1)


def shares(found: Plane) -> dict[str, float]:
    """Share of each outcome among the pixels that count, 0..1; `ignored` is the share of all pixels.

    What counts is every pixel that is not ignored and holds something in the truth or the prediction.
    Shares are NaN where nothing counts.
    """
    import numpy as np

    counts = np.bincount(found.ravel(), minlength=len(Outcome))
    parts = (Outcome.RIGHT, Outcome.WRONG, Outcome.MISSED, Outcome.EXTRA)
    total = int(sum(counts[p] for p in parts))
    out = {WORDS[p]: float(counts[p] / total) if total else float("nan") for p in parts}
    return {**out, WORDS[Outcome.IGNORED]: float(counts[Outcome.IGNORED] / found.size)}


def rounded(told: Mapping[str, float]) -> dict[str, float | None]:
    """Shares for JSON: five decimals, None for what is not a number."""
    return {word: round(share, 5) if math.isfinite(share) else None for word, share in told.items()}


def difference(truth: Plane | None, a: Plane, b: Plane) -> float:
    """Share of pixels on which two predictions differ, 0..1, of those that count and hold something.

    Args:
        truth: Where it ignores a pixel, that pixel does not count; None: every pixel counts.
        a: Classes of one prediction, (H, W) uint8.
        b: Classes of the other.

    Returns:
        0 where nothing counts.
    """
    import numpy as np

    counted = (a != NOTHING) | (b != NOTHING)
    if truth is not None:
        counted |= truth != NOTHING
        counted &= truth != IGNORED
    total = np.count_nonzero(counted)
    return np.count_nonzero((a != b) & counted) / total if total else 0.0


def draw_errors(picture: Plane, found: Plane) -> Plane:
    """Outcomes over a grey, darkened picture.

    Args:
        picture: (H, W, 3) uint8, BGR.
        found: (H, W) uint8, values of `Outcome`.

    Returns:
        (H, W, 3) uint8, BGR.
    """
    import cv2
    import numpy as np

    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    # One table of 256 greys for each outcome: blending is looking up.
    table = np.zeros((len(Outcome) * 256, 3), np.uint8)
    shade = 0.75 * np.arange(256)[:, None]
    for outcome in Outcome:
        alpha = ALPHAS.get(outcome, 0.0)
        colour = np.array(COLOURS.get(outcome, (0, 0, 0)))[::-1]
        table[outcome * 256 : (outcome + 1) * 256] = (1 - alpha) * shade + alpha * colour
    drawn = np.take(table, found.astype(np.uint16) << 8 | np.asarray(grey, np.uint8), axis=0)
    ignored = found == Outcome.IGNORED
    if ignored.any():
        height, width = found.shape
        step = np.arange(height)[:, None] + np.arange(width)[None, :]
        drawn[ignored & (step % HATCH == 0)] = 230
    return drawn
