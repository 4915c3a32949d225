"""What the cache's commands share: the cache, its entries by pattern, tables and bars."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bddzoo.cli.app import App
from bddzoo.errors import MissingError

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
