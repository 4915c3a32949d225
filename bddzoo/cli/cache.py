"""`bddzoo cache`: list, verify and clean the cache; move it between machines.

What the cache's commands share: the cache, its entries by pattern, tables and bars.

`bddzoo cache export` and `import`: move the cache between machines.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bddzoo.cli.app import Amount, App, CommandGroup, ZooCommand
from bddzoo.errors import ExitCode, MissingError
from bddzoo.text import number_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bddzoo.artifacts import Cache, Entry


def open_cache(app: App) -> Cache:
    """The cache of this run."""
    from bddzoo.artifacts import Cache

    return Cache(app.cache_dir)


def select_entries(cache: Cache, patterns: Sequence[str], *, needed: bool = True) -> list[Entry]:
    """Entries whose model or zoo fits a pattern; all without patterns.

    Raises:
        MissingError: A pattern fits nothing, if it must.
    """
    from fnmatch import fnmatchcase

    def fits(entry: Entry, pattern: str) -> bool:
        return pattern == entry.model or fnmatchcase(entry.model, pattern) or fnmatchcase(entry.zoo, pattern)

    entries = list(cache.entries())
    if not patterns:
        return entries
    for pattern in patterns if needed else ():
        if not any(fits(e, pattern) for e in entries):
            raise MissingError(f"nothing in the cache fits '{pattern}'", hint="see 'bddzoo cache ls'")
    return [e for e in entries if any(fits(e, p) for p in patterns)]


def print_table(app: App, headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows under headers, or nothing where there are none."""
    if rows:
        from tabulate import tabulate

        app.data(tabulate(rows, headers=headers, tablefmt="plain", disable_numparse=True))


@contextmanager
def byte_bar(app: App, what: str, total: int) -> Iterator[Callable[[int], None] | None]:
    """A bar over bytes on a terminal; None elsewhere."""
    if app.quiet or app.json or not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=app.console(), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)


@click.command(
    "export",
    cls=ZooCommand,
    epilog="""\b
Examples:
  bddzoo cache export zoo.zip
  bddzoo cache export fpn.zip 'fpn_*'
""",
)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("patterns", nargs=-1)
@click.pass_obj
def export(app: App, file: Path, patterns: tuple[str, ...]) -> None:
    """Write cached files into FILE, for another machine's 'bddzoo cache import'.

    Every file is hashed on the way. 'bddzoo bundle' also adds the registry's part and licence notes.
    """
    from bddzoo.artifacts.bundle import write_bundle
    from bddzoo.files import explain, format_size

    cache = open_cache(app)
    entries = select_entries(cache, patterns)
    if not entries:
        raise MissingError(f"the cache {cache.root} is empty", hint="fetch something first")
    try:
        with byte_bar(app, "writing", sum(e.size_bytes for e in entries)) as advance:
            size = write_bundle(file, cache, entries, each=advance)
    except OSError as error:
        raise explain(error, f"writing {file}", "choose another FILE") from error
    if app.json:
        app.data_json({"file": file, "size_bytes": size, "files": len(entries)})
    else:
        app.data(f"{file}  {format_size(size)}  {number_of(len(entries), 'file')}")


@click.command(
    "import",
    cls=ZooCommand,
    epilog="""\b
Examples:
  bddzoo cache import zoo.zip
""",
)
@click.argument("files", nargs=-1, required=True, type=click.Path(dir_okay=False, path_type=Path))
@click.pass_obj
def import_(app: App, files: tuple[Path, ...]) -> None:
    """Take the files of exports or bundles into the cache; each is hashed before it gets its name."""
    from bddzoo.artifacts.bundle import Bundle, import_file
    from bddzoo.files import explain, format_size

    cache = open_cache(app)
    taken: list[Entry] = []
    for file in files:
        bundle = Bundle(file)
        count = len(bundle.manifest.files)
        with byte_bar(app, "importing", sum(f.size_bytes for f in bundle.manifest.files)) as advance:
            try:
                entries = [import_file(bundle, item, cache, advance) for item in bundle.manifest.files]
            except OSError as error:
                raise explain(error, f"importing {file}") from error
        taken += entries
        if not app.json:
            app.data(f"{file}  {format_size(sum(e.size_bytes for e in entries))}  {number_of(count, 'file')}")
    if app.json:
        app.data_json([{"model": e.model, "kind": e.kind, "path": cache.path_of(e)} for e in taken])


@click.group(
    cls=CommandGroup,
    epilog="""\b
Examples:
  bddzoo cache ls
  bddzoo cache verify
  bddzoo cache rm 'fcn_*'
  bddzoo cache export zoo.zip
""",
)
def command() -> None:
    """List, verify and clean the cache; move it between machines."""


