"""`bddzoo cache` and `bundle`: list, verify and clean the cache; files for other machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bddzoo.cli import options as opt
from bddzoo.cli.app import App, CommandGroup
from bddzoo.cli.output import check_target
from bddzoo.cli.progress import Bar
from bddzoo.cli.select import Selection, check_prefix, files_of, parse_kinds
from bddzoo.errors import BddzooError, ExitCode, MissingError, UsageError
from bddzoo.files import explain, format_size
from bddzoo.text import number_of, picked

if TYPE_CHECKING:
    from bddzoo.artifacts import Cache, Entry


def select_entries(app: App, cache: Cache, selection: Selection, *, needed: bool = True) -> list[Entry]:
    """Entries of the selected models; all where nothing is selected.

    Raises:
        MissingError: A pattern fits nothing, if it must.
    """
    entries = list(cache.entries())
    found = selection.items(app, entries, lambda entry: (entry.model, entry.zoo))
    if needed and selection.given and not found:
        what = " ".join(selection.patterns) or "these filters"
        raise MissingError(f"nothing in the cache fits '{what}'", hint="see 'bddzoo cache ls'")
    return found


@click.group(
    cls=CommandGroup,
    epilog="""\b
Examples:
  bddzoo cache ls
  bddzoo cache verify
  bddzoo cache rm 'fcn_*' --dry-run
  bddzoo cache export -o zoo.zip
""",
)
def command() -> None:
    """List, verify and clean the cache; move it between machines."""


@opt.command(
    group=command,
    epilog="""\b
Examples:
  bddzoo cache export -o zoo.zip
  bddzoo cache export 'fpn_*' -o fpn.zip
""",
)
def export(
    app: App,
    *,
    selection: Selection = opt.SELECTION,
    out: Path = opt.out_file("Zip file to write."),
    force: bool = opt.FORCE,
) -> None:
    """Write cached files into one FILE, for another machine's 'bddzoo cache import'.

    Every file is hashed on the way. 'bddzoo bundle' also adds the registry's part and licence notes.
    """
    cache = app.cache
    entries = select_entries(app, cache, selection)
    if not entries:
        raise MissingError(f"the cache {cache.root} is empty", hint="fetch something first")
    _check_bundle(out, force)
    size = _write_bundle(app, out, cache, entries)
    if app.json:
        app.data_json({"file": out, "size_bytes": size, "files": len(entries)})
    else:
        app.data(f"{out}  {format_size(size)}  {number_of(len(entries), 'file')}")


@opt.command(
    group=command,
    epilog="""\b
Examples:
  bddzoo cache import zoo.zip
""",
)
def import_(
    app: App,
    *,
    files: tuple[Path, ...] = opt.argument(
        nargs=-1, required=True, type=click.Path(dir_okay=False, path_type=Path)
    ),
) -> None:
    """Take the files of exports or bundles into the cache; each is hashed before it gets its name."""
    from bddzoo.artifacts.bundle import Bundle, import_file

    cache = app.cache
    taken: list[Entry] = []
    for file in files:
        bundle = Bundle(file)
        count = len(bundle.manifest.files)
        with Bar(app, "importing", sum(f.size_bytes for f in bundle.manifest.files)) as bar:
            try:
                entries = [import_file(bundle, item, cache, bar.advance) for item in bundle.manifest.files]
            except OSError as error:
                raise explain(error, f"importing {file}") from error
        taken += entries
        if not app.json:
            app.data(f"{file}  {format_size(sum(e.size_bytes for e in entries))}  {number_of(count, 'file')}")
    if app.json:
        app.data_json([{"model": e.model, "kind": e.kind, "path": cache.path_of(e)} for e in taken])


@opt.command(
    group=command,
    epilog="""\b
Examples:
  bddzoo cache ls
  bddzoo cache ls 'mask_rcnn*' --format json
