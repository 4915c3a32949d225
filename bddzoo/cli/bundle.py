"""`bddzoo bundle`: files of models in one archive, for machines without a network."""

from __future__ import annotations

from pathlib import Path

import click

from bddzoo.cli.app import App, ZooCommand, complete_models
from bddzoo.errors import BddzooError
from bddzoo.text import number_of


@click.command(
    cls=ZooCommand,
    epilog="""\b
Examples:
  bddzoo bundle fcn_r50-d8_512x1024_40k_sem_seg_bdd100k -o fcn.zip
  bddzoo bundle 'mask_rcnn*' --what weights,config -o mask_rcnn.zip
  bddzoo fetch 'mask_rcnn*' --from mask_rcnn.zip --offline --verify
""",
)
@click.argument(
    "patterns", metavar="MODEL|PATTERN...", nargs=-1, required=True, shell_complete=complete_models
)
@click.option(
    "-o",
    "--out",
    "--output",
    "output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Zip file to write.",
)
@click.option("--what", default="weights", show_default=True, metavar="KINDS", help="As in 'bddzoo fetch'.")
@click.option("--from", "sources", multiple=True, metavar="SOURCE", help="As in 'bddzoo fetch'.")
@click.option("--offline", is_flag=True, help="Open no connection: bundle what the cache has.")
@click.option("--verify", is_flag=True, help="Bundle only what a digest proves.")
@click.option("--accept-prefix", is_flag=True, help="With --verify: the first digits of a digest are enough.")
@click.option(
    "--jobs", type=click.IntRange(1, 64), default=4, show_default=True, help="Files at the same time."
)
@click.pass_obj
def command(
    app: App,
    patterns: tuple[str, ...],
    output: Path,
    what: str,
    sources: tuple[str, ...],
    offline: bool,
    verify: bool,
    accept_prefix: bool,
    jobs: int,
) -> None:
    """Write models into one FILE for machines without a network.

    It holds the files, their digests, the part of the registry that they need, and what is known of
    their licences. What the cache lacks is fetched first. On the other machine:
    'bddzoo fetch MODEL --from FILE --offline'.
    """
    from bddzoo.artifacts import Cache, Fetcher
    from bddzoo.artifacts.bundle import check_target, write_bundle
    from bddzoo.artifacts.fetcher import fetch_all
    from bddzoo.cli.fetch import parse_kinds, plan, select_models
    from bddzoo.cli.progress import make_reporter
    from bddzoo.files import explain, format_size
    from bddzoo.registry.edit import licence_notes, slice_registry

    models = select_models(app, patterns, None, False)
    todo = plan(models, parse_kinds(what))
    check_target(output)
    cache = Cache(app.cache_dir)
    reporter = make_reporter(app, len(todo))
    fetcher = Fetcher(
        cache, sources, offline=offline, jobs=jobs, progress=reporter, accept_prefix=accept_prefix
    )
    with reporter:
        outcomes = fetch_all(fetcher, todo, verify)
    errors: list[BddzooError] = [o.error for o in outcomes if o.error is not None]
    for error in errors[:-1]:
        app.error(error.message, hint=error.hint)
    if errors:
        raise errors[-1]
    entries = [e for job in todo if (e := cache.entry(job.model.id, job.kind)) is not None]
    held = {e.model for e in entries}
    texts = {"LICENCES.txt": licence_notes(m for m in models if m.id in held)}
    if app.registry.path is not None:
        texts["registry.yaml"] = slice_registry(app.registry.path.read_text(encoding="utf-8"), held)
    try:
        size = write_bundle(output, cache, entries, texts)
    except OSError as error:
        raise explain(error, f"writing {output}", "choose another -o FILE") from error
    if app.json:
        files = [{"model": e.model, "kind": e.kind, "name": e.name, "sha256": e.sha256} for e in entries]
        app.data_json({"path": output, "size_bytes": size, "files": files})
    else:
        count = f"{number_of(len(entries), 'file')} of {number_of(len(held), 'model')}"
        app.data(f"{output}  {format_size(size)}  {count}")
