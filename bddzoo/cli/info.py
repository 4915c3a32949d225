"""`bddzoo info`: everything that is known about a model."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from bddzoo.cli import options as opt
from bddzoo.cli.app import App
from bddzoo.cli.select import Selection
from bddzoo.errors import BddzooError, UsageError
from bddzoo.registry.model import Model

if TYPE_CHECKING:
    from bddzoo.engines.openseg.training_facts import TrainingFacts


@opt.command(
    epilog="""\b
Examples:
  bddzoo info deeplabv3+_r50-d8_512x1024_40k_sem_seg_bdd100k
  bddzoo info mask_rcnn_r50_fpn_1x_ins_seg_bdd100k --format json
  bddzoo info 'fcn*' --bibtex
"""
)
def command(
    app: App,
    *,
    selection: Selection = opt.SELECTION,
    bibtex: bool = opt.flag("--bibtex", help="Print BibTeX entries: the method's paper, and the zoo."),
) -> int:
    """Show everything that is known about models; what is unknown is said to be unknown."""
    from bddzoo.cli.output import wrapped
    from bddzoo.reports.info import as_data, as_text

    found = selection.models(app)
    if bibtex:
        if app.json:
            raise UsageError("--bibtex is a format of its own", hint="leave out --format json")
        from bddzoo.reports.info import bibliography

        app.data(bibliography(found))
        return 0
    claims = [claim_of(app, m) for m in found]
    if app.json:
        pages = [as_data(m) for m in found]
        for page, claim in zip(pages, claims, strict=True):
            page["trainer_claim"] = None if claim is None else asdict(claim)
        app.data_json(pages[0] if len(pages) == 1 else pages)
    else:
        texts = [
            as_text(m) + ("\n" + claim_text(claim) if claim is not None else "")
            for m, claim in zip(found, claims, strict=True)
        ]
        lines = "\n\n".join(texts).splitlines()
        # Below the value of a row, where the line is one.
        app.data("\n".join(wrapped(x, further=" " * 16 if x[16:18] == "  " else "  ") for x in lines))
    return 0


def claim_of(app: App, model: Model) -> TrainingFacts | None:
    """The claim in the model's cached weights; None where nothing is cached or nothing is claimed."""
    artifact = model.artifact("weights")
    if artifact is None or model.network is None or model.network.engine != "openseg":
        return None
    from bddzoo.artifacts import Cache
    from bddzoo.engines.openseg.training_facts import read_training_facts

    cache = Cache(app.cache_dir)
    try:
        entry = cache.find(model, artifact)
    except BddzooError:
        return None
    return read_training_facts(cache.path_of(entry)) if entry is not None else None


def claim_text(claim: TrainingFacts) -> str:
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
