"""Rules on single entries: their files, and headings and columns against the architecture facts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from bddzoo.registry.lint.findings import Found, ModelEntry, Rule, World
from bddzoo.registry.model import Model, Network

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


def no_digest(world: World) -> Found:
    """Weights that nothing can be verified against."""
    for entry in world.entries:
        weights = entry.model.artifact("weights")
        if weights is not None and weights.sources and not weights.digests:
            yield entry.subject, "no digest of the weights is known"


def same_digest(world: World) -> Found:
    """The same weights under two models that differ in a reported number or in size."""
    owners: dict[tuple[str, str], ModelEntry] = {}
    for entry in world.entries:
        weights = entry.model.artifact("weights")
        for digest in weights.digests if weights else ():
            if digest.origin == "filename":  # a few digits prove nothing
                continue
            other = owners.setdefault((digest.algorithm, digest.hex), entry)
            if other is not entry and (differences := _differences(entry.model, other.model)):
                what = ", ".join(differences)
                yield entry.subject, f"the weights are those of {other.model.id}, but {what} differs"


def _differences(a: Model, b: Model) -> list[str]:
    """Numbers that both report under the same protocol, and sizes, if they differ."""
    found = []
    if a.protocol == b.protocol:
        theirs = {(r.split, r.metric): r.value for r in b.reported if r.value is not None}
        for r in a.reported:
            other = theirs.get((r.split, r.metric))
            if r.value is not None and other is not None and r.value != other:
                found.append(f"{r.metric}-{r.split} ({r.value} and {other})")
    sizes = [weights.size_bytes for m in (a, b) if (weights := m.artifact("weights")) and weights.size_bytes]
    if len(set(sizes)) > 1:
        found.append(f"the size ({sizes[0]} and {sizes[1]} bytes)")
    return found


def no_size(world: World) -> Found:
    """Weights of unknown size."""
    for entry in world.entries:
        weights = entry.model.artifact("weights")
        if weights is not None and weights.sources and weights.size_bytes is None:
            yield entry.subject, "the size of the weights is unknown"


def size_from_nowhere(world: World) -> Found:
    """Sizes of unknown origin."""
    for entry in world.entries:
        for artifact in entry.model.artifacts:
            if artifact.size_bytes is not None and artifact.size_origin is None:
                yield entry.subject, f"where is the size of the {artifact.kind} from?"


def no_licence(world: World) -> Found:
    """Weights under no known licence."""
    for entry in world.entries:
        weights = entry.model.artifact("weights")
        known = entry.model.zoo.weights_licence or (weights and weights.licence)
        if weights is not None and weights.sources and not known:
            yield entry.subject, "nothing says under which licence the weights are"


def no_config(world: World) -> Found:
    """Models without a config."""
    for entry in world.entries:
        config = entry.model.artifact("config")
        if (config is None or not config.sources) and not entry.model.zoo.synthetic:
            yield entry.subject, "no config is linked"


def nowhere(world: World) -> Found:
    """Files that the zoo lists with an empty link."""
    for entry in world.entries:
        empty = [a.kind for a in entry.model.artifacts if not a.sources]
        if empty:
            yield entry.subject, f"unreachable by design, links to nowhere: {', '.join(empty)}"


def no_file(world: World) -> Found:
    """Models without a single file."""
    for entry in world.entries:
        if not entry.model.artifacts:
            yield entry.subject, "no file is known"


def no_number(world: World) -> Found:
    """Models without a single number."""
    for entry in world.entries:
        if all(r.value is None for r in entry.model.reported):
            yield entry.subject, "no number is reported"


def unusable(world: World) -> Found:
    """Files that are known not to be usable as they are."""
    for entry in world.entries:
        for artifact in entry.model.artifacts:
            if artifact.problem is not None:
                yield entry.subject, f"{artifact.kind}: {artifact.problem}"


def pinned_elsewhere(world: World) -> Found:
    """Configs that exist only at another commit than the zoo's."""
    for heading in world.headings:
        for entry in heading.entries:
            config = entry.model.artifact("config")
            commit = entry.model.zoo.commit
            if config is not None and commit and config.page and f"/{commit}/" not in config.page:
                yield entry.subject, f"its config is not at {commit}, but at {config.page}"


def elsewhere(world: World) -> Found:
    """Rows whose number was published differently in another place or at another time."""
    for entry in world.entries:
        for other in entry.model.elsewhere:
            for number in other.reported:
                mine = entry.model.reported_value(number.metric, number.split)
                if mine is not None and mine != number.value and not other.protocol_differs:
                    yield (
                        entry.subject,
                        f"{number.metric}-{number.split} {mine}, but {number.value} in: {other.source}",
                    )


RULES = (
    Rule("DIG01", "no digest of the weights", no_digest),
    Rule("DIG02", "one digest under two models with other numbers or sizes", same_digest),
    Rule("SIZ01", "no size of the weights", no_size),
    Rule("SIZ02", "a size from nowhere", size_from_nowhere),
    Rule("LIC01", "no licence of the weights", no_licence),
    Rule("CFG01", "no config", no_config),
    Rule("CFG02", "a config that exists only at another commit", pinned_elsewhere),
    Rule("CFG03", "a file that cannot be used as it is", unusable),
    Rule("NIL01", "links to nowhere", nowhere),
    Rule("NIL02", "no file at all", no_file),
    Rule("NIL03", "no number at all", no_number),
    Rule("OLD01", "published with another number elsewhere", elsewhere),
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
