"""`bddzoo registry`: check, import and export the registry."""

from __future__ import annotations

from pathlib import Path

import click

from bddzoo.cli.app import App, ZooCommand

_FILE = click.Path(dir_okay=False, path_type=Path)


class RegistryGroup(ZooCommand, click.Group):
    """A group with the global options."""


@click.group(
    cls=RegistryGroup,
    epilog="""\b
Examples:
  bddzoo registry check
  bddzoo registry check my-zoo.yaml
  bddzoo registry import README.md --zoo my-zoo --task sem_seg > my-zoo.yaml
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
@click.option("--task", type=click.Choice(["sem_seg", "ins_seg"]), default="sem_seg", show_default=True)
@click.option("--page", metavar="URL", help="Where the document is published, pinned.")
@click.pass_obj
def import_(app: App, file: Path, zoo: str, title: str | None, task: str, page: str | None) -> int:
    """Parse a zoo's Markdown document into a registry, printed as YAML.

    Tables, headings, papers, authors and links are read; prose is not. What comes out is checked with
    the schema before it is printed.
    """
    from bddzoo.registry import load_text
    from bddzoo.registry.entries import entries_yaml
    from bddzoo.registry.importer import import_markdown
    from bddzoo.reports.blocks import read_document

    document = import_markdown(read_document(file), str(file))
    text = entries_yaml(document, zoo, title or zoo, task, page)
    registry = load_text(text, f"import of {file}")
    for warning in document.warnings:
        app.warn(warning)
    if app.json:
        from bddzoo.cli.list import as_json

        app.data_json([as_json(m) for m in registry.models])
    else:
        app.data(text.rstrip("\n"))
    app.say(f"{len(registry.models)} models under {len(document.headings)} headings")
    return 0
