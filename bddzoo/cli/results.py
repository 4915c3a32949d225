"""`bddzoo results`: look at, compare, import and delete the records of measurements."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bddzoo.cli import options as opt
from bddzoo.cli.app import App, CommandGroup
from bddzoo.cli.output import describe_verdict, field_text, number, table, verdict_json, wrapped
from bddzoo.cli.select import Selection, find_named
from bddzoo.errors import BddzooError, ExitCode, MissingError
from bddzoo.files import format_size
from bddzoo.text import number_of, picked

if TYPE_CHECKING:
    from bddzoo.results import Record, StoredRecord, VerdictReport
    from bddzoo.results.speed import StoredSpeed


# Digits of a record's id that are shown in a list; any start that is one record's alone names it.
ID_DIGITS = 8


@click.group(
    cls=CommandGroup,
    epilog="""\b
Examples:
  bddzoo results ls -t sem_seg
  bddzoo results show fcn_r50-d8_512x1024_40k_sem_seg_bdd100k
  bddzoo results diff 3f2a 91bc
  bddzoo results compare 3f2a 91bc
""",
)
def command() -> None:
    """Look at the records of measurements."""


@opt.command(
    group=command,
    epilog="""\b
Examples:
  bddzoo results compare fcn_r50-d8_512x1024_40k_sem_seg_bdd100k \\
      pspnet_r50-d8_512x1024_40k_sem_seg_bdd100k
  bddzoo results compare 3f2a 91bc --metric mIoU --resamples 5000
""",
)
def compare(
    app: App,
    *,
    a: str = opt.argument(shell_complete=opt.complete_models),
    b: str = opt.argument(shell_complete=opt.complete_models),
    metrics: tuple[str, ...] = opt.option(
        "--metric", multiple=True, metavar="NAME", help="Only this metric; repeatable."
    ),
    resamples: int = opt.option(
        "--resamples", type=click.IntRange(min=100), default=1000, metavar="N", help="Draws of the bootstrap."
    ),
    seed: int = opt.SEED,
    results: Path | None = opt.RESULTS,
) -> None:
    """Test whether record B is better than record A, by a paired bootstrap over images.

    Both must have been measured on the same images and labels. A and B are ids or their first digits,
    paths, or models, which stand for their best record. Of two records of speed: the ratio of their
    times, with its interval.
    """
    from bddzoo.cli.bench import compare_speed
    from bddzoo.cli.progress import Bar
    from bddzoo.results.compare import compare_records

    if both := _both_of_speed(results, a, b):
        compare_speed(app, *both)
        return
    first, second = find_named(app, results, a), find_named(app, results, b)
    with Bar(app, "comparing"):
        found = compare_records(first, second, resamples=resamples, seed=seed)
    known = [item.metric for item in found]
    for metric in metrics:
        if metric not in known:
            raise MissingError(f"no metric '{metric}' in both records", hint=f"there are {', '.join(known)}")
    chosen = [item for item in found if not metrics or item.metric in metrics]
    if app.json:
        data = [{**asdict(item), "conclusion": item.conclusion} for item in chosen]
        app.data_json({"a": first.id, "b": second.id, "seed": seed, "metrics": data})
        return
    app.data(f"a  {first.id}  {first.record.model}\nb  {second.id}  {second.record.model}\n")
    rows = [
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
    app.table(head, rows)
    if chosen:
        app.say(f"paired bootstrap over {chosen[0].images} images, {resamples} draws, seed {seed}")


@opt.command(
    group=command,
    epilog="""\b
Examples:
  bddzoo results import /mnt/cluster/results
  bddzoo results import downloaded-artifact/ --results benchmarks/results
""",
)
def import_(
    app: App,
    *,
    places: tuple[Path, ...] = opt.argument(nargs=-1, required=True, type=click.Path(path_type=Path)),
    results: Path | None = opt.RESULTS,
) -> int:
    """Take in records of another machine: files, or folders at any depth.

    Each is checked first. One that is damaged is reported, the others are taken, and the status is 6.
    """
    from bddzoo.results import default_root
    from bddzoo.results.manage import import_records

    errors: list[BddzooError] = []
    rows = list(import_records(places, default_root(results), errors.append))
    for error in errors:
        app.warn_of(error)
    if app.json:
        app.data_json([{"path": str(row.path), "new": row.new} for row in rows])
    new = sum(row.new for row in rows)
    app.say(f"{new} new, {len(rows) - new} known, {len(errors)} not taken")
    return int(ExitCode.INTEGRITY if errors else ExitCode.OK)


@opt.command(
    group=command,
    epilog="""\b
Examples:
  bddzoo results prune --dry-run
  bddzoo results prune --keep 3 --yes
