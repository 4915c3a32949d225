"""`bddzoo list`: which models there are."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from bddzoo.cli.app import (
    App,
    ZooCommand,
    complete_backbones,
    complete_methods,
    complete_models,
    complete_zoos,
)

if TYPE_CHECKING:
    from bddzoo.registry.model import Model

MAIN = {"sem_seg": "mIoU", "ins_seg": "AP"}
DEFAULT = ("model", "zoo", "task", "method", "backbone", "metric", "val", "test", "params", "not-buildable")
# Narrow terminals lose these columns first; the id is always whole.
DROPPED_FIRST = ("zoo", "task", "params", "backbone", "test", "method", "metric", "not-buildable")
NUMBERS = frozenset({"val", "test", "params", "entries"})


@click.command(
    cls=ZooCommand,
    formats=("table", "json", "csv", "md"),
    epilog="""\b
Examples:
  bddzoo list
  bddzoo list 'deeplabv3*' --format md
  bddzoo list --zoo bdd100k-models --where 'mIoU-val > 62' --where 'Iters = 80K' --sort mIoU-val --reverse
  bddzoo list --where 'paper = ocrnet' --where 'dataset = cityscapes' --columns id,zoo,backbone,mIoU-val
  bddzoo list --task ins_seg --columns 'id,Lr schd,AP-val,box_AP-val,params' --sort params --reverse
