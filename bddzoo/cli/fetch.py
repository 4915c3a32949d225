"""`bddzoo fetch` and `adopt`: files of models into the cache, from sources or from this machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bddzoo.cli import options as opt
from bddzoo.cli.app import App, Named
from bddzoo.cli.select import Selection, check_prefix, files_of, parse_kinds
from bddzoo.errors import BddzooError, ExitCode, MissingError, UsageError
from bddzoo.text import number_of

if TYPE_CHECKING:
    from bddzoo.artifacts import Fetcher
    from bddzoo.artifacts.fetcher import FetchJob, FetchOutcome


@opt.command(
    epilog="""\b
Examples:
  bddzoo fetch fcn_r50-d8_512x1024_40k_sem_seg_bdd100k --verify
  bddzoo fetch 'mask_rcnn*' --what weights,scores --from /mnt/zoo-mirror
  bddzoo fetch -t ins_seg --dry-run
  BDDZOO_MIRRORS=https://mirror.example/zoo bddzoo fetch 'fpn_*' --jobs 8
"""
)
def command(
    app: App,
    *,
    selection: Selection = opt.SELECTION_OR_ALL,
    what: tuple[str, ...] = opt.WHAT,
    verify: bool = opt.VERIFY,
    accept_prefix: bool = opt.ACCEPT_PREFIX,
    out: Path | None = opt.out_folder("Also put a copy of each file here.", required=False),
    jobs: int = opt.jobs("Files at the same time.", default=4, most=64),
    sources: tuple[str, ...] = opt.FROM,
    offline: bool = opt.OFFLINE,
    dry_run: bool = opt.DRY_RUN,
    force: bool = opt.FORCE,
    timeout: float | None = opt.TIMEOUT,
    retries: int | None = opt.RETRIES,
) -> int:
    """Download and verify the files of models.

    Sources are asked in turn: the cache, --from, BDDZOO_MIRRORS, the mirrors of the config file, and
    the URLs of the registry. --force fetches again what the cache has, and replaces files in --out.
    """
    from bddzoo.artifacts import Fetcher, NetworkPolicy
    from bddzoo.artifacts.fetcher import fetch_all
    from bddzoo.cli.progress import make_reporter
    from bddzoo.cli.select import digest_tensors

    check_prefix(verify, accept_prefix)
    todo = files_of(selection.models(app), parse_kinds(what))
    patience: dict[str, Any] = {}
    if timeout is not None:
        patience.update(connect_s=min(timeout, 10.0), read_s=timeout)
        patience.update(header_s=2 * timeout, stall_s=2 * timeout)
    if retries is not None:
        patience.update(attempts=retries + 1, connect_attempts=min(retries + 1, 2))
    fetcher = Fetcher(
        app.cache,
        sources,
        offline=offline,
        jobs=jobs,
        accept_prefix=accept_prefix,
        policy=NetworkPolicy(**patience),
        force=force,
        tensors=digest_tensors,
    )
    if dry_run:
        return show_plan(app, fetcher, todo, out)
    reporter = make_reporter(app, len(todo))
    fetcher.progress = reporter
    try:
        with reporter:
            outcomes = fetch_all(fetcher, todo, verify)
    except KeyboardInterrupt:
        say_resumable(app, fetcher, todo)
        raise
    failed = [(o.job, o.error) for o in outcomes if o.error is not None]
    rows = [_row(o) for o in outcomes]
    if out is not None:
        rows, worse = _deliver(outcomes, rows, out, force)
        failed += worse
    return report(app, fetcher, rows, failed)


def _row(outcome: FetchOutcome) -> dict[str, Any]:
    row: dict[str, Any] = {"model": outcome.job.model.id, "kind": outcome.job.kind}
    if outcome.result is not None:
        row |= asdict(outcome.result)
    elif outcome.error is not None:
        row |= {"error": outcome.error.message, "exit_code": int(outcome.error.exit_code)}
    return row


def _deliver(
    outcomes: Sequence[FetchOutcome], rows: list[dict[str, Any]], out: Path, force: bool
) -> tuple[list[dict[str, Any]], list[tuple[FetchJob, BddzooError]]]:
    """Copy fetched files into a folder of the user's: weights at its top, others in a folder per kind."""
    from bddzoo.artifacts.digests import hash_file
    from bddzoo.files import copy_whole, explain, is_special

    failed: list[tuple[FetchJob, BddzooError]] = []
    for outcome, row in zip(outcomes, rows, strict=True):
        result = outcome.result
        if result is None:
            continue
        folder = out if result.kind == "weights" else out / result.kind
        target = folder / result.path.name
        try:
            # A link to nowhere is there, and reading a pipe would not end.
            if is_special(target):
                raise UsageError(f"{target} is not a regular file", hint="choose another --out DIR")
            if os.path.lexists(target) and not force:
                if not target.exists() or hash_file(target, ("sha256",))["sha256"] != result.sha256:
                    raise UsageError(f"{target} exists and is different", hint="give --force to replace it")
            else:
                copy_whole(result.path, target)
                target.chmod(0o644)
            row["path"] = target
        except (OSError, BddzooError) as trouble:
            error = trouble
            if isinstance(error, OSError):
                error = explain(error, f"writing {target}", "choose another --out DIR")
            failed.append((outcome.job, error))
            row |= {"error": error.message, "exit_code": int(error.exit_code)}
    return rows, failed