@command.command(
    "ls",
    cls=ZooCommand,
    epilog="""\b
Examples:
  bddzoo cache ls
  bddzoo cache ls 'mask_rcnn*' --format json
""",
)
@click.argument("patterns", nargs=-1)
@click.pass_obj
def ls(app: App, patterns: tuple[str, ...]) -> None:
    """List what the cache holds. PATTERNS are shell patterns of model ids or zoos."""
    from dataclasses import asdict

    from bddzoo.files import format_size

    cache = open_cache(app)
    rows = []
    for entry in select_entries(cache, patterns, needed=False):
        path = cache.path_of(entry)
        rows.append({**asdict(entry), "path": path, "present": path.exists()})
    if app.json:
        app.data_json(rows)
        return
    print_table(
        app,
        ("model", "kind", "size", "md5", "fetched", "path"),
        [
            (r["model"], r["kind"], format_size(r["size_bytes"]), r["md5"], r["fetched"][:10], r["path"])
            if r["present"]
            else (r["model"], r["kind"], "missing", r["md5"], r["fetched"][:10], r["path"])
            for r in rows
        ],
    )
    held = sum({r["path"]: r["size_bytes"] for r in rows if r["present"]}.values())
    app.say(f"{number_of(len(rows), 'file')}, {format_size(held)} in {cache.root}")


@command.command(
    "verify",
    cls=ZooCommand,
    epilog="""\b
Examples:
  bddzoo cache verify
  bddzoo cache verify --jobs 8 --format json
""",
)
@click.option("--jobs", type=click.IntRange(1, 256), help="Files at the same time. [default: processors]")
@click.pass_obj
def verify(app: App, jobs: int | None) -> int:
    """Hash every file again. Exits 6 if one was changed, is gone, or cannot be read.

    Size and time of a file prove nothing and are not looked at. Files that no entry names are listed
    as extra and do no harm; 'bddzoo cache gc' removes them.
    """
    from bddzoo.artifacts.maintain import check_cache
    from bddzoo.files import format_size

    cache = open_cache(app)
    total = sum({cache.path_of(e): e.size_bytes for e in cache.entries()}.values())
    with byte_bar(app, "verifying", total) as advance:
        findings = check_cache(cache, jobs, advance)
    if app.json:
        keys = ("state", "model", "kind", "path", "size_bytes", "detail")
        app.data_json([{k: getattr(f, k) for k in keys} for f in findings])
    else:
        rows = [(f.state, f.model, f.kind, f.path, f.detail) for f in findings if f.state != "ok"]
        print_table(app, ("state", "model", "kind", "path", "what"), rows)
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


@command.command(
    "rm",
    cls=ZooCommand,
    epilog="""\b
Examples:
  bddzoo cache rm fcn_r50-d8_512x1024_40k_sem_seg_bdd100k
  bddzoo cache rm 'mask_rcnn*' --kind preds
  bddzoo cache rm --all
""",
)
@click.argument("patterns", nargs=-1)
@click.option("--kind", help="Only files of this kind, e.g. preds.")
@click.option("--all", "everything", is_flag=True, help="Everything, unfinished downloads included.")
@click.pass_obj
def rm(app: App, patterns: tuple[str, ...], kind: str | None, everything: bool) -> None:
    """Remove files of models. PATTERNS are shell patterns of model ids or zoos."""
    from bddzoo.artifacts.maintain import remove_all, remove_entries
    from bddzoo.errors import UsageError
    from bddzoo.files import explain, format_size

    cache = open_cache(app)
    if everything and not patterns and kind is None:
        try:
            remove_all(cache)
        except OSError as error:
            raise explain(error, f"removing from {cache.root}") from error
        app.say(f"removed everything in {cache.root}")
        return
    if not patterns and not everything:
        raise UsageError("no model given", hint="name a model or pattern, or give --all")
    entries = [e for e in select_entries(cache, patterns) if kind is None or e.kind == kind]
    if not entries:
        raise MissingError(f"nothing of kind '{kind}' is in the cache", hint="see 'bddzoo cache ls'")
    try:
        freed = remove_entries(cache, entries)
    except OSError as error:
        raise explain(error, f"removing from {cache.root}") from error
    app.say(f"removed {number_of(len(entries), 'file')}, {format_size(freed)} freed")


@command.command(
    "gc",
    cls=ZooCommand,
    epilog="""\b
Examples:
  bddzoo cache gc --dry-run
  bddzoo cache gc --older-than 0
""",
)
@click.option(
    "--older-than",
    type=Amount(min=0),
    default=1.0,
    show_default=True,
    metavar="DAYS",
    help="What is younger stays.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.pass_obj
def gc(app: App, older_than: float, dry_run: bool) -> None:
    """Remove what nobody needs: content without an entry, abandoned downloads, rejected bytes.

    Downloads in progress are left alone, and so is everything younger than --older-than.
    """
    from bddzoo.artifacts.maintain import DAY_S, collect_garbage
    from bddzoo.files import explain, format_size

    cache = open_cache(app)
    try:
        removed = collect_garbage(cache, older_than * DAY_S, dry_run=dry_run)
    except OSError as error:
        raise explain(error, f"removing from {cache.root}") from error
    if app.json:
        app.data_json([{"path": f.path, "size_bytes": f.size_bytes, "why": f.detail} for f in removed])
    else:
        print_table(
            app, ("size", "path", "why"), [(format_size(f.size_bytes), f.path, f.detail) for f in removed]
        )
    verb = "would remove" if dry_run else "removed"
    app.say(f"{verb} {number_of(len(removed), 'file')}, {format_size(sum(f.size_bytes for f in removed))}")


command.add_command(export)
command.add_command(import_)
