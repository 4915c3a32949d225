import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bddzoo.datasets.classes import IGNORED
from bddzoo.datasets.formats.labels import NOTHING
from bddzoo.reports.vis.draw import COLOURS, Outcome, difference, draw_errors, outcomes, rounded, shares

VALUES = (0, 1, 2, NOTHING, IGNORED)


def plane(seed: int, height: int = 7, width: int = 9) -> np.ndarray:
    return np.random.default_rng(seed).choice(VALUES, (height, width)).astype(np.uint8)


def by_hand(truth: int, found: int) -> Outcome:
    if truth == IGNORED:
        return Outcome.IGNORED
    silent = found in (NOTHING, IGNORED)
    if truth == NOTHING:
        return Outcome.NOTHING if silent else Outcome.EXTRA
    if silent:
        return Outcome.MISSED
    return Outcome.RIGHT if truth == found else Outcome.WRONG


def test_every_pair_of_truth_and_prediction():
    truth, found = np.meshgrid(np.array(VALUES, np.uint8), np.array(VALUES, np.uint8), indexing="ij")
    expected = [[by_hand(t, p) for p in VALUES] for t in VALUES]
    assert outcomes(truth, found).tolist() == expected


@settings(deadline=None)
@given(a=st.integers(0, 2**32 - 1), b=st.integers(0, 2**32 - 1))
def test_shares_of_what_counts_are_whole(a, b):
    told = shares(outcomes(plane(a), plane(b)))
    assert sum(told[w] for w in ("right", "wrong class", "missed", "false alarm")) == pytest.approx(1)
    assert told["ignored"] == (plane(a) == IGNORED).mean()


def test_shares_of_nothing_are_not_a_number():
    told = shares(np.full((3, 3), Outcome.IGNORED, np.uint8))
    assert math.isnan(told["right"])
    assert rounded(told) == {
        "right": None, "wrong class": None, "missed": None, "false alarm": None, "ignored": 1.0
    }  # fmt: skip


@settings(deadline=None)
@given(t=st.integers(0, 99), a=st.integers(0, 99), b=st.integers(0, 99))
def test_difference(t, a, b):
    truth, first, second = plane(t), plane(a), plane(b)
    value = difference(truth, first, second)
    assert 0 <= value <= 1
    assert value == difference(truth, second, first)
    assert difference(truth, first, first) == 0
    # What the truth ignores may be anything.
    first[truth == IGNORED] = 1
    assert value == difference(truth, first, second)


def test_difference_by_hand():
    truth = np.array([[0, 0, IGNORED, NOTHING, NOTHING, 1]], np.uint8)
    first = np.array([[0, 1, 0, NOTHING, 2, NOTHING]], np.uint8)
    second = np.array([[0, 0, 1, NOTHING, NOTHING, NOTHING]], np.uint8)
    # Four pixels hold something and count; two of them differ.
    assert difference(truth, first, second) == pytest.approx(2 / 4)
    assert difference(None, first, second) == pytest.approx(3 / 4)


def test_error_maps_show_the_image_and_the_outcome():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    found = np.zeros((40, 60), np.uint8)
    found[:, 10:20], found[:, 20:30], found[:, 30:] = Outcome.RIGHT, Outcome.WRONG, Outcome.IGNORED
    drawn = draw_errors(image, found)
    assert (np.ptp(drawn[:, :10].astype(int), axis=-1) == 0).all()  # grey
    for columns, outcome in ((slice(10, 20), Outcome.RIGHT), (slice(20, 30), Outcome.WRONG)):
        mean = drawn[:, columns].reshape(-1, 3).mean(axis=0)
        assert np.argmax(mean) == np.argmax(COLOURS[outcome][::-1])
    assert ((drawn[:, 30:] == 230).all(axis=-1)).mean() == pytest.approx(1 / 8, abs=0.02)  # hatched
