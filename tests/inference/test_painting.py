import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bddzoo.datasets.classes import SEM_SEG
from bddzoo.datasets.formats.scalabel import Instances
from bddzoo.painting.colouring import Style, draw_class_map
from bddzoo.painting.objects import draw_instances
from tests.support.instances import no_instances


def grey(height=120, width=200) -> np.ndarray:
    return np.full((height, width, 3), 100, np.uint8)


def halves(height=120, width=200) -> np.ndarray:
    class_map = np.zeros((height, width), np.uint8)
    class_map[:, width // 2 :] = 10
    return class_map


def test_colours_are_blended():
    drawn = draw_class_map(grey(), halves(), style=Style(alpha=0.5))
    for x, name in ((5, "road"), (195, "sky")):
        colour = np.array(SEM_SEG.palette[SEM_SEG.index(name)][::-1])
        assert np.abs(drawn[5, x].astype(int) - (100 + colour) / 2).max() <= 1
    assert (drawn[:, 99] == 255).mean() > 0.9  # the outline
    # The names: something other than the two blends and the outline.
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 10


def test_alpha_from_image_to_colours():
    clear, full = (draw_class_map(grey(), halves(), style=Style(alpha=a)) for a in (0.0, 1.0))
    assert (clear[5, 5] == 100).all()
    assert full[5, 5].tolist() == list(SEM_SEG.palette[0][::-1])


def test_unknown_values_keep_the_image():
    drawn = draw_class_map(grey(), np.full((120, 200), 255, np.uint8))
    assert np.array_equal(drawn, grey())


def test_the_inputs_are_not_changed():
    image, class_map = grey(), halves()
    draw_class_map(image, class_map)
    assert np.array_equal(image, grey())
    assert np.array_equal(class_map, halves())


def an_instance(score=0.9, height=120, width=200) -> Instances:
    mask = np.zeros((1, height, width), bool)
    mask[0, 60:100, 50:150] = True
    return Instances(
        np.array([[50, 60, 150, 100]], np.float32), np.array([score], np.float32), np.array([2]), mask
    )


def test_instances_have_colour_outline_and_name():
    drawn = draw_instances(grey(), an_instance())
    changed = (drawn != 100).any(axis=-1)
    assert changed[60:100, 50:150].all()
    assert changed[40:60, 50:100].any()  # the name above the box
    assert not changed[105:].any()
    assert not changed[:, :45].any()


def test_low_scores_are_not_drawn():
    assert np.array_equal(draw_instances(grey(), an_instance(0.2)), grey())
    assert not np.array_equal(draw_instances(grey(), an_instance(0.2), style=Style(min_score=0.1)), grey())
    assert np.array_equal(draw_instances(grey(), no_instances(120, 200)), grey())


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    count=st.integers(0, 4),
    seed=st.integers(0, 2**32 - 1),
)
def test_images_of_any_size(height, width, count, seed):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    boxes = rng.uniform(-50, 100, (count, 4)).astype(np.float32)
    masks = rng.random((count, height, width)) < rng.random()
    instances = Instances(boxes, np.ones(count, np.float32), rng.integers(0, 8, count), masks)
    assert draw_instances(image, instances).shape == image.shape
    class_map = rng.integers(0, 20, (height, width), dtype=np.uint8)
    assert draw_class_map(image, class_map).shape == image.shape


@pytest.mark.parametrize("size", [(2, 3000), (3000, 2), (2160, 3840)])
def test_extreme_sizes(size):
    image = np.zeros((*size, 3), np.uint8)
    assert draw_class_map(image, np.zeros(size, np.uint8)).shape == image.shape
