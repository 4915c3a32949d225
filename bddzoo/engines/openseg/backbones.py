"""The wide ResNet-38 with dilated last stages, as the zoo has it (Wu et al., arXiv:1611.10080)."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional

from bddzoo.engines.openseg.layout import WIDE_BLOCKS, wide_kernels

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


class Module(nn.Module):
    """Blocks of equal width, named from one on."""

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
    """Features of an eighth of the input's size.

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
            self.add_module(f"mod{number}", Module(inside, blocks, widths, stride, dilation))
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
