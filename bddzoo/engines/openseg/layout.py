"""The state of a network as the zoo's files have it: names, shapes, order, and where each tensor goes.

Nothing here builds anything: entries and parameters can be counted without PyTorch. A *unit* is one
convolution or one norm of the zoo; its `target` is the module of our network that holds its numbers. First
come the three backbones, then the heads, architecture by architecture.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import NamedTuple

from bddzoo.engines.openseg.spec import Spec

_STATISTICS = ("weight", "bias", "running_mean", "running_var")


class Conv(NamedTuple):
    """A convolution.

    Attributes:
        name: Its name in the zoo's files.
        target: The module that holds it.
        shape: Of its weight.
        bias: Whether the zoo's has a bias.
        norm: Target of the norm that the bias goes into; None where the target holds a bias itself.
        halves_swapped: The target takes the two halves of its input in the other order.
    """

    name: str
    target: str
    shape: tuple[int, int, int, int]
    bias: bool = False
    norm: str | None = None
    halves_swapped: bool = False


class Norm(NamedTuple):
    """A norm; `counted` ones have a batch counter."""

    name: str
    target: str
    channels: int
    counted: bool


class StateEntry(NamedTuple):
    """An entry of the state dict; `kind` is `param` or `buffer`."""

    key: str
    shape: tuple[int, ...]
    dtype: str
    kind: str


Unit = Conv | Norm
Channels = tuple[int, int]


class Layout:
    """The units of a network, collected in the order of the zoo's files.

    Attributes:
        spec: The network.
        units: What there is so far.
    """

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.units: list[Unit] = []

    def conv(
        self, name: str, channels: Channels, kernel: int = 1, *, to: str | None = None, bias: bool = False
    ) -> None:
        """A convolution between channels `(in, out)`; its target has the same name unless `to` is given."""
        self.units.append(Conv(name, to or name, (channels[1], channels[0], kernel, kernel), bias))

    def norm(self, name: str, channels: int, *, to: str | None = None, activated: bool = False) -> None:
        """A norm; one with an activation is one module in the zoo's activated form, two in the plain one."""
        plain = not self.spec.activated
        shown = f"{name}.0" if plain and activated else name
        self.units.append(Norm(shown, to or name, channels, plain))

    def block(
        self,
        name: str,
        to: str,
        channels: Channels,
        kernel: int = 1,
        *,
        bias: bool = True,
        first: int = 0,
        halves_swapped: bool = False,
    ) -> None:
        """Convolution and activated norm, items `first` and `first + 1` of `name`, held by a ConvModule."""
        shape = (channels[1], channels[0], kernel, kernel)
        norm = f"{to}.bn" if bias else None
        self.units.append(Conv(f"{name}.{first}", f"{to}.conv", shape, bias, norm, halves_swapped))
        self.norm(f"{name}.{first + 1}", channels[1], to=f"{to}.bn", activated=True)


def units(spec: Spec) -> list[Unit]:
    """Convolutions and norms of a network, in the order of the zoo's files."""
    layout = Layout(spec)
    lay_backbone(layout)
    lay_heads(layout)
    return layout.units


def entries_of(unit: Unit) -> Iterator[StateEntry]:
    """The entries of a unit, in order."""
    if isinstance(unit, Conv):
        yield StateEntry(f"{unit.name}.weight", unit.shape, "float32", "param")
        if unit.bias:
            yield StateEntry(f"{unit.name}.bias", unit.shape[:1], "float32", "param")
        return
    for leaf in _STATISTICS:
        kind = "buffer" if leaf.startswith("running") else "param"
        yield StateEntry(f"{unit.name}.{leaf}", (unit.channels,), "float32", kind)
    if unit.counted:
        yield StateEntry(f"{unit.name}.num_batches_tracked", (), "int64", "buffer")


def entries(spec: Spec) -> list[StateEntry]:
    """All entries of a network's state dict, in the order of the zoo's files."""
    return [entry for unit in units(spec) for entry in entries_of(unit)]


def count(spec: Spec) -> tuple[int, int]:
    """Number of parameters, and of state-dict entries."""
    found = entries(spec)
    return sum(prod(e.shape) for e in found if e.kind == "param"), len(found)


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


class Ocr(NamedTuple):
    """How an object-contextual head is named, and how wide it is.

    Attributes:
        first: Name of the 3x3 convolution before it.
        head: Name of the head.
        last: Name of the final convolution.
        width: Its channels; keys have half as many.
    """

    first: str
    head: str
    last: str
    width: int


