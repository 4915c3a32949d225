"""`bddzoo tables`: result tables, printed, written into documents, or checked for drift.

The commands' own help as Markdown, for the reference page.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bddzoo.cli.app import App, Folder, ZooCommand, complete_tasks, complete_zoos, global_options
from bddzoo.cli.main import COMMANDS, LazyGroup
from bddzoo.errors import ExitCode, UsageError
from bddzoo.reports.text import markdown_table

if TYPE_CHECKING:
    from bddzoo.registry.model import Section
    from bddzoo.reports.blocks import MarkedBlock

STYLES = ("compact", "full", "measured")
REFERENCE = ("commands", "exit-codes", "operators", "protocols", "schema")
BLOCKS: dict[str, tuple[str, ...]] = {
    "tables": ("zoo", "task", "style", "results"),
    "hosts": ("history",),
    "rules": (),
    **dict.fromkeys(REFERENCE, ()),
}
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command(
    cls=ZooCommand,
    formats=("md", "json"),
    epilog="""\b
Examples:
  bddzoo tables --zoo bdd100k-models --task ins_seg
  bddzoo tables --like upstream --zoo openseg.pytorch --task sem_seg
  bddzoo tables --zoo demo --measured --results bddzoo-demo/results
  bddzoo tables --check README.md --check docs/zoo/vis4d-sem_seg.md
\b
A block of a document is rendered between these two lines; zoo, task, style (compact, full, measured)
and results (a folder, relative to the document) may be left out:
  <!-- bddzoo:tables zoo=bdd100k-models task=sem_seg style=compact -->
  <!-- /bddzoo:tables -->
The hosts that files lie on, and when they were last alive:
  <!-- bddzoo:hosts history=benchmarks/health.json -->
  <!-- /bddzoo:hosts -->
The rules of 'bddzoo registry lint':
  <!-- bddzoo:rules -->
  <!-- /bddzoo:rules -->
Reference pages have blocks named commands, exit-codes, operators, protocols and schema.
""",
)
@click.option("--zoo", shell_complete=complete_zoos, help="Zoo, or a pattern.")
@click.option("--task", shell_complete=complete_tasks, help="Task.")
@click.option("--style", type=click.Choice(STYLES), default="compact", help="What the tables hold.")
@click.option("--like", type=click.Choice(["upstream"]), help="Print as the zoo itself does, byte for byte.")
@click.option("--measured", is_flag=True, help="Measured beside reported; the same as --style measured.")
@click.option(
    "--results",
    type=Folder(),
    help="Folder of the measurements' records.",
)
@click.option("--write", type=_FILE, multiple=True, metavar="FILE", help="Render the blocks of a document.")
@click.option("--check", type=_FILE, multiple=True, metavar="FILE", help="Exit 3 where a block has drifted.")
@click.pass_obj
def command(
    app: App,
    zoo: str | None,
    task: str | None,
    style: str,
    like: str | None,
    measured: bool,
    results: Path | None,
    write: tuple[Path, ...],
    check: tuple[Path, ...],
) -> int:
    """Render result tables from the registry, or check documents for drift."""
    if write or check:
        if like or measured or zoo or task:
            raise UsageError("--write and --check take zoo, task and style from the document's markers")
        drifted = [path for path in check if _document(app, path, results, write=False)]
        for path in write:
            _document(app, path, results, write=True)
        return int(ExitCode.NOT_REPRODUCED) if drifted else 0
    sections = _sections(app, zoo, task)
    if app.json:
        app.data_json(_as_json(sections))
    elif like:
        from bddzoo.reports.upstream import render_document

        app.data("\n".join(render_document(s) for s in sections).rstrip("\n"))
    else:
        app.data(_render(app, sections, "measured" if measured else style, results))
    return 0


def _sections(app: App, zoo: str | None, task: str | None, where: str = "") -> list[Section]:
    from bddzoo.registry.problems import did_you_mean
    from bddzoo.registry.query import matches

    found = [
        s
        for s in app.registry.sections
        if (zoo is None or matches(zoo, s.zoo.id)) and (task is None or s.task == task)
    ]
    if not found:
        names = [s.zoo.id for s in app.registry.sections]
        asked = " and ".join(f"{what} '{name}'" for what, name in (("zoo", zoo), ("task", task)) if name)
        known = ", ".join(f"{s.zoo.id} {s.task}" for s in app.registry.sections)
        near = did_you_mean(zoo, names) if zoo and zoo not in names else ""
        message = f"{where}no tables of {asked or 'an empty registry'}{near}"
        raise UsageError(message, hint=f"there are: {known}")
    return found


def _render(app: App, sections: list[Section], style: str, results: Path | None) -> str:
    if style == "measured":
        from bddzoo.reports.tables import measured_tables
        from bddzoo.results import default_root

        return measured_tables(sections, default_root(results), lambda error: app.warn(str(error)))
    if style == "full":
        from bddzoo.reports.tables import render_page

        return "\n\n".join(render_page(s) for s in sections)
    from bddzoo.reports.tables import compact_table, section_tables

    return compact_table(sections[0]) if len(sections) == 1 else section_tables(sections)


def _document(app: App, path: Path, results: Path | None, *, write: bool) -> bool:
    """Whether the document's blocks had drifted; writes them anew if asked to."""
    from bddzoo.reports.blocks import diff, fill, find_blocks, read_document, write_document

    old = read_document(path)
    blocks = find_blocks(old, str(path), BLOCKS)
    if not blocks:
        raise UsageError(
            f"{path} has no block to render",
            hint="mark one with <!-- bddzoo:tables --> and <!-- /bddzoo:tables -->",
        )

    def render(block: MarkedBlock) -> str:
        where = f"{path}:{block.start + 1}: "
        options = block.options
        if block.name == "rules":
            from bddzoo.registry.lint import RULES
            from bddzoo.reports.text import markdown_table

            rows = [(f"`{code}`", title) for code, title in RULES.items()]
            return markdown_table(("Code", "Finds"), rows, [False, False])
        if block.name in REFERENCE:
            return _reference(app, block.name)
        if block.name == "hosts":
            return _hosts(app, path.parent / options["history"] if "history" in options else None)
        style = options.get("style", "compact")
        if style not in STYLES:
            raise UsageError(f"{where}unknown style '{style}'", hint=f"styles: {', '.join(STYLES)}")
        folder = path.parent / options["results"] if "results" in options else results
        return _render(app, _sections(app, options.get("zoo"), options.get("task"), where), style, folder)

    new = fill(old, blocks, render)
    if new == old:
        app.say(f"{path}: {len(blocks)} block{'s' if len(blocks) != 1 else ''} up to date")
        return False
    if write:
        write_document(path, new)
        app.say(f"{path}: written")
        return True
    app.data(diff(old, new, str(path)))
    app.error(f"{path} has drifted from the registry", hint=f"render it with: bddzoo tables --write {path}")
    return True


