"""The zoo's main heads of which mmsegmentation has none: Base-OC, ASP-OC and ASP-OCR.

As mmsegmentation's they are called with a tuple of features, here of one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from bddzoo.engines.openseg.attention import ConvBlock, ObjectAttention, PositionAttention, gather_objects
from bddzoo.engines.openseg.layout_heads import ASP_WIDTH


class BaseOcHead(nn.Module):
    """Attention among all positions beside the features themselves."""

    def __init__(self, inside: int, num_classes: int, activation: nn.Module) -> None:
        super().__init__()
        self.in_conv = ConvBlock(inside, 512, activation, 3)
        self.attention = PositionAttention(512, 256, 512, activation)
        self.out_conv = ConvBlock(1024, 512, activation)
        self.conv_seg = nn.Conv2d(512, num_classes, 1)

    def forward(self, inputs: tuple[Tensor]) -> Tensor:
        """(N, inside, h, w) features to (N, K, h, w) logits."""
        x = self.in_conv(inputs[0])
        scores: Tensor = self.conv_seg(self.out_conv(torch.cat([self.attention(x), x], dim=1)))
        return scores


class AspBranches(nn.ModuleList):
    """A 1x1 and three dilated 3x3 blocks side by side."""

    def __init__(self, inside: int, dilations: tuple[int, int, int], activation: nn.Module) -> None:
        dilated = [ConvBlock(inside, ASP_WIDTH, activation, 3, dilation) for dilation in dilations]
        super().__init__([ConvBlock(inside, ASP_WIDTH, activation), *dilated])

    def beside(self, context: Tensor, x: Tensor) -> Tensor:
        """The context and the branches' output, (N, 5 * 256, h, w)."""
        return torch.cat([context, *(branch(x) for branch in self)], dim=1)


class AspOcHead(nn.Module):
    """ASP-OC: attention at half the resolution as one of five branches."""

    def __init__(self, inside: int, num_classes: int, activation: nn.Module) -> None:
        super().__init__()
        self.in_conv = ConvBlock(inside, 512, activation, 3)
        self.context_conv = ConvBlock(512, ASP_WIDTH, activation, 3)
        self.pool = nn.MaxPool2d(2)
        self.attention = PositionAttention(ASP_WIDTH, 128, ASP_WIDTH, activation)
        self.attention_norm = nn.BatchNorm2d(ASP_WIDTH)
        self.activate = activation
        self.branches = AspBranches(512, (12, 24, 36), activation)
        self.out_conv = ConvBlock(5 * ASP_WIDTH, 512, activation)
        self.conv_seg = nn.Conv2d(512, num_classes, 1)

    def forward(self, inputs: tuple[Tensor]) -> Tensor:
        """(N, inside, h, w) features to (N, K, h, w) logits; h and w are at least 2."""
        x = self.in_conv(inputs[0])
        context = self.attention(self.pool(self.context_conv(x)))
        context = functional.interpolate(context, size=x.shape[2:], mode="bilinear", align_corners=True)
        context = self.activate(self.attention_norm(context))
        scores: Tensor = self.conv_seg(self.out_conv(self.branches.beside(context, x)))
        return scores


class AspOcrHead(nn.Module):
    """ASP-OCR: object context as one of five branches.

    Args:
        inside: Channels of the features.
        num_classes: Channels of the logits.
        activation: Of all blocks.
        dilations: Of the three dilated branches.
    """

    def __init__(
        self, inside: int, num_classes: int, activation: nn.Module, dilations: tuple[int, int, int]
    ) -> None:
        super().__init__()
        self.context_conv = ConvBlock(inside, ASP_WIDTH, activation, 3)
        self.object_context_block = ObjectAttention(ASP_WIDTH, ASP_WIDTH // 2, activation)
        self.branches = AspBranches(inside, dilations, activation)
        self.out_conv = ConvBlock(5 * ASP_WIDTH, ASP_WIDTH, activation)
        self.conv_seg = nn.Conv2d(ASP_WIDTH, num_classes, 1)

    def forward(self, inputs: tuple[Tensor], coarse: Tensor) -> Tensor:
        """(N, inside, h, w) features and (N, K, h, w) auxiliary logits to (N, K, h, w) logits."""
        x = inputs[0]
        features = self.context_conv(x)
        context = self.object_context_block(features, gather_objects(features, coarse))
        scores: Tensor = self.conv_seg(self.out_conv(self.branches.beside(context, x)))
        return scores
