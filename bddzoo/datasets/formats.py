"""The BDD100K label and prediction formats in one place.

`bddzoo.datasets.masks` reads and writes PNGs, `bddzoo.datasets.rle` encodes masks, and
`bddzoo.datasets.scalabel` streams JSON files.
"""

from __future__ import annotations

from bddzoo.datasets.masks import (
    paint_bitmask,
    paint_ids,
    read_bitmask,
    read_mask,
    score_entries,
    write_bitmask,
    write_mask,
    write_rgba,
)
from bddzoo.datasets.rle import decode_rle, encode_rle
from bddzoo.datasets.scalabel import (
    DetJsonWriter,
    FrameWriter,
    RleJsonWriter,
    ScoreJsonWriter,
    frame_dict,
    label_dict,
)

__all__ = [
    "DetJsonWriter",
    "FrameWriter",
    "RleJsonWriter",
    "ScoreJsonWriter",
    "decode_rle",
    "encode_rle",
    "frame_dict",
    "label_dict",
    "paint_bitmask",
    "paint_ids",
    "read_bitmask",
    "read_mask",
    "score_entries",
    "write_bitmask",
    "write_mask",
    "write_rgba",
]
