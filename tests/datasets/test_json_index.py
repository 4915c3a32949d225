import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bddzoo.datasets.formats.json_index import OutlineError, frame_regions
from tests.conftest import ALL

values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(alphabet='ab{}[]"\\,: 0\n', max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text('a{"\\', max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)
objects = st.dictionaries(st.sampled_from(["name", "labels", "{", "frames"]), values, max_size=3)


def pieces(content, size):
    return [content[i : i + size] for i in range(0, len(content), size)]


@settings(max_examples=300 if ALL else 100, deadline=None)
@given(st.lists(objects, max_size=5), st.integers(1, 40), st.sampled_from([None, 2]), values | objects)
def test_frames_are_found_wherever_chunks_end(frames, size, indent, config):
    for whole in (frames, {"groups": [{"frames": 1}], "frames": frames, "config": config}):
        content = json.dumps(whole, indent=indent).encode()
        regions, bare = frame_regions(pieces(content, size))
        assert bare == isinstance(whole, list)
        assert [json.loads(content[a:b]) for a, b in regions] == frames


@settings(max_examples=100, deadline=None)
@given(st.lists(objects, min_size=1, max_size=3), st.data())
def test_a_file_cut_short_is_no_list(frames, data):
    content = json.dumps(frames).encode()
    end = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(OutlineError):
        frame_regions(pieces(content[:end], 7))


@pytest.mark.parametrize(
    "text", ["", "1", "[1]", "[[{}]]", '{"frames": {}}', '{"frames": [0, {}]}', "[{}}", "[{}] x"]
)
def test_other_json(text):
    with pytest.raises(OutlineError):
        frame_regions([text.encode()])
