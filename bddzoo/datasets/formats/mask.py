"""Label images: class maps and instance bitmasks, as PNG files that are checked, read and written here."""

from __future__ import annotations

import threading
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bddzoo.datasets.formats import png
from bddzoo.datasets.formats.png import GREY, PALETTE, Header, damaged, decode_indices, decode_samples
from bddzoo.datasets.formats.rle import MAX_PIXELS
from bddzoo.datasets.formats.scalabel import Instances
from bddzoo.datasets.native import Native, buffer, native
from bddzoo.datasets.sources import read_bytes
from bddzoo.errors import MissingError
from bddzoo.files import write_bytes
from bddzoo.lazy_numpy import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_local = threading.local()


def read_mask(path: Path) -> NDArray[np.uint8]:
    """Read a class map: (H, W) uint8, 255 = ignored.

    A palette PNG counts by index, as in the official toolkit.

    Raises:
        MissingError: Absent, damaged, or not an 8-bit single-channel PNG (a coloured map, a
            bitmask, 16 bits); the file is named.
    """
    return decode_mask(read_bytes(path), path)[0]


def read_bitmask(path: Path) -> NDArray[np.uint8]:
    """Read an instance bitmask: (H, W, 4) uint8 in the order R, G, B, A, exactly as stored.

    R = category from 1 (0 = background), G = truncated<<3 | occluded<<2 | crowd<<1 | ignored,
    B<<8 | A = instance id.

    Raises:
        MissingError: Absent, damaged, or not an 8-bit RGBA PNG; the file is named.
    """
    return decode_bitmask(read_bytes(path), path)


def check_label(content: bytes, path: Path) -> Header:
    """Header of a label's PNG, which is whole.

    Raises:
        MissingError: Not a PNG, cut short, damaged, or of a size that can only be a bomb.
    """
    header = png.check_png(content, path)
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
    header = check_label(content, path)
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
    header = check_label(content, path)
    if header.colour != png.RGBA or header.depth != 8:
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
    header = check_label(content, path)
    if header.colour == PALETTE:
        return decode_indices(content, header, path)
    pixels = decode_samples(content, path)
    if pixels.dtype == np.uint16:
        pixels = pixels & 0xFF if header.colour == GREY else pixels >> 8
    pixels = pixels.astype(np.uint8)
    if header.colour == GREY and header.depth == 1:
        pixels = pixels // 255
    if header.colour == png.GREY_ALPHA and pixels.ndim == 3:
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
    pixels = decode_samples(content, path)
    if channels == 4 and pixels.ndim == 3:
        import cv2

        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA)
    if pixels.shape != shape or pixels.dtype != np.uint8:
        raise damaged(path, "its pixels are not what its header says")
    return np.asarray(pixels, np.uint8)


def _unfiltered(
    loops: Native, content: bytes, shape: tuple[int, ...], path: Path, slot: str
) -> NDArray[np.uint8]:
    raw = _inflate_rows(content, shape, path)
    pixels = buffer(shape, slot)
    rows = pixels.reshape(shape[0], -1)
    if not loops.unfilter(raw, rows, shape[2] if len(shape) > 2 else 1):
        raise damaged(path, "its pixels are not what its header says")
    return pixels


def _inflate_rows(content: bytes, shape: tuple[int, ...], path: Path) -> NDArray[np.uint8]:
    """Rows (H, 1 + W * channels) behind their filter types; by libdeflate if possible, many times faster."""
    raw = buffer((shape[0], int(np.prod(shape[1:])) + 1), "raw")
    if not _inflate(_image_data(content), raw, path):
        raise damaged(path, "its pixels are not what its header says")
    return raw


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
        raise damaged(path, f"its pixels cannot be decoded ({error})") from None
    if len(plain) != raw.size or not stream.eof:
        return False
    raw.reshape(-1)[:] = np.frombuffer(plain, np.uint8)
    return True


def _image_data(content: bytes) -> bytes:
    """The compressed pixel stream of a PNG whose chunks have been checked."""
    parts = [body for kind, body in png.chunks(content) if kind == b"IDAT"]
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


def write_mask(path: Path, mask: NDArray[np.uint8]) -> None:
    """Write a class map, (H, W) uint8, as an 8-bit grey PNG; the file appears only when complete."""
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise ValueError(f"a class map is (H, W) uint8, not {mask.shape} {mask.dtype}")
    write_bytes(path, png.encode_png(mask, path))


def write_rgba(path: Path, bitmask: NDArray[np.uint8]) -> None:
    """Write an instance bitmask, (H, W, 4) uint8 in the order R, G, B, A, as an RGBA PNG."""
    if bitmask.ndim != 3 or bitmask.shape[2] != 4 or bitmask.dtype != np.uint8:
        raise ValueError(f"a bitmask is (H, W, 4) uint8, not {bitmask.shape} {bitmask.dtype}")
    write_bytes(path, png.encode_png(bitmask, path))


def paint_ids(instances: Instances) -> NDArray[np.uint16]:
    """Paint instances over each other by ascending score: (H, W) uint16, 0 = background.

    The value is the instance's position + 1. Where instances overlap the higher score wins, among
    equal scores the later one; an instance that is fully covered leaves no pixels. This is the order
    in which the bdd100k-models `test.py` paints.
    """
    if len(instances) > 0xFFFF:
        raise ValueError(f"a bitmask holds 65535 instances, not {len(instances)}")
    ids = np.zeros(instances.size, np.uint16)
    boxes = _mask_boxes(instances.masks)
    for position in np.argsort(instances.scores, kind="stable"):
        rows, columns = boxes[position]
        window = instances.masks[position, rows, columns]
        ids[rows, columns][window] = position + 1
    return ids


def paint_bitmask(instances: Instances) -> NDArray[np.uint8]:
    """Bitmask of instances: (H, W, 4) uint8 RGBA, R = class id + 1, G = 0, B<<8 | A = position + 1.

    Number the instances as the zoo does by passing `instances.by_class()`.
    """
    ids = paint_ids(instances)
    categories = np.concatenate([np.zeros(1, np.uint8), (instances.labels + 1).astype(np.uint8)])
    bitmask = np.zeros((*ids.shape, 4), np.uint8)
    bitmask[..., 0] = categories[ids]
    bitmask[..., 2] = ids >> 8
    bitmask[..., 3] = ids & 0xFF
    return bitmask


def score_entries(instances: Instances) -> list[dict[str, Any]]:
    """One `{"index": position + 1, "score": float}` for each instance, hidden ones included."""
    return [{"index": i, "score": float(score)} for i, score in enumerate(instances.scores, start=1)]


def _mask_boxes(masks: NDArray[np.bool_]) -> list[tuple[slice, slice]]:
    """Rows and columns that hold each mask's pixels; painting only there is several times faster."""
    boxes = []
    for mask in masks:
        rows = np.flatnonzero(mask.any(axis=1))
        if not len(rows):
            boxes.append((slice(0, 0), slice(0, 0)))
            continue
        band = slice(int(rows[0]), int(rows[-1]) + 1)
        columns = np.flatnonzero(mask[band].any(axis=0))
        boxes.append((band, slice(int(columns[0]), int(columns[-1]) + 1)))
    return boxes
