"""Frames of the mini set: the same everywhere, with every class, and labels that agree with each other."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from bddzoo.datasets.classes import INS_SEG, SEM_SEG
from bddzoo.datasets.mini import DEFAULT_VAL
from bddzoo.datasets.mini.draw import SCENES, TIMES, WEATHER, make_plan
from bddzoo.datasets.mini.frame import MiniFrame, render

# Category of a bitmask to class id of a class map: pedestrian is person, and so on.
SEM_OF = {category: category + 10 for category in range(1, 9)}

# SHA-256 of the label arrays of two frames. They may change only together with `writer.VERSION`.
GOLDEN = {
    0: "6e0794a44a72ed3932bb109fa0bfd5aff534eb24a8544f1fb423c3be9eab14dc",
    13: "94ba3f2d856260108c165445ba833f3455cc9c566bf7e237e4a5c869272aed43",
}


def digest(frame: MiniFrame) -> str:
    return hashlib.sha256(frame.sem.tobytes() + frame.bitmask.tobytes()).hexdigest()


@pytest.fixture(scope="module")
def frames() -> list[MiniFrame]:
    """The default val split, images included."""
    return [render(0, "val", i) for i in range(DEFAULT_VAL)]


@pytest.mark.parametrize("index", GOLDEN)
def test_labels_are_the_same_on_every_machine(frames, index):
    assert digest(frames[index]) == GOLDEN[index]


def test_a_frame_depends_on_seed_split_and_number_alone(frames):
    again = render(0, "val", 5)
    assert digest(again) == digest(frames[5])
    assert np.array_equal(again.image, frames[5].image)
    assert again.boxes == frames[5].boxes
    others = {digest(render(1, "val", 5)), digest(render(0, "train", 5)), digest(frames[6])}
    assert len(others | {digest(again)}) == 4


def test_shapes_and_types(frames):
    for frame in frames:
        assert frame.image.shape == (720, 1280, 3)
        assert frame.sem.shape == (720, 1280)
        assert frame.bitmask.shape == (720, 1280, 4)
        assert frame.image.dtype == frame.sem.dtype == frame.bitmask.dtype == np.uint8


def test_every_class_occurs_in_several_frames(frames):
    seen = np.array([np.bincount(f.sem.ravel(), minlength=256) > 200 for f in frames]).sum(axis=0)
    assert (seen[: len(SEM_SEG)] >= 5).all(), dict(zip(SEM_SEG.names, seen, strict=False))
    assert seen[len(SEM_SEG) : 255].sum() == 0
    assert 0 < seen[255] <= DEFAULT_VAL


def test_every_category_occurs_as_an_object_that_counts(frames):
    counted = np.zeros(9, int)
    for frame in frames:
        for category, flags, _ in instances(frame):
            counted[category] += not flags & 1
    assert counted[0] == 0
    assert (counted[1:] >= 5).all(), dict(zip(INS_SEG.names, counted[1:], strict=True))


def test_every_flag_occurs(frames):
    flags = [f for frame in frames for _, f, _ in instances(frame)]
    for bit in (1, 2, 4, 8):
        hit = sum(bool(f & bit) for f in flags)
        assert 0 < hit < len(flags)


def test_class_maps_and_bitmasks_agree(frames):
    for frame in frames:
        category, flags = frame.bitmask[..., 0], frame.bitmask[..., 1]
        is_thing = (frame.sem >= 11) & (frame.sem <= 18)
        # A trailer has no class of its own: ignored in the bitmask, nothing in the class map.
        other = (category > 0) & (frame.sem == 255)
        assert np.array_equal(category > 0, is_thing | other)
        assert (flags[other] & 1).all()
        assert np.array_equal(frame.sem[is_thing], category[is_thing] + 10)


def test_instance_ids_are_one_object_each_and_fit_the_toolkit(frames):
    for frame in frames:
        rows = instances(frame)
        numbers = [number for _, _, number in rows]
        # One category and one set of flags for each id, and fewer than the 100 that crash the toolkit.
        assert len(set(numbers)) == len(numbers) < 100
        assert min(numbers) >= 1
        background = frame.bitmask[frame.bitmask[..., 0] == 0]
        assert not background.any()


def test_boxes_are_those_of_the_instances(frames):
    for frame in frames:
        ids = frame.bitmask[..., 2].astype(int) << 8 | frame.bitmask[..., 3]
        counted = [number for _, flags, number in instances(frame) if not flags & 1]
        things = [box for box in frame.boxes if box.category in INS_SEG.names]
        assert len(things) == len(counted)
        corners = {box.corners for box in things}
        for number in counted:
            ys, xs = np.nonzero(ids == number)
            assert (xs.min(), ys.min(), xs.max(), ys.max()) in corners


def test_attributes_use_the_words_of_bdd100k_and_all_occur(frames):
    for key, words in (("weather", WEATHER), ("scene", SCENES), ("timeofday", TIMES)):
        assert {frame.attributes[key] for frame in frames} == set(words)


def test_attributes_follow_from_the_light(frames):
    def brightness(time: str) -> float:
        return float(np.mean([f.image.mean() for f in frames if f.attributes["timeofday"] == time]))

    assert brightness("daytime") > brightness("dawn/dusk") > brightness("night")


def test_classes_are_not_of_one_colour(frames):
    for frame in frames[:4]:
        for name in ("road", "building", "vegetation", "car"):
            pixels = frame.image[frame.sem == SEM_SEG.index(name)]
            if len(pixels) > 2000:
                assert pixels.std(axis=0).max() > 5


def test_plans_of_other_seeds_hold_every_attribute_too():
    for seed in (1, 7, 4294967295):
        plans = [make_plan(seed, 1, i).attributes for i in range(DEFAULT_VAL)]
        assert {p["weather"] for p in plans} == set(WEATHER)
        assert {p["scene"] for p in plans} == set(SCENES)
        assert {p["timeofday"] for p in plans} == set(TIMES)


def instances(frame: MiniFrame) -> list[tuple[int, int, int]]:
    """Category, flags and id of each combination that occurs."""
    words = np.ascontiguousarray(frame.bitmask).view("<u4").ravel()
    rows = np.unique(words[words != 0]).view(np.uint8).reshape(-1, 4)
    return [(int(r), int(g), int(b) << 8 | int(a)) for r, g, b, a in rows]