STATES = {ExitCode.INTEGRITY: "wrong", ExitCode.NETWORK: "unreachable"}


def show_plan(app: App, fetcher: Fetcher, todo: Sequence[FetchJob], dest: Path | None) -> int:
    """Print the plan; opens connections only to look at sizes and first bytes, and none when offline.

    Returns:
        What fetching would end with as far as that can be told: 0; 5 if a file has no source or the
        disk has no room; 6 if a source has something else; 7 if none can be reached.

    Raises:
        BddzooError: The same, if a single file was asked for.
    """
    from bddzoo.artifacts.fetcher import work_through
    from bddzoo.files import format_size

    found: dict[int, tuple[dict[str, Any], BddzooError | None]] = {}

    def look(index: int) -> None:
        found[index] = _look(fetcher, todo[index])

    work_through(fetcher, len(todo), look)
    rows, errors = zip(*(found[n] for n in range(len(todo))), strict=True)
    if app.json:
        app.data_json(rows)
    else:
        table = [
            (r["state"], r["model"], r["kind"], format_size(r["size_bytes"]), r["source"] or "no source")
            for r in rows
        ]
        app.table(("state", "model", "kind", "size", "source"), table)
    fits = _say_room(app, fetcher, rows, dest)
    failed = [(job, error) for job, error in zip(todo, errors, strict=True) if error is not None]
    if failed:
        return report_failures(app, fetcher, len(rows), failed, "cannot be fetched")
    return int(ExitCode.OK if fits else ExitCode.MISSING)


def _look(fetcher: Fetcher, job: FetchJob) -> tuple[dict[str, Any], BddzooError | None]:
    from bddzoo.artifacts.partial import resumable_bytes

    artifact = job.model.artifact(job.kind)
    assert artifact is not None
    row: dict[str, Any] = {"model": job.model.id, "kind": job.kind, "name": artifact.name}
    cached = None if fetcher.force else fetcher.cached(job.model, job.kind)
    if cached is not None:
        row |= {"state": "cached", "source": str(cached.path), "size_bytes": cached.size_bytes, "to_fetch": 0}
        return row, None
    try:
        size, source = fetcher.probe(job.model, artifact)
    except BddzooError as error:
        state = STATES.get(error.exit_code, "missing")
        row |= {"state": state, "source": None, "size_bytes": artifact.size_bytes, "to_fetch": 0}
        return row | {"error": error.message, "exit_code": int(error.exit_code)}, error
    size = size if size is not None else artifact.size_bytes
    kept = resumable_bytes(fetcher.cache.partial_folder(job.model, artifact))
    left = None if size is None else max(0, size - kept)
    row |= {"state": "resume" if kept else "fetch", "source": source, "size_bytes": size, "to_fetch": left}
    return row, None


def _say_room(app: App, fetcher: Fetcher, rows: Sequence[dict[str, Any]], dest: Path | None) -> bool:
    """Say what is needed and what is free; returns whether it fits as far as sizes are known."""
    from bddzoo.artifacts.download import SPARE_BYTES
    from bddzoo.files import format_size, free_bytes

    def room(folder: Path, need: int) -> tuple[bool, str]:
        free = free_bytes(folder)
        fits = free is None or need + min(SPARE_BYTES, need) <= free
        known = f"{format_size(free)} free at {folder}" if free is not None else f"{folder}: room unknown"
        return fits, known + ("" if fits else ": NOT ENOUGH ROOM")

    need = sum(r["to_fetch"] or 0 for r in rows)
    unknown = sum(r["to_fetch"] is None for r in rows)
    more = f" and {number_of(unknown, 'file')} of unknown size" if unknown else ""
    fits, known = room(fetcher.cache.root, need)
    app.say(f"to fetch: {format_size(need)}{more}; {known}")
    if dest is not None:
        copied = sum(r["size_bytes"] or 0 for r in rows if "error" not in r)
        fits_there, known = room(dest.absolute(), copied)
        app.say(f"to copy: {format_size(copied)}{more}; {known}")
        fits = fits and fits_there
    return fits