def _reference(app: App, name: str) -> str:
    """A block of a reference page."""
    from bddzoo.reports import reference

    if name == "commands":
        pass

        return commands()
    if name == "protocols":
        return reference.protocols(app.registry.models)
    return {
        "exit-codes": reference.exit_codes,
        "operators": reference.operators,
        "schema": reference.schema,
    }[name]()


def _hosts(app: App, history: Path | None) -> str:
    """The hosts of the registry's files, with what a history of probes knows of them."""
    from bddzoo.artifacts.probe import History, read_history
    from bddzoo.reports.tables import hosts_table

    return hosts_table(read_history(history) if history is not None else History(), app.registry.models)


def _as_json(sections: list[Section]) -> list[Mapping[str, object]]:
    from bddzoo.cli.list import as_json

    return [
        {
            "zoo": s.zoo.id,
            "task": s.task,
            "page": s.page,
            "methods": [
                {"name": m.name, "models": [as_json(model) for model in s.models_of(m)]} for m in s.methods
            ],
        }
        for s in sections
    ]


def commands() -> str:
    """Every command: what it does, its arguments, options and examples."""
    root = LazyGroup("bddzoo")
    context = click.Context(root, info_name="bddzoo", obj=App())
    blocks = ["## Every command", _options(global_options(), context)]
    for name in COMMANDS:
        command = root.get_command(context, name)
        assert command is not None
        blocks += _command(command, context, name, 2)
    return "\n\n".join(blocks)


def _command(command: click.Command, parent: click.Context, name: str, level: int) -> Iterator[str]:
    context = click.Context(command, parent=parent, info_name=name)
    yield f"{'#' * level} {context.command_path}"
    yield _prose(command.help or "")
    yield f"```text\n{command.get_usage(context).removeprefix('Usage: ')}\n```"
    known = {option.name for option in global_options()}
    options = [
        p for p in command.params if isinstance(p, click.Option) and p.name not in known and not p.hidden
    ]
    if options:
        yield _options(options, context)
    if command.epilog:
        yield f"```text\n{inspect.cleandoc(command.epilog.replace(chr(8), '')).strip()}\n```"
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            if found is not None and not found.hidden:
                yield from _command(found, context, child, level + 1)


def _prose(text: str) -> str:
    """Paragraphs of a help text; those marked to be kept as they are become code."""
    blocks = []
    for block in inspect.cleandoc(text).split("\n\n"):
        if block.startswith("\b"):
            blocks.append("```text\n" + block.removeprefix("\b").strip("\n") + "\n```")
        else:
            blocks.append(" ".join(block.split()).replace("<", "&lt;"))
    return "\n\n".join(blocks)


def _options(options: list[click.Option], context: click.Context) -> str:
    rows = []
    for option in options:
        record = option.get_help_record(context)
        if record is None:
            continue
        names, text = record
        rows.append((f"`{names}`", " ".join(text.split())))
    return markdown_table(("Option", "Meaning"), rows, [False, False])
