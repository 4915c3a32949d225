"""What a new entry still lacks before its zoo would take it."""

from __future__ import annotations

from bddzoo.registry.types import Model


def missing_facts(model: Model) -> list[str]:
    """What the zoos' rules for contributions ask for and the entry does not have."""
    found = []
    for split in ("val", "test"):
        if not any(r.split == split and r.value is not None for r in model.reported):
            found.append(f"scores on {split}")
    weights = model.artifact("weights")
    if weights is None or not weights.sources:
        found.append("weights")
    if weights is None or not (weights.digests or weights.digest_url):
        found.append("MD5 of the weights")
    for kind, words in (("preds", "predictions"), ("visuals", "visuals"), ("config", "config")):
        artifact = next((a for a in model.artifacts if a.kind == kind), None)
        if artifact is None or not artifact.sources:
            found.append(words)
    if model.method.paper is None or not model.method.paper.url:
        found.append("paper")
    if model.method.code is None:
        found.append("code")
    if model.network is None or model.protocol is None:
        found.append("usage: a network and a protocol, so that the model can be run")
    elif model.network.params is None:
        found.append("number of parameters")
    return found


def assumed_files(model: Model) -> dict[str, str]:
    """Files with a link and neither digest nor size: nobody said that they are where the zoo's are."""
    unseen = (a for a in model.artifacts if not a.digests and a.size_bytes is None)
    return {a.kind: a.sources[0] for a in unseen if a.sources}
