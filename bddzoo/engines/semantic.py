"""Run a semantic segmentation network: whole images or sliding windows, as upstream does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from bddzoo.errors import UsageError
from bddzoo.registry.model import Model

# Twice the largest stride of any network: enough for each to see something.
SHORT_PX = 64


class NetworkRunner:
    """A network with the test protocol of its model.

    Attributes:
        module: The network, in evaluation mode.
        model: Its registry entry.
        num_classes: Number of classes that it tells apart.
    """

    def __init__(self, module: nn.Module, model: Model) -> None:
        self.module = cast(Any, module.eval())
        self.model = model
        self.num_classes = model.network.num_classes if model.network else 0

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        parameter: Tensor = next(self.module.parameters())
        return parameter.device


class SemSegRunner(NetworkRunner):
    """A semantic segmentation network.

    Follows `inference`, `slide_inference` and `postprocess_result` of mmsegmentation's
    EncoderDecoder (mmseg/models/segmentors/encoder_decoder.py, 1.2.2; 0.30 computes the same).

    Attributes:
        num_classes: Channels of the logits.
        network: What computes the logits of one window: `run_module`, or a runtime in its place.
    """

    gives = "class map"

    def __init__(self, module: nn.Module, model: Model) -> None:
        super().__init__(module, model)
        self.num_classes = int(self.module.out_channels)
        self.network: Callable[[Tensor], Tensor] = self.run_module
        self._align_corners = bool(self.module.align_corners)
        protocol = model.protocol
        self._windows: tuple[tuple[int, int], tuple[int, int]] | None = None
        if protocol is not None and protocol.mode == "slide":
            if protocol.crop is None or protocol.stride is None:
                raise UsageError(
                    f"model {model.id}: protocol {protocol.id} slides without crop and stride",
                    hint="fix the registry",
                )
            self._windows = (protocol.crop, protocol.stride)

    @torch.no_grad()
    def logits(self, x: Tensor, out_size: tuple[int, int]) -> Tensor:
        """Class scores before the softmax.

        Args:
            x: (N, 3, h, w) float32, normalised RGB, on the network's device.
            out_size: Height and width of the result, in pixels: the original image's.

        Returns:
            (N, C, H, W) float32 logits, resized bilinearly from the input's size to `out_size`.
            In sliding mode they are the mean over the windows that cover a pixel.
        """
        scores = self.encode(x) if self._windows is None else self._slide(x, *self._windows)
        if tuple(scores.shape[2:]) == tuple(out_size):
            return scores
        return functional.interpolate(
            scores, size=tuple(out_size), mode="bilinear", align_corners=self._align_corners
        )

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Logits of one window: (N, 3, h, w) to (N, C, h, w).

        Upstream's networks with large strides leave nothing of an image that is a few pixels high or
        wide, and fail. Such a one is continued at its edges as far as is needed, and the result cut off.
        """
        height, width = x.shape[2:]
        try:
            return self.network(x)
        except (RuntimeError, ValueError, AssertionError, ZeroDivisionError) as error:
            if min(height, width) >= SHORT_PX or "memory" in str(error):
                raise
        bottom, right = max(0, SHORT_PX - height), max(0, SHORT_PX - width)
        longer = functional.pad(x, (0, right, 0, bottom), mode="replicate")
        return self.network(longer)[:, :, :height, :width]

    def run_module(self, x: Tensor) -> Tensor:
        """Logits by the module itself: (N, 3, h, w) to (N, C, h, w)."""
        size = tuple(x.shape[2:])
        meta = {"img_shape": size, "ori_shape": size, "pad_shape": size, "padding_size": [0, 0, 0, 0]}
        # All images of a batch have one size, and mmsegmentation looks at the first's.
        scores: Tensor = self.module.encode_decode(x, [meta])
        return scores

    def _slide(self, x: Tensor, crop: tuple[int, int], stride: tuple[int, int]) -> Tensor:
        count, _, height, width = x.shape
        total = x.new_zeros((count, self.num_classes, height, width))
        times = x.new_zeros((1, 1, height, width))
        for y1, y2 in windows(height, crop[0], stride[0]):
            for x1, x2 in windows(width, crop[1], stride[1]):
                total[:, :, y1:y2, x1:x2] += self.encode(x[:, :, y1:y2, x1:x2])
                times[:, :, y1:y2, x1:x2] += 1
        return total.div_(times)


def windows(length: int, crop: int, stride: int) -> Iterator[tuple[int, int]]:
    """Start and end of the windows along one axis, in pixels.

    The last window is moved back to end at the border; an image shorter than the window is taken whole.
    """
    for index in range(max(length - crop + stride - 1, 0) // stride + 1):
        end = min(index * stride + crop, length)
        yield max(end - crop, 0), end
