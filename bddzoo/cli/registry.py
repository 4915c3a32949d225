"""`bddzoo registry`: check, import and export the registry."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path

import click

from bddzoo.cli import options as opt
from bddzoo.cli.app import App, CommandGroup, Named
from bddzoo.cli.registry_edit import add, count, pin
from bddzoo.cli.select import Selection
from bddzoo.errors import ExitCode, MissingError, NetworkError, UsageError
from bddzoo.reading import read_text
from bddzoo.registry import load_registry
from bddzoo.registry.problems import did_you_mean
from bddzoo.registry.tasks import TASKS
from bddzoo.text import number_of

_FILE = Named(dir_okay=False)


@click.group(
    cls=CommandGroup,
    epilog="""\b
Examples:
  bddzoo registry check
  bddzoo registry check my-zoo.yaml
  bddzoo registry lint
  bddzoo registry import README.md --zoo my-zoo -t sem_seg > my-zoo.yaml
  bddzoo registry schema > registry.schema.json
""",
)
def command() -> None:
    """Check, import and export the registry."""


@opt.command(
    group=command,
    epilog="""\b
Examples:
  bddzoo registry check
  bddzoo registry check my-zoo.yaml --format json
""",
)
def check(app: App, *, file: Path | None = opt.argument(type=_FILE, required=False)) -> int:
    """Check a registry against the schema: every problem with its line."""
    registry = load_registry(file) if file is not None else app.registry
    counts = {
        "zoos": len(registry.zoos),
        "sections": len(registry.sections),
        "methods": sum(len(s.methods) for s in registry.sections),
        "models": len(registry.models),
        "networks": sum(m.network is not None for m in registry.models),
        "protocols": sum(m.protocol is not None for m in registry.models),
        "numbers": sum(r.value is not None for m in registry.models for r in m.reported),
        "files": sum(len(m.artifacts) for m in registry.models),
    }
    if app.json:
        app.data_json({"file": str(registry.path), **counts})
    else:
        app.prose(
            f"{registry.path}: "
            + ", ".join(number_of(n, what.removesuffix("s")) for what, n in counts.items())
        )
    return 0


@opt.command(
    group=command,
    epilog="""\b
Examples:
  bddzoo registry import README.md --zoo my-zoo -t sem_seg > my-zoo.yaml
  bddzoo registry import sem_seg.md --page https://example.org/zoo
""",
)
def import_(
    app: App,
    *,
    file: Path = opt.argument(type=_FILE),
    zoo: str = opt.option("--zoo", default="imported", metavar="ZOO", help="Id of the zoo."),
    title: str | None = opt.option("--title", metavar="TEXT", help="Title of the zoo; its id when left out."),
    task: str = opt.option(
        "-t", "--task", type=click.Choice(list(TASKS)), default="sem_seg", help="Task of its models."
    ),
    page: str | None = opt.option("--page", metavar="URL", help="Where the document is published, pinned."),
) -> int:
    """Parse a zoo's Markdown document into a registry, printed as YAML.

    Tables, headings, papers, authors and links are read; prose is not. What comes out is checked with
    the schema before it is printed.
    """
    from bddzoo.registry.entries import entries_yaml, load_entries
    from bddzoo.registry.markdown.importer import import_markdown

    document = import_markdown(read_text(file, "the document"), str(file))
    text = entries_yaml(document, zoo, title or zoo, task, page)
    registry = load_entries(text, document, str(file))
    for warning in document.warnings:
        app.warn(warning)
    if app.json:
        from bddzoo.reports.info import as_row

        app.data_json([as_row(m) for m in registry.models])
    else:
        app.data(text.rstrip("\n"))
    app.say(
        f"{number_of(len(registry.models), 'model')} under {number_of(len(document.headings), 'heading')}"
    )
    return 0


@opt.command(
    group=command,
    epilog="""\b
