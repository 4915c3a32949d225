"""Rules on single entries: their files, and headings and columns against the architecture facts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from bddzoo.registry.lint.findings import TICK, Found, ModelEntry, Rules, World
from bddzoo.registry.model import Model, Network

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


RULES = Rules()


@RULES.add("DIG01", "no digest of the weights", of="entries")
def _no_digest(entry: ModelEntry) -> Iterator[str]:
    weights = entry.model.artifact("weights")
    if weights is not None and weights.sources and not weights.digests:
        yield "no digest of the weights is known"


@RULES.add("DIG02", "one digest under two models with other numbers or sizes")
def _same_digest(world: World) -> Found:
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


@RULES.add("SIZ01", "no size of the weights", of="entries")
def _no_size(entry: ModelEntry) -> Iterator[str]:
    weights = entry.model.artifact("weights")
    if weights is not None and weights.sources and weights.size_bytes is None:
        yield "the size of the weights is unknown"


@RULES.add("SIZ02", "a size from nowhere", of="entries")
def _size_from_nowhere(entry: ModelEntry) -> Iterator[str]:
    for artifact in entry.model.artifacts:
        if artifact.size_bytes is not None and artifact.size_origin is None:
            yield f"where is the size of the {artifact.kind} from?"


@RULES.add("LIC01", "no licence of the weights", of="entries")
def _no_licence(entry: ModelEntry) -> Iterator[str]:
    weights = entry.model.artifact("weights")
    known = entry.model.zoo.weights_licence or (weights and weights.licence)
    if weights is not None and weights.sources and not known:
        yield "nothing says under which licence the weights are"


@RULES.add("CFG01", "no config", of="entries")
def _no_config(entry: ModelEntry) -> Iterator[str]:
    config = entry.model.artifact("config")
    if (config is None or not config.sources) and not entry.model.zoo.synthetic:
        yield "no config is linked"


@RULES.add("CFG02", "a config that exists only at another commit")
def _pinned_elsewhere(world: World) -> Found:
    for heading in world.headings:
        for entry in heading.entries:
            config = entry.model.artifact("config")
            commit = entry.model.zoo.commit
            if config is not None and commit and config.page and f"/{commit}/" not in config.page:
                yield entry.subject, f"its config is not at {commit}, but at {config.page}"


@RULES.add("CFG03", "a file that cannot be used as it is", of="entries")
def _unusable(entry: ModelEntry) -> Iterator[str]:
    for artifact in entry.model.artifacts:
        if artifact.problem is not None:
            yield f"{artifact.kind}: {artifact.problem}"


@RULES.add("NIL01", "links to nowhere", of="entries")
def _nowhere(entry: ModelEntry) -> Iterator[str]:
    empty = [a.kind for a in entry.model.artifacts if not a.sources]
    if empty:
        yield f"unreachable by design, links to nowhere: {', '.join(empty)}"


@RULES.add("NIL02", "no file at all", of="entries")
def _no_file(entry: ModelEntry) -> Iterator[str]:
    if not entry.model.artifacts:
        yield "no file is known"


@RULES.add("NIL03", "no number at all", of="entries")
def _no_number(entry: ModelEntry) -> Iterator[str]:
    if all(r.value is None for r in entry.model.reported):
        yield "no number is reported"


@RULES.add("OLD01", "published with another number elsewhere", of="entries")
def _elsewhere(entry: ModelEntry) -> Iterator[str]:
    """Rows whose number was published differently in another place or at another time."""
    for other in entry.model.elsewhere:
        for number in other.reported:
            mine = entry.model.reported_value(number.metric, number.split)
            if mine is not None and mine != number.value and not other.protocol_differs:
                yield f"{number.metric}-{number.split} {mine}, but {number.value} in: {other.source}"


@RULES.add("ARC01", "DCN v2 in the heading, v1 in the network")
def _deformable_version(world: World) -> Found:
    for heading in world.headings:
        if heading.method.name not in ("Deformable ConvNets v2", "DCNv2"):
            continue
        for entry in heading.entries:
            found = set(types_in(entry.model.network.parts)) if entry.model.network else set()
            if "DCN" in found and "DCNv2" not in found:
                yield entry.subject, "the heading says v2, the network has deformable convolutions v1"


@RULES.add("ARC02", "D8 in the row, another output stride in the network", of="entries")
def _not_dilated(entry: ModelEntry) -> Iterator[str]:
    network = entry.model.network
    stride = output_stride(network) if network else None
    if stride is not None and stride != 8 and "D8" in entry.model.backbone.split("-"):
        yield f"the row says {entry.model.backbone}, the backbone's output stride is {stride}"


@RULES.add("ARC03", "MS-train and the config disagree", of="entries")
def _scales(entry: ModelEntry) -> Iterator[str]:
    training = entry.model.training
    if "MS-train" in entry.model.settings and training is not None:
        ticked = entry.model.settings["MS-train"] == TICK
        if ticked != training.multi_scale:
            says = "ticks MS-train" if ticked else "does not tick MS-train"
            does = "several scales" if training.multi_scale else "one scale"
            yield f"the row {says}, the config trains on {does}"


@RULES.add("ARC04", "a tick that holds for the head alone", of="entries")
def _head_only(entry: ModelEntry) -> Iterator[str]:
    """A ticked column that holds for the head alone, not for the backbone."""
    network = entry.model.network
    if network is None:
        return
    for column, wanted in (("GN", {"GN"}), ("Deform. Conv.", {"DCN", "DCNv2"})):
        if entry.model.settings.get(column) == TICK:
            inside = [role for role, part in network.parts.items() if wanted & set(types_in(part))]
            if "backbone" not in inside:
                where = ", ".join(inside) or "no part"
                yield f"column {column} is ticked, but only {where} has it"


@RULES.add("ARC05", "a heading that builds another heading's network")
def _other_heading(world: World) -> Found:
    owners: dict[tuple[str, str, str], str] = {}
    for heading in world.headings:
        zoo, task, name = heading.section.zoo.id, heading.section.task, heading.method.name
        heads = {head for e in heading.entries if (head := _head(e.model.network))}
        for head in sorted(heads):
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


@RULES.add("ARC06", "parameters not counted", of="entries")
def _no_counts(entry: ModelEntry) -> Iterator[str]:
    network = entry.model.network
    if network is not None and (network.params is None or network.entries is None):
        yield "the network's parameters or state-dict entries are not counted"


@RULES.add("ARC07", "another depth in the row than in the network", of="entries")
def _other_depth(entry: ModelEntry) -> Iterator[str]:
    network = entry.model.network
    depth = network.parts.get("backbone", {}).get("depth") if network else None
    match = re.match(r"R-([0-9]+)(?:-|$)", entry.model.backbone)
    if match and isinstance(depth, int) and int(match[1]) != depth:
        yield f"the row says {entry.model.backbone}, the backbone's depth is {depth}"


@RULES.add("ARC08", "another size in the row than in the network", of="entries")
def _other_size(entry: ModelEntry) -> Iterator[str]:
    network = entry.model.network
    size = network.parts.get("backbone", {}).get("arch") if network else None
    match = re.match(r"ConvNeXt-([A-Z])$", entry.model.backbone)
    if match and isinstance(size, str) and match[1] != size[0].upper():
        yield f"the row says {entry.model.backbone}, the config builds the {size} one"


@RULES.add("TRN01", "training that started from a local file", of="entries")
def _local_start(entry: ModelEntry) -> Iterator[str]:
    init = entry.model.training.init if entry.model.training else None
    if init is not None and "://" not in init:
        yield f"training started from {init}, a local file"
