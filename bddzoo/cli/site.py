"""`bddzoo site`: the leaderboard as static pages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bddzoo.cli import options as opt
from bddzoo.cli.app import App, CommandGroup, Folder
from bddzoo.cli.output import check_target
from bddzoo.errors import ExitCode, IntegrityError, MissingError
from bddzoo.files import format_size
from bddzoo.text import number_of

if TYPE_CHECKING:
    from bddzoo.errors import BddzooError
    from bddzoo.results.links import ModelCheck


@click.group(
    cls=CommandGroup,
    epilog="""\b
Examples:
  bddzoo site build -o site
""",
)
def command() -> None:
    """Build the leaderboard: static pages that open from a folder."""


@opt.command(
    group=command,
    epilog="""\b
The pages need no server and load nothing from elsewhere: open DIR/index.html.
Exit status:
  0 built            5 an image or statistics are missing, or not built
  2 DIR is not ours  6 built, but a record, statistics or an image are damaged
\b
Examples:
  bddzoo site build -o site
  bddzoo site build -o site --force --history health.json --checks checks/
  bddzoo site build -o site --overlays overlays/
""",
)
def build(
    app: App,
    *,
    out: Path = opt.out_folder(
        "Folder to write: new, empty, or with --force an earlier site, which is replaced whole."
    ),
    force: bool = opt.FORCE,
    results: Path | None = opt.RESULTS,
    history: Path | None = opt.HISTORY,
    checks: Path | None = opt.option(
        "--checks",
        type=Folder(),
        metavar="DIR",
        help="What 'bddzoo check --format json' printed, one file or more.",
    ),
    overlays: Path | None = opt.option(
        "--overlays",
        type=Folder(),
        metavar="DIR",
        help="Images of predictions, named MODEL.jpg, .png or .webp. Default: those next to the records.",
    ),
    intervals: bool = opt.option(
        "--intervals/--no-intervals", default=True, help="Resample the records' statistics for 95% intervals."
    ),
    title: str = opt.option("--title", default="bddzoo", metavar="TEXT", help="The site's name."),
) -> int:
    """Write the leaderboard and a page for each model into DIR."""
    from bddzoo.artifacts.probe import History, read_history
    from bddzoo.cli.progress import Bar
    from bddzoo.reports.site.build import build_site
    from bddzoo.reports.site.evidence import gather
    from bddzoo.reports.site.folder import check_folder
    from bddzoo.results import default_root

    check_folder(out)
    check_target(out, force)
    if history is not None and not history.is_file():
        raise MissingError(
            f"no file {history}", hint=f"make it with: bddzoo registry health --history {history}"
        )
    problems: list[BddzooError] = []

    def report(error: BddzooError) -> None:
        problems.append(error)
        app.warn_of(error)

    root = default_root(results)
    known = [] if checks is None else _read_checks(checks)
    with Bar(app, "reading records"):
        evidence = gather(
            app.registry,
            root,
            checks=known,
            images=overlays,
            intervals=intervals,
            report=report,
            note=app.warn,
        )
    measured = sum(e.stored is not None for e in evidence.values())
    if not measured:
        app.say(f"no records of these models in {root}: every verdict is 'missing'")
    past = History() if history is None else read_history(history)
    with Bar(app, "writing pages"):
        built = build_site(app.registry, evidence, out, history=past, report=report, title=title)
    index = out / "index.html"
    if app.json:
        app.data_json(
            {
                "index": str(index),
                "models": built.models,
                "measured": measured,
                "images": built.images,
                "size_bytes": built.size_bytes,
                "problems": [str(problem) for problem in problems],
            }
        )
    else:
        app.data(str(index))
    app.say(
        f"{number_of(built.models, 'model')}, {measured} measured, {number_of(built.images, 'image')}; "
        f"{format_size(built.size_bytes)} without images"
    )
    if any(isinstance(problem, IntegrityError) for problem in problems):
        return int(ExitCode.INTEGRITY)
    return int(ExitCode.MISSING if problems else ExitCode.OK)


def _read_checks(folder: Path) -> list[ModelCheck]:
    from bddzoo.reports.checks import read_checks

    if not folder.is_dir():
        raise MissingError(
            f"no folder {folder}", hint="write checks with: bddzoo check ... --format json > FILE"
        )
    return read_checks(folder)
