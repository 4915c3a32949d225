"""What a cached checkpoint says about itself, for `bddzoo info`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bddzoo.cli.app import App
from bddzoo.errors import BddzooError
from bddzoo.registry.types import Model

if TYPE_CHECKING:
    from bddzoo.engines.openseg.claims import Claim


def claim_of(app: App, model: Model) -> Claim | None:
    """The claim in the model's cached weights; None where nothing is cached or nothing is claimed."""
    artifact = model.artifact("weights")
    if artifact is None or model.network is None or model.network.engine != "openseg":
        return None
    from bddzoo.artifacts import Cache
    from bddzoo.engines.openseg.claims import read_claim

    cache = Cache(app.cache_dir)
    try:
        entry = cache.find(model, artifact)
    except BddzooError:
        return None
    return read_claim(cache.path_of(entry)) if entry is not None else None


def claim_text(claim: Claim) -> str:
    """The claim as lines for a terminal."""
    lines = ["", "the trainer's own claim (stored in the cached checkpoint; nobody measured it)"]
    if claim.best is not None:
        lines.append(
            f"  best mIoU       {100 * claim.best:.2f} percent, of the validations while it was trained"
        )
    if claim.last is not None and claim.last != claim.best:
        lines.append(f"  last mIoU       {100 * claim.last:.2f} percent")
    if claim.iters is not None:
        lines.append(f"  iterations      {claim.iters}")
    if claim.network or claim.dataset:
        lines.append(f"  configuration   {', '.join(t for t in (claim.network, claim.dataset) if t)}")
    return "\n".join(lines)


def claim_data(claim: Claim | None) -> dict[str, Any] | None:
    """The claim as plain data; mIoU as fractions of one."""
    return None if claim is None else asdict(claim)
