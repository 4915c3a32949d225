"""Colours: contrast, and a fixed palette for objects without a colour of their own.

OKLab is Björn Ottosson's (2020) perceptual space: distances in it are about what an eye sees, 0.02 being
just visible. Contrast and relative luminance are those of WCAG 2.1.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from bddzoo.datasets.classes import Colour

Floats = npt.NDArray[np.float64]

BLACK: Colour = (0, 0, 0)
WHITE: Colour = (255, 255, 255)
COUNT = 1 << 16
"""Colours of a palette: one for each id that a bitmask can hold."""

# Steps of the R2 sequence (Roberts 2018), 1/p and 1/p^2 for the plastic number p: it fills a plane evenly, so
# that ids that are near each other get colours that are not.
HUE_STEP = 0.5698402909980532
LIGHTNESS_STEP = 0.7548776662466927
# The golden angle spreads seeds over the wheel of hues.
GOLDEN_TURN = 0.6180339887498949
# Lightness changes too, so that the palette holds up in grey and for colour-blind eyes.
LIGHTNESS = (0.52, 0.84)
CHROMA = 0.16


@lru_cache(maxsize=8)
def object_palette(seed: int = 0) -> npt.NDArray[np.uint8]:
    """Colours by object id: (65536, 3) uint8 RGB, read-only; id 0, the background, is black.

    The same seed gives the same colours on every machine. In OKLab, any two ids less than 12 apart differ by
    at least 0.08, and any two less than 128 apart by more than the 0.02 that can just be seen.

    Args:
        seed: Turns the wheel of hues.
    """
    number = np.arange(COUNT, dtype=np.float64)
    dark, bright = LIGHTNESS
    lightness = dark + (bright - dark) * (LIGHTNESS_STEP * number % 1)
    turn = (0.08 + GOLDEN_TURN * (seed % 10_000) + HUE_STEP * number) % 1
    palette = _in_gamut(lightness, CHROMA, 2 * np.pi * turn)
    palette[0] = 0
    palette.setflags(write=False)
    return palette


def object_colour(ident: int, seed: int = 0) -> Colour:
    """Colour of one object."""
    red, green, blue = object_palette(seed)[ident % COUNT].tolist()
    return red, green, blue


def lighter(colour: Colour) -> Colour:
    """Half way to white: for outlines, which must be seen on dark images too."""
    red, green, blue = (c + (255 - c) // 2 for c in colour)
    return red, green, blue


def ink(colour: Colour) -> Colour:
    """Black or white, whichever can be read on a colour: the contrast is at least 4.5."""
    return max(BLACK, WHITE, key=lambda candidate: contrast(candidate, colour))


def contrast(a: Colour, b: Colour) -> float:
    """Contrast ratio of two colours, 1..21 (WCAG 2.1)."""
    bright, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def luminance(colour: Colour) -> float:
    """Relative luminance of an sRGB colour, 0..1 (WCAG 2.1)."""
    parts = [c / 255 for c in colour]
    red, green, blue = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _in_gamut(lightness: Floats, chroma: float, hue: Floats) -> npt.NDArray[np.uint8]:
    """OKLCH colours as sRGB, (N, 3) uint8; chroma is lowered where sRGB cannot show it."""
    low, high = np.zeros_like(hue), np.full_like(hue, chroma)
    for _ in range(12):
        middle = (low + high) / 2
        linear = _linear(lightness, middle, hue)
        inside = ((linear >= 0) & (linear <= 1)).all(axis=1)
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    linear = np.clip(_linear(lightness, low, hue), 0, 1)
    share = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    found: npt.NDArray[np.uint8] = np.rint(255 * share).astype(np.uint8)
    return found


def _linear(lightness: Floats, chroma: Floats, hue: Floats) -> Floats:
    lab = np.stack((lightness, chroma * np.cos(hue), chroma * np.sin(hue)), axis=1)
    roots = lab @ np.linalg.inv(_matrix("lab")).T
    found: Floats = roots**3 @ np.linalg.inv(_matrix("lms")).T
    return found


def _matrix(name: str) -> Floats:
    """Linear sRGB to cone responses (`lms`), and their cube roots to OKLab (`lab`)."""
    if name == "lms":
        rows = (
            (0.4122214708, 0.5363325363, 0.0514459929),
            (0.2119034982, 0.6806995451, 0.1073969566),
            (0.0883024619, 0.2817188376, 0.6299787005),
        )
    else:
        rows = (
            (0.2104542553, 0.7936177850, -0.0040720468),
            (1.9779984951, -2.4285922050, 0.4505937099),
            (0.0259040371, 0.7827717662, -0.8086757660),
        )
    return np.array(rows)