def report(
    app: App, fetcher: Fetcher, rows: Sequence[dict[str, Any]], failed: Sequence[tuple[FetchJob, BddzooError]]
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
    from bddzoo.files import format_size

    good = [r for r in rows if "path" in r and "error" not in r]
    if app.json:
        app.data_json(rows)
    else:
        table = [
            (
                Path(r["path"]).name,
                format_size(r["size_bytes"]),
                r["digest_state"],
                f"cache, from {r['source']}" if r["cached"] else r["source"],
            )
            for r in good
        ]
        app.table(("file", "size", "digest", "from"), table)
    app.warn_unverified([(r["model"], r["digest_state"]) for r in good])
    return report_failures(app, fetcher, len(rows), failed) if failed else int(ExitCode.OK)


def report_failures(
    app: App,
    fetcher: Fetcher,
    count: int,
    failed: Sequence[tuple[FetchJob, BddzooError]],
    verb: str = "failed",
) -> int:
    """Say which of `count` files failed and how: one as its error, several as a table of the sources.

    Returns:
        The exit status that matters most.

    Raises:
        BddzooError: The only file failed.
    """
    if count == 1:
        raise failed[0][1]
    tabled: list[FetchJob] = []
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


def _say_table(app: App, fetcher: Fetcher, jobs: Sequence[FetchJob]) -> None:
    """Who failed and how, for people who look after many files."""
    from bddzoo.cli.output import table as format_table

    keys = [f"{job.model.id}/{job.kind}" for job in jobs]
    table = [(key, f.source, f.error.text) for key in keys for f in fetcher.failures[key]]
    headers = ("file", "source", "what happened")
    if table:
        app.say(format_table(headers, table))


def say_resumable(app: App, fetcher: Fetcher, todo: Sequence[FetchJob]) -> None:
    """After an interruption: how much of it is kept."""
    from bddzoo.artifacts.partial import resumable_bytes
    from bddzoo.files import format_size

    kept = 0
    for job in todo:
        artifact = job.model.artifact(job.kind)
        if artifact is not None:
            kept += resumable_bytes(fetcher.cache.partial_folder(job.model, artifact))
    if kept:
        app.say(f"{format_size(kept)} of unfinished downloads are kept; the same command again goes on there")


@opt.command(
    epilog="""\b
Examples:
  bddzoo adopt ~/Downloads/fcn_r50-d8_512x1024_40k_sem_seg_bdd100k.pth
  bddzoo adopt /mnt/old-mirror --copy
  bddzoo adopt work_dirs --verify
"""
)
def adopt(
    app: App,
    *,
    paths: tuple[Path, ...] = opt.argument(nargs=-1, required=True, type=Named()),
    verify: bool = opt.VERIFY,
    copy: bool = opt.flag("--copy", help="Copy instead of linking: the cache shares nothing with the files."),
) -> int:
    """Take files into the cache that are on this machine already.

    Files are recognised by name, and by digest under any name where the registry knows one. Folders
    are searched. Files are linked where the file system can, so that they take no room twice; they
    are left where they are.
    """
    from bddzoo.artifacts.adopt import Adopter, explain_error, walk_files
    from bddzoo.cli.select import digest_tensors
    from bddzoo.files import format_size

    cache = app.cache
    adopter = Adopter(cache, app.registry.models, copy=copy, verify=verify, tensors=digest_tensors)
    taken, failed, others = [], [], 0
    for path in walk_files(paths, cache.root):
        try:
            adopted = adopter.adopt(path)
        except BddzooError as error:
            failed.append(error)
            continue
        except OSError as error:
            failed.append(explain_error(error, path))
            continue
        if adopted is None:
            others += 1
            app.detail(f"{path}: no model's file")
        else:
            taken.append(adopted)
    if app.json:
        keys = ("model", "kind", "size_bytes", "md5", "sha256")
        app.data_json(
            [
                {
                    "from": a.path,
                    "path": cache.path_of(a.entry),
                    "digest_state": a.state,
                    "how": a.how,
                    **{k: getattr(a.entry, k) for k in keys},
                }
                for a in taken
            ]
        )
    else:
        app.table(
            ("file", "size", "digest", "from"),
            [
                (cache.path_of(a.entry), format_size(a.entry.size_bytes), a.state, f"{a.how} of {a.path}")
                for a in taken
            ],
        )
    for failure in failed[:-1]:
        app.error(failure.message, hint=failure.hint)
    if failed:
        raise failed[-1]
    if not taken:
        raise MissingError(
            f"none of {number_of(others, 'file')} belongs to a model",
            hint="names must be as in the zoo; see 'bddzoo info MODEL'",
        )
    app.warn_unverified([(a.entry.model, a.state) for a in taken])
    return int(ExitCode.OK)
