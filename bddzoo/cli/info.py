"""`bddzoo info`: everything that is known about one model."""

from __future__ import annotations

import click

from bddzoo.cli.app import App, ZooCommand, complete_models
from bddzoo.errors import UsageError


@click.command(
    cls=ZooCommand,
    epilog="""\b
Examples:
  bddzoo info deeplabv3+_r50-d8_512x1024_40k_sem_seg_bdd100k
  bddzoo info mask_rcnn_r50_fpn_1x_ins_seg_bdd100k --format json
  bddzoo info 'deeplabv3+_r50-d8_512x1024_40k_sem_seg_bdd100k' --bibtex
""",
)
@click.argument("models", nargs=-1, required=True, metavar="MODEL...", shell_complete=complete_models)
@click.option("--bibtex", is_flag=True, help="Print BibTeX entries: the method's paper, and the zoo.")
@click.pass_obj
def command(app: App, models: tuple[str, ...], bibtex: bool) -> int:
    """Show everything that is known about a model; what is unknown is said to be unknown."""
    from bddzoo.reports.model_page import as_data, as_text

    found = [app.registry.find(name) for name in models]
    if bibtex:
        if app.json:
            raise UsageError("--bibtex is a format of its own", hint="leave out --format json")
        from bddzoo.reports.cite import bibliography

        app.data(bibliography(found))
        return 0
    from bddzoo.cli.claims import claim_data, claim_of, claim_text

    claims = [claim_of(app, m) for m in found]
    if app.json:
        pages = [as_data(m) for m in found]
        for page, claim in zip(pages, claims, strict=True):
            page["trainer_claim"] = claim_data(claim)
        app.data_json(pages[0] if len(pages) == 1 else pages)
    else:
        texts = [
            as_text(m) + ("\n" + claim_text(claim) if claim is not None else "")
            for m, claim in zip(found, claims, strict=True)
        ]
        app.data("\n\n".join(texts))
    return 0
