"""`bddzoo registry health`: which files are still where the registry says."""

from __future__ import annotations

from pathlib import Path

import click

from bddzoo.cli.app import Amount, App, ZooCommand, complete_models, complete_zoos
from bddzoo.errors import ExitCode


@click.command(
    "health",
    cls=ZooCommand,
    epilog="""\b
Examples:
  bddzoo registry health --history benchmarks/health.json
  bddzoo registry health 'mask_rcnn*' --format json
""",
)
@click.argument("patterns", nargs=-1, shell_complete=complete_models)
@click.option("--zoo", shell_complete=complete_zoos, help="Zoo, or a pattern.")
@click.option(
    "--history",
    type=click.Path(dir_okay=False, path_type=Path),
    help="JSON file of what was alive when; compared with, and written anew.",
)
@click.option("--jobs", type=click.IntRange(1, 64), default=8, show_default=True, help="Requests at a time.")
@click.option("--per-host", type=click.IntRange(1, 16), default=2, show_default=True, help="... of one host.")
@click.option(
    "--timeout",
    type=Amount(0.1),
    default=10.0,
    show_default=True,
    metavar="S",
    help="Seconds without an answer.",
)
@click.pass_obj
def health(
    app: App,
    patterns: tuple[str, ...],
    zoo: str | None,
    history: Path | None,
    jobs: int,
    per_host: int,
    timeout: float,
) -> int:
    """Probe every file's URL without downloading it; exits 7 where something that was alive has died."""
    from dataclasses import asdict
    from datetime import datetime, timezone

    from msgspec import to_builtins

    from bddzoo.artifacts.probe import (
        History,
        Prober,
        died,
        history_text,
        offline,
        read_history,
        stores_of,
        updated,
        urls_of,
    )
    from bddzoo.artifacts.streams import NetworkPolicy
    from bddzoo.errors import MissingError, NetworkError
    from bddzoo.reports.blocks import write_document
    from bddzoo.reports.tables import hosts_table

    models = app.registry.select(patterns, zoo=zoo)
    urls = urls_of(models)
    if not urls:
        raise MissingError("no model with a web link matches", hint="see 'bddzoo list'")
    known = read_history(history) if history is not None else History()
    policy = NetworkPolicy(
        connect_s=timeout, read_s=timeout, header_s=2 * timeout, connections_per_host=per_host
    )
    probes = Prober(jobs, policy).probe_all(urls, each=lambda p: app.detail(f"{p.state}: {p.url} {p.note}"))
    if offline(probes):
        raise NetworkError(
            "no host could be reached, as if this machine had no network: nothing was learnt",
            hint="try again where there is one; the history was left as it is",
        )
    dead = died(known, probes)
    new = updated(known, probes, datetime.now(timezone.utc).date().isoformat())
    if app.json:
        app.data_json(
            {
                "probes": [asdict(p) for p in probes],
                "died": [p.url for p in dead],
                "hosts": to_builtins(new.hosts),
            }
        )
    else:
        app.data(hosts_table(new, models))
    for probe in dead:
        app.error(f"was alive, and is not: {probe.url} ({probe.note})")
    if history is not None:
        write_document(history, history_text(new))
    alive = sum(p.state == "alive" for p in probes)
    app.say(f"{alive} of {len(probes)} files alive, {len(dead)} died since they were last asked")
    stored = stores_of(models)
    if stored:
        app.say(f"not asked, for they lie in object stores: {len(stored)}, as {stored[0]}")
    return int(ExitCode.NETWORK) if dead else 0
