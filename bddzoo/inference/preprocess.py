"""From a picture to the input of a network, as the zoo's test pipelines do it.

The order is: float conversion (semantic segmentation only), rescale with the aspect kept,
subtraction of the mean and division by the standard deviation in float32, padding with zeros.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bddzoo.registry.types import Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class Prepared:
    """Input of a network for one picture, and the sizes that lead back from it.

    Attributes:
        pixels: (3, h, w) float32, normalised, padded at right and bottom.
        image_size: `(height, width)` before padding.
        original_size: `(height, width)` of the picture.
        scale_factor: `(x, y)`, resized over original size.
    """

    pixels: npt.NDArray[np.float32]
    image_size: tuple[int, int]
    original_size: tuple[int, int]
    scale_factor: tuple[float, float]

    @property
    def group(self) -> tuple[object, ...]:
        """Pictures with equal groups can share a batch."""
        return (self.pixels.shape, self.image_size, self.original_size)


def rescaled_size(width: int, height: int, scale: tuple[int, int]) -> tuple[int, int]:
    """The size `(width, height)` that a picture is resized into so that it fits into `scale`.

    The long side of the result is at most the long side of `scale`, the short side at most its
    short side, and the aspect is kept up to rounding half up (mmcv's `imrescale`). A side never
    falls below one pixel.
    """
    factor = min(max(scale) / max(width, height), min(scale) / min(width, height))
    return max(1, int(width * factor + 0.5)), max(1, int(height * factor + 0.5))


def prepare(picture: npt.NDArray[np.uint8], protocol: Protocol) -> Prepared:
    """Make the network's input from a picture.

    Args:
        picture: (H, W, 3) uint8, BGR.
        protocol: Scale, kind of resize, mean and standard deviation (RGB order), padding.

    Returns:
        RGB input in float32. Mean and deviation are rounded to float32 first; then the result is
        bit by bit that of mmcv's `imnormalize` and of the data preprocessors of mmsegmentation 1.x
        and mmdet 3.x.
    """
    import cv2
    import numpy as np

    height, width = picture.shape[:2]
    resized: npt.NDArray[np.generic] = picture
    new_width, new_height = (
        (width, height) if protocol.scale is None else rescaled_size(width, height, protocol.scale)
    )
    if (new_width, new_height) != (width, height):
        source = picture.astype(np.float32) if protocol.float_resize else picture
        resized = cv2.resize(source, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
    padded_height, padded_width = (_round_up(n, protocol.pad_divisor) for n in (new_height, new_width))
    pixels = np.zeros((3, padded_height, padded_width), np.float32)
    for channel in range(3):
        target = pixels[channel, :new_height, :new_width]
        # Dividing, not multiplying by the reciprocal: the two differ in the last bit.
        np.subtract(
            resized[:, :, 2 - channel], np.float32(protocol.mean[channel]), out=target, dtype=np.float32
        )
        np.divide(target, np.float32(protocol.std[channel]), out=target)
    return Prepared(
        pixels,
        (new_height, new_width),
        (height, width),
        (new_width / width, new_height / height),
    )


def _round_up(size: int, divisor: int) -> int:
    return -(-size // divisor) * divisor
