"""Names and shapes of the three backbones' states."""

from __future__ import annotations

from bddzoo.engines.openseg.layout import Channels, Layout

# Blocks of the four stages of ResNet-101.
_RESNET_BLOCKS = (3, 4, 23, 3)
# Convolutions of its stem: channels, and where mmsegmentation keeps them.
_RESNET_STEM = (((3, 64), 0), ((64, 64), 3), ((64, 128), 6))
# Modules and channels of HRNet-W48's stages.
_HRNET_STAGES = ((1, (48, 96)), (4, (48, 96, 192)), (3, (48, 96, 192, 384)))
# Number of blocks, and channels of the convolutions in them, of mod2 to mod7 of the wide ResNet.
WIDE_BLOCKS: tuple[tuple[int, tuple[int, ...]], ...] = (
    (3, (128, 128)),
    (3, (256, 256)),
    (6, (512, 512)),
    (3, (512, 1024)),
    (1, (512, 1024, 2048)),
    (1, (1024, 2048, 4096)),
)


def lay_backbone(layout: Layout) -> None:
    """Add the backbone's units."""
    {"resnet101": _resnet, "hrnet48": _hrnet, "wrn38": _wide}[layout.spec.base.family](layout)


def wide_kernels(widths: tuple[int, ...]) -> tuple[int, ...]:
    """Kernel sizes of the convolutions in a block of the wide ResNet."""
    return (3, 3) if len(widths) == 2 else (1, 3, 1)


def _unit(layout: Layout, conv: str, norm: str, channels: Channels, kernel: int = 3) -> None:
    layout.conv(conv, channels, kernel)
    layout.norm(norm, channels[1])


def _bottleneck(layout: Layout, name: str, inside: int, width: int) -> int:
    """Three convolutions, and a fourth where the channels change; returns the channels that come out."""
    outside = 4 * width
    for number, (a, b, kernel) in enumerate(((inside, width, 1), (width, width, 3), (width, outside, 1)), 1):
        _unit(layout, f"{name}.conv{number}", f"{name}.bn{number}", (a, b), kernel)
    if inside != outside:
        _unit(layout, f"{name}.downsample.0", f"{name}.downsample.1", (inside, outside), 1)
    return outside


def _resnet(layout: Layout) -> None:
    for number, (channels, place) in enumerate(_RESNET_STEM, 1):
        layout.conv(f"backbone.resinit.conv{number}", channels, 3, to=f"backbone.stem.{place}")
        layout.norm(f"backbone.resinit.bn{number}", channels[1], to=f"backbone.stem.{place + 1}")
    inside = 128
    for stage, blocks in enumerate(_RESNET_BLOCKS, 1):
        for index in range(blocks):
            inside = _bottleneck(layout, f"backbone.layer{stage}.{index}", inside, 32 << stage)


def _hrnet(layout: Layout) -> None:
    _unit(layout, "backbone.conv1", "backbone.bn1", (3, 64))
    _unit(layout, "backbone.conv2", "backbone.bn2", (64, 64))
    inside = 64
    for index in range(4):
        inside = _bottleneck(layout, f"backbone.layer1.{index}", inside, 64)
    before: tuple[int, ...] = (inside,)
    for stage, (modules, channels) in enumerate(_HRNET_STAGES, 2):
        for branch, width in enumerate(channels):
            name = f"backbone.transition{stage - 1}.{branch}"
            if branch >= len(before):  # a new branch, made of the one with the lowest resolution
                _unit(layout, f"{name}.0.0", f"{name}.0.1", (before[-1], width))
            elif before[branch] != width:
                _unit(layout, f"{name}.0", f"{name}.1", (before[branch], width))
        for module in range(modules):
            _hrnet_module(layout, f"backbone.stage{stage}.{module}", channels)
        before = channels


def _hrnet_module(layout: Layout, name: str, channels: tuple[int, ...]) -> None:
    for branch, width in enumerate(channels):
        for block in range(4):
            at = f"{name}.branches.{branch}.{block}"
            for number in (1, 2):
                _unit(layout, f"{at}.conv{number}", f"{at}.bn{number}", (width, width))
    for to, wide in enumerate(channels):
        for source, width in enumerate(channels):
            at = f"{name}.fuse_layers.{to}.{source}"
            if source > to:
                _unit(layout, f"{at}.0", f"{at}.1", (width, wide), 1)
            for step in range(to - source):
                last = step == to - source - 1
                _unit(layout, f"{at}.{step}.0", f"{at}.{step}.1", (width, wide if last else width))


def _wide(layout: Layout) -> None:
    layout.conv("backbone.mod1.conv1", (3, 64), 3)
    inside = 64
    for module, (blocks, widths) in enumerate(WIDE_BLOCKS, 2):
        for block in range(1, blocks + 1):
            name = f"backbone.mod{module}.block{block}"
            layout.norm(f"{name}.bn1", inside)
            for number, kernel in enumerate(wide_kernels(widths), 1):
                before = (inside, *widths)[number - 1]
                if number > 1:
                    layout.norm(f"{name}.convs.bn{number}", before)
                layout.conv(f"{name}.convs.conv{number}", (before, widths[number - 1]), kernel)
            if inside != widths[-1]:
                layout.conv(f"{name}.proj_conv", (inside, widths[-1]))
            inside = widths[-1]
    layout.norm("backbone.bn_out", inside)