""",
)
def prune(
    app: App,
    *,
    keep: int = opt.option(
        "--keep", type=click.IntRange(min=1), default=1, metavar="N", help="How many of a kind stay."
    ),
    dry_run: bool = opt.DRY_RUN,
    yes: bool = opt.YES,
    results: Path | None = opt.RESULTS,
) -> int:
    """Delete records of which newer ones of the same model, weights and protocol exist.

    Asks first on a terminal; without one, --yes is needed. A damaged record is reported and left alone; the
    others are deleted, and the status is 6.
    """
    from bddzoo.results import default_root
    from bddzoo.results.manage import leftovers, remove_file, remove_records, superseded

    root = default_root(results)
    errors: list[BddzooError] = []
    old = superseded(root, keep, errors.append)
    rest = leftovers(root)
    for error in errors:
        app.warn_of(error)
    code = int(ExitCode.INTEGRITY if errors else ExitCode.OK)
    if app.json:
        paths = [str(item.path) for item in old] + [str(path) for path in rest]
        app.data_json({"deleted": not dry_run, "files": paths})
    else:
        app.table(
            ("file", "begun"),
            [(item.path, item.record.run.started) for item in old] + [(path, "-") for path in rest],
        )
    what = f"{number_of(len(old), 'record')} and {number_of(len(rest), 'leftover')}"
    if dry_run or not (old or rest):
        app.say(f"{what} to delete")
        return code
    app.confirm(f"delete {what}", yes=yes)
    remove_records(old)
    for path in rest:
        remove_file(path)
    app.say(f"{what} deleted")
    return code


@opt.command(
    group=command,
    epilog="""\b
Examples:
  bddzoo results ls
  bddzoo results ls 'deeplab*' --latest --format json
  bddzoo results ls --speed
""",
)
def ls(
    app: App,
    *,
    selection: Selection = opt.SELECTION,
    latest: bool = opt.flag("--latest", help="Only the newest record of each model."),
    speed: bool = opt.flag("--speed", help="Records of 'bddzoo bench' instead."),
    results: Path | None = opt.RESULTS,
) -> None:
    """List records, with the verdict that each gives."""
    from bddzoo.results import default_root, scan_records
    from bddzoo.results.record import recency

    root = default_root(results)
    if speed:
        from bddzoo.cli.bench import list_speed

        list_speed(app, root, selection, latest=latest)
        return
    known = scan_records(root, on_error=app.warn_of)
    stored = selection.items(app, known, lambda item: (item.record.model, item.record.zoo))
    stored.sort(key=lambda item: (item.record.zoo, item.record.task, item.record.model, recency(item.record)))
    if latest:
        stored = list({(item.record.zoo, item.record.model): item for item in stored}.values())
    reports = _judge_all(app, [item.record for item in stored])
    if app.json:
        app.data_json([_summary_json(i, r) for i, r in zip(stored, reports, strict=True)])
        return
    if not stored:
        app.say(f"no records in {root}")
        return
    rows = [_row(item, report) for item, report in zip(stored, reports, strict=True)]
    head = ["record", "date", "model", "split", "images", "measured", "reported", "verdict"]
    app.table(head, rows, optional=("images", "split", "date"))


@opt.command(
    group=command,
    epilog="""\b
Examples:
  bddzoo results show 3f2a91bc
  bddzoo results show mask_rcnn_r50_fpn_1x_ins_seg_bdd100k --format json
""",
)
def show(
    app: App,
    *,
    record: str = opt.argument(shell_complete=opt.complete_models),
    results: Path | None = opt.RESULTS,
) -> None:
    """Show one record whole. RECORD is its id or the first digits, a path, or a model (its best record)."""
    import msgspec

    from bddzoo.cli.bench import show_speed
    from bddzoo.results import default_root
    from bddzoo.results.speed import find_speed
    from bddzoo.results.store import check_statistics

    speed = find_speed(default_root(results), record)
    if speed is not None:
        show_speed(app, speed)
        return
    stored = find_named(app, results, record)
    check_statistics(stored)
    report = _judge_all(app, [stored.record])[0]
    if app.json:
        value = msgspec.to_builtins(stored.record)
        app.data_json({"id": stored.id, "path": str(stored.path), "verdict": verdict_json(report), **value})
        return
    app.data(f"{stored.record.model}  record {stored.id}\n{stored.path}\n")
    if report:
        app.data(describe_verdict(report, colour=app.colours(sys.stdout)), safe=True)
    else:
        app.data("the registry has no such model: no verdict")
    app.data(_describe(stored.record))


@opt.command(
    group=command,
    epilog="""\b
Examples:
  bddzoo results diff 3f2a 91bc
  bddzoo results diff old.json new.json --format json
