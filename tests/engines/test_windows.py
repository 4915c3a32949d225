from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bddzoo.engines.semantic import windows


@given(st.integers(1, 3000), st.integers(1, 1000), st.integers(1, 1000))
def test_windows_cover_the_image_once_in_order(length, crop, stride):
    stride = min(stride, crop)
    found = list(windows(length, crop, stride))
    assert found[0][0] == 0
    assert found[-1][1] == length
    for (_, end), (start, _) in pairwise(found):
        assert start <= end
    assert {end - start for start, end in found} == {min(crop, length)}


def test_windows_of_the_zoos_protocol():
    assert list(windows(1281, 769, 513)) == [(0, 769), (512, 1281)]
    assert list(windows(721, 769, 513)) == [(0, 721)]
