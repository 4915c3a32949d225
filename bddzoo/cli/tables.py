"""`bddzoo tables`: result tables, printed, written into documents, or checked for drift."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bddzoo.cli import options as opt
from bddzoo.cli.app import App, Named, global_options
from bddzoo.cli.main import COMMANDS, LazyGroup
from bddzoo.errors import ExitCode, MissingError, UsageError
from bddzoo.text import markdown_table, number_of

if TYPE_CHECKING:
    from bddzoo.registry.model import Model, Section
    from bddzoo.reports.documents import MarkedBlock
    from bddzoo.reports.tables import Speeds

STYLES = ("compact", "full", "measured")
# Blocks with options; the others are those of `_reference`.
OPTIONS: dict[str, tuple[str, ...]] = {
    "tables": ("zoo", "task", "style", "results", "device"),
    "hosts": ("history",),
}


@opt.command(
    formats=("md", "json"),
    epilog="""\b
Examples:
  bddzoo tables --zoo bdd100k-models -t ins_seg
  bddzoo tables --like upstream --zoo openseg.pytorch -t sem_seg
  bddzoo tables --zoo demo --measured --results bddzoo-demo/results
  bddzoo tables --zoo bdd100k-models -t sem_seg --device '*H100*'
  bddzoo tables --check -o README.md -o docs/zoo/vis4d-sem_seg.md
\b
A block of a document is rendered between these two lines; zoo, task, style
(compact, full, measured), results (a folder, relative to the document) and
device (a pattern without blanks) may be left out:
  <!-- bddzoo:tables zoo=bdd100k-models task=sem_seg style=compact -->
  <!-- /bddzoo:tables -->
The hosts that files lie on, and when they were last alive:
  <!-- bddzoo:hosts history=benchmarks/health.json -->
  <!-- /bddzoo:hosts -->
The rules of 'bddzoo registry lint':
  <!-- bddzoo:rules -->
  <!-- /bddzoo:rules -->
