"""The commands' own help as Markdown, for the reference page."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from bddzoo.cli.app import App, global_options
from bddzoo.cli.main import COMMANDS, LazyGroup
from bddzoo.reports.text import markdown_table


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
        rows.append((f"`{names}`", " ".join(text.split()).replace("<", "&lt;")))
    return markdown_table(("Option", "Meaning"), rows, [False, False])
