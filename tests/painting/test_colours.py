import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bddzoo.painting.colouring import (
    BLACK,
    COUNT,
    WHITE,
    _matrix,
    contrast,
    ink,
    lighter,
    luminance,
    object_colour,
    object_palette,
)

FIXED = [(0, 0, 0), (53, 191, 255), (199, 141, 0), (229, 100, 123), (0, 218, 232)]
channel = st.integers(0, 255)
colour = st.tuples(channel, channel, channel)


def oklab(colours: object) -> np.ndarray:
    """Colours of sRGB 0..255, (N, 3), as OKLab: lightness 0..1, a, b."""
    share = np.asarray(colours, np.float64) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ _matrix("lms").T) @ _matrix("lab").T


def nearest(palette: np.ndarray, apart: int) -> float:
    """Smallest OKLab distance of two ids that are at most so far apart."""
    points = oklab(palette)
    steps = range(1, apart + 1)
    return min(float(np.linalg.norm(points[k:] - points[:-k], axis=1).min()) for k in steps)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(-(10**6), 10**6), first=st.integers(1, COUNT - 400))
def test_neighbours_look_different_whatever_the_seed(seed, first):
    palette = object_palette(seed)[first : first + 200]
    assert nearest(palette, 11) > 0.08
    assert nearest(palette, 127) > 0.02


def test_the_whole_palette_keeps_its_promise():
    assert nearest(object_palette()[1:], 11) > 0.08


def test_no_object_is_as_dark_as_the_background_or_grey():
    points = oklab(object_palette()[1:])
    assert points[:, 0].min() > 0.5
    assert np.hypot(points[:, 1], points[:, 2]).min() > 0.05


def test_the_palette_is_the_same_everywhere():
    # Written down once: a change of these would change everyone's images.
    assert [object_colour(i) for i in (0, 1, 2, 300, 65535)] == FIXED
    assert not np.array_equal(object_palette(0), object_palette(1))
    with pytest.raises(ValueError, match="read-only"):
        object_palette(0)[1] = 0


@given(colour)
def test_ink_can_be_read_on_every_colour(plate):
    assert contrast(ink(plate), plate) >= 4.5
    assert ink(plate) in (BLACK, WHITE)


@given(colour, colour)
def test_contrast_is_symmetric_and_bounded(a, b):
    assert contrast(a, b) == contrast(b, a)
    assert 1 <= contrast(a, b) <= 21.001


def test_contrast_of_known_pairs():
    # The ends of the scale, and the grey that WebAIM names as just readable on white.
    assert contrast(BLACK, WHITE) == pytest.approx(21)
    assert contrast((118, 118, 118), WHITE) == pytest.approx(4.54, abs=0.01)


@given(colour)
def test_outlines_are_lighter(fill):
    assert luminance(lighter(fill)) >= luminance(fill)


def test_oklab_of_known_colours():
    # From Ottosson's article: white, red, green and blue of sRGB.
    known = {
        (255, 255, 255): (1.0, 0.0, 0.0),
        (255, 0, 0): (0.628, 0.225, 0.126),
        (0, 255, 0): (0.866, -0.234, 0.179),
        (0, 0, 255): (0.452, -0.032, -0.312),
    }
    assert oklab(list(known)) == pytest.approx(np.array(list(known.values())), abs=0.001)
