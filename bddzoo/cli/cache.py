"""`bddzoo cache`: list, verify and clean the cache; move it between machines."""

from __future__ import annotations

import click

from bddzoo.cli.app import App, CommandGroup, ZooCommand
from bddzoo.cli.cache_move import export, import_
from bddzoo.cli.cache_parts import byte_bar, open_cache, print_table, select_entries
from bddzoo.cli.values import Amount
from bddzoo.errors import ExitCode, MissingError
from bddzoo.words import number_of


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

    from bddzoo.artifacts.disk import format_size

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
    from bddzoo.artifacts.disk import format_size
    from bddzoo.artifacts.maintain import check_cache

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
    from bddzoo.artifacts.disk import explain, format_size
    from bddzoo.artifacts.maintain import remove_all, remove_entries
    from bddzoo.errors import UsageError

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
    from bddzoo.artifacts.disk import explain, format_size
    from bddzoo.artifacts.maintain import DAY_S, collect_garbage

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
