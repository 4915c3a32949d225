import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bddzoo.datasets.classes import DRIVABLE, SEM_SEG
from bddzoo.painting.colouring import Style, contrast, draw_class_map, object_colour, plate_size, write_plate
from bddzoo.painting.objects import Shown, bounds, draw_objects


def grey(height=120, width=200, value=100) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def two_objects() -> np.ndarray:
    ids = np.zeros((120, 200), np.uint16)
    ids[40:80, 20:90] = 7
    ids[60:110, 100:180] = 40000
    return ids


@settings(max_examples=80, deadline=None)
@given(
    height=st.integers(1, 30),
    width=st.integers(1, 30),
    seed=st.integers(0, 2**32 - 1),
    most=st.integers(0, 6),
)
def test_boxes_are_those_of_the_pixels(height, width, seed, most):
    rng = np.random.default_rng(seed)
    ids = (rng.integers(0, most + 1, (height, width)) * rng.integers(0, 2, (height, width))).astype(np.uint16)
    expected = {}
    for ident in np.unique(ids[ids > 0]).tolist():
        rows, columns = np.nonzero(ids == ident)
        expected[ident] = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert bounds(ids) == expected


def test_an_object_has_its_colour_and_what_is_not_shown_stays():
    ids = two_objects()
    drawn = draw_objects(grey(), ids, [Shown(7)], style=Style(alpha=1.0, outlines=False))
    assert (drawn[ids == 7] == object_colour(7)[::-1]).all()
    assert (drawn[ids != 7] == 100).all()


def test_an_object_may_have_another_colour_and_another_seed():
    ids = two_objects()
    drawn = draw_objects(
        grey(), ids, [Shown(7, colour=(1, 2, 3)), Shown(40000)], style=Style(alpha=1, outlines=False, seed=5)
    )
    assert (drawn[ids == 7] == (3, 2, 1)).all()
    assert (drawn[ids == 40000] == object_colour(40000, 5)[::-1]).all()


def test_outlines_lie_inside_of_objects():
    ids = two_objects()
    drawn = draw_objects(grey(), ids, [Shown(7), Shown(40000)], style=Style(alpha=0.0))
    changed = (drawn != 100).any(axis=-1)
    assert not changed[ids == 0].any()
    assert changed[40, 20:90].all()
    assert changed[40:80, 89].all()
    assert not changed[42:78, 22:88].any()


def test_boxes_names_and_scores_can_be_had_one_by_one():
    ids = two_objects()
    shown = [Shown(7, "car", 0.9)]
    plain = draw_objects(grey(), ids, shown, style=Style(names=False))
    boxed = draw_objects(grey(), ids, shown, style=Style(names=False, boxes=True))
    named = draw_objects(grey(), ids, shown, style=Style(scores=False))
    scored = draw_objects(grey(), ids, shown)
    images = [p.tobytes() for p in (plain, boxed, named, scored)]
    assert len(set(images)) == 4


def test_a_name_that_would_cover_another_one_is_left_out():
    image = grey()
    first = write_plate(image, "bicycle", [(50, 60)], (200, 0, 0))
    before = image.copy()
    assert write_plate(image, "rider", [(52, 61)], (0, 200, 0), [first]) is None
    assert np.array_equal(image, before)
    assert write_plate(image, "rider", [(52, 61)], (0, 200, 0), [first], must=True) is not None


@settings(max_examples=60, deadline=None)
@given(
    x=st.integers(-500, 500),
    y=st.integers(-500, 500),
    plate=st.tuples(*[st.integers(0, 255)] * 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_words_look_the_same_on_every_background(x, y, plate, seed):
    """The plate hides the background, and the rim and the ink can be told from the plate."""
    noise = np.random.default_rng(seed).integers(0, 256, (90, 160, 3), dtype=np.uint8)
    on_noise, on_grey = noise.copy(), grey(90, 160)
    box = write_plate(on_noise, "traffic light 0.97", [(x, y)], plate)
    assert box == write_plate(on_grey, "traffic light 0.97", [(x, y)], plate)
    x1, y1, x2, y2 = box
    assert (x2 - x1, y2 - y1) == plate_size("traffic light 0.97", noise.shape)
    assert 0 <= x1 < x2 <= 160
    assert 0 <= y1 < y2 <= 90
    inside = on_noise[y1:y2, x1:x2]
    assert np.array_equal(inside, on_grey[y1:y2, x1:x2])
    rim = tuple(int(v) for v in inside[0, 0][::-1])
    assert contrast(rim, plate) >= 4.5
    outside = np.ones((90, 160), bool)
    outside[y1:y2, x1:x2] = False
    assert np.array_equal(on_noise[outside], noise[outside])


def test_the_background_of_drivable_area_is_left_alone():
    class_map = np.full((120, 200), DRIVABLE.index("background"), np.uint8)
    class_map[60:, :100] = DRIVABLE.index("direct")
    drawn = draw_class_map(
        grey(), class_map, classes=DRIVABLE, style=Style(alpha=1, outlines=False, names=False)
    )
    assert (drawn[class_map == 2] == 100).all()
    assert (drawn[class_map == 0] == DRIVABLE.palette[0][::-1]).all()


@pytest.mark.parametrize("scale", [1, 3])
def test_names_stand_in_their_region(scale):
    class_map = np.zeros((240 * scale, 320 * scale), np.uint8)
    class_map[:, 160 * scale :] = SEM_SEG.index("sky")
    plain = draw_class_map(grey(*class_map.shape), class_map, style=Style(names=False))
    named = draw_class_map(grey(*class_map.shape), class_map)
    left, right = np.split((plain != named).any(axis=-1), 2, axis=1)
    for half in (left, right):
        rows, columns = np.nonzero(half)
        assert 0.2 < rows.mean() / half.shape[0] < 0.8
        assert 0.2 < columns.mean() / half.shape[1] < 0.8


@settings(max_examples=60, deadline=None)
@given(height=st.integers(1, 60), width=st.integers(1, 60), seed=st.integers(0, 2**32 - 1))
def test_images_of_any_size(height, width, seed):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    ids = rng.integers(0, 5, (height, width)).astype(np.uint16)
    shown = [Shown(i, "car", float(rng.random())) for i in range(1, 7)]
    before = image.copy()
    drawn = draw_objects(image, ids, shown, style=Style(boxes=True))
    assert drawn.shape == image.shape
    assert np.array_equal(image, before)
