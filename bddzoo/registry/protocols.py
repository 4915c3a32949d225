"""Test protocols, their numbers checked."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from bddzoo.registry import schema as doc
from bddzoo.registry.problems import PathLike
from bddzoo.registry.types import Protocol

if TYPE_CHECKING:
    from bddzoo.registry.resolve import Resolver


def build_protocol(resolver: Resolver, name: str, spec: doc.ProtocolDoc) -> Protocol:
    """The protocol of that name; problems are noted with the resolver."""
    at: PathLike = ("protocols", name)
    for key in ("mean", "std"):
        if not all(Decimal(v).is_finite() and (v > 0 or key == "mean") for v in getattr(spec, key)):
            resolver.note((*at, key), "expected three finite numbers" + ("" if key == "mean" else " above 0"))
    for metric, points in spec.tolerance.items():
        if not (Decimal(points).is_finite() and points >= 0):
            resolver.note((*at, "tolerance", metric), f"expected points of the metric, got {points}")
    for key, numbers in (("div_value", [spec.div_value]), ("scales", spec.scales)):
        if not all(Decimal(v).is_finite() and v > 0 for v in numbers):
            resolver.note((*at, key), "expected finite numbers above 0")
    if spec.mode == "slide" and (spec.crop is None or spec.stride is None):
        resolver.note(at, "mode slide needs crop and stride")
    if spec.resize != "fit" and spec.scale is None:
        resolver.note(at, f"resize {spec.resize} needs a scale")
    if spec.flip_swap and not spec.flip:
        resolver.note(at, "flip_swap needs flip")
    return Protocol(
        id=name,
        dataset=spec.dataset,
        scale=spec.scale,
        resize=spec.resize,
        interpolation=spec.interpolation,
        float_resize=spec.float_resize,
        channel_order=spec.channel_order,
        div_value=float(spec.div_value),
        mean=_triple(spec.mean),
        std=_triple(spec.std),
        pad_divisor=spec.pad_divisor,
        mode=spec.mode,
        crop=spec.crop,
        stride=spec.stride,
        flip=spec.flip,
        flip_swap=tuple((a, b) for a, b in spec.flip_swap),
        scales=tuple(float(v) for v in spec.scales),
        logits_resize=spec.logits_resize,
        evaluator=spec.evaluator,
        tolerance={k: Decimal(v) for k, v in spec.tolerance.items()},
        note=spec.note,
    )


def _triple(values: tuple[Any, Any, Any]) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])
