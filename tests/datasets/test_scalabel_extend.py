"""Files that several processes wrote, put together: the bytes that one process would have written."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from bddzoo.datasets.formats.scalabel import FrameWriter, label_dict

# Texts that look like the file's own structure, and labels that bring an id along or not.
NAMES = st.sampled_from(["a", "}", "},\n", '"id": "7"', "é{", "]"])
LABELS = st.lists(
    st.builds(
        lambda name, rle: label_dict(category=name, rle=rle),
        NAMES,
        st.none() | st.fixed_dictionaries({"counts": NAMES, "size": st.just([2, 3])}),
    ),
    max_size=3,
)
FRAMES = st.lists(st.tuples(NAMES, LABELS), max_size=3)


def write(path: Path, frames: list, bare: bool, parts: tuple[Path, ...] = ()) -> bytes:
    with FrameWriter(path, bare=bare) as writer:
        for part in parts:
            writer.extend(part)
        for name, labels in frames:
            writer.add(name, [dict(label) for label in labels])
    return path.read_bytes()


@given(FRAMES, FRAMES, FRAMES, st.booleans())
def test_parts_make_the_whole(first: list, second: list, third: list, bare: bool) -> None:
    with TemporaryDirectory() as folder:
        one, two, both, whole = (Path(folder, f"{n}.json") for n in ("one", "two", "both", "whole"))
        write(one, first, bare)
        write(two, second, bare)
        assert write(both, third, bare, (one, two)) == write(whole, first + second + third, bare)
