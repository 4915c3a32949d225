"""Run a classifier of images: one score for each class."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from bddzoo.registry.model import Model


class TagRunner:
    """An image classifier of mmpretrain, which says what the weather or the scene of a frame is.

    Attributes:
        module: The network, in evaluation mode.
        model: Its registry entry.
        num_classes: Channels of the logits.
    """

    gives = "tags"

    def __init__(self, module: nn.Module, model: Model) -> None:
        self.module = cast(Any, module.eval())
        self.model = model
        self.num_classes = model.network.num_classes if model.network else 0

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        parameter: Tensor = next(self.module.parameters())
        return parameter.device

    @torch.no_grad()
    def run_module(self, x: Tensor) -> Tensor:
        """Class scores before the softmax: (N, 3, h, w) to (N, C)."""
        scores: Tensor = self.module.head(self.module.extract_feat(x))
        return scores