Examples:
  bddzoo registry lint
  bddzoo registry lint --all --code GAP01 --code MON01
  bddzoo registry lint --rules
\b
A finding that is right as it is gets acknowledged at the row, heading, task,
zoo, paper or file that it belongs to: lint_ok: {CODE: reason}
""",
)
def lint_(
    app: App,
    *,
    file: Path | None = opt.argument(type=_FILE, required=False),
    everything: bool = opt.flag("--all", help="Acknowledged findings, too, with their reason."),
    codes: tuple[str, ...] = opt.option(
        "--code", multiple=True, metavar="CODE", help="Only this rule; repeatable."
    ),
    rules: bool = opt.flag("--rules", help="List the rules."),
) -> int:
    """Check across rows; exits 3 where a finding is not acknowledged."""
    from bddzoo.registry.lint import RULES, lint, located

    if rules:
        if app.json:
            app.data_json(RULES)
        else:
            app.table(("code", "finds"), list(RULES.items()))
        return 0
    for code in codes:
        if code not in RULES:
            raise UsageError(
                f"no rule {code}{did_you_mean(code, RULES)}", hint="see 'bddzoo registry lint --rules'"
            )
    registry = load_registry(file) if file is not None else app.registry
    found = located(registry, lint(registry, codes or None))
    shown = [f for f in found if everything or f.finding.reason is None]
    if app.json:
        app.data_json([f.as_data() for f in shown])
    else:
        for item in shown:
            app.prose(item.as_text(str(registry.path)))
    remaining = sum(f.finding.reason is None for f in found)
    app.say(f"{remaining} open, {len(found) - remaining} acknowledged")
    return int(ExitCode.NOT_REPRODUCED) if remaining else 0


@opt.command(
    group=command,
    epilog="""\b
Examples:
  bddzoo registry health --history benchmarks/health.json
  bddzoo registry health 'mask_rcnn*' --format json
""",
)
def health(
    app: App,
    *,
    selection: Selection = opt.SELECTION,
    history: Path | None = opt.HISTORY,
    jobs: int = opt.jobs("Requests at the same time.", default=8, most=64),
    per_host: int = opt.option(
        "--per-host", type=click.IntRange(1, 16), default=2, metavar="N", help="... of one host."
    ),
    timeout: float = opt.option(
        "--timeout",
        type=opt.Amount(0.1),
        default=10.0,
        metavar="S",
        help="Seconds without an answer or a byte.",
    ),
) -> int:
    """Probe every file's URL without downloading it; exits 7 where something that was alive has died."""
    from msgspec import to_builtins

    from bddzoo.artifacts.probe import (
        History,
        Probe,
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
    from bddzoo.cli.progress import Bar
    from bddzoo.reports.documents import write_document
    from bddzoo.reports.tables import HOST_HEADERS, host_rows

    models = selection.models(app, needed=False)
    urls = urls_of(models)
    if not urls:
        raise MissingError("no model with a web link matches", hint="see 'bddzoo list'")
    known = read_history(history) if history is not None else History()
    policy = NetworkPolicy(
        connect_s=timeout, read_s=timeout, header_s=2 * timeout, connections_per_host=per_host
    )
    with Bar(app, "probing", len(urls)) as bar:

        def each(probe: Probe) -> None:
            app.detail(f"{probe.state}: {probe.url} {probe.note}")
            bar.advance(1)

        probes = Prober(jobs, policy).probe_all(urls, each=each)
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
        app.table(HOST_HEADERS, host_rows(new, models))
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


@opt.command(
    group=command,
    epilog="""\b
Examples:
  bddzoo registry schema > registry.schema.json
""",
)
def schema(app: App) -> int:
    """Print the registry's JSON Schema, for editors that complete and check YAML."""
    from bddzoo.registry.problems import schema_text

    app.data(schema_text().rstrip("\n"))
    return 0


command.add_command(pin)
command.add_command(count)
command.add_command(add)