""",
)
def diff(
    app: App,
    *,
    a: str = opt.argument(shell_complete=opt.complete_models),
    b: str = opt.argument(shell_complete=opt.complete_models),
    results: Path | None = opt.RESULTS,
    everything: bool = opt.flag("--all", help="Also show fields that cannot change a number."),
) -> None:
    """Explain which fields of two records differ, and what they did to each class.

    Of two records of speed: the fields that differ, and the medians.
    """
    from bddzoo.cli.bench import diff_speed
    from bddzoo.datasets.openseg import in_order
    from bddzoo.results.compare import INCIDENTAL, diff_records

    if both := _both_of_speed(results, a, b):
        diff_speed(app, *both, everything=everything)
        return
    first, second = find_named(app, results, a), find_named(app, results, b)
    found = diff_records(first.record, second.record)
    fields = [change for change in found.fields if everything or change.matters != INCIDENTAL]
    if app.json:
        app.data_json(
            {
                "a": first.id,
                "b": second.id,
                "explanation": found.explanation,
                "fields": [asdict(change) for change in fields],
                "summary": [{**asdict(c), "difference": c.difference} for c in found.summary],
                "classes": {
                    metric: [{**asdict(c), "difference": c.difference} for c in changes]
                    for metric, changes in found.classes.items()
                },
            }
        )
        return
    app.data(f"a  {first.id}  {first.record.model}\nb  {second.id}  {second.record.model}\n")
    app.prose(found.explanation + "\n")
    if fields:
        app.table(
            ["field", "a", "b", "effect"],
            [[c.field, field_text(c.a), field_text(c.b), c.matters] for c in fields],
        )
        app.data("")
    head = ["metric", "class", "a", "b", "difference"]
    rows = [[c.name, "", number(c.a), number(c.b), number(c.difference, "+")] for c in found.summary]
    for metric, changes in found.classes.items():
        by_name = {c.name: c for c in changes}
        rows += [
            [metric, name, number(c.a), number(c.b), number(c.difference, "+")]
            for name, c in ((name, by_name[name]) for name in in_order(by_name))
        ]
    app.table(head, rows)


def _both_of_speed(results: Path | None, a: str, b: str) -> tuple[StoredSpeed, StoredSpeed] | None:
    """The two records of speed that are named so; None if one is another kind of record."""
    from bddzoo.results import default_root
    from bddzoo.results.speed import find_speed

    root = default_root(results)
    first, second = find_speed(root, a), find_speed(root, b)
    return (first, second) if first is not None and second is not None else None


def _judge_all(app: App, records: list[Record]) -> list[VerdictReport | None]:
    from bddzoo.results import judge

    models = {model.id: model for model in app.registry.models} if records else {}
    return [judge(models[record.model], record) if record.model in models else None for record in records]


def _row(item: StoredRecord, report: VerdictReport | None) -> list[str]:
    record = item.record
    shown = report.worst if report else None
    name = shown.metric if shown else next(iter(record.summary), "")
    value = shown.measured if shown else record.summary.get(name)
    return [
        item.id[:ID_DIGITS],
        record.run.started[:10],
        record.model,
        record.protocol.split,
        str(record.protocol.images),
        f"{name} {number(value)}",
        str(shown.reported) if shown else "-",
        str(report.verdict) if report else "not in the registry",
    ]


def _summary_json(item: StoredRecord, report: VerdictReport | None) -> dict[str, Any]:
    record = item.record
    return {
        "id": item.id,
        "path": str(item.path),
        **picked(record, "model zoo task"),
        "started": record.run.started,
        **picked(record.protocol, "dataset split images"),
        "summary": record.summary,
        "verdict": verdict_json(report),
    }


def _describe(record: Record) -> str:
    import msgspec

    from bddzoo.datasets.openseg import in_order

    parts = []
    metrics = list(record.per_class)
    classes = in_order(dict.fromkeys(name for row in record.per_class.values() for name in row))
    if metrics:
        rows = [[name, *(number(record.per_class[m].get(name)) for m in metrics)] for name in classes]
        parts.append(table(["class", *metrics], rows))
    parts.append(table(["metric", "all classes"], [[k, number(v)] for k, v in record.summary.items()]))
    for section in ("protocol", "weights", "environment", "run"):
        value = msgspec.to_builtins(getattr(record, section)) or {}
        known = {
            name.removesuffix("_bytes"): format_size(item) if name.endswith("_bytes") else item
            for name, item in value.items()
            if item not in (None, [], (), {})
        }
        if not known:
            continue
        size = max(map(len, known))
        lines = [
            wrapped(f"{name:{size}}  {field_text(item, 1000)}", "  ", " " * (size + 4))
            for name, item in known.items()
        ]
        parts.append("\n".join([section, *lines]))
    return "\n\n".join(["", *parts])
