"""Names and shapes of the heads' states, architecture by architecture."""

from __future__ import annotations

from typing import NamedTuple

from bddzoo.engines.openseg.layout import Layout


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
    """The 1x1 and the three dilated branches of an ASP module."""
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
