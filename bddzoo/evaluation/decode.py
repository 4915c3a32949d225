"""Label PNGs to arrays, checked, as fast as the installed libraries can."""

from __future__ import annotations

import threading
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bddzoo.datasets.formats.png import GREY, GREY_ALPHA, PALETTE, RGBA, Header, check_png, decode_indices
from bddzoo.datasets.native import Native, buffer, native
from bddzoo.errors import MissingError

# Larger images are refused before a byte is inflated: BDD100K's have 0.9 megapixels.
MAX_PIXELS = 1 << 26

_local = threading.local()


def header_of(content: bytes, path: Path) -> Header:
    """Checked header of a PNG.

    Raises:
        MissingError: Not a PNG, cut short, damaged, or of a size that can only be a bomb.
    """
    header = check_png(content, path)
    if header.width * header.height > MAX_PIXELS:
        raise MissingError(
            f"{path} claims {header.width}x{header.height} pixels", hint="too large for a label image"
        )
    return header


def decode_mask(content: bytes, path: Path, slot: str = "") -> tuple[NDArray[np.uint8], Header]:
    """Class map (H, W) uint8 from an 8-bit grey or palette PNG; palettes count by index.

    Args:
        content: The file.
        path: Its name, for messages.
        slot: Name of a buffer of this thread that the result may live in until the next call.

    Raises:
        MissingError: Damaged, or another kind of PNG.
    """
    header = header_of(content, path)
    if header.colour in (GREY, PALETTE) and header.depth == 8:
        return _decode(content, header, path, 1, slot), header
    if header.colour == PALETTE:
        return decode_indices(content, header, path), header
    raise MissingError(
        f"{path} is not a class map: {header}, expected 8-bit grey or palette",
        hint="coloured maps and bitmasks are other folders of the data set",
    )


def decode_bitmask(content: bytes, path: Path, slot: str = "") -> NDArray[np.uint8]:
    """Bitmask (H, W, 4) uint8 from an 8-bit RGBA PNG, alpha untouched.

    Raises:
        MissingError: Damaged, or another kind of PNG.
    """
    header = header_of(content, path)
    if header.colour != RGBA or header.depth != 8:
        raise MissingError(
            f"{path} is not a bitmask: {header}, expected 8-bit RGBA",
            hint="instance ids live in the blue and alpha channels; don't convert the files",
        )
    return _decode(content, header, path, 4, slot)


def decode_loose(content: bytes, path: Path) -> NDArray[np.uint8]:
    """Samples of any PNG as uint8, the way the official toolkit sees them (through Pillow).

    Sixteen-bit grey keeps its low byte, other sixteen-bit kinds their high byte, palettes their
    indices. Shape (H, W) or (H, W, channels).
    """
    header = header_of(content, path)
    if header.colour == PALETTE:
        return decode_indices(content, header, path)
    pixels = _cv2_decode(content, path)
    if pixels.dtype == np.uint16:
        pixels = pixels & 0xFF if header.colour == GREY else pixels >> 8
    pixels = pixels.astype(np.uint8)
    if header.colour == GREY and header.depth == 1:
        pixels = pixels // 255
    if header.colour == GREY_ALPHA and pixels.ndim == 3:
        pixels = pixels[..., [0, -1]]
    if pixels.ndim == 3 and pixels.shape[2] >= 3:
        pixels = pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]
    return np.ascontiguousarray(pixels)


def _decode(content: bytes, header: Header, path: Path, channels: int, slot: str) -> NDArray[np.uint8]:
    shape = (header.height, header.width) if channels == 1 else (header.height, header.width, channels)
    loops = native()
    # Interlaced images, which no label tool writes, are left to the libraries.
    interlaced = content[28] != 0
    if loops is not None and not interlaced:
        return _unfiltered(loops, content, shape, path, slot)
    if not interlaced:
        # OpenCV passes over pixels that are too few or too many.
        _inflate_rows(content, shape, path)
    if header.colour == PALETTE:
        return decode_indices(content, header, path)
    pixels = _cv2_decode(content, path)
    if channels == 4 and pixels.ndim == 3:
        import cv2

        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA)
    if pixels.shape != shape or pixels.dtype != np.uint8:
        raise _not_as_stated(path)
    return np.asarray(pixels, np.uint8)


def _unfiltered(
    loops: Native, content: bytes, shape: tuple[int, ...], path: Path, slot: str
) -> NDArray[np.uint8]:
    raw = _inflate_rows(content, shape, path)
    pixels = buffer(shape, slot)
    rows = pixels.reshape(shape[0], -1)
    if not loops.unfilter(raw, rows, shape[2] if len(shape) > 2 else 1):
        raise _not_as_stated(path)
    return pixels


def _inflate_rows(content: bytes, shape: tuple[int, ...], path: Path) -> NDArray[np.uint8]:
    """Rows (H, 1 + W * channels) behind their filter types; by libdeflate if possible, many times faster."""
    raw = buffer((shape[0], int(np.prod(shape[1:])) + 1), "raw")
    if not _inflate(_image_data(content), raw, path):
        raise _not_as_stated(path)
    return raw


def _not_as_stated(path: Path) -> MissingError:
    return MissingError(f"{path} is damaged: its pixels are not what its header says")


def _inflate(packed: bytes, raw: NDArray[np.uint8], path: Path) -> bool:
    """Inflate into `raw`; whether it was filled exactly."""
    try:
        codecs = _imagecodecs()
        if codecs is not None:
            return bool(np.size(codecs.deflate_decode(packed, out=raw.reshape(-1).data)) == raw.size)
        stream = zlib.decompressobj()
        # No more is inflated than there is room for, and one byte that would tell of too much.
        plain = stream.decompress(packed, raw.size + 1)
    except Exception as error:  # imagecodecs and zlib have error classes of their own
        if "INSUFFICIENT_SPACE" in str(error):
            return False
        raise MissingError(f"{path} is damaged: its pixels cannot be decoded ({error})") from None
    if len(plain) != raw.size or not stream.eof:
        return False
    raw.reshape(-1)[:] = np.frombuffer(plain, np.uint8)
    return True


def _image_data(content: bytes) -> bytes:
    """The compressed pixel stream of a PNG whose chunks have been checked."""
    parts = []
    at = 8
    while at < len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        if content[at + 4 : at + 8] == b"IDAT":
            parts.append(content[at + 8 : at + 8 + length])
        at += 12 + length
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _imagecodecs() -> Any:
    """imagecodecs, where it is installed: it has libdeflate."""
    if not hasattr(_local, "codecs"):
        try:
            import imagecodecs

            _local.codecs = imagecodecs
        except ImportError:
            _local.codecs = None
    return _local.codecs


def _cv2_decode(content: bytes, path: Path) -> NDArray[Any]:
    import cv2

    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise MissingError(f"{path} is damaged: its pixels cannot be decoded")
    return pixels