""",
)
def ls(app: App, *, selection: Selection = opt.SELECTION) -> None:
    """List what the cache holds."""
    cache = app.cache
    rows = []
    for entry in select_entries(app, cache, selection, needed=False):
        path = cache.path_of(entry)
        rows.append({**asdict(entry), "path": path, "present": path.exists()})
    if app.json:
        app.data_json(rows)
        return
    app.table(
        ("model", "kind", "size", "md5", "fetched", "path"),
        [
            (
                r["model"],
                r["kind"],
                format_size(r["size_bytes"]) if r["present"] else "missing",
                r["md5"],
                r["fetched"][:10],
                r["path"],
            )
            for r in rows
        ],
        optional=("path", "md5", "fetched"),
    )
    held = sum({r["path"]: r["size_bytes"] for r in rows if r["present"]}.values())
    app.say(f"{number_of(len(rows), 'file')}, {format_size(held)} in {cache.root}")


@opt.command(
    group=command,
    epilog="""\b
Examples:
  bddzoo cache verify
  bddzoo cache verify --jobs 8 --format json
""",
)
def verify(
    app: App, *, jobs: int | None = opt.jobs("Files at the same time. [default: one for each core]")
) -> int:
    """Hash every file again. Exits 6 if one was changed, is gone, or cannot be read.

    Size and time of a file prove nothing and are not looked at. Files that no entry names are listed
    as extra and do no harm; 'bddzoo cache gc' removes them.
    """
    from bddzoo.artifacts.maintain import check_cache

    cache = app.cache
    total = sum({cache.path_of(e): e.size_bytes for e in cache.entries()}.values())
    with Bar(app, "verifying", total) as bar:
        findings = check_cache(cache, jobs, bar.advance)
    if app.json:
        keys = ("state", "model", "kind", "path", "size_bytes", "detail")
        app.data_json([{k: getattr(f, k) for k in keys} for f in findings])
    else:
        rows = [(f.state, f.model, f.kind, f.path, f.detail) for f in findings if f.state != "ok"]
        app.table(("state", "model", "kind", "path", "what"), rows)
    counts = {
        s: sum(f.state == s for f in findings) for s in ("ok", "changed", "missing", "unreadable", "extra")
    }
    app.say(f"{format_size(total)}: " + ", ".join(f"{n} {s}" for s, n in counts.items()))
    bad = counts["changed"] + counts["missing"] + counts["unreadable"]
    if bad:
        app.error(
            f"{number_of(bad, 'file')} of the cache changed, went or cannot be read",
            hint="'bddzoo fetch --force MODEL' fetches one again, 'bddzoo cache rm MODEL' removes it",
        )
    return int(ExitCode.INTEGRITY if bad else ExitCode.OK)


@opt.command(
    group=command,
    epilog="""\b
Examples:
  bddzoo cache rm fcn_r50-d8_512x1024_40k_sem_seg_bdd100k
  bddzoo cache rm 'mask_rcnn*' --what preds --yes
  bddzoo cache rm --all --dry-run
""",
)
def rm(
    app: App,
    *,
    selection: Selection = opt.selection_or_all("Everything, unfinished downloads included."),
    what: tuple[str, ...] | None = opt.option(
        "--what", type=opt.Names(), metavar="KINDS", help="Only these kinds, comma-separated, e.g. preds."
    ),
    dry_run: bool = opt.DRY_RUN,
    yes: bool = opt.YES,
) -> None:
    """Remove files of models. Asks first on a terminal; without one, --yes is needed."""
    from bddzoo.artifacts.maintain import remove_all, remove_entries

    cache = app.cache
    if not selection.given:
        raise UsageError("no model given", hint="name a model or pattern, or give --all")
    whole = selection.everything and not selection.patterns and not selection.filtered and not what
    entries = select_entries(app, cache, selection, needed=bool(selection.patterns))
    kinds = parse_kinds(what) if what else None
    entries = [e for e in entries if kinds is None or e.kind in kinds]
    if not entries and not whole:
        named = f"of kind {', '.join(what)} " if what else ""
        raise MissingError(f"nothing {named}is in the cache", hint="see 'bddzoo cache ls'")
    size = sum(e.size_bytes for e in entries)
    what_goes = f"everything in {cache.root}" if whole else number_of(len(entries), "file")
    if app.json:
        rows = [{"model": e.model, "kind": e.kind, "path": cache.path_of(e)} for e in entries]
        app.data_json({"removed": not dry_run, "files": rows})
    elif dry_run:
        app.table(("model", "kind", "size"), [(e.model, e.kind, format_size(e.size_bytes)) for e in entries])
    if dry_run:
        app.say(f"would remove {what_goes}, {format_size(size)}")
        return
    app.confirm(f"remove {what_goes}, {format_size(size)}", yes=yes)
    try:
        if whole:
            remove_all(cache)
            app.say(f"removed everything in {cache.root}")
            return
        freed = remove_entries(cache, entries)
    except OSError as error:
        raise explain(error, f"removing from {cache.root}") from error
    app.say(f"removed {number_of(len(entries), 'file')}, {format_size(freed)} freed")


@opt.command(
    group=command,
    epilog="""\b
