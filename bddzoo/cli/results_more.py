"""`bddzoo results compare`, `import` and `prune`."""

from __future__ import annotations

from pathlib import Path

import click

from bddzoo.cli.app import App, ZooCommand, complete_models
from bddzoo.cli.results_option import find_named, results_option


@click.command(
    "compare",
    cls=ZooCommand,
    epilog="""\b
Examples:
  bddzoo results compare fcn_r50-d8_512x1024_40k_sem_seg_bdd100k pspnet_r50-d8_512x1024_40k_sem_seg_bdd100k
  bddzoo results compare 3f2a 91bc --metric mIoU --resamples 5000
""",
)
@click.argument("a", shell_complete=complete_models)
@click.argument("b", shell_complete=complete_models)
@click.option("--metric", "metrics", multiple=True, help="Only this metric; repeatable.")
@click.option(
    "--resamples",
    type=click.IntRange(min=100),
    default=1000,
    show_default=True,
    help="Draws of the bootstrap.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the draws.")
@results_option
@click.pass_obj
def compare(
    app: App,
    *,
    a: str,
    b: str,
    metrics: tuple[str, ...],
    resamples: int,
    seed: int,
    results: Path | None,
) -> None:
    """Test whether record B is better than record A, by a paired bootstrap over images.

    Both must have been measured on the same images and labels. A and B are ids or their first digits,
    paths, or models, which stand for their newest record.
    """
    from dataclasses import asdict

    from bddzoo.cli.verdicts import number
    from bddzoo.errors import MissingError
    from bddzoo.results.compare import compare_records

    first, second = find_named(app, results, a), find_named(app, results, b)
    found = compare_records(first, second, resamples=resamples, seed=seed)
    known = [item.metric for item in found]
    for metric in metrics:
        if metric not in known:
            raise MissingError(f"no metric '{metric}' in both records", hint=f"there are {', '.join(known)}")
    chosen = [item for item in found if not metrics or item.metric in metrics]
    if app.json:
        rows = [{**asdict(item), "conclusion": item.conclusion} for item in chosen]
        app.data_json({"a": first.id, "b": second.id, "seed": seed, "metrics": rows})
        return
    from tabulate import tabulate

    app.data(f"a  {first.id}  {first.record.model}\nb  {second.id}  {second.record.model}\n")
    table = [
        [
            item.metric,
            number(item.a),
            number(item.b),
            number(item.difference, "+"),
            f"[{item.low:+.2f}, {item.high:+.2f}]",
            "b is " + item.conclusion if item.conclusion != "undecided" else "undecided",
        ]
        for item in chosen
    ]
    head = ["metric", "a", "b", "b - a", "95% interval", ""]
    app.data(tabulate(table, headers=head, disable_numparse=True))
    if chosen:
        app.say(f"paired bootstrap over {chosen[0].images} images, {resamples} draws, seed {seed}")


@click.command(
    "import",
    cls=ZooCommand,
    epilog="""\b
Examples:
  bddzoo results import /mnt/cluster/results
  bddzoo results import downloaded-artifact/ --results benchmarks/results
""",
)
@click.argument("places", nargs=-1, required=True, type=click.Path(path_type=Path))
@results_option
@click.pass_obj
def import_(app: App, *, places: tuple[Path, ...], results: Path | None) -> int:
    """Take in records of another machine: files, or folders at any depth.

    Each is checked first. One that is damaged is reported, the others are taken, and the status is 6.
    """
    from bddzoo.errors import BddzooError, ExitCode
    from bddzoo.results import default_root
    from bddzoo.results.tidy import import_records

    errors: list[BddzooError] = []
    rows = list(import_records(places, default_root(results), errors.append))
    for error in errors:
        app.warn(str(error))
    if app.json:
        app.data_json([{"path": str(row.path), "new": row.new} for row in rows])
    new = sum(row.new for row in rows)
    app.say(f"{new} new, {len(rows) - new} known, {len(errors)} not taken")
    return int(ExitCode.INTEGRITY if errors else ExitCode.OK)


@click.command(
    "prune",
    cls=ZooCommand,
    epilog="""\b
Examples:
  bddzoo results prune
  bddzoo results prune --keep 3 --yes
""",
)
@click.option(
    "--keep", type=click.IntRange(min=1), default=1, show_default=True, help="How many of a kind stay."
)
@click.option("--yes", is_flag=True, help="Delete; without it, only say what would be deleted.")
@results_option
@click.pass_obj
def prune(app: App, *, keep: int, yes: bool, results: Path | None) -> None:
    """Delete records of which newer ones of the same model, weights and protocol exist."""
    from bddzoo.results import default_root
    from bddzoo.results.tidy import leftovers, remove_file, remove_records, superseded

    root = default_root(results)
    old = superseded(root, keep, lambda error: app.warn(str(error)))
    rest = leftovers(root)
    if yes:
        remove_records(old)
        for path in rest:
            remove_file(path)
    if app.json:
        paths = [str(item.path) for item in old] + [str(path) for path in rest]
        app.data_json({"deleted": yes, "files": paths})
    else:
        for item in old:
            app.data(f"{item.path}  {item.record.run.started}")
        for path in rest:
            app.data(str(path))
    word = "deleted" if yes else "to delete; do it with --yes"
    app.say(f"{len(old)} records and {len(rest)} leftovers {word}")


COMMANDS = (compare, import_, prune)
