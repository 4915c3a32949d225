"""What plots are made of: fronts, looks of groups, models that go together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bddzoo.registry import load_registry
from bddzoo.reports.plots.canvas import COLOURS, looks
from bddzoo.reports.plots.points import Point, front

pytest.importorskip("matplotlib")


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=30), st.booleans())
def test_the_front_is_what_no_other_point_beats(values, small_x):
    points = [Point(f"m{i:02}", "g", "l", float(x), float(y)) for i, (x, y) in enumerate(values)]
    sign = 1 if small_x else -1

    def beats(a, b):
        return (sign * a.x <= sign * b.x and a.y >= b.y) and (a.x, a.y) != (b.x, b.y)

    found = front(points, small_x=small_x)
    places = {(p.x, p.y) for p in points if not any(beats(q, p) for q in points)}
    assert {(p.x, p.y) for p in found} == places
    assert len(found) == len(places)
    assert [p.x for p in found] == sorted(p.x for p in found)


@given(st.integers(1, 56))
def test_no_two_groups_look_alike(count):
    found = looks([f"g{i}" for i in range(count)])
    assert len({(look.colour, look.marker) for look in found.values()}) == count


def test_colours_can_be_told_apart_in_grey_or_have_marks():
    from bddzoo.painting.colouring import contrast

    white = (255, 255, 255)
    for colour in COLOURS:
        rgb = tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))
        assert contrast(rgb, white) > 2, colour


def test_models_of_other_data_sets_are_not_mixed_in():
    from bddzoo.reports.plots.points import select

    models = load_registry(None).select(task="sem_seg")
    chosen = select(models, None, None, None)
    assert chosen.dataset == "bdd100k"
    assert {m.protocol.dataset for m in chosen.models if m.protocol} == {"bdd100k"}
    odd = replace(chosen.models[0], protocol=None)
    assert odd not in select([*chosen.models, odd], None, None, None).models
