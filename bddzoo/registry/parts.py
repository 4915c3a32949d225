"""Networks from named parts: `base` followed, numbers made plain, everything copied."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from bddzoo.registry import schema as doc
from bddzoo.registry.problems import PathLike, unknown
from bddzoo.registry.types import Network, Protocol

if TYPE_CHECKING:
    from bddzoo.registry.resolve import Resolver

# Role in a network -> pool of `parts`.
_POOLS = {
    "detector": "detectors",
    "backbone": "backbones",
    "neck": "necks",
    "decode_head": "heads",
    "auxiliary_head": "heads",
}
_MAX_BASES = 16


def plain(value: Any) -> Any:
    """A copy with `Decimal` as float."""
    if type(value) is dict:
        return {k: plain(v) for k, v in value.items()}
    if type(value) is list:
        return [plain(v) for v in value]
    if type(value) is Decimal:
        return float(value)
    return value


class _PartError(ValueError):
    pass


def _expand(pool: Mapping[str, dict[str, Any]], part: str | Mapping[str, Any]) -> dict[str, Any]:
    """The part's own arguments over those of its bases; nothing is copied deeply."""
    layers: list[Mapping[str, Any]] = []
    current: str | Mapping[str, Any] | None = part
    while current is not None:
        if isinstance(current, str):
            if current not in pool:
                raise _PartError(unknown("part", current, pool))
            current = pool[current]
        layers.append(current)
        if len(layers) > _MAX_BASES:
            raise _PartError("its bases go round in circles")
        base = current.get("base")
        if base is not None and not isinstance(base, str):
            raise _PartError("base: expected the name of a part")
        current = base
    merged: dict[str, Any] = {}
    for layer in reversed(layers):
        merged.update(layer)
    merged.pop("base", None)
    return merged


def build_network(
    resolver: Resolver,
    at: PathLike,
    section: doc.SectionDoc,
    row: doc.ModelDoc,
    protocol: Protocol | None,
) -> Network | None:
    """The network of a row; problems are noted with the resolver."""
    spec = row.network
    assert spec is not None
    depth = len(at)
    parts: dict[str, Any] = {}
    pools = resolver.doc.parts

    def part(role: str, value: Any, path: PathLike) -> Any:
        if isinstance(value, list):
            return [part(role, v, (*path, i)) for i, v in enumerate(value)]
        try:
            return plain(_expand(getattr(pools, _POOLS[role]), value))
        except _PartError as error:
            resolver.note(path, str(error), row.id, depth)
            return {}

    arch = spec.arch or section.arch
    if spec.detector is not None:
        detector = part("detector", spec.detector, (*at, "network", "detector"))
        arch = spec.arch or detector.pop("type", arch)
        detector.pop("type", None)
        parts.update(detector)
    for role in ("backbone", "neck", "decode_head", "auxiliary_head"):
        value = getattr(spec, role)
        if value is not None:
            parts[role] = part(role, value, (*at, "network", role))
    for role in ("rpn_head", "roi_head", "train_cfg", "test_cfg"):
        value = getattr(spec, role)
        if value is not None:
            parts[role] = {**parts.get(role, {}), **plain(value)}
    if "decode_head" in parts and protocol is not None:
        window: dict[str, Any] = {"mode": protocol.mode}
        if protocol.mode == "slide" and protocol.crop and protocol.stride:
            window.update(crop_size=list(protocol.crop), stride=list(protocol.stride))
        parts["test_cfg"] = {**window, **parts.get("test_cfg", {})}

    engine = spec.engine or section.engine
    classes = spec.num_classes or section.num_classes
    for what, value in (("engine", engine), ("arch", arch), ("num_classes", classes)):
        if value is None:
            message = f"needs {what}: neither the model nor its task says"
            resolver.note((*at, "network"), message, row.id, depth)
    if "backbone" not in parts:
        resolver.note((*at, "network"), "needs a backbone", row.id, depth)
    if engine is None or arch is None or classes is None:
        return None
    counts = row.counts
    return Network(
        engine=engine,
        arch=arch,
        parts=parts,
        num_classes=classes,
        align_corners=spec.align_corners,
        params=counts.params if counts else None,
        entries=counts.entries if counts else None,
    )
