"""Build and run a classifier of images: one score for each class."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from bddzoo.engines.dla import DLA
from bddzoo.engines.part_modules import build_part
from bddzoo.registry.model import Model


def build_classifier(subject: str, config: dict[str, Any], *, whole: bool = False) -> nn.Module:
    """Build a classifier of mmpretrain, or with a backbone of our own; arguments as of `build_part`."""
    kind = config["backbone"]["type"]
    own = {"backbone": {**config["backbone"], "type": DLA}} if kind == "DLA" else {}
    module: Any = build_part(subject, "mmpretrain", {**config, **own}, whole=whole)
    if kind == "VGG":
        # It flattens by a view, which fails where convolutions left their channels last.
        module.backbone.features[-1].register_forward_hook(lambda _layer, _inputs, out: out.contiguous())
    return cast(nn.Module, module)


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
