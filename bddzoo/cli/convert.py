"""`bddzoo convert`: a model's weights in another container, proven to be the same weights."""

from __future__ import annotations

from pathlib import Path

import click

from bddzoo.cli.app import App, ZooCommand, complete_models


@click.command(
    cls=ZooCommand,
    epilog="""\b
Examples:
  bddzoo convert fcn_r50-d8_512x1024_40k_sem_seg_bdd100k --to safetensors
  bddzoo convert fpn_r50_512x1024_40k_sem_seg_bdd100k --to safetensors -o fpn.safetensors
  bddzoo convert my_model --weights work_dirs/latest.pth --to safetensors
""",
)
@click.argument("model", shell_complete=complete_models)
@click.option("--to", "form", type=click.Choice(["safetensors"]), required=True, help="The container.")
@click.option(
    "-o",
    "--out",
    "--output",
    "output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="File to write. Default: MODEL.safetensors.",
)
@click.option(
    "--weights", type=click.Path(dir_okay=False, path_type=Path), help="This file instead of the cached."
)
@click.option("--from", "sources", multiple=True, metavar="SOURCE", help="As in 'bddzoo fetch'.")
@click.option("--force", is_flag=True, help="Replace the output file if it is there.")
@click.pass_obj
def command(
    app: App,
    model: str,
    form: str,
    output: Path | None,
    weights: Path | None,
    sources: tuple[str, ...],
    force: bool,
) -> None:
    """Write the weights of MODEL as a safetensors file, which can hold no code.

    The weights are read without executing anything, written, read back and compared. The digest of
    the tensors, which is printed and kept in the file, is the same for both containers.
    """
    from bddzoo import __version__
    from bddzoo.artifacts.tensors import write_safetensors
    from bddzoo.cli.weights import obtain_weights
    from bddzoo.engines.checkpoint import read_checkpoint
    from bddzoo.errors import UsageError
    from bddzoo.files import explain, format_size

    found = app.registry.find(model)
    target = output or Path(f"{found.id}.{form}")
    if target.exists() and not force:
        raise UsageError(f"{target} exists", hint="give --force to replace it, or another file with -o")
    path, used = obtain_weights(app, found, weights, sources)
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
    state = read_checkpoint(path)
    try:
        tensors = write_safetensors(state, target, metadata)
    except OSError as error:
        raise explain(error, f"writing {target}", "choose another -o FILE") from error
    size = target.stat().st_size
    if app.json:
        app.data_json(
            {"model": found.id, "path": target, "size_bytes": size, "entries": len(state), "tensors": tensors}
        )
    else:
        app.data(f"{target}  {format_size(size)}  {len(state)} entries  tensors:{tensors}")
