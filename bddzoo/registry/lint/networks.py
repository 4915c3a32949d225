"""Rules that hold headings and columns against the architecture facts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from bddzoo.registry.lint.findings import Found, Rule, World
from bddzoo.registry.model import Network

TICK = "✓"
_STEM_STRIDE = 4


def types_in(part: Any) -> Iterator[str]:
    """Every `type` in a part, however deep."""
    if isinstance(part, Mapping):
        if isinstance(part.get("type"), str):
            yield part["type"]
        for inner in part.values():
            yield from types_in(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from types_in(inner)


def output_stride(network: Network) -> int | None:
    """Stride of a ResNet's last feature map, from its stem and stages."""
    strides = network.parts.get("backbone", {}).get("strides")
    if not isinstance(strides, list):
        return None
    total = _STEM_STRIDE
    for stride in strides:
        total *= stride
    return total


def deformable_version(world: World) -> Found:
    """A heading that says DCN v2 over a network that has v1."""
    for heading in world.headings:
        if heading.method.name not in ("Deformable ConvNets v2", "DCNv2"):
            continue
        for entry in heading.entries:
            found = set(types_in(entry.model.network.parts)) if entry.model.network else set()
            if "DCN" in found and "DCNv2" not in found:
                yield entry.subject, "the heading says v2, the network has deformable convolutions v1"


def not_dilated(world: World) -> Found:
    """A row that says D8 over a backbone of another output stride."""
    for entry in world.entries:
        network = entry.model.network
        stride = output_stride(network) if network else None
        if stride is not None and stride != 8 and "D8" in entry.model.backbone.split("-"):
            yield (
                entry.subject,
                f"the row says {entry.model.backbone}, the backbone's output stride is {stride}",
            )


def scales(world: World) -> Found:
    """A tick of MS-train over a config that trains on one scale, or the other way round."""
    for entry in world.entries:
        training = entry.model.training
        if "MS-train" in entry.model.settings and training is not None:
            ticked = entry.model.settings["MS-train"] == TICK
            if ticked != training.multi_scale:
                says = "ticks MS-train" if ticked else "does not tick MS-train"
                does = "several scales" if training.multi_scale else "one scale"
                yield entry.subject, f"the row {says}, the config trains on {does}"


def head_only(world: World) -> Found:
    """A ticked column that holds for the head alone, not for the backbone."""
    for entry in world.entries:
        network = entry.model.network
        if network is None:
            continue
        for column, wanted in (("GN", {"GN"}), ("Deform. Conv.", {"DCN", "DCNv2"})):
            if entry.model.settings.get(column) == TICK:
                inside = [role for role, part in network.parts.items() if wanted & set(types_in(part))]
                if "backbone" not in inside:
                    where = ", ".join(inside) or "no part"
                    yield entry.subject, f"column {column} is ticked, but only {where} has it"


def other_heading(world: World) -> Found:
    """A heading whose networks are those of another heading on a different backbone."""
    owners: dict[tuple[str, str, str], str] = {}
    for heading in world.headings:
        zoo, task, name = heading.section.zoo.id, heading.section.task, heading.method.name
        heads = {_head(e.model.network) for e in heading.entries if e.model.network is not None}
        heads.discard(None)
        for head in sorted(h for h in heads if h):
            owner = owners.setdefault((zoo, task, head), name)
            if owner != name:
                yield heading.subject, f"the networks are {head}, as under {owner}, on another backbone"


def _head(network: Network | None) -> str | None:
    # Networks of openseg are named, and so are its headings; classifiers and poses, by their backbones.
    if network is None or network.engine in ("openseg", "mmpretrain", "mmpose"):
        return None
    head = network.parts.get("decode_head")
    if head is None:
        return network.arch
    return head.get("type") if isinstance(head, Mapping) else None


def other_depth(world: World) -> Found:
    """A row that names a ResNet of another depth than the network's."""
    for entry in world.entries:
        network = entry.model.network
        depth = network.parts.get("backbone", {}).get("depth") if network else None
        match = re.match(r"R-([0-9]+)(?:-|$)", entry.model.backbone)
        if match and isinstance(depth, int) and int(match[1]) != depth:
            yield entry.subject, f"the row says {entry.model.backbone}, the backbone's depth is {depth}"


def other_size(world: World) -> Found:
    """A row that names a ConvNeXt of another size than the network's."""
    for entry in world.entries:
        network = entry.model.network
        size = network.parts.get("backbone", {}).get("arch") if network else None
        match = re.match(r"ConvNeXt-([A-Z])$", entry.model.backbone)
        if match and isinstance(size, str) and match[1] != size[0].upper():
            yield entry.subject, f"the row says {entry.model.backbone}, the config builds the {size} one"


def no_counts(world: World) -> Found:
    """Networks whose parameters were not counted."""
    for entry in world.entries:
        network = entry.model.network
        if network is not None and (network.params is None or network.entries is None):
            yield entry.subject, "the network's parameters or state-dict entries are not counted"


def local_start(world: World) -> Found:
    """Training that started from a file on a private disk."""
    for entry in world.entries:
        init = entry.model.training.init if entry.model.training else None
        if init is not None and "://" not in init:
            yield entry.subject, f"training started from {init}, a local file"


RULES = (
    Rule("ARC01", "DCN v2 in the heading, v1 in the network", deformable_version),
    Rule("ARC02", "D8 in the row, another output stride in the network", not_dilated),
    Rule("ARC03", "MS-train and the config disagree", scales),
    Rule("ARC04", "a tick that holds for the head alone", head_only),
    Rule("ARC05", "a heading that builds another heading's network", other_heading),
    Rule("ARC06", "parameters not counted", no_counts),
    Rule("ARC07", "another depth in the row than in the network", other_depth),
    Rule("ARC08", "another size in the row than in the network", other_size),
    Rule("TRN01", "training that started from a local file", local_start),
)