class Aux(NamedTuple):
    """An auxiliary head.

    Attributes:
        name: Its name.
        width: Channels between its two convolutions.
        last: Index of the final convolution.
        bias: Whether the first convolution has a bias.
        final_bias: Whether the final one has.
    """

    name: str
    width: int
    last: int
    bias: bool = True
    final_bias: bool = True


OCR = {
    "spatial_ocrnet": Ocr("conv_3x3", "spatial_ocr_head", "head", 512),
    "hrnet_w48_ocr": Ocr("conv3x3", "ocr_distri_head", "cls_head", 512),
    "hrnet_w48_ocr_b": Ocr("conv3x3", "ocr_distri_head", "cls_head", 256),
}
AUX = {
    "fcnet": Aux("dsn_head", 512, 3, final_bias=False),
    "base_ocnet": Aux("dsn", 512, 2),
    "asp_ocnet": Aux("dsn", 512, 2),
    "isanet": Aux("dsn_head", 512, 3, bias=False),
    "spatial_ocrnet": Aux("dsn_head", 512, 3),
    "spatial_asp_ocrnet": Aux("dsn_head", 512, 3),
    "hrnet_w48_ocr": Aux("aux_head", 720, 2),
    "hrnet_w48_ocr_b": Aux("aux_head", 256, 2),
    "hrnet_w48_asp_ocr": Aux("aux_head", 512, 2, final_bias=False),
}
# Channels of an ASP module's branches.
ASP_WIDTH = 256
_MAIN = "decode_head"
_OBJECT = "object_context_block"


def lay_heads(layout: Layout) -> None:
    """Add the units of the main head and of the auxiliary one."""
    arch = layout.spec.arch
    if arch in OCR:
        _ocr(layout, OCR[arch])
    elif arch in ("spatial_asp_ocrnet", "hrnet_w48_asp_ocr"):
        _asp_ocr(layout)
    else:
        _MAIN_HEADS[arch](layout)
    if arch in AUX:
        aux = AUX[arch]
        _plain(layout, aux.name, "auxiliary_head", layout.spec.base.aux_channels, aux)


def _plain(layout: Layout, name: str, to: str, inside: int, head: Aux) -> None:
    """A 3x3 block and the final convolution, held by an FCNHead."""
    layout.block(name, f"{to}.convs.0", (inside, head.width), 3, bias=head.bias)
    classes = (head.width, layout.spec.num_classes)
    layout.conv(f"{name}.{head.last}", classes, to=f"{to}.conv_seg", bias=head.final_bias)


def _fcn(layout: Layout) -> None:
    width = 720 if layout.spec.arch == "hrnet_w48" else 512
    _plain(layout, "cls_head", _MAIN, layout.spec.base.channels, Aux("", width, 3, final_bias=False))


def _classes(layout: Layout, name: str, width: int, *, bias: bool = True) -> None:
    layout.conv(name, (width, layout.spec.num_classes), to=f"{_MAIN}.conv_seg", bias=bias)


def _projection(layout: Layout, name: str, to: str, inside: int, key: int, *, bias: bool = True) -> None:
    """Two 1x1 blocks: a query's or key's projection."""
    layout.block(name, f"{to}.0", (inside, key), bias=bias)
    layout.block(name, f"{to}.1", (key, key), first=2, bias=bias)


def _attention(layout: Layout, name: str, to: str, inside: int, key: int, outside: int) -> None:
    """Attention among all positions, with a plain value and output."""
    _projection(layout, f"{name}.f_key", f"{to}.key_project", inside, key)
    _projection(layout, f"{name}.f_query", f"{to}.query_project", inside, key)
    layout.conv(f"{name}.f_value", (inside, key), to=f"{to}.value_project", bias=True)
    layout.conv(f"{name}.W", (key, outside), to=f"{to}.output_project", bias=True)


def _base_oc(layout: Layout) -> None:
    layout.block("oc_module_pre", f"{_MAIN}.in_conv", (layout.spec.base.channels, 512), 3)
    _attention(layout, "oc_module.stages.0", f"{_MAIN}.attention", 512, 256, 512)
    layout.block("oc_module.conv_bn_dropout", f"{_MAIN}.out_conv", (1024, 512))
    _classes(layout, "cls", 512)


