"""Panoptic maps of networks, as the bitmasks and the JSON of the zoo."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bddzoo.datasets.classes import PAN_SEG, PAN_STUFF
from bddzoo.datasets.formats.rle import encode_values
from bddzoo.datasets.formats.scalabel import FrameWriter, label_dict

THINGS = len(PAN_SEG) - PAN_STUFF
# The number of a thing times this is added to its class.
OFFSET = 1000


@dataclass(frozen=True)
class PanopticMap:
    """What a panoptic network sees in an image.

    Networks of the zoo have things first, in the order of their ids (31 to 40), then stuff (1 to 30). The
    toolkit's converter at its head writes another order, with which upstream's formatter would name every
    class wrongly; the zoo's own list of classes is this one.

    Attributes:
        values: (H, W) int32: class of the network + 1000 times the number of the thing, from 1; 40 for
            nothing.
    """

    values: npt.NDArray[np.int32]

    @cached_property
    def segments(self) -> npt.NDArray[np.int64]:
        """The values of segments in the map, ascending."""
        found = np.bincount(self.values.ravel()).nonzero()[0]
        return found[found % OFFSET < len(PAN_SEG)]

    @property
    def classes(self) -> npt.NDArray[np.int64]:
        """Class of each segment, positions in `PAN_SEG`."""
        network = self.segments % OFFSET
        return np.where(network < THINGS, network + PAN_STUFF, network - THINGS)

    @property
    def things(self) -> npt.NDArray[np.bool_]:
        """Which segments are things."""
        return self.segments % OFFSET < THINGS

    @cached_property
    def ids(self) -> npt.NDArray[np.uint16]:
        """(H, W): which segment a pixel is of, its position in `segments` + 1; 0 for none."""
        numbers = np.zeros(int(self.values.max(initial=0)) + 1, np.uint16)
        numbers[self.segments] = np.arange(1, len(self.segments) + 1)
        return numbers[self.values]

    def class_map(self) -> npt.NDArray[np.uint8]:
        """(H, W): position in `PAN_SEG`; 255 for nothing."""
        return np.append(np.uint8(255), self.classes.astype(np.uint8))[self.ids]

    def bitmask(self) -> npt.NDArray[np.uint8]:
        """(H, W, 4) RGBA: R = class + 1, G = 0, B<<8 | A = number of the segment in the image, from 1."""
        out = np.zeros((*self.values.shape, 4), np.uint8)
        out[..., 0] = np.append(0, self.classes + 1).astype(np.uint8)[self.ids]
        out[..., 2], out[..., 3] = self.ids >> 8, self.ids & 0xFF
        return out


class PanopticJsonWriter(FrameWriter):
    """`pan_seg.json`: each segment as RLE; its id is its value in the map, and there are no scores."""

    counts_ids = False

    def __init__(self, path: Path) -> None:
        super().__init__(path)

    def __enter__(self) -> PanopticJsonWriter:
        super().__enter__()
        return self

    def add_panoptic(self, name: str, found: PanopticMap) -> None:
        """Append a frame."""
        rles = encode_values(found.ids)
        self.add(
            name,
            [
                label_dict(id=str(value), category=PAN_SEG.names[index], rle=rles[number])
                for number, (value, index) in enumerate(
                    zip(found.segments.tolist(), found.classes.tolist(), strict=True), start=1
                )
            ],
        )
