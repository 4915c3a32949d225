"""`bddzoo convert`: a model's weights in another container, proven to be the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bddzoo.cli import options as opt
from bddzoo.cli.app import App
from bddzoo.cli.output import check_target
from bddzoo.cli.select import Selection
from bddzoo.cli.weights import Obtain, weights_from
from bddzoo.errors import UsageError
from bddzoo.files import explain, format_size
from bddzoo.version import __version__

if TYPE_CHECKING:
    from bddzoo.registry.model import Model


@opt.command(
    epilog="""\b
Examples:
  bddzoo convert fcn_r50-d8_512x1024_40k_sem_seg_bdd100k --to safetensors
  bddzoo convert demo_semfpn_r18n_sem_seg --to safetensors -o fpn.safetensors
  bddzoo convert my_model --weights work_dirs/latest.pth --to safetensors
"""
)
def command(
    app: App,
    *,
    selection: Selection = opt.SELECTION,
    form: str = opt.option(
        "--to", type=click.Choice(["safetensors"]), required=True, help="Format to write."
    ),
    out: Path | None = opt.out_file("File to write. Default: MODEL.safetensors.", required=False),
    weights: Path | None = opt.WEIGHTS,
    sources: tuple[str, ...] = opt.FROM,
    offline: bool = opt.OFFLINE,
    force: bool = opt.FORCE,
) -> None:
    """Write the weights of models as safetensors files, which can hold no code.

    The weights are read without executing anything, written, read back and compared. The digest of
    the tensors, which is printed and kept in the file, is the same for both containers.
    """
    models = selection.models(app)
    if len(models) > 1 and (out is not None or weights is not None):
        raise UsageError("--out and --weights are those of one model", hint="name one model")
    targets = [out or Path(f"{model.id}.{form}") for model in models]
    for target in targets:
        check_target(target, force)
    obtain = weights_from(app, weights, sources, offline=offline)
    rows = [_convert(app, model, target, obtain) for model, target in zip(models, targets, strict=True)]
    if app.json:
        app.data_json(rows[0] if len(rows) == 1 else rows)


def _convert(app: App, found: Model, target: Path, obtain: Obtain) -> dict[str, Any]:
    from bddzoo.artifacts.tensors import write_safetensors
    from bddzoo.cli.progress import Bar
    from bddzoo.engines.checkpoint import read_checkpoint
    from bddzoo.engines.weights import entries_not_finite, not_finite_warning

    path, used = obtain(found)
    facts = {
        "format": "pt",
        "model": found.id,
        "zoo": found.zoo.id,
        "task": found.task,
        "licence": found.zoo.weights_licence,
        "source": used.source,
        "source_md5": used.md5,
        "source_sha256": used.sha256,
        "source_state": used.state,
        "written_by": f"bddzoo {__version__}",
    }
    metadata = {name: fact or "unknown" for name, fact in facts.items()}
    try:
        with Bar(app, f"writing {target.name}"):
            state = read_checkpoint(path)
            tensors = write_safetensors(state, target, metadata)
    except OSError as error:
        raise explain(error, f"writing {target}", "choose another -o FILE") from error
    strange = entries_not_finite(state)
    if strange:
        app.warn(f"{path}: {not_finite_warning(strange)}")
    size = target.stat().st_size
    if not app.json:
        app.data(f"{target}\n  {format_size(size)}  {len(state)} entries\n  tensors:{tensors}")
    return {"model": found.id, "path": target, "size_bytes": size, "entries": len(state), "tensors": tensors}
