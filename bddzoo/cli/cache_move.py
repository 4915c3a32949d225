"""`bddzoo cache export` and `import`: move the cache between machines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bddzoo.cli.app import App, ZooCommand
from bddzoo.cli.cache_parts import byte_bar, open_cache, select_entries
from bddzoo.errors import MissingError
from bddzoo.words import number_of

if TYPE_CHECKING:
    from bddzoo.artifacts import Entry


@click.command(
    "export",
    cls=ZooCommand,
    epilog="""\b
Examples:
  bddzoo cache export zoo.zip
  bddzoo cache export fpn.zip 'fpn_*'
""",
)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("patterns", nargs=-1)
@click.pass_obj
def export(app: App, file: Path, patterns: tuple[str, ...]) -> None:
    """Write cached files into FILE, for another machine's 'bddzoo cache import'.

    Every file is hashed on the way. 'bddzoo bundle' also adds the registry's part and licence notes.
    """
    from bddzoo.artifacts.bundle_write import write_bundle
    from bddzoo.artifacts.disk import explain, format_size

    cache = open_cache(app)
    entries = select_entries(cache, patterns)
    if not entries:
        raise MissingError(f"the cache {cache.root} is empty", hint="fetch something first")
    try:
        with byte_bar(app, "writing", sum(e.size_bytes for e in entries)) as advance:
            size = write_bundle(file, cache, entries, each=advance)
    except OSError as error:
        raise explain(error, f"writing {file}", "choose another FILE") from error
    if app.json:
        app.data_json({"file": file, "size_bytes": size, "files": len(entries)})
    else:
        app.data(f"{file}  {format_size(size)}  {number_of(len(entries), 'file')}")


@click.command(
    "import",
    cls=ZooCommand,
    epilog="""\b
Examples:
  bddzoo cache import zoo.zip
""",
)
@click.argument("files", nargs=-1, required=True, type=click.Path(dir_okay=False, path_type=Path))
@click.pass_obj
def import_(app: App, files: tuple[Path, ...]) -> None:
    """Take the files of exports or bundles into the cache; each is hashed before it gets its name."""
    from bddzoo.artifacts.bundle import Bundle
    from bddzoo.artifacts.bundle_import import import_file
    from bddzoo.artifacts.disk import explain, format_size

    cache = open_cache(app)
    taken: list[Entry] = []
    for file in files:
        bundle = Bundle(file)
        count = len(bundle.manifest.files)
        with byte_bar(app, "importing", sum(f.size_bytes for f in bundle.manifest.files)) as advance:
            try:
                entries = [import_file(bundle, item, cache, advance) for item in bundle.manifest.files]
            except OSError as error:
                raise explain(error, f"importing {file}") from error
        taken += entries
        if not app.json:
            app.data(f"{file}  {format_size(sum(e.size_bytes for e in entries))}  {number_of(count, 'file')}")
    if app.json:
        app.data_json([{"model": e.model, "kind": e.kind, "path": cache.path_of(e)} for e in taken])
