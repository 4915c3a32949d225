"""From an image to the input of a network, as the zoo's test pipelines do it.

The order is: float conversion (where the pipeline resizes floats), resize, cut out of the middle, division
of the grey levels, subtraction of the mean and division by the standard deviation in float32, padding with
zeros.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bddzoo.registry.model import Protocol


@dataclass(frozen=True)
class Prepared:
    """Input of a network for one image, and the sizes that lead back from it.

    Attributes:
        pixels: (3, h, w) float32, normalised, padded at right and bottom.
        image_size: `(height, width)` before padding.
        original_size: `(height, width)` of the image.
        scale_factor: `(x, y)`, resized over original size.
    """

    pixels: npt.NDArray[np.float32]
    image_size: tuple[int, int]
    original_size: tuple[int, int]
    scale_factor: tuple[float, float]

    @property
    def group(self) -> tuple[object, ...]:
        """Images with equal groups can share a batch."""
        return (self.pixels.shape, self.image_size, self.original_size)


def rescaled_size(width: int, height: int, scale: tuple[int, int]) -> tuple[int, int]:
    """The size `(width, height)` that an image is resized into so that it fits into `scale`.

    The long side of the result is at most the long side of `scale`, the short side at most its
    short side, and the aspect is kept up to rounding half up (mmcv's `imrescale`). A side never
    falls below one pixel.
    """
    factor = min(max(scale) / max(width, height), min(scale) / min(width, height))
    return max(1, int(width * factor + 0.5)), max(1, int(height * factor + 0.5))


def resized_size(width: int, height: int, protocol: Protocol) -> tuple[int, int]:
    """The size `(width, height)` that a protocol resizes an image into."""
    if protocol.scale is None:
        return width, height
    if protocol.resize == "exact":
        return protocol.scale
    if protocol.resize == "short-side":
        # Python's rounding, half to even, as openseg.pytorch's DefaultLoader has it.
        factor = min(protocol.scale) / min(width, height)
        return max(1, round(width * factor)), max(1, round(height * factor))
    if protocol.resize == "short-side-floor":
        short = min(protocol.scale)
        if width < height:  # in the order of mmpretrain's ResizeEdge
            return short, int(short * height / width)
        return int(short * width / height), short
    return rescaled_size(width, height, protocol.scale)


def prepare(image: npt.NDArray[np.uint8], protocol: Protocol) -> Prepared:
    """Make the network's input from an image.

    Args:
        image: (H, W, 3) uint8, BGR.
        protocol: Size and kind of resize, what is cut out, order of the channels, divisor, mean and standard
            deviation, padding.

    Returns:
        Input in float32, in the protocol's order of channels. Mean and deviation are rounded to
        float32 first; then the result is bit by bit that of mmcv's `imnormalize` and of the data
        preprocessors of mmsegmentation 1.x and mmdet 3.x.
    """
    import cv2

    height, width = image.shape[:2]
    resized: npt.NDArray[np.generic] = image
    new_width, new_height = resized_size(width, height, protocol)
    scale_factor = new_width / width, new_height / height
    if (new_width, new_height) != (width, height):
        source = image.astype(np.float32) if protocol.float_resize else image
        how = cv2.INTER_CUBIC if protocol.interpolation == "cubic" else cv2.INTER_LINEAR
        resized = cv2.resize(source, (new_width, new_height), interpolation=how)
    if protocol.center_crop is not None:
        rows, columns = (
            middle(new_height, protocol.center_crop[0]),
            middle(new_width, protocol.center_crop[1]),
        )
        resized = resized[rows, columns]
        new_height, new_width = resized.shape[:2]
    pixels = np.zeros((3, *padded_size(new_width, new_height, protocol)), np.float32)
    order = (0, 1, 2) if protocol.channel_order == "BGR" else (2, 1, 0)
    for channel, place in enumerate(order):
        target = pixels[channel, :new_height, :new_width]
        levels: npt.NDArray[np.generic] = resized[:, :, place]
        if protocol.div_value != 1.0:
            levels = np.divide(levels, np.float32(protocol.div_value), out=target, dtype=np.float32)
        # Dividing, not multiplying by the reciprocal: the two differ in the last bit.
        np.subtract(levels, np.float32(protocol.mean[channel]), out=target, dtype=np.float32)
        np.divide(target, np.float32(protocol.std[channel]), out=target)
    return Prepared(pixels, (new_height, new_width), (height, width), scale_factor)


def middle(length: int, wanted: int) -> slice:
    """The middle of a side, or all of a shorter one; halves are rounded to even, as by mmcv's CenterCrop."""
    start = max(0, round((length - wanted) / 2))
    return slice(start, min(length, start + wanted))


def frame_image_size(protocol: Protocol) -> tuple[int, int]:
    """Height and width of a frame of BDD100K, 1280x720, in the network's input."""
    width, height = resized_size(1280, 720, protocol)
    if protocol.center_crop is not None:
        height, width = min(height, protocol.center_crop[0]), min(width, protocol.center_crop[1])
    return height, width


def frame_input_size(protocol: Protocol) -> tuple[int, int]:
    """Height and width of the network's input for a frame of BDD100K, 1280x720, with its padding."""
    height, width = frame_image_size(protocol)
    return padded_size(width, height, protocol)


def padded_size(width: int, height: int, protocol: Protocol) -> tuple[int, int]:
    """Height and width of the network's input for a resized image."""
    divisor = protocol.pad_divisor
    return -(-height // divisor) * divisor, -(-width // divisor) * divisor