Reference pages have blocks named commands, exit-codes, operators, protocols,
schema and settings.
""",
)
def command(
    app: App,
    *,
    zoo: str | None = opt.ZOO,
    task: str | None = opt.TASK,
    style: str = opt.option(
        "--style", type=click.Choice(STYLES), default="compact", help="What the tables hold."
    ),
    like: str | None = opt.option(
        "--like", type=click.Choice(["upstream"]), help="Print as the zoo itself does, byte for byte."
    ),
    measured: bool = opt.flag("--measured", help="Measured next to reported; the same as --style measured."),
    device: str | None = opt.MEASURED_DEVICE,
    results: Path | None = opt.RESULTS,
    out: tuple[Path, ...] = opt.option(
        "-o",
        "--out",
        type=Named(dir_okay=False),
        multiple=True,
        metavar="FILE",
        help="Render the blocks of a document; repeatable.",
    ),
    check: bool = opt.CHECK,
) -> int:
    """Render result tables from the registry; with -o in documents, which --check compares instead.

    Only the blocks of a document are replaced, so no --force is asked for.
    """
    if out:
        if like or measured or zoo or task or device:
            raise UsageError(
                "documents say zoo, task, style and device in their markers", hint="leave them out with -o"
            )
        drifted = [path for path in out if _document(app, path, results, write=not check)]
        return int(ExitCode.NOT_REPRODUCED) if drifted and check else 0
    if check:
        raise UsageError("--check needs documents", hint="name them with -o FILE")
    style = "measured" if measured else style
    if device and (style != "compact" or like):
        raise UsageError("--device goes with tables of style compact", hint="leave the others out")
    sections = _sections(app, zoo, task)
    if app.json:
        app.data_json(_as_json(sections, _speeds(app, device, results)))
    elif like:
        from bddzoo.reports.upstream import render_document

        app.data("\n".join(render_document(s) for s in sections).rstrip("\n"))
    else:
        app.data(_render(app, sections, style, results, device))
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


def _speeds(app: App, device: str | None, results: Path | None) -> Speeds | None:
    """What was measured on a device, or on those of a pattern.

    Raises:
        MissingError: Nothing was.
    """
    if device is None:
        return None
    from bddzoo.results import default_root
    from bddzoo.results.speed import newest_speeds, scan_speed

    root = default_root(results)
    records = [stored.record for stored in scan_speed(root, app.warn_of)]
    found = newest_speeds(records, device)
    if not found:
        known = ", ".join(newest_speeds(records))
        hint = f"measured: {known}" if known else "'bddzoo bench' measures; --results names another folder"
        raise MissingError(f"nothing was measured on '{device}' in {root}", hint=hint)
    return found


def _render(app: App, sections: list[Section], style: str, results: Path | None, device: str | None) -> str:
    if style == "measured":
        from bddzoo.reports.tables import measured_tables
        from bddzoo.results import default_root

        return measured_tables(sections, default_root(results), app.warn_of)
    if style == "full":
        from bddzoo.reports.tables import render_page

        return "\n\n".join(render_page(s) for s in sections)
    from bddzoo.reports.tables import compact_table, section_tables

    speeds = _speeds(app, device, results)
    if len(sections) == 1:
        return compact_table(sections[0], speeds=speeds)
    return section_tables(sections, speeds)


def _document(app: App, path: Path, results: Path | None, *, write: bool) -> bool:
    """Whether the document's blocks had drifted; writes them anew if asked to."""
    from bddzoo.reading import read_text
    from bddzoo.reports.documents import diff, fill, find_blocks, write_document

    old = read_text(path, "the document")
    reference = _reference(app)
    blocks = find_blocks(old, str(path), {**OPTIONS, **dict.fromkeys(reference, ())})
    if not blocks:
        raise UsageError(
            f"{path} has no block to render",
            hint="mark one with <!-- bddzoo:tables --> and <!-- /bddzoo:tables -->",
        )

    def render(block: MarkedBlock) -> str:
        where = f"{path}:{block.start + 1}: "
        options = block.options
        if block.name in reference:
            return reference[block.name]()
        if block.name == "hosts":
            return _hosts(app, path.parent / options["history"] if "history" in options else None)
        style = options.get("style", "compact")
        if style not in STYLES:
            raise UsageError(f"{where}unknown style '{style}'", hint=f"styles: {', '.join(STYLES)}")
        folder = path.parent / options["results"] if "results" in options else results
        sections = _sections(app, options.get("zoo"), options.get("task"), where)
        return _render(app, sections, style, folder, options.get("device"))

    new = fill(old, blocks, render)
    if new == old:
        app.say(f"{path}: {number_of(len(blocks), 'block')} up to date")
        return False
    if write:
        write_document(path, new)
        app.say(f"{path}: written")
        return True
    app.data(diff(old, new, str(path)))
    app.error(f"{path} has drifted from the registry", hint=f"render it with: bddzoo tables -o {path}")
    return True


def _reference(app: App) -> dict[str, Callable[[], str]]:
    """What renders the blocks without options, most of them of reference pages."""
    from bddzoo.reports import documents

    return {
        "rules": documents.rules,
        "commands": commands,
        "exit-codes": documents.exit_codes,
        "operators": documents.operators,
        "protocols": lambda: documents.protocols(app.registry.models),
        "schema": documents.schema,
        "settings": documents.settings,
    }


def _hosts(app: App, history: Path | None) -> str:
    """The hosts of the registry's files, with what a history of probes knows of them."""
    from bddzoo.artifacts.probe import History, read_history
    from bddzoo.reports.tables import hosts_table

    return hosts_table(read_history(history) if history is not None else History(), app.registry.models)


def _as_json(sections: list[Section], speeds: Speeds | None) -> list[Mapping[str, object]]:
    from bddzoo.reports.info import as_row

    def row(model: Model) -> Mapping[str, object]:
        if speeds is None:
            return as_row(model)
        timings = {
            setting: found[model.id].timing() for setting, found in speeds.items() if model.id in found
        }
        speed = {s: {"ms": t.median_ms, "images_per_s": t.images_per_s} for s, t in timings.items() if t}
        return {**as_row(model), "speed": speed}

    return [
        {
            "zoo": s.zoo.id,
            "task": s.task,
            "page": s.page,
            "methods": [
                {"name": m.name, "models": [row(model) for model in s.models_of(m)]} for m in s.methods
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
    for one in options:
        record = one.get_help_record(context)
        if record is None:
            continue
        names, text = record
        rows.append((f"`{names}`", " ".join(text.split())))
    return markdown_table(("Option", "Meaning"), rows, [False, False])
