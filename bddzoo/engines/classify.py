"""Build and run a classifier of images: one score for each class.

Among them Deep Layer Aggregation, the network of Yu, Wang, Shelhamer and Darrell (CVPR 2018, arXiv
1707.06484).
No library of the project has it with the names of the zoo's checkpoints. Stages are trees of residual blocks
whose roots join the outputs of all subtrees. The checkpoints hold a projection for every tree; those of trees
of trees were trained with but never used, so they are loaded and left alone here as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from bddzoo.engines.part_modules import build_part
from bddzoo.engines.semantic import NetworkRunner

# Groups of the 3x3 convolutions of a BottleneckX.
_GROUPS = 32


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)


class _BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(inputs, outputs, 3, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = _conv(outputs, outputs, 3), nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor, shortcut: Tensor) -> Tensor:
        out: Tensor = self.bn1(self.conv1(x)).relu()
        out = self.bn2(self.conv2(out)) + shortcut
        return out.relu()


class _Bottleneck(nn.Module):
    """A 3x3 convolution between two 1x1 ones, of half the channels, beside a shortcut."""

    divisor, groups = 2, 1

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        inner = outputs // self.divisor
        self.conv1, self.bn1 = _conv(inputs, inner, 1), nn.BatchNorm2d(inner)
        self.conv2, self.bn2 = _conv(inner, inner, 3, stride, self.groups), nn.BatchNorm2d(inner)
        self.conv3, self.bn3 = _conv(inner, outputs, 1), nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor, shortcut: Tensor) -> Tensor:
        out: Tensor = self.bn1(self.conv1(x)).relu()
        out = self.bn2(self.conv2(out)).relu()
        out = self.bn3(self.conv3(out)) + shortcut
        return out.relu()


class _BottleneckX(_Bottleneck):
    """The same with all the channels, in groups."""

    divisor, groups = 1, _GROUPS


_BLOCKS = {"BasicBlock": _BasicBlock, "Bottleneck": _Bottleneck, "BottleneckX": _BottleneckX}


class _Root(nn.Module):
    """Joins the outputs of subtrees."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv, self.bn = _conv(inputs, outputs, 1), nn.BatchNorm2d(outputs)

    def forward(self, *parts: Tensor) -> Tensor:
        out: Tensor = self.bn(self.conv(torch.cat(parts, 1))).relu()
        return out


class _Tree(nn.Module):
    """Two subtrees, or two blocks and their root.

    Args:
        depth: Levels of trees below; 1 for two blocks.
        block: Kind of the blocks.
        inputs: Channels of the input.
        outputs: Channels of the output.
        stride: Of the first block.
        keeps_input: The root also joins the (smaller) input.
        joined: Channels that the root joins besides those of its two blocks.
    """

    def __init__(
        self,
        depth: int,
        block: type[nn.Module],
        inputs: int,
        outputs: int,
        stride: int = 1,
        *,
        keeps_input: bool = False,
        joined: int = 0,
    ) -> None:
        super().__init__()
        self.keeps_input = keeps_input
        joined += inputs if keeps_input else 0
        if depth == 1:
            self.tree1, self.tree2 = block(inputs, outputs, stride), block(outputs, outputs, 1)
            self.root: nn.Module | None = _Root(2 * outputs + joined, outputs)
        else:
            self.tree1 = _Tree(depth - 1, block, inputs, outputs, stride)
            self.tree2 = _Tree(depth - 1, block, outputs, outputs, joined=joined + outputs)
            self.root = None
        self.shrink = nn.MaxPool2d(stride, stride) if stride > 1 else nn.Identity()
        self.project: nn.Module | None = None
        if inputs != outputs:
            self.project = nn.Sequential(_conv(inputs, outputs, 1), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor, joined: tuple[Tensor, ...] = ()) -> Tensor:
        bottom = self.shrink(x)
        if self.keeps_input:
            joined = (*joined, bottom)
        if self.root is None:
            first = self.tree1(x)
            return self.tree2(first, (*joined, first))  # type: ignore[no-any-return]
        first = self.tree1(x, bottom if self.project is None else self.project(bottom))
        second = self.tree2(first, first)
        return self.root(second, first, *joined)  # type: ignore[no-any-return]


class DLA(nn.Module):
    """DLA with its classifier, for inputs of 224x224.

    Args:
        levels: Convolutions of the first two stages, depth of the trees of the other four.
        channels: Channels of the six stages.
        num_classes: Channels of the result.
        block: `BasicBlock`, `Bottleneck` or `BottleneckX`.
    """

    def __init__(self, levels: Sequence[int], channels: Sequence[int], num_classes: int, block: str) -> None:
        super().__init__()
        kind = _BLOCKS[block]
        self.base_layer = _stack(3, channels[0], 7, 1, 1)
        self.level0 = _stack(channels[0], channels[0], 3, levels[0], 1)
        self.level1 = _stack(channels[0], channels[1], 3, levels[1], 2)
        for i in range(2, 6):
            tree = _Tree(levels[i], kind, channels[i - 1], channels[i], 2, keeps_input=i > 2)
            self.add_module(f"level{i}", tree)
        self.fc = nn.Conv2d(channels[5], num_classes, 1)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Class scores, (N, 3, 224, 224) to a tuple of (N, num_classes), as mmpretrain's heads take them."""
        x = self.base_layer(x)
        for i in range(6):
            x = getattr(self, f"level{i}")(x)
        return (self.fc(nn.functional.avg_pool2d(x, 7)).flatten(1),)


def _stack(inputs: int, outputs: int, kernel: int, count: int, stride: int) -> nn.Sequential:
    """Convolutions with norm and ReLU; the first has the stride."""
    layers: list[nn.Module] = []
    for at in range(count):
        first = _conv(inputs if at == 0 else outputs, outputs, kernel, stride if at == 0 else 1)
        layers += [first, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def build_classifier(subject: str, config: dict[str, Any], *, whole: bool = False) -> nn.Module:
    """Build a classifier of mmpretrain, or with a backbone of our own; arguments as of `build_part`."""
    kind = config["backbone"]["type"]
    own = {"backbone": {**config["backbone"], "type": DLA}} if kind == "DLA" else {}
    module: Any = build_part(subject, "mmpretrain", {**config, **own}, whole=whole)
    if kind == "VGG":
        # It flattens by a view, which fails where convolutions left their channels last.
        module.backbone.features[-1].register_forward_hook(lambda _layer, _inputs, out: out.contiguous())
    return cast(nn.Module, module)


class TagRunner(NetworkRunner):
    """An image classifier of mmpretrain, which says what the weather or the scene of a frame is."""

    gives = "tags"

    @torch.no_grad()
    def run_module(self, x: Tensor) -> Tensor:
        """Class scores before the softmax: (N, 3, h, w) to (N, C)."""
        scores: Tensor = self.module.head(self.module.extract_feat(x))
        return scores
