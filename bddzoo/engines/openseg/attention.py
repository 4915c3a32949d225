"""Attention as the zoo's heads use it, without a map of all positions by all positions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class ConvBlock(nn.Module):
    """Convolution without bias, norm, activation; named as mmcv's ConvModule is.

    Args:
        inside: Channels of the input.
        outside: Channels of the output.
        activation: The activation.
        kernel: 1 or 3; the size of the map is kept.
        dilation: Of a 3x3 kernel.
    """

    def __init__(
        self, inside: int, outside: int, activation: nn.Module, kernel: int = 1, dilation: int = 1
    ) -> None:
        super().__init__()
        padding = dilation * (kernel // 2)
        self.conv = nn.Conv2d(inside, outside, kernel, padding=padding, dilation=dilation, bias=False)
        self.bn = nn.BatchNorm2d(outside)
        self.activate = activation

    def forward(self, x: Tensor) -> Tensor:
        """(N, inside, h, w) to (N, outside, h, w)."""
        found: Tensor = self.activate(self.bn(self.conv(x)))
        return found


def projection(inside: int, key: int, activation: nn.Module) -> nn.Sequential:
    """What makes queries or keys: two 1x1 blocks."""
    return nn.Sequential(ConvBlock(inside, key, activation), ConvBlock(key, key, activation))


def rows(x: Tensor) -> Tensor:
    """(N, C, h, w) to (N, h * w, C), in memory in that order."""
    return x.flatten(2).transpose(1, 2).contiguous()


class PositionAttention(nn.Module):
    """Attention of every position over every position (OCNet, arXiv:1809.00916).

    The map of h * w by h * w weights, 4.4 GB for an image of 2048 x 1024, is never held: PyTorch's
    attention kernels work on it in blocks.

    Args:
        inside: Channels of the input.
        key: Channels of queries, keys and values.
        outside: Channels of the output.
        activation: Of the projections.
    """

    def __init__(self, inside: int, key: int, outside: int, activation: nn.Module) -> None:
        super().__init__()
        self.scale = key**-0.5
        self.key_project = projection(inside, key, activation)
        self.query_project = projection(inside, key, activation)
        self.value_project = nn.Conv2d(inside, key, 1)
        self.output_project = nn.Conv2d(key, outside, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inside, h, w) to (N, outside, h, w)."""
        # One head: the kernels that work in blocks want that dimension.
        query, key, value = (
            rows(part(x))[:, None] for part in (self.query_project, self.key_project, self.value_project)
        )
        found = functional.scaled_dot_product_attention(query, key, value, scale=self.scale)[:, 0]
        context = found.transpose(1, 2).reshape(len(x), -1, *x.shape[2:])
        projected: Tensor = self.output_project(context)
        return projected


def gather_objects(features: Tensor, scores: Tensor) -> Tensor:
    """Mean features of soft object regions (OCR, arXiv:1909.11065, equation 2).

    Args:
        features: (N, C, h, w).
        scores: (N, K, h, w) logits; their softmax is taken over the positions.

    Returns:
        (N, C, K, 1).
    """
    weights = functional.softmax(scores.flatten(2), dim=2)
    return torch.matmul(features.flatten(2), weights.transpose(1, 2))[..., None]


class ObjectAttention(nn.Module):
    """Attention of every position over K object regions; the map is h * w by K.

    Args:
        width: Channels of features and output.
        key: Channels of queries, keys and values.
        activation: Of the projections.
    """

    def __init__(self, width: int, key: int, activation: nn.Module) -> None:
        super().__init__()
        self.scale = key**-0.5
        self.query_project = projection(width, key, activation)
        self.key_project = projection(width, key, activation)
        self.value_project = ConvBlock(width, key, activation)
        self.out_project = ConvBlock(key, width, activation)

    def forward(self, features: Tensor, objects: Tensor) -> Tensor:
        """Context (N, width, h, w) of features (N, width, h, w) from objects (N, width, K, 1)."""
        query = self.query_project(features).flatten(2)
        key = self.key_project(objects).flatten(2)
        value = self.value_project(objects).flatten(2)
        weights = functional.softmax(torch.matmul(key.transpose(1, 2), query) * self.scale, dim=1)
        context = torch.matmul(value, weights).reshape(len(features), -1, *features.shape[2:])
        found: Tensor = self.out_project(context)
        return found
