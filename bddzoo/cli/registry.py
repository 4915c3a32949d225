"""`bddzoo registry`: check, import and export the registry."""

from __future__ import annotations

from pathlib import Path

import click

from bddzoo.cli.app import App, CommandGroup, ZooCommand
from bddzoo.cli.registry_edit import add, pin
from bddzoo.cli.registry_health import health
from bddzoo.text import number_of

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group(
    cls=CommandGroup,
    epilog="""\b
Examples:
  bddzoo registry check
  bddzoo registry check my-zoo.yaml
  bddzoo registry lint
  bddzoo registry import README.md --zoo my-zoo --task sem_seg > my-zoo.yaml
  bddzoo registry schema > registry.schema.json
""",
)
def command() -> None:
    """Check, import and export the registry."""


@command.command(
    "check",
    cls=ZooCommand,
    epilog="""\b
Examples:
  bddzoo registry check
  bddzoo registry check my-zoo.yaml --format json
""",
)
@click.argument("file", type=_FILE, required=False)
@click.pass_obj
def check(app: App, file: Path | None) -> int:
    """Check a registry against the schema: every problem with its line."""
    from bddzoo.registry import load_registry

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
        app.data(f"{registry.path}: " + ", ".join(f"{n} {what}" for what, n in counts.items()))
    return 0


@command.command(
    "import",
    cls=ZooCommand,
    epilog="""\b
Examples:
  bddzoo registry import README.md --zoo my-zoo --task sem_seg > my-zoo.yaml
  bddzoo tables --like upstream --zoo vis4d --task sem_seg > t.md && bddzoo registry import t.md
""",
)
@click.argument("file", type=_FILE)
@click.option("--zoo", default="imported", show_default=True, help="Id of the zoo.")
@click.option("--title", help="Title of the zoo; its id when left out.")
@click.option(
    "--task",
    type=click.Choice(["sem_seg", "ins_seg"]),
    default="sem_seg",
    show_default=True,
    help="Task of its models.",
)
@click.option("--page", metavar="URL", help="Where the document is published, pinned.")
@click.pass_obj
def import_(app: App, file: Path, zoo: str, title: str | None, task: str, page: str | None) -> int:
    """Parse a zoo's Markdown document into a registry, printed as YAML.

    Tables, headings, papers, authors and links are read; prose is not. What comes out is checked with
    the schema before it is printed.
    """
    from bddzoo.registry.entries import entries_yaml, load_entries
    from bddzoo.registry.markdown.importer import import_markdown
    from bddzoo.reports.blocks import read_document

    document = import_markdown(read_document(file), str(file))
    text = entries_yaml(document, zoo, title or zoo, task, page)
    registry = load_entries(text, document, str(file))
    for warning in document.warnings:
        app.warn(warning)
    if app.json:
        from bddzoo.cli.list import as_json

        app.data_json([as_json(m) for m in registry.models])
    else:
        app.data(text.rstrip("\n"))
    app.say(
        f"{number_of(len(registry.models), 'model')} under {number_of(len(document.headings), 'heading')}"
    )
    return 0


@command.command(
    "lint",
    cls=ZooCommand,
    epilog="""\b
Examples:
  bddzoo registry lint
  bddzoo registry lint --all --code GAP01 --code MON01
  bddzoo registry lint --rules
\b
A finding that is right as it is gets acknowledged at the row, heading, task, zoo, paper or file that it
belongs to: lint_ok: {CODE: reason}
""",
)
@click.argument("file", type=_FILE, required=False)
@click.option("--all", "everything", is_flag=True, help="Acknowledged findings, too, with their reason.")
@click.option("--code", "codes", multiple=True, metavar="CODE", help="Only this rule.")
@click.option("--rules", is_flag=True, help="List the rules.")
@click.pass_obj
def lint_(app: App, file: Path | None, everything: bool, codes: tuple[str, ...], rules: bool) -> int:
    """Check across rows; exits 3 where a finding is not acknowledged."""
    from bddzoo.errors import ExitCode, UsageError
    from bddzoo.registry import load_registry
    from bddzoo.registry.lint import RULES, lint
    from bddzoo.registry.lint.run import located
    from bddzoo.registry.problems import did_you_mean

    if rules:
        if app.json:
            app.data_json(RULES)
        else:
            app.data("\n".join(f"{code}  {title}" for code, title in RULES.items()))
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
            app.data(item.as_text(str(registry.path)))
    remaining = sum(f.finding.reason is None for f in found)
    app.say(f"{remaining} open, {len(found) - remaining} acknowledged")
    return int(ExitCode.NOT_REPRODUCED) if remaining else 0


@command.command(
    "schema",
    cls=ZooCommand,
    epilog="""\b
Examples:
  bddzoo registry schema > registry.schema.json
""",
)
@click.pass_obj
def schema(app: App) -> int:
    """Print the registry's JSON Schema, for editors that complete and check YAML."""
    from bddzoo.registry.schema_export import schema_text

    app.data(schema_text().rstrip("\n"))
    return 0


command.add_command(health)
command.add_command(pin)
command.add_command(add)
