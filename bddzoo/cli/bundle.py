"""`bddzoo bundle`: files of models in one archive, for machines without a network."""

from __future__ import annotations

from pathlib import Path

from bddzoo.cli import options as opt
from bddzoo.cli.app import App
from bddzoo.cli.output import check_target
from bddzoo.cli.select import Selection, check_prefix, files_of, parse_kinds
from bddzoo.errors import BddzooError
from bddzoo.files import explain, format_size
from bddzoo.text import number_of, picked


@opt.command(
    epilog="""\b
Examples:
  bddzoo bundle fcn_r50-d8_512x1024_40k_sem_seg_bdd100k -o fcn.zip
  bddzoo bundle 'mask_rcnn*' --what weights,config -o mask_rcnn.zip
  bddzoo fetch 'mask_rcnn*' --from mask_rcnn.zip --offline --verify
"""
)
def command(
    app: App,
    *,
    selection: Selection = opt.SELECTION_OR_ALL,
    out: Path = opt.out_file("Zip file to write."),
    force: bool = opt.FORCE,
    what: tuple[str, ...] = opt.WHAT,
    sources: tuple[str, ...] = opt.FROM,
    offline: bool = opt.OFFLINE,
    verify: bool = opt.VERIFY,
    accept_prefix: bool = opt.ACCEPT_PREFIX,
    jobs: int = opt.jobs("Files at the same time.", default=4, most=64),
) -> None:
    """Write models into one FILE for machines without a network.

    It holds the files, their digests, the part of the registry that they need, and what is known of
    their licences. What the cache lacks is fetched first. On the other machine:
    'bddzoo fetch MODEL --from FILE --offline'.
    """
    from bddzoo.artifacts import Cache, Fetcher
    from bddzoo.artifacts.bundle import check_target as check_bundle_target
    from bddzoo.artifacts.bundle import write_bundle
    from bddzoo.artifacts.fetcher import fetch_all
    from bddzoo.cli.progress import make_reporter
    from bddzoo.registry.edit import licence_notes, slice_registry
    from bddzoo.registry.reader import read_text

    check_prefix(verify, accept_prefix)
    models = selection.models(app)
    todo = files_of(models, parse_kinds(what))
    check_bundle_target(out)
    check_target(out, force)
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
        texts["registry.yaml"] = slice_registry(read_text(app.registry.path), held)
    try:
        size = write_bundle(out, cache, entries, texts)
    except OSError as error:
        raise explain(error, f"writing {out}", "choose another -o FILE") from error
    if app.json:
        files = [picked(e, "model kind name sha256") for e in entries]
        app.data_json({"path": out, "size_bytes": size, "files": files})
    else:
        count = f"{number_of(len(entries), 'file')} of {number_of(len(held), 'model')}"
        app.data(f"{out}  {format_size(size)}  {count}")