Examples:
  bddzoo cache gc --dry-run
  bddzoo cache gc --older-than 0 --yes
""",
)
def gc(
    app: App,
    *,
    older_than: float = opt.option(
        "--older-than", type=opt.Amount(min=0), default=1.0, metavar="DAYS", help="What is younger stays."
    ),
    dry_run: bool = opt.DRY_RUN,
    yes: bool = opt.YES,
) -> None:
    """Remove what nobody needs: content without an entry, abandoned downloads, rejected bytes.

    Downloads in progress are left alone, and so is everything younger than --older-than. Asks first on a
    terminal; without one, --yes is needed.
    """
    from bddzoo.artifacts.maintain import DAY_S, collect_garbage

    cache = app.cache
    try:
        removed = collect_garbage(cache, older_than * DAY_S, dry_run=True)
        if removed and not dry_run:
            size = format_size(sum(f.size_bytes for f in removed))
            app.confirm(f"remove {number_of(len(removed), 'file')}, {size}", yes=yes)
            removed = collect_garbage(cache, older_than * DAY_S, dry_run=False)
    except OSError as error:
        raise explain(error, f"removing from {cache.root}") from error
    if app.json:
        app.data_json([{"path": f.path, "size_bytes": f.size_bytes, "why": f.detail} for f in removed])
    else:
        app.table(("size", "path", "why"), [(format_size(f.size_bytes), f.path, f.detail) for f in removed])
    verb = "would remove" if dry_run else "removed"
    app.say(f"{verb} {number_of(len(removed), 'file')}, {format_size(sum(f.size_bytes for f in removed))}")


@opt.command(
    epilog="""\b
Examples:
  bddzoo bundle fcn_r50-d8_512x1024_40k_sem_seg_bdd100k -o fcn.zip
  bddzoo bundle 'mask_rcnn*' --what weights,config -o mask_rcnn.zip
  bddzoo fetch 'mask_rcnn*' --from mask_rcnn.zip --offline --verify
"""
)
def bundle(
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
    from bddzoo.artifacts import Fetcher
    from bddzoo.artifacts.fetcher import fetch_all
    from bddzoo.cli.progress import make_reporter
    from bddzoo.registry.edit import licence_notes, slice_registry
    from bddzoo.registry.reader import read_text

    check_prefix(verify, accept_prefix)
    models = selection.models(app)
    todo = files_of(models, parse_kinds(what))
    _check_bundle(out, force)
    cache = app.cache
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
    size = _write_bundle(app, out, cache, entries, texts)
    if app.json:
        files = [picked(e, "model kind name sha256") for e in entries]
        app.data_json({"path": out, "size_bytes": size, "files": files})
    else:
        count = f"{number_of(len(entries), 'file')} of {number_of(len(held), 'model')}"
        app.data(f"{out}  {format_size(size)}  {count}")


def _check_bundle(out: Path, force: bool) -> None:
    """Refuse a file that cannot be written to, or is to stay, before anything is fetched."""
    from bddzoo.artifacts.bundle import check_target as check_kind

    check_kind(out)
    check_target(out, force)


def _write_bundle(
    app: App, out: Path, cache: Cache, entries: Sequence[Entry], texts: Mapping[str, str] | None = None
) -> int:
    """Write files of the cache into one; returns its size in bytes."""
    from bddzoo.artifacts.bundle import write_bundle

    try:
        with Bar(app, "writing", sum(e.size_bytes for e in entries)) as bar:
            return write_bundle(out, cache, entries, texts or {}, bar.advance)
    except OSError as error:
        raise explain(error, f"writing {out}", "choose another -o FILE") from error
