"""Rules on files: what is missing, and what leads nowhere."""

from __future__ import annotations

from bddzoo.registry.lint.findings import Found, ModelEntry, Rule, World
from bddzoo.registry.model import Model


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
)
