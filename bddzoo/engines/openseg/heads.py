"""Backbones and heads of openseg's networks: mmsegmentation's where its classes hold the zoo's weights.

mmsegmentation has no Base-OC, ASP-OC and ASP-OCR; these heads are ours. Like mmsegmentation's they are called
with a tuple of features, here of one. Attention is computed without a map of all positions by all positions.
"""

from __future__ import annotations

from collections import OrderedDict
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bddzoo.engines.openseg.layout import ASP_WIDTH, AUX, OCR, WIDE_BLOCKS, wide_kernels
from bddzoo.engines.openseg.spec import Spec
from bddzoo.engines.part_modules import build_part

SLOPE = 0.01
# Module: stride of its first block, and dilation.
_STRIDES = {4: 2}
_DILATIONS = {5: 2, 6: 4, 7: 4}


class WideBlock(nn.Module):
    """Norm and activation come before the convolutions; the shortcut skips them where it can."""

    def __init__(self, inside: int, widths: tuple[int, ...], stride: int, dilation: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inside)
        steps: OrderedDict[str, nn.Module] = OrderedDict()
        before = inside
        for number, (width, kernel) in enumerate(zip(widths, wide_kernels(widths), strict=True), 1):
            if number > 1:
                steps[f"bn{number}"] = nn.BatchNorm2d(before)
                steps[f"act{number}"] = nn.LeakyReLU(SLOPE, inplace=True)
            spread = dilation if kernel == 3 else 1
            steps[f"conv{number}"] = nn.Conv2d(
                before,
                width,
                kernel,
                stride=stride if number == 1 else 1,
                padding=spread * (kernel // 2),
                dilation=spread,
                bias=False,
            )
            before = width
        self.convs = nn.Sequential(steps)
        same = stride == 1 and inside == widths[-1]
        self.proj_conv = None if same else nn.Conv2d(inside, widths[-1], 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features, and the activated input, which the first block of a module takes its shortcut from."""
        activated = functional.leaky_relu_(self.bn1(x), SLOPE)
        shortcut = x if self.proj_conv is None else self.proj_conv(activated)
        return self.convs(activated).add_(shortcut), activated


class WideStage(nn.Module):
    """Wide blocks of equal width, named from one on."""

    def __init__(self, inside: int, blocks: int, widths: tuple[int, ...], stride: int, dilation: int) -> None:
        super().__init__()
        self.names = [f"block{number}" for number in range(1, blocks + 1)]
        for name in self.names:
            self.add_module(name, WideBlock(inside, widths, stride, dilation))
            inside, stride = widths[-1], 1

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features, and the first block's activated input."""
        x, first = getattr(self, self.names[0])(x)
        for name in self.names[1:]:
            x, _ = getattr(self, name)(x)
        return x, first


class WideResNet38(nn.Module):
    """The wide ResNet-38 with dilated last stages, as the zoo has it (Wu et al., arXiv:1611.10080).

    Features of an eighth of the input's size.

    Args:
        overwritten: Whether the norm that the last module begins with overwrites its input, as the zoo's
            activated norm does: the auxiliary head then sees what came out of it.
    """

    def __init__(self, *, overwritten: bool = True) -> None:
        super().__init__()
        self.overwritten = overwritten
        self.mod1 = nn.Sequential(OrderedDict(conv1=nn.Conv2d(3, 64, 3, padding=1, bias=False)))
        # With ceil_mode an even size of 2n gives n + 1.
        self.pool2 = nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True)
        self.pool3 = nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True)
        inside = 64
        for number, (blocks, widths) in enumerate(WIDE_BLOCKS, 2):
            stride, dilation = _STRIDES.get(number, 1), _DILATIONS.get(number, 1)
            self.add_module(f"mod{number}", WideStage(inside, blocks, widths, stride, dilation))
            inside = widths[-1]
        self.bn_out = nn.BatchNorm2d(inside)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, H, W) to features for the auxiliary head, (N, 2048, h, w), and the main, (N, 4096, h, w)."""
        mod2, mod3, mod4, mod5, mod6, mod7 = (self.get_submodule(f"mod{number}") for number in range(2, 8))
        x = self.pool2(self.mod1(x))
        x, _ = mod2(x)
        x = self.pool3(x)
        for module in (mod3, mod4, mod5):
            x, _ = module(x)
        aux, _ = mod6(x)
        x, activated = mod7(aux)
        return activated if self.overwritten else aux, functional.leaky_relu_(self.bn_out(x), SLOPE)


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


class BaseOcHead(nn.Module):
    """Attention among all positions, concatenated with the features themselves."""

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

    def with_context(self, context: Tensor, x: Tensor) -> Tensor:
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
        scores: Tensor = self.conv_seg(self.out_conv(self.branches.with_context(context, x)))
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
        scores: Tensor = self.conv_seg(self.out_conv(self.branches.with_context(context, x)))
        return scores


_BN = {"type": "BN", "requires_grad": False}
# Strides and dilations of the four stages; mmsegmentation halves the first block's dilation, as the zoo does.
_RESNET = {8: ((1, 2, 1, 1), (1, 1, 2, 4)), 16: ((1, 2, 2, 1), (1, 1, 1, 2))}
_ASP_DILATIONS = {"spatial_asp_ocrnet": (12, 24, 36), "hrnet_w48_asp_ocr": (24, 48, 72)}


def build_backbone(spec: Spec) -> nn.Module:
    """The backbone; see `features`."""
    return {"resnet101": _resnet, "hrnet48": _hrnet, "wrn38": _wide}[spec.base.family](spec)


def features(spec: Spec, backbone: nn.Module, x: Tensor, *, concatenate: bool = True) -> tuple[Any, Any]:
    """What the auxiliary head and the main head see: (N, C, h, w) each.

    Args:
        spec: The network.
        backbone: Its backbone.
        x: (N, 3, H, W) float32, normalised.
        concatenate: For HRNet; without, both are its four maps as they are.
    """
    outputs = backbone(x)
    if spec.base.family == "hrnet48":
        if not concatenate:
            return outputs, outputs
        size = outputs[0].shape[2:]
        resized = [functional.interpolate(o, size, mode="bilinear", align_corners=True) for o in outputs[1:]]
        x = torch.cat([outputs[0], *resized], dim=1)
        return x, x
    aux, main = outputs
    return aux, main


def build_head(spec: Spec) -> nn.Module:
    """The main head."""
    inside, classes = spec.base.channels, spec.num_classes
    if spec.arch in OCR:
        width = OCR[spec.arch].width
        return build_part(
            spec.arch, "mmseg", _config(spec, "OCRHead", inside, width, ocr_channels=width // 2)
        )
    if spec.arch in _ASP_DILATIONS:
        return AspOcrHead(inside, classes, _activation(spec), _ASP_DILATIONS[spec.arch])
    if spec.arch == "base_ocnet":
        return BaseOcHead(inside, classes, _activation(spec))
    if spec.arch == "asp_ocnet":
        return AspOcHead(inside, classes, _activation(spec))
    if spec.arch in ("isanet", "hrnet_w48_isa"):
        return _isa(spec)
    return _fcn(spec, inside, 720 if spec.arch == "hrnet_w48" else 512)


def build_aux_head(spec: Spec) -> nn.Module | None:
    """The auxiliary head, if there is one."""
    aux = AUX.get(spec.arch)
    return _fcn(spec, spec.base.aux_channels, aux.width) if aux is not None else None


def _activation(spec: Spec) -> nn.Module:
    return nn.LeakyReLU(SLOPE, inplace=True) if spec.activated else nn.ReLU(inplace=True)


def _config(spec: Spec, kind: str, inside: int, width: int, **more: Any) -> dict[str, Any]:
    act = {"type": "LeakyReLU", "negative_slope": SLOPE} if spec.activated else {"type": "ReLU"}
    return {
        "type": kind,
        "in_channels": inside,
        "in_index": 0,
        "channels": width,
        "num_classes": spec.num_classes,
        "dropout_ratio": 0,
        "norm_cfg": _BN,
        "act_cfg": act,
        "align_corners": True,
        **more,
    }


def _fcn(spec: Spec, inside: int, width: int) -> nn.Module:
    return build_part(
        spec.arch, "mmseg", _config(spec, "FCNHead", inside, width, num_convs=1, concat_input=False)
    )


def _isa(spec: Spec) -> nn.Module:
    config = _config(
        spec, "ISAHead", spec.base.channels, 512, isa_channels=256, down_factor=tuple(spec.factors)
    )
    head: Any = build_part(spec.arch, "mmseg", config)
    if spec.arch == "hrnet_w48_isa":  # the older block's output has neither norm nor activation
        for relation in (head.global_relation, head.local_relation):
            relation.output_project = nn.Conv2d(512, 512, 1)
    return head  # type: ignore[no-any-return]


def _resnet(spec: Spec) -> nn.Module:
    strides, dilations = _RESNET[spec.base.stride]
    backbone: Any = build_part(
        spec.backbone,
        "mmseg",
        {
            "type": "ResNetV1c",
            "depth": 101,
            "stem_channels": 128,
            "out_indices": (2, 3),
            "strides": strides,
            "dilations": dilations,
            "contract_dilation": True,
            "norm_cfg": _BN,
        },
    )
    backbone.maxpool.ceil_mode = True
    return backbone  # type: ignore[no-any-return]


def _wide(spec: Spec) -> nn.Module:
    return WideResNet38(overwritten=spec.activated)


def _hrnet(spec: Spec) -> nn.Module:
    stages = ((1, "BOTTLENECK", [64]), (1, "BASIC", [48, 96]), (4, "BASIC", [48, 96, 192]))
    extra = {
        f"stage{number}": {
            "num_modules": modules,
            "num_branches": len(channels),
            "block": block,
            "num_blocks": [4] * len(channels),
            "num_channels": channels,
        }
        for number, (modules, block, channels) in enumerate((*stages, (3, "BASIC", [48, 96, 192, 384])), 1)
    }
    backbone: Any = build_part(spec.backbone, "mmseg", {"type": "HRNet", "extra": extra, "norm_cfg": _BN})
    for stage in (backbone.stage2, backbone.stage3, backbone.stage4):
        for module in stage:
            for row, layers in enumerate(module.fuse_layers):
                for layer in list(layers)[row + 1 :]:
                    del layer[2]  # resizes by a whole factor, with align_corners=False
            module.forward = MethodType(_fuse, module)
    return backbone  # type: ignore[no-any-return]


def _fuse(module: Any, maps: list[Tensor]) -> list[Tensor]:
    """An HRNet module that resizes to the exact size, corners aligned; mmsegmentation's does not.

    Args:
        module: An HRModule of mmsegmentation without its inner resizing.
        maps: One (N, C, h, w) a branch.
    """
    maps = [branch(x) for branch, x in zip(module.branches, maps, strict=True)]
    fused = []
    for to, layers in enumerate(module.fuse_layers):
        total: Tensor = maps[0] if to == 0 else layers[0](maps[0])
        for source, x in enumerate(maps[1:], 1):
            y = x if source == to else layers[source](x)
            if source > to:
                y = functional.interpolate(y, maps[to].shape[2:], mode="bilinear", align_corners=True)
            total = total + y
        fused.append(functional.relu_(total))
    return fused
