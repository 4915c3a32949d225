"""`bddzoo fetch`: download and verify the files of models."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from bddzoo.cli.app import Amount, App, Folder, ZooCommand, complete_models, complete_tasks
from bddzoo.errors import BddzooError, MissingError, UsageError
from bddzoo.registry.model import ArtifactKind

if TYPE_CHECKING:
    from bddzoo.artifacts.fetcher import FetchJob, FetchOutcome
    from bddzoo.registry.model import Model

KINDS: tuple[ArtifactKind, ...] = get_args(ArtifactKind)
GROUPS: dict[str, tuple[ArtifactKind, ...]] = {"scores": ("scores-val", "scores-test"), "all": KINDS}


@click.command(
    cls=ZooCommand,
    epilog="""\b
Examples:
  bddzoo fetch deeplabv3+_r50-d8_512x1024_40k_sem_seg_bdd100k --verify
  bddzoo fetch 'mask_rcnn*' --what weights,scores --from /mnt/zoo-mirror
  bddzoo fetch --all --task ins_seg --dry-run
  BDDZOO_MIRRORS=https://mirror.example/zoo bddzoo fetch 'fpn_*' --jobs 8
""",
)
@click.argument("patterns", metavar="[MODEL|PATTERN]...", nargs=-1, shell_complete=complete_models)
@click.option("--task", shell_complete=complete_tasks, help="Only models of this task, e.g. sem_seg.")
@click.option("--all", "everything", is_flag=True, help="All models (of the task).")
@click.option(
    "--what",
    default="weights",
    show_default=True,
    metavar="KINDS",
    help="Comma-separated: weights, scores, preds, masks, visuals, config, all.",
)
@click.option("--verify", is_flag=True, help="Accept only what a digest proves; hash cached files again.")
@click.option("--accept-prefix", is_flag=True, help="With --verify: the first digits of a digest are enough.")
@click.option("--dest", type=Folder(), help="Also put a copy of each file here.")
@click.option(
    "--jobs", type=click.IntRange(1, 64), default=4, show_default=True, help="Files at the same time."
)
@click.option(
    "--from",
    "sources",
    multiple=True,
    metavar="SOURCE",
    help="Folder, bundle or base URL to ask first; repeatable.",
)
@click.option("--offline", is_flag=True, help="Open no connection.")
@click.option("--dry-run", is_flag=True, help="Say what would be fetched, from where, and whether it fits.")
@click.option("--force", is_flag=True, help="Fetch again what the cache has; replace files in --dest.")
@click.option("--timeout", type=Amount(min=0.1), metavar="S", help="Seconds without a byte. [default: 30]")
@click.option(
    "--retries", type=click.IntRange(0, 100), help="Tries after one that brought nothing. [default: 4]"
)
@click.pass_obj
def command(
    app: App,
    patterns: tuple[str, ...],
    task: str | None,
    everything: bool,
    what: str,
    verify: bool,
    accept_prefix: bool,
    dest: Path | None,
    jobs: int,
    sources: tuple[str, ...],
    offline: bool,
    dry_run: bool,
    force: bool,
    timeout: float | None,
    retries: int | None,
) -> int:
    """Download and verify the files of models.

    Sources are asked in turn: the cache, --from, BDDZOO_MIRRORS, the mirrors of the config file, and
    the URLs of the registry. Data on stdout is one line (or one JSON object) per file.
    """
    from bddzoo.artifacts import Cache, Fetcher, NetworkPolicy
    from bddzoo.artifacts.fetcher import fetch_all
    from bddzoo.cli.fetch_plan import report, say_resumable
    from bddzoo.cli.progress import make_reporter
    from bddzoo.cli.weights import digest_tensors

    if accept_prefix and not verify:
        raise UsageError("--accept-prefix says what --verify accepts", hint="give --verify, too")
    todo = plan(select_models(app, patterns, task, everything), parse_kinds(what))
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
        policy=NetworkPolicy(**patience),
        force=force,
        tensors=digest_tensors,
        accept_prefix=accept_prefix,
    )
    if dry_run:
        from bddzoo.cli.fetch_plan import show_plan

        return show_plan(app, fetcher, todo, dest)
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
    if dest is not None:
        rows, worse = _deliver(outcomes, rows, dest, force)
        failed += worse
    return report(app, fetcher, rows, failed)


def select_models(app: App, patterns: Sequence[str], task: str | None, everything: bool) -> list[Model]:
    """Models named on the command line, each once, in the registry's order per pattern.

    Raises:
        UsageError: Nothing was named.
        MissingError: A name or pattern fits no model.
    """
    if not patterns and not everything and task is None:
        raise UsageError("no model given", hint="name a model or pattern, or give --all")
    registry = app.registry
    if task is not None:
        known = sorted({m.task for m in registry.models})
        if task not in known:
            raise UsageError(f"no models of task '{task}'", hint=f"known: {', '.join(known)}")
    found: dict[str, Model] = {}
    for pattern in patterns or ("*",):
        # An id may hold characters that mean something in a pattern, so it is tried as it is first.
        if pattern in {m.id for m in registry.models}:
            models = [registry.find(pattern)]
        elif any(c in pattern for c in "*?[") or pattern in {z.id for z in registry.zoos}:
            models = registry.select(patterns=(pattern,))
        else:
            models = [registry.find(pattern)]
        models = [m for m in models if task is None or m.task == task]
        if not models:
            where = f" of task {task}" if task else ""
            raise MissingError(f"no model{where} fits '{pattern}'", hint="see 'bddzoo list'")
        found.update({m.id: m for m in models})
    return list(found.values())


def parse_kinds(what: str) -> list[ArtifactKind]:
    """Kinds out of a comma-separated list.

    Raises:
        UsageError: An unknown word.
    """
    kinds: dict[ArtifactKind, None] = {}
    for raw in what.split(","):
        word = raw.strip()
        exact = [k for k in KINDS if k == word]
        group = GROUPS.get(word, tuple(exact))
        if not group:
            known = ", ".join([*KINDS, *GROUPS])
            raise UsageError(f"--what: no kind '{word}'", hint=f"known: {known}")
        kinds.update(dict.fromkeys(group))
    return list(kinds)


def plan(models: Sequence[Model], kinds: Sequence[ArtifactKind]) -> list[FetchJob]:
    """Files to fetch. A kind that a model lacks is left out, unless it is all that was asked for.

    Raises:
        MissingError: None of the models has any of the kinds.
    """
    from bddzoo.artifacts.fetcher import FetchJob

    jobs = [FetchJob(m, k) for m in models for k in kinds if m.artifact(k) is not None]
    if not jobs:
        names = models[0].id if len(models) == 1 else f"these {len(models)} models"
        raise MissingError(
            f"{names}: no zoo gives {' or '.join(kinds)}", hint="see what there is with 'bddzoo info MODEL'"
        )
    return jobs


def _row(outcome: FetchOutcome) -> dict[str, Any]:
    row: dict[str, Any] = {"model": outcome.job.model.id, "kind": outcome.job.kind}
    if outcome.result is not None:
        row |= asdict(outcome.result)
    elif outcome.error is not None:
        row |= {"error": outcome.error.message, "exit_code": int(outcome.error.exit_code)}
    return row


def _deliver(
    outcomes: Sequence[FetchOutcome], rows: list[dict[str, Any]], dest: Path, force: bool
) -> tuple[list[dict[str, Any]], list[tuple[FetchJob, BddzooError]]]:
    """Copy fetched files into a folder of the user's: weights at its top, others in a folder per kind."""
    from bddzoo.artifacts.digests import hash_file
    from bddzoo.files import copy_whole, explain, is_special

    failed: list[tuple[FetchJob, BddzooError]] = []
    for outcome, row in zip(outcomes, rows, strict=True):
        result = outcome.result
        if result is None:
            continue
        folder = dest if result.kind == "weights" else dest / result.kind
        target = folder / result.path.name
        try:
            # A link to nowhere is there, and reading a pipe would not end.
            if is_special(target):
                raise UsageError(f"{target} is no regular file", hint="choose another --dest DIR")
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
                error = explain(error, f"writing {target}", "choose another --dest DIR")
            failed.append((outcome.job, error))
            row |= {"error": error.message, "exit_code": int(error.exit_code)}
    return rows, failed
