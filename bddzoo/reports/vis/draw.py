"""One frame to one image: colour maps, overlays, and where a prediction is right or wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from enum import IntEnum
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from bddzoo.datasets.classes import IGNORED, Colour
from bddzoo.datasets.formats.labels import CLASSES, NOTHING, FrameLabels, Item, is_thing
from bddzoo.datasets.formats.png import encode_palette, encode_png
from bddzoo.painting.colouring import Style, draw_class_map, object_colour
from bddzoo.painting.objects import Shown, draw_objects

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
    pairs = truth.astype(np.uint16) << 8 | prediction
    return np.take(_table(), pairs)


@lru_cache(maxsize=1)
def _table() -> Plane:
    """Outcome by truth << 8 | prediction, (65536,) uint8."""
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
    counted = (a != NOTHING) | (b != NOTHING)
    if truth is not None:
        counted |= truth != NOTHING
        counted &= truth != IGNORED
    total = np.count_nonzero(counted)
    return np.count_nonzero((a != b) & counted) / total if total else 0.0


def draw_errors(image: Plane, found: Plane) -> Plane:
    """Outcomes over a grey, darkened image.

    Args:
        image: (H, W, 3) uint8, BGR.
        found: (H, W) uint8, values of `Outcome`.

    Returns:
        (H, W, 3) uint8, BGR.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
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


Image = npt.NDArray[np.uint8]


def overlay(image: Image, planes: FrameLabels, style: Style) -> Image:
    """Labels over their image.

    Args:
        image: (H, W, 3) uint8, BGR.
        planes: Labels of the same size.
        style: How.

    Returns:
        (H, W, 3) uint8, BGR.
    """
    classes = CLASSES[planes.task]
    if planes.class_map is not None:
        return draw_class_map(image, planes.class_map, classes, style)
    planes.number()
    shown = [
        Shown(
            item.ident,
            _name(item, classes.names[item.category]),
            item.score,
            colour_of(planes.task, item, style.seed),
            item.box,
        )
        for item in planes.items
        if item.score is None or item.score >= style.min_score
    ]
    boxes = style.boxes or planes.task == "det"
    return draw_objects(image, planes.ids, shown, replace(style, boxes=boxes))


def _name(item: Item, name: str) -> str:
    return name if item.counts else f"({name})"


def colour_of(task: str, item: Item, seed: int) -> Colour:
    """Colour of an object: its class's for stuff, its own for things."""
    if is_thing(task, item.category):
        return object_colour(item.ident, seed)
    return CLASSES[task].palette[item.category]


def colour_map(planes: FrameLabels, seed: int, path: Path) -> bytes:
    """PNG of labels in colours: the official palettes for classes, one colour each for objects.

    Ignored pixels and the background of objects are black. A palette PNG where that holds all colours,
    which is several times smaller and faster to write, else RGB.

    Args:
        planes: Labels of a frame.
        seed: Of the colours of objects.
        path: Name of the file, for messages.
    """
    if planes.class_map is not None:
        palette = np.zeros((256, 3), np.uint8)
        palette[: len(CLASSES[planes.task])] = CLASSES[planes.task].palette
        palette[IGNORED] = 0
        return encode_palette(planes.class_map, palette, path)
    planes.number()
    colours = [(0, 0, 0), *(colour_of(planes.task, item, seed) for item in planes.items)]
    idents = [item.ident for item in planes.items]
    if len(colours) <= 256:
        table = np.zeros(1 << 16, np.uint8)
        table[idents] = np.arange(1, len(colours))
        return encode_palette(np.take(table, planes.ids), np.array(colours, np.uint8), path)
    wide = np.zeros((1 << 16, 3), np.uint8)
    wide[idents] = np.array(colours[1:], np.uint8)
    return encode_png(np.take(wide, planes.ids, axis=0), path)
