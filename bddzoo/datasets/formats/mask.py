"""Label images: class maps and instance bitmasks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bddzoo.datasets.formats.png import (
    GREY,
    PALETTE,
    RGBA,
    Header,
    check_png,
    decode_indices,
    decode_rgba,
    encode_png,
    read_bytes,
)
from bddzoo.datasets.formats.rle import MAX_PIXELS
from bddzoo.datasets.formats.scalabel import Instances
from bddzoo.errors import MissingError
from bddzoo.files import write_bytes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def read_mask(path: Path) -> npt.NDArray[np.uint8]:
    """Read a class map: (H, W) uint8, 255 = ignored.

    A palette PNG counts by index, as in the official toolkit.

    Raises:
        MissingError: Absent, damaged, or not an 8-bit single-channel PNG (a coloured map, a
            bitmask, 16 bits); the file is named.
    """
    return decode_mask(read_bytes(path), path)


def decode_mask(content: bytes, path: Path) -> npt.NDArray[np.uint8]:
    """The bytes of a class map's file; see `read_mask`."""
    header = check_label(content, path)
    if header.colour == PALETTE or (header.colour == GREY and header.depth == 8):
        return decode_indices(content, header, path)
    raise MissingError(
        f"{path} is not a class map: {header}, expected 8-bit grey or palette",
        hint="coloured maps and bitmasks are other folders of the data set",
    )


def read_bitmask(path: Path) -> npt.NDArray[np.uint8]:
    """Read an instance bitmask: (H, W, 4) uint8 in the order R, G, B, A, exactly as stored.

    R = category from 1 (0 = background), G = truncated<<3 | occluded<<2 | crowd<<1 | ignored,
    B<<8 | A = instance id.

    Raises:
        MissingError: Absent, damaged, or not an 8-bit RGBA PNG; the file is named.
    """
    return decode_bitmask(read_bytes(path), path)


def decode_bitmask(content: bytes, path: Path) -> npt.NDArray[np.uint8]:
    """The bytes of a bitmask's file; see `read_bitmask`."""
    header = check_label(content, path)
    if header.colour != RGBA or header.depth != 8:
        raise MissingError(
            f"{path} is not a bitmask: {header}, expected 8-bit RGBA",
            hint="instance ids live in the blue and alpha channels; don't convert the files",
        )
    return decode_rgba(content, header, path)


def check_label(content: bytes, path: Path) -> Header:
    """Header of a label's PNG, which is whole.

    Raises:
        MissingError: It is damaged, or of a size that can only be a bomb.
    """
    header = check_png(content, path)
    if header.width * header.height > MAX_PIXELS:
        raise MissingError(
            f"{path} claims {header.width}x{header.height} pixels", hint="too large for a label image"
        )
    return header


def write_mask(path: Path, mask: npt.NDArray[np.uint8]) -> None:
    """Write a class map, (H, W) uint8, as an 8-bit grey PNG; the file appears only when complete."""
    import numpy as np

    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise ValueError(f"a class map is (H, W) uint8, not {mask.shape} {mask.dtype}")
    write_bytes(path, encode_png(mask, path))


def write_rgba(path: Path, bitmask: npt.NDArray[np.uint8]) -> None:
    """Write an instance bitmask, (H, W, 4) uint8 in the order R, G, B, A, as an RGBA PNG."""
    import numpy as np

    if bitmask.ndim != 3 or bitmask.shape[2] != 4 or bitmask.dtype != np.uint8:
        raise ValueError(f"a bitmask is (H, W, 4) uint8, not {bitmask.shape} {bitmask.dtype}")
    write_bytes(path, encode_png(bitmask, path))


def paint_ids(instances: Instances) -> npt.NDArray[np.uint16]:
    """Paint instances over each other by ascending score: (H, W) uint16, 0 = background.

    The value is the instance's position + 1. Where instances overlap the higher score wins, among
    equal scores the later one; an instance that is fully covered leaves no pixels. This is the order
    in which the bdd100k-models `test.py` paints.
    """
    import numpy as np

    if len(instances) > 0xFFFF:
        raise ValueError(f"a bitmask holds 65535 instances, not {len(instances)}")
    ids = np.zeros(instances.size, np.uint16)
    boxes = _mask_boxes(instances.masks)
    for position in np.argsort(instances.scores, kind="stable"):
        rows, columns = boxes[position]
        window = instances.masks[position, rows, columns]
        ids[rows, columns][window] = position + 1
    return ids


def paint_bitmask(instances: Instances) -> npt.NDArray[np.uint8]:
    """Bitmask of instances: (H, W, 4) uint8 RGBA, R = class id + 1, G = 0, B<<8 | A = position + 1.

    Number the instances as the zoo does by passing `instances.by_class()`.
    """
    import numpy as np

    ids = paint_ids(instances)
    categories = np.concatenate([np.zeros(1, np.uint8), (instances.labels + 1).astype(np.uint8)])
    bitmask = np.zeros((*ids.shape, 4), np.uint8)
    bitmask[..., 0] = categories[ids]
    bitmask[..., 2] = ids >> 8
    bitmask[..., 3] = ids & 0xFF
    return bitmask


def write_bitmask(path: Path, instances: Instances) -> list[dict[str, Any]]:
    """Paint and write instances; returns their score entries `{"index": ..., "score": ...}`."""
    write_rgba(path, paint_bitmask(instances))
    return score_entries(instances)


def score_entries(instances: Instances) -> list[dict[str, Any]]:
    """One `{"index": position + 1, "score": float}` for each instance, hidden ones included."""
    return [{"index": i, "score": float(score)} for i, score in enumerate(instances.scores, start=1)]


def _mask_boxes(masks: npt.NDArray[np.bool_]) -> list[tuple[slice, slice]]:
    """Rows and columns that hold each mask's pixels; painting only there is several times faster."""
    import numpy as np

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
