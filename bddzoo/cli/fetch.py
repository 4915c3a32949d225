"""`bddzoo fetch`: download and verify the files of models."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bddzoo.cli import options as opt
from bddzoo.cli.app import App
from bddzoo.cli.select import Selection, check_prefix, files_of, parse_kinds
from bddzoo.errors import BddzooError, UsageError

if TYPE_CHECKING:
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
    from bddzoo.artifacts import Cache, Fetcher, NetworkPolicy
    from bddzoo.artifacts.fetcher import fetch_all
    from bddzoo.cli.fetch_plan import report, say_resumable
    from bddzoo.cli.progress import make_reporter
    from bddzoo.cli.weights import digest_tensors

    check_prefix(verify, accept_prefix)
    todo = files_of(selection.models(app), parse_kinds(what))
    patience: dict[str, Any] = {}
    if timeout is not None:
        patience.update(connect_s=min(timeout, 10.0), read_s=timeout)
        patience.update(header_s=2 * timeout, stall_s=2 * timeout)
    if retries is not None:
        patience.update(attempts=retries + 1, connect_attempts=min(retries + 1, 2))
    fetcher = Fetcher(
        Cache(app.cache_dir),
        sources,
        offline=offline,
        jobs=jobs,
        accept_prefix=accept_prefix,
        policy=NetworkPolicy(**patience),
        force=force,
        tensors=digest_tensors,
    )
    if dry_run:
        from bddzoo.cli.fetch_plan import show_plan

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
