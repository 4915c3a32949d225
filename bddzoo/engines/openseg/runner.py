"""Run a network of openseg.pytorch as the zoo tests it: mirrored, on several scales, resized by OpenCV."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from bddzoo.engines.semantic import SemSegRunner
from bddzoo.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

    from bddzoo.registry.model import Model


_MAX_CHANNELS = 128


class OpensegRunner(SemSegRunner):
    """A network with the test protocol of its model.

    Raises:
        UsageError: The protocol swaps classes that the network does not have, or asks for windows.
    """

    def __init__(self, module: nn.Module, model: Model) -> None:
        super().__init__(module, model)
        if self._windows is not None:
            raise UsageError(
                f"model {model.id}: its protocol asks for windows, openseg's networks see whole images",
                hint="fix the registry",
            )
        protocol = model.protocol
        self._flip = protocol is not None and protocol.flip
        self._scales = protocol.scales if protocol is not None else ()
        self._cubic = protocol is not None and protocol.logits_resize == "cv2-cubic"
        self._order = _swapped(self.num_classes, model)

    @torch.no_grad()
    def outputs(self, x: Tensor) -> tuple[Tensor | None, Tensor]:
        """Auxiliary logits (None where the network has none) and main logits of one plain pass.

        Args:
            x: (N, 3, h, w) float32, normalised, on the network's device.

        Returns:
            (N, K, h, w) float32 each.
        """
        return cast(Any, self.module)(x)  # type: ignore[no-any-return]

    @torch.no_grad()
    def logits(
        self, x: Tensor, out_size: tuple[int, int] | None = None, image_size: tuple[int, int] | None = None
    ) -> Tensor:
        """Class scores before any softmax, by the whole protocol.

        Mirrored images give a mean with the image's own scores, several scales a sum over scales and
        mirrors, as in the zoo's trainer and tester.

        Args:
            x: (N, 3, h, w) float32, normalised and padded, on the network's device.
            out_size: Height and width of the result in pixels, the original image's; None: as it is.
            image_size: Height and width of the input without its padding, which is cut off; None: no padding.

        Returns:
            (N, K, H, W) float32 logits.
        """
        scores = self._all_scales(x) if self._scales else self._mirrored(x)
        if self._flip and not self._scales:
            scores = scores.div_(2)
        if image_size is not None:
            scores = scores[:, :, : image_size[0], : image_size[1]]
        if out_size is None or tuple(scores.shape[2:]) == tuple(out_size):
            return scores
        if self._cubic:
            return resize_cubic(scores, out_size)
        return functional.interpolate(scores, size=tuple(out_size), mode="bilinear", align_corners=True)

    def _mirrored(self, x: Tensor) -> Tensor:
        """Scores of one pass, plus those of the mirrored image if the protocol says so."""
        scores = self.encode(x)
        if self._flip:
            mirrored = self.encode(x.flip(3)).flip(3)
            scores = scores.add_(mirrored if self._order is None else mirrored[:, self._order])
        return scores

    def _all_scales(self, x: Tensor) -> Tensor:
        """The sum of scores over scales, at the input's size."""
        size = x.shape[2:]
        total: Tensor | None = None
        for scale in self._scales:
            small = (int(size[0] * scale), int(size[1] * scale))
            scores = self._mirrored(functional.interpolate(x, small, mode="bilinear", align_corners=True))
            scores = functional.interpolate(scores, size, mode="bilinear", align_corners=True)
            total = scores if total is None else total.add_(scores)
        assert total is not None
        return total


def resize_cubic(scores: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, K, h, w) float32 to (N, K, H, W) by OpenCV's INTER_CUBIC, which is not PyTorch's bicubic."""
    import cv2
    import numpy as np

    height, width = size
    resized = np.empty((*scores.shape[:2], height, width), np.float32)
    # OpenCV 5 takes no more than 128 channels at once. Its way with single ones is another, more exact
    # than what the zoo's numbers were made with, so they are taken in a few equal parts.
    parts = np.array_split(np.arange(scores.shape[1]), -(-scores.shape[1] // _MAX_CHANNELS))
    for item, target in zip(scores.permute(0, 2, 3, 1).cpu().numpy(), resized, strict=True):
        for part in parts:
            source = np.ascontiguousarray(item[:, :, part[0] : part[-1] + 1])
            large = cv2.resize(source, (width, height), interpolation=cv2.INTER_CUBIC)
            target[part[0] : part[-1] + 1] = large.reshape(height, width, -1).transpose(2, 0, 1)
    return torch.from_numpy(resized).to(scores.device)


def _swapped(classes: int, model: Model) -> list[int] | None:
    """The order of classes in a mirrored image, e.g. left arm for right arm; None if it is the usual one."""
    pairs = model.protocol.flip_swap if model.protocol is not None else ()
    order = list(range(classes))
    for a, b in pairs:
        if not (0 <= a < classes and 0 <= b < classes):
            raise UsageError(
                f"model {model.id}: its protocol swaps classes {a} and {b}, the network has {classes}",
                hint="fix the registry",
            )
        order[a], order[b] = b, a
    return order if pairs else None
