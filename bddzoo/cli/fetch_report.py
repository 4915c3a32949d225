"""What `bddzoo fetch` came to: the files, and which source failed how."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bddzoo.cli.app import App
from bddzoo.errors import BddzooError, ExitCode
from bddzoo.words import number_of

if TYPE_CHECKING:
    from bddzoo.artifacts import Fetcher
    from bddzoo.artifacts.pool import Job


def report(
    app: App, fetcher: Fetcher, rows: Sequence[dict[str, Any]], failed: Sequence[tuple[Job, BddzooError]]
) -> int:
    """Print a line, or an object, per file; then what is unproven and what failed.

    Args:
        app: Says it.
        fetcher: Knows which source failed how.
        rows: A row per file.
        failed: The files that failed.

    Returns:
        The exit status.

    Raises:
        BddzooError: The only file failed.
    """
    from bddzoo.artifacts.disk import format_size

    good = [r for r in rows if "path" in r and "error" not in r]
    if app.json:
        app.data_json(rows)
    else:
        for row in good:
            origin = f"cache, from {row['source']}" if row["cached"] else row["source"]
            state = row["digest_state"]
            app.data(f"{row['path']}  {format_size(row['size_bytes'])}  {state}  {origin}")
    unproved = [r for r in good if r["digest_state"] != "verified"]
    if unproved:
        names = unproved[0]["model"] if len(unproved) == 1 else number_of(len(unproved), "file")
        app.warn(f"{names}: no digest is known to compare with; observed ones were recorded")
    return report_failures(app, fetcher, len(rows), failed) if failed else int(ExitCode.OK)


def report_failures(
    app: App, fetcher: Fetcher, count: int, failed: Sequence[tuple[Job, BddzooError]], verb: str = "failed"
) -> int:
    """Say which of `count` files failed and how: one as its error, several as a table of the sources.

    Returns:
        The exit status that matters most.

    Raises:
        BddzooError: The only file failed.
    """
    if count == 1:
        raise failed[0][1]
    tabled: list[Job] = []
    if not app.json and not app.quiet:
        tabled = [job for job, _ in failed if fetcher.failures.get(f"{job.model.id}/{job.kind}")]
        _say_table(app, fetcher, tabled)
    for job, error in failed:
        if job not in tabled:
            app.error(error.message, hint=error.hint)
    codes = {error.exit_code for _, error in failed}
    hint = "try again, or another source with --from SOURCE" if tabled else None
    app.error(f"{len(failed)} of {count} files {verb}", hint=hint)
    worst = (ExitCode.INTEGRITY, ExitCode.NETWORK, ExitCode.MISSING, ExitCode.USAGE)
    return int(next((c for c in worst if c in codes), ExitCode.BUG))


def _say_table(app: App, fetcher: Fetcher, jobs: Sequence[Job]) -> None:
    """Who failed and how, for people who look after many files."""
    from tabulate import tabulate

    keys = [f"{job.model.id}/{job.kind}" for job in jobs]
    table = [(key, f.source, f.error.text) for key in keys for f in fetcher.failures[key]]
    headers = ("file", "source", "what happened")
    if table:
        app.say(tabulate(table, headers=headers, tablefmt="plain", disable_numparse=True))


def say_resumable(app: App, fetcher: Fetcher, todo: Sequence[Job]) -> None:
    """After an interruption: how much of it is kept."""
    from bddzoo.artifacts.disk import format_size
    from bddzoo.artifacts.leftovers import resumable_bytes

    kept = 0
    for job in todo:
        artifact = job.model.artifact(job.kind)
        if artifact is not None:
            kept += resumable_bytes(fetcher.cache.partial_folder(job.model, artifact))
    if kept:
        app.say(f"{format_size(kept)} of unfinished downloads are kept; the same command again goes on there")