""",
)
@click.argument("patterns", nargs=-1, shell_complete=complete_models)
@click.option("--zoo", shell_complete=complete_zoos, help="Zoo, or a pattern.")
@click.option("--task", type=click.Choice(list(MAIN)), help="Task.")
@click.option("--method", shell_complete=complete_methods, help="Method, or a pattern; case is ignored.")
@click.option(
    "--backbone", shell_complete=complete_backbones, help="Backbone, or a pattern; case is ignored."
)
@click.option("--where", multiple=True, metavar="COND", help="Condition on a column: 'mIoU-val > 62'.")
@click.option("--sort", metavar="COLUMN", help="Sort by a column; models without a value come last.")
@click.option("--reverse", is_flag=True, help="Sort downwards.")
@click.option("--columns", metavar="A,B", help="Columns to show, separated by commas.")
@click.pass_obj
def command(
    app: App,
    patterns: tuple[str, ...],
    zoo: str | None,
    task: str | None,
    method: str | None,
    backbone: str | None,
    where: tuple[str, ...],
    sort: str | None,
    reverse: bool,
    columns: str | None,
) -> int:
    """List models; PATTERNS are shell patterns for ids or zoos.

    Columns are id, zoo, task, method, paper, backbone, params, entries, engine, protocol, dataset, fills
    (the row that its weights belong to) and not-buildable (why nobody can build its network); a metric and
    split such as mIoU-val, AP-test or box_AP-val; and the zoos' own columns such as Iters or MS-train.
    """
    from bddzoo.errors import MissingError
    from bddzoo.registry.query import check_column, sort_models

    registry = app.registry
    models = registry.select(patterns, zoo=zoo, task=task, method=method, backbone=backbone, where=where)
    if not models:
        raise MissingError("no model matches", hint=_why(app, patterns, zoo, method, backbone))
    if sort is not None:
        models = sort_models(models, check_column(sort, registry.models), reverse)
    elif reverse:
        models = models[::-1]
    if app.json:
        app.data_json([as_json(m) for m in models])
        return 0
    names = [c.strip() for c in columns.split(",") if c.strip()] if columns else []
    names = [check_column(n, registry.models) for n in names]
    _print(app, models, names)
    if app.format in (None, "table"):
        app.say(f"{len(models)} of {len(registry.models)} models")
    return 0


def _print(app: App, models: Sequence[Model], names: list[str]) -> None:
    from bddzoo.registry.query import column
    from bddzoo.reports.text import csv_table, markdown_table, plain_table

    form = app.format or "table"
    empty = "" if form == "csv" else "-"
    chosen = names or list(DEFAULT)
    rows = []
    for model in models:
        row = []
        for name in chosen:
            value = column(model, name) if names else _default(model, name)
            text = empty if value in (None, "") else str(value)
            row.append(text if form == "csv" or name != "params" or text == empty else f"{int(text):,}")
        rows.append(row)
    right = [all(_numeric(r[i]) for r in rows) for i in range(len(chosen))]
    if form == "csv":
        app.data(csv_table(chosen, rows))
    elif form == "md":
        app.data(markdown_table(chosen, rows, right))
    else:
        keep = list(range(len(chosen))) if names else _fitting(chosen, rows)
        app.data(
            plain_table(
                [chosen[i] for i in keep], [[r[i] for i in keep] for r in rows], [right[i] for i in keep]
            )
        )
        if len(keep) < len(chosen):
            app.detail("columns left out to fit the terminal; choose with --columns")


def _default(model: Model, name: str) -> object:
    from bddzoo.registry.query import column

    metric = MAIN.get(model.task, "mIoU")
    if name == "model":
        return model.id
    if name == "metric":
        return metric
    return model.reported_value(metric, name) if name in ("val", "test") else column(model, name)


def _numeric(text: str) -> bool:
    return text in ("-", "") or text.replace(",", "").replace(".", "", 1).isdigit()


def _fitting(names: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    """Indices of the columns that fit the terminal; all where there is none."""
    keep = list(range(len(names)))
    # A column that is the same all over says nothing.
    if len(rows) > 1:
        keep = [i for i in keep if names[i] not in ("zoo", "task") or len({r[i] for r in rows}) > 1]
    keep = [i for i in keep if names[i] != "not-buildable" or any(r[i] != "-" for r in rows)]
    if not sys.stdout.isatty():
        return keep
    import shutil

    from bddzoo.reports.text import width

    room = shutil.get_terminal_size().columns
    sizes = [max(width(r[i]) for r in (names, *rows)) for i in range(len(names))]
    for name in DROPPED_FIRST:
        if sum(sizes[i] for i in keep) + 2 * (len(keep) - 1) <= room:
            break
        keep = [i for i in keep if names[i] != name]
    return keep


def as_json(model: Model) -> dict[str, object]:
    """A model's row as data."""
    network, protocol = model.network, model.protocol
    reported: dict[str, dict[str, object]] = {}
    for entry in model.reported:
        reported.setdefault(entry.split, {})[entry.metric] = entry.value
    return {
        "id": model.id,
        "zoo": model.zoo.id,
        "task": model.task,
        "method": model.method.name,
        "backbone": model.backbone,
        "settings": model.settings,
        "reported": reported,
        "params": network.params if network else None,
        "engine": network.engine if network else None,
        "protocol": protocol.id if protocol else None,
        "dataset": protocol.dataset if protocol else None,
        "paper": model.paper_id,
        "fills": {"model": model.fills.model, "differs": model.fills.differs} if model.fills else None,
        "not_buildable": (
            {"reason": model.not_buildable.reason, "text": model.not_buildable.text}
            if model.not_buildable
            else None
        ),
        "synthetic": model.zoo.synthetic,
    }


def _why(app: App, patterns: Sequence[str], zoo: str | None, method: str | None, backbone: str | None) -> str:
    """Which filter lets nothing through by itself, and what it may have meant."""
    from difflib import get_close_matches

    models = app.registry.models
    known = {
        "zoo": (zoo, {z.id for z in app.registry.zoos}),
        "method": (method, {m.method.name for m in models}),
        "backbone": (backbone, {m.backbone for m in models}),
    }
    for option, (wanted, names) in known.items():
        if wanted is not None and not app.registry.select(**{option: wanted}):
            lower = {n.lower(): n for n in names}
            near = get_close_matches(wanted.lower(), lower, n=2, cutoff=0.5)
            meant = f"; did you mean {' or '.join(lower[n] for n in near)}?" if near else ""
            return f"there is no {option} '{wanted}'{meant}"
    for pattern in patterns:
        if not app.registry.select([pattern]):
            near = get_close_matches(pattern, app.registry.by_id, n=2, cutoff=0.5)
            meant = f"; did you mean {' or '.join(near)}?" if near else ""
            return f"no id or zoo matches '{pattern}'{meant}"
    return "each filter matches something, but not all of them together"
