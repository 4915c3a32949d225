"""Label PNGs: read to the bit, refused with the file named."""

import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bddzoo.datasets.formats.mask import read_bitmask, read_mask, write_mask, write_rgba
from bddzoo.errors import MissingError
from tests.attacks.labels import chunk, png


def palette_png(indices: np.ndarray, depth: int, colours: int) -> bytes:
    """A palette PNG written by hand, so that the reader is not checked with its own library."""
    height, width = indices.shape
    bits = np.unpackbits(indices[..., None], axis=-1)[..., 8 - depth :].reshape(height, -1)
    rows = np.packbits(bits, axis=1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    rng = np.random.default_rng(0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 3, 0, 0, 0))
        + chunk(b"PLTE", rng.integers(0, 256, 3 * colours, dtype=np.uint8).tobytes())
        + chunk(b"tRNS", b"\0\x80")
        + chunk(b"IDAT", zlib.compress(raw))
        + chunk(b"IEND", b"")
    )


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), height=st.integers(1, 40), width=st.integers(1, 40))
def test_mask_survives_a_round_trip(tmp_path_factory, seed, height, width):
    mask = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    path = tmp_path_factory.mktemp("m") / "a.png"
    write_mask(path, mask)
    assert np.array_equal(read_mask(path), mask)
    assert [p.name for p in path.parent.iterdir()] == ["a.png"]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), height=st.integers(1, 40), width=st.integers(1, 40))
def test_bitmask_survives_a_round_trip_with_any_alpha(tmp_path_factory, seed, height, width):
    bitmask = np.random.default_rng(seed).integers(0, 256, (height, width, 4), dtype=np.uint8)
    path = tmp_path_factory.mktemp("m") / "a.png"
    write_rgba(path, bitmask)
    assert np.array_equal(read_bitmask(path), bitmask)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_palette_counts_by_index(tmp_path, depth):
    indices = np.random.default_rng(depth).integers(0, 1 << depth, (13, 21), dtype=np.uint8)
    path = tmp_path / "p.png"
    path.write_bytes(palette_png(indices, depth, 1 << depth))
    assert np.array_equal(read_mask(path), indices)


def written(path, pixels):
    assert cv2.imwrite(str(path), pixels)
    return path


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (np.zeros((4, 5), np.uint16), "16-bit grey"),
        (np.zeros((4, 5, 3), np.uint8), "8-bit RGB"),
        (np.zeros((4, 5, 4), np.uint8), "8-bit RGBA"),
        (np.zeros((4, 5, 3), np.uint16), "16-bit RGB"),
    ],
)
def test_an_image_that_is_no_class_map_is_refused_by_name(tmp_path, pixels, words):
    path = written(tmp_path / "frame7.png", pixels)
    with pytest.raises(MissingError, match=rf"frame7\.png is not a class map: {words} PNG of 5x4 pixels"):
        read_mask(path)


@pytest.mark.parametrize(
    "pixels", [np.zeros((4, 5), np.uint8), np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5, 4), np.uint16)]
)
def test_an_image_that_is_no_bitmask_is_refused_by_name(tmp_path, pixels):
    path = written(tmp_path / "frame7.png", pixels)
    with pytest.raises(MissingError, match=r"frame7\.png is not a bitmask"):
        read_bitmask(path)


def test_every_cut_and_every_flipped_byte_is_noticed(tmp_path):
    mask = np.random.default_rng(0).integers(0, 19, (9, 11), dtype=np.uint8)
    whole = tmp_path / "whole.png"
    write_mask(whole, mask)
    content = whole.read_bytes()
    path = tmp_path / "hurt.png"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(MissingError, match=r"hurt\.png is"):
            read_mask(path)
    for at in range(len(content)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :])
        with pytest.raises(MissingError, match=r"hurt\.png"):
            read_mask(path)


def test_not_a_png_and_not_there(tmp_path):
    path = tmp_path / "a.png"
    with pytest.raises(MissingError, match="no such file"):
        read_mask(path)
    cv2.imwrite(str(tmp_path / "a.jpg"), np.zeros((4, 4), np.uint8))
    (tmp_path / "a.jpg").rename(path)
    with pytest.raises(MissingError, match=r"a\.png is not a PNG"):
        read_mask(path)
    with pytest.raises(MissingError, match="cannot read"):
        read_bitmask(tmp_path)


def test_wrong_arrays_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="class map"):
        write_mask(tmp_path / "a.png", np.zeros((2, 2), np.int64))
    with pytest.raises(ValueError, match="bitmask"):
        write_rgba(tmp_path / "a.png", np.zeros((2, 2, 3), np.uint8))
    assert not list(tmp_path.iterdir())


def test_no_write_permission_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MissingError, match="cannot write"):
        write_mask(tmp_path / "file" / "a.png", np.zeros((2, 2), np.uint8))


@pytest.mark.parametrize("size", [(0, 0), (0, 5), (5, 0)])
def test_an_image_without_pixels_is_damaged(tmp_path, size):
    (tmp_path / "x.png").write_bytes(png(*size))
    with pytest.raises(MissingError, match="no pixels"):
        read_mask(tmp_path / "x.png")
