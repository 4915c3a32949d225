"""Pictures whose filters a library undoes on repacked rows come out as they went in."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bddzoo.errors import MissingError
from bddzoo.evaluation.bitmask import folded_overlaps, overlaps
from bddzoo.evaluation.fast import decode, native
from bddzoo.evaluation.fast.repack import Folded, align, repeats
from tests.evaluation import scenes
from tests.evaluation.test_native import encodings

pytest.importorskip("imagecodecs")
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(autouse=True)
def uncompiled(monkeypatch):
    """As on a machine without a compiler."""
    monkeypatch.setattr(native, "_state", {"loaded": None})


def filtered(pixels, kinds):
    """PNG with a given filter type for each row (PNG 1.2, section 6)."""
    step = pixels.shape[2] if pixels.ndim > 2 else 1
    rows = pixels.reshape(len(pixels), -1).astype(int)
    out = b""
    for i, kind in enumerate(kinds):
        row, up = rows[i], rows[i - 1] if i else np.zeros_like(rows[0])
        left, corner = (np.concatenate((np.zeros(step, int), r[:-step])) for r in (row, up))
        distances = [abs(left + up - corner - v) for v in (left, up, corner)]
        paeth = np.where(
            (distances[0] <= distances[1]) & (distances[0] <= distances[2]),
            left,
            np.where(distances[1] <= distances[2], up, corner),
        )
        guess = (0, left, up, (left + up) // 2, paeth)[kind]
        out += bytes([kind]) + ((row - guess) % 256).astype(np.uint8).tobytes()
    height, width = pixels.shape[:2]
    png = b"\x89PNG\r\n\x1a\n"
    for name, body in (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6 if step == 4 else 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(out)),
        (b"IEND", b""),
    ):
        png += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    return png


def picture(rng, rgba):
    """Flat, with repeated and black rows; sometimes noise."""
    shape = (int(rng.integers(1, 30)), int(rng.integers(1, 30)))
    pixels = scenes.class_map(rng, shape, classes=int(rng.integers(1, 8)))
    if rng.random() < 0.2:
        pixels = rng.integers(0, 256, shape, np.uint8)
    pixels = pixels[np.sort(rng.integers(0, shape[0], shape[0]))]
    pixels[rng.random(shape[0]) < 0.4] = 0
    return (
        np.stack([pixels, pixels // 3, pixels * 0, 255 - pixels], -1) * (pixels > 0)[..., None]
        if rgba
        else pixels
    )


@settings(max_examples=300, deadline=None)
@given(seeds, st.booleans())
def test_any_filters_are_undone(seed, rgba):
    rng = np.random.default_rng(seed)
    # Several pictures one after the other through the same buffers.
    for _ in range(3):
        pixels = picture(rng, rgba)
        content = filtered(pixels, rng.integers(0, 5, len(pixels)).tolist())
        if rgba:
            folded = decode.fold_bitmask(content, Path("p.png"), "slot")
            assert folded.shape == pixels.shape
            np.testing.assert_array_equal(folded.unfolded(), pixels)
            np.testing.assert_array_equal(decode.decode_bitmask(content, Path("p.png")), pixels)
        else:
            got, _ = decode.decode_mask(content, Path("p.png"), "slot")
            np.testing.assert_array_equal(got, pixels)


@pytest.mark.parametrize("rgba", [True, False])
def test_files_of_other_writers(rgba):
    rng = np.random.default_rng(3)
    for _ in range(5):
        pixels = picture(rng, rgba)
        for content in encodings(pixels):
            got = (
                decode.decode_bitmask(content, Path("p"))
                if rgba
                else decode.decode_mask(content, Path("p"))[0]
            )
            np.testing.assert_array_equal(got, pixels)


def test_pictures_of_one_size_share_buffers_without_traces():
    """A short one between two long ones: what it left behind is overwritten."""
    rng = np.random.default_rng(1)
    noisy, flat = rng.integers(0, 256, (40, 20), np.uint8), np.zeros((40, 20), np.uint8)
    for pixels in (noisy, flat, noisy, flat):
        content = filtered(pixels, [4] * 40)
        np.testing.assert_array_equal(decode.decode_mask(content, Path("p"), "gt")[0], pixels)


def test_what_counts_as_a_repeated_row():
    raw = np.zeros((7, 5), np.uint8)
    raw[:, 0] = (2, 0, 1, 2, 4, 3, 0)
    # The first row has none above; a black row repeats a black row; an average is never trusted.
    assert repeats(raw).tolist() == [False, False, True, True, True, False, False]
    raw[2, 3] = 1
    assert repeats(raw).tolist() == [False, False, False, True, True, False, False]


@settings(max_examples=150, deadline=None)
@given(seeds)
def test_folded_pictures_overlap_as_whole_ones(seed):
    rng = np.random.default_rng(seed)
    items = scenes.objects(rng, int(rng.integers(0, 8)), (24, 30))
    gt = scenes.paint(items, (24, 30))
    pred = scenes.paint(scenes.moved(rng, items, (24, 30)), (24, 30))
    parts = []
    for pixels in (gt, pred):
        content = filtered(pixels, rng.integers(0, 5, len(pixels)).tolist())
        parts.append(decode.fold_bitmask(content, Path("p"), ""))
    first, second, counts = align(*parts)
    np.testing.assert_array_equal(np.repeat(first, counts, axis=0), gt)
    np.testing.assert_array_equal(np.repeat(second, counts, axis=0), pred)
    for one, other in ((parts[0], parts[1]), (Folded(gt), parts[1]), (parts[0], Folded(pred))):
        got, wanted = folded_overlaps(one, other, "f"), overlaps(gt, pred, "f")
        np.testing.assert_array_equal(got.pixels, wanted.pixels)
        np.testing.assert_array_equal(got.gt.areas, wanted.gt.areas)
        assert got.shape == wanted.shape


def test_a_filter_that_does_not_exist_is_told():
    content = filtered(np.ones((4, 4), np.uint8), [0, 0, 0, 0])
    rows = np.ones((4, 5), np.uint8)
    rows[:, 0] = (0, 1, 7, 0)
    body = zlib.compress(rows.tobytes())
    start = content.index(b"IDAT")
    png = content[: start - 4] + struct.pack(">I", len(body)) + b"IDAT" + body
    png += struct.pack(">I", zlib.crc32(b"IDAT" + body)) + b"\0\0\0\0IEND\xaeB`\x82"
    with pytest.raises(MissingError, match=r"p\.png is damaged"):
        decode.decode_mask(png, Path("p.png"))


def test_interlaced_pictures_are_left_to_the_libraries():
    pixels = scenes.class_map(np.random.default_rng(0), (30, 40))
    out = b""
    passes = (
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    )
    for x, y, right, down in passes:
        out += b"".join(b"\0" + row.tobytes() for row in pixels[y::down, x::right])
    head = b"IHDR" + struct.pack(">IIBBBBB", 40, 30, 8, 0, 0, 0, 1)
    png = b"\x89PNG\r\n\x1a\n"
    for body in (head, b"IDAT" + zlib.compress(out), b"IEND"):
        png += struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    np.testing.assert_array_equal(decode.decode_mask(png, Path("p.png"))[0], pixels)