def _asp_oc(layout: Layout) -> None:
    asp = "context.2"
    layout.block("context", f"{_MAIN}.in_conv", (layout.spec.base.channels, 512), 3)
    layout.block(f"{asp}.context", f"{_MAIN}.context_conv", (512, ASP_WIDTH), 3)
    _attention(layout, f"{asp}.context.2.stages.0", f"{_MAIN}.attention", ASP_WIDTH, 128, ASP_WIDTH)
    layout.norm(f"{asp}.context.2.conv_bn_dropout.0", ASP_WIDTH, to=f"{_MAIN}.attention_norm", activated=True)
    _branches(layout, asp, 512, bias=False)
    layout.block(f"{asp}.conv_bn_dropout", f"{_MAIN}.out_conv", (5 * ASP_WIDTH, 512), bias=False)
    _classes(layout, "cls", 512)


def _branches(layout: Layout, name: str, inside: int, *, bias: bool) -> None:
    for number, kernel in ((2, 1), (3, 3), (4, 3), (5, 3)):
        to = f"{_MAIN}.branches.{number - 2}"
        layout.block(f"{name}.conv{number}", to, (inside, ASP_WIDTH), kernel, bias=bias)


def _isa(layout: Layout) -> None:
    old = layout.spec.arch == "hrnet_w48_isa"
    layout.block("isa_head", f"{_MAIN}.in_conv", (layout.spec.base.channels, 512), 3, bias=old)
    for ours, theirs in (("global_relation", "long_range_sa"), ("local_relation", "short_range_sa")):
        name, to = f"isa_head.2.stages.0.{theirs}", f"{_MAIN}.{ours}"
        _projection(layout, f"{name}.f_key", f"{to}.key_project", 512, 256, bias=old)
        _projection(layout, f"{name}.f_query", f"{to}.query_project", 512, 256, bias=old)
        value = f"{name}.f_value.0" if old else f"{name}.f_value"
        layout.conv(value, (512, 512), to=f"{to}.value_project", bias=old)
        if old:
            layout.conv(f"{name}.W.0", (512, 512), to=f"{to}.output_project", bias=True)
        else:
            layout.block(f"{name}.W", f"{to}.output_project", (512, 512), bias=False)
    name = "isa_head.2.conv_bn"
    layout.block(name, f"{_MAIN}.out_conv", (1024, 512), bias=old, halves_swapped=True)
    _classes(layout, "cls_head", 512, bias=not old)


def _objects(layout: Layout, name: str, to: str, width: int, key: int) -> None:
    """Attention of positions over object regions, in mmsegmentation's names."""
    _projection(layout, f"{name}.f_pixel", f"{to}.query_project", width, key)
    _projection(layout, f"{name}.f_object", f"{to}.key_project", width, key)
    layout.block(f"{name}.f_down", f"{to}.value_project", (width, key))
    layout.block(f"{name}.f_up", f"{to}.out_project", (key, width))


def _ocr(layout: Layout, names: Ocr) -> None:
    width = names.width
    layout.block(names.first, f"{_MAIN}.bottleneck", (layout.spec.base.channels, width), 3)
    to = f"{_MAIN}.{_OBJECT}"
    _objects(layout, f"{names.head}.{_OBJECT}", to, width, width // 2)
    layout.block(f"{names.head}.conv_bn_dropout", f"{to}.bottleneck", (2 * width, width))
    _classes(layout, names.last, width)


def _asp_ocr(layout: Layout) -> None:
    inside = layout.spec.base.channels
    hrnet = layout.spec.arch == "hrnet_w48_asp_ocr"
    name = "asp_ocr_head"
    layout.block(f"{name}.context", f"{_MAIN}.context_conv", (inside, ASP_WIDTH), 3)
    _objects(layout, f"{name}.context.2.{_OBJECT}", f"{_MAIN}.{_OBJECT}", ASP_WIDTH, ASP_WIDTH // 2)
    _branches(layout, name, inside, bias=True)
    layout.block(f"{name}.conv_bn_dropout", f"{_MAIN}.out_conv", (5 * ASP_WIDTH, ASP_WIDTH))
    _classes(layout, "cls_head" if hrnet else "head", ASP_WIDTH, bias=not hrnet)


_MAIN_HEADS = {
    "fcnet": _fcn,
    "hrnet_w48": _fcn,
    "base_ocnet": _base_oc,
    "asp_ocnet": _asp_oc,
    "isanet": _isa,
    "hrnet_w48_isa": _isa,
}
