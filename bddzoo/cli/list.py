"""`bddzoo list`: which models there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bddzoo.cli import options as opt
from bddzoo.cli.app import App
from bddzoo.cli.select import Selection
from bddzoo.errors import MissingError
from bddzoo.text import number_of

if TYPE_CHECKING:
    from bddzoo.registry.model import Model

DEFAULT = ("model", "zoo", "task", "method", "backbone", "metric", "val", "test", "params", "not-buildable")
# A narrow terminal loses these columns first; the id is always there.
DROPPED_FIRST = ("zoo", "task", "params", "not-buildable", "backbone", "method", "metric", "test")


@opt.command(
    formats=("table", "json", "csv", "md"),
    epilog="""\b
Examples:
  bddzoo list
  bddzoo list 'deeplabv3*' --format md
  bddzoo list --where 'mIoU > 62' --where 'Iters = 80K' --sort val --reverse
  bddzoo list --where 'dataset = cityscapes' --columns id,zoo,backbone,mIoU
  bddzoo list -t ins_seg --columns 'id,Lr schd,AP,box_AP,params' --sort params
""",
)
def command(
    app: App,
    *,
    selection: Selection = opt.SELECTION,
    method: str | None = opt.METHOD,
    backbone: str | None = opt.BACKBONE,
    sort: str | None = opt.option(
        "--sort", metavar="COLUMN", help="Sort by a column; models without a value come last."
    ),
    reverse: bool = opt.flag("--reverse", help="Sort downwards."),
    columns: tuple[str, ...] = opt.option(
        "--columns", type=opt.Names(), default="", metavar="A,B", help="Columns to show, separated by commas."
    ),
) -> int:
    """List models.

    Columns are id, zoo, task, method, paper, backbone, params, entries, gflops (operations of an image),
    engine, protocol, dataset, fills (the row that its weights belong to) and not-buildable (why nobody can
    build its network); a metric and split such as mIoU-val, AP-test or box_AP-val, or a metric alone for
    val; metric, val and test for the main metric of the task; and the zoos' own columns such as Iters or
    MS-train.
    """
    from bddzoo.registry.query import check_column, matches, sort_models
    from bddzoo.reports.info import as_row

    registry = app.registry
    models = [
        m
        for m in selection.models(app, needed=False)
        if (method is None or matches(method, m.method.name))
        and (backbone is None or matches(backbone, m.backbone))
    ]
    if not models:
        raise MissingError("no model matches", hint=_why(app, method, backbone))
    if sort is not None:
        models = sort_models(models, check_column(sort, registry.models), reverse)
    elif reverse:
        models = models[::-1]
    if app.json:
        app.data_json([as_row(m) for m in models])
        return 0
    _print(app, models, [check_column(n, registry.models) for n in columns])
    if app.format in (None, "table"):
        app.say(f"{len(models)} of {number_of(len(registry.models), 'model')}")
    return 0


def _print(app: App, models: Sequence[Model], names: list[str]) -> None:
    from bddzoo.registry.query import column
    from bddzoo.text import csv_table, markdown_table

    form = app.format or "table"
    empty = "" if form == "csv" else "-"
    chosen = names or list(DEFAULT)
    rows = []
    for model in models:
        row = []
        for name in chosen:
            value = column(model, name)
            text = empty if value in (None, "") else str(value)
            row.append(text if form == "csv" or name != "params" or text == empty else f"{int(text):,}")
        rows.append(row)
    if form == "csv":
        app.data(csv_table(chosen, rows))
        return
    if form == "md":
        app.data(
            markdown_table(chosen, rows, [all(_numeric(r[i]) for r in rows) for i in range(len(chosen))])
        )
        return
    # A column that is the same all over says nothing.
    if not names and len(rows) > 1:
        same = [i for i, name in enumerate(chosen) if len({r[i] for r in rows}) == 1]
        drop = {i for i in same if chosen[i] in ("zoo", "task") or rows[0][i] == "-"}
        keep = [i for i in range(len(chosen)) if i not in drop]
        chosen, rows = [chosen[i] for i in keep], [[row[i] for i in keep] for row in rows]
    app.table(chosen, rows, optional=() if names else DROPPED_FIRST)


def _numeric(text: str) -> bool:
    return text in ("-", "") or text.replace(",", "").replace(".", "", 1).isdigit()


def _why(app: App, method: str | None, backbone: str | None) -> str:
    """Which filter lets nothing through by itself, and what it may have meant."""
    from difflib import get_close_matches

    models = app.registry.models
    known = {
        "method": (method, {m.method.name for m in models}),
        "backbone": (backbone, {m.backbone for m in models}),
    }
    for name, (wanted, names) in known.items():
        if wanted is not None and not app.registry.select(**{name: wanted}):
            lower = {n.lower(): n for n in names}
            near = get_close_matches(wanted.lower(), lower, n=2, cutoff=0.5)
            meant = f"; did you mean {' or '.join(lower[n] for n in near)}?" if near else ""
            return f"there is no {name} '{wanted}'{meant}"
    return "each filter matches something, but not all of them together"
