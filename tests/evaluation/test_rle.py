import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from bddzoo.datasets.formats.rle import RleError, decode_runs, encode_rle, encode_values
from bddzoo.evaluation.metrics.semseg import class_runs, confusion, runs_confusion
from tests.evaluation import scenes
from tests.evaluation.scenes import seeds


def encoded(mask):
    return coco.encode(np.asfortranarray(mask, np.uint8))["counts"]


def painted(runs):
    out = np.zeros((runs.count, runs.pixels), bool)
    for start, end, mask in zip(runs.starts, runs.ends, runs.masks, strict=True):
        assert start < end
        assert not out[mask, start:end].any()
        out[mask, start:end] = True
    return out


@settings(max_examples=100, deadline=None)
@given(seeds, st.integers(1, 60), st.integers(1, 60), st.integers(0, 6))
def test_runs_are_pycocotools_masks(seed, height, width, count):
    rng = np.random.default_rng(seed)
    masks = []
    for _ in range(count):
        density = rng.choice([0, 0.01, 0.5, 0.99, 1])
        masks.append(rng.random((height, width)) < density)
    runs = decode_runs([encoded(m) for m in masks], height * width)
    expected = np.array([m.ravel(order="F") for m in masks]).reshape(count, height * width)
    np.testing.assert_array_equal(painted(runs), expected)
    np.testing.assert_array_equal(runs.areas(), expected.sum(axis=1))
    assert runs.overlapping() == bool((expected.sum(axis=0) > 1).any())


@settings(max_examples=60, deadline=None)
@given(seeds, st.booleans())
def test_confusion_of_runs_is_that_of_pixels(seed, overlap):
    rng = np.random.default_rng(seed)
    sides, maps = [], []
    for _ in range(2):
        truth = scenes.class_map(rng, classes=6)
        values = [v for v in np.unique(truth).tolist() if v < 6]
        masks = [truth == v for v in values]
        if overlap:
            values.append(int(rng.integers(6)))
            masks.append(scenes.class_map(rng, classes=2, odd=(0,)) == 1)
            truth = np.where(masks[-1], values[-1], truth).astype(np.uint8)
        sides.append(
            class_runs(decode_runs([encoded(m) for m in masks], truth.size), np.array(values, np.uint8))
        )
        maps.append(truth)
    np.testing.assert_array_equal(runs_confusion(*sides, 6), confusion(*maps, 6)[0])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=12), min_size=1, max_size=4))
def test_other_bytes_are_refused_and_the_first_bad_one_is_named(counts):
    good = []
    for one in counts:
        try:
            decode_runs([one], 100)
            good.append(True)
        except RleError:
            good.append(False)
    if all(good):
        assert decode_runs(counts, 100).count == len(counts)
    else:
        with pytest.raises(RleError) as caught:
            decode_runs(counts, 100)
        assert caught.value.args[0] == good.index(False)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([np.uint8, np.uint16, np.uint32]))
def test_all_values_of_a_map_are_encoded_as_one_by_one(seed, kind):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 30, 2).tolist())
    values = scenes.class_map(rng, shape).astype(kind)
    if rng.random() < 0.3:
        values = rng.integers(0, 3, shape).astype(kind) * kind(85)
    found = encode_values(values)
    assert sorted(found) == np.unique(values).tolist()
    for value, rle in found.items():
        assert rle == encode_rle(values == value)


def test_a_map_without_pixels_has_no_values():
    assert encode_values(np.zeros((0, 5), np.uint8)) == {}
