"""`bddzoo list` and `info`: which models there are, and everything that is known about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from bddzoo.cli import options as opt
from bddzoo.cli.app import App
from bddzoo.cli.select import Selection
from bddzoo.errors import BddzooError, MissingError, UsageError
from bddzoo.text import number_of

if TYPE_CHECKING:
    from bddzoo.engines.openseg.training_facts import TrainingFacts
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
def list_(
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


@opt.command(
    epilog="""\b
Examples:
  bddzoo info deeplabv3+_r50-d8_512x1024_40k_sem_seg_bdd100k
  bddzoo info mask_rcnn_r50_fpn_1x_ins_seg_bdd100k --format json
  bddzoo info 'fcn*' --bibtex
"""
)
def info(
    app: App,
    *,
    selection: Selection = opt.SELECTION,
    bibtex: bool = opt.flag("--bibtex", help="Print BibTeX entries: the method's paper, and the zoo."),
) -> int:
    """Show everything that is known about models; what is unknown is said to be unknown."""
    from bddzoo.cli.output import wrapped
    from bddzoo.reports.info import as_data, as_text

    found = selection.models(app)
    if bibtex:
        if app.json:
            raise UsageError("--bibtex is a format of its own", hint="leave out --format json")
        from bddzoo.reports.info import bibliography

        app.data(bibliography(found))
        return 0
    claims = [claim_of(app, m) for m in found]
    if app.json:
        pages = [as_data(m) for m in found]
        for page, claim in zip(pages, claims, strict=True):
            page["trainer_claim"] = None if claim is None else asdict(claim)
        app.data_of_models(pages)
    else:
        texts = [
            as_text(m) + ("\n" + claim_text(claim) if claim is not None else "")
            for m, claim in zip(found, claims, strict=True)
        ]
        lines = "\n\n".join(texts).splitlines()
        # Below the value of a row, where the line is one.
        app.data("\n".join(wrapped(x, further=" " * 16 if x[16:18] == "  " else "  ") for x in lines))
    return 0


def claim_of(app: App, model: Model) -> TrainingFacts | None:
    """The claim in the model's cached weights; None where nothing is cached or nothing is claimed."""
    artifact = model.artifact("weights")
    if artifact is None or model.network is None or model.network.engine != "openseg":
        return None
    from bddzoo.engines.openseg.training_facts import read_training_facts

    cache = app.cache
    try:
        entry = cache.find(model, artifact)
    except BddzooError:
        return None
    return read_training_facts(cache.path_of(entry)) if entry is not None else None


def claim_text(claim: TrainingFacts) -> str:
    """The claim as lines for a terminal."""
    lines = ["", "the trainer's own claim (stored in the cached checkpoint; nobody measured it)"]
    if claim.best is not None:
        lines.append(
            f"  best mIoU       {100 * claim.best:.2f} percent, of the validations while it was trained"
        )
    if claim.last is not None and claim.last != claim.best:
        lines.append(f"  last mIoU       {100 * claim.last:.2f} percent")
    if claim.iters is not None:
        lines.append(f"  iterations      {claim.iters}")
    if claim.network or claim.dataset:
        lines.append(f"  configuration   {', '.join(t for t in (claim.network, claim.dataset) if t)}")
    return "\n".join(lines)
