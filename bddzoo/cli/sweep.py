"""`bddzoo sweep`: fetch, measure and judge many models."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bddzoo.cli import options as opt
from bddzoo.cli.app import App
from bddzoo.cli.select import Selection, need_data
from bddzoo.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

    from bddzoo.registry.model import Model
    from bddzoo.runs.plan import ExecutorFactory, JobStatus
    from bddzoo.runs.sweep import Settings


@opt.command(
    epilog="""\b
A sweep that was stopped, or killed, goes on where it was when it is started
again with the same options; another --tag makes a new one. Each model runs in
a process of its own; its output is kept in RESULTS/.sweeps/. Two sweeps may
share a results folder.
\b
With --executor ray the models run on the machines of a Ray cluster: --address
HOST:PORT, or auto for the one that this machine is of; without it, a cluster
of this machine alone. Records travel back. bddzoo, the data set and the files
named in options must be at the same paths everywhere; a common --cache saves
downloads.
\b
Exit status: 0 all reproduced; otherwise by the worst verdict: 3, 4, 5, 6;
1 a model's process crashed.
\b
Examples:
  bddzoo sweep bdd100k-models -t sem_seg --data /data/bdd100k
  bddzoo sweep 'mask_rcnn*' --jobs 4 --time-limit 7200
  bddzoo sweep bdd100k-models --tag nightly-2026-01-31
  bddzoo sweep vis4d --executor ray --address 10.0.0.1:6379 --gpus 2
  bddzoo sweep -t ins_seg --data /data/bdd100k --print-slurm > sweep.sh
"""
)
def command(
    app: App,
    *,
    selection: Selection = opt.SELECTION_OR_ALL,
    data: Path | None = opt.DATA,
    run: opt.Run = opt.RUN,
    sources: tuple[str, ...] = opt.FROM,
    executor: str = opt.option(
        "--executor",
        type=click.Choice(["local", "ray"]),
        default="local",
        help="This machine, or a Ray cluster.",
    ),
    address: str | None = opt.option(
        "--address", metavar="HOST:PORT|auto", help="The Ray cluster. [default: $RAY_ADDRESS, otherwise none]"
    ),
    jobs: int | None = opt.jobs("Models at the same time. [default: one per GPU, otherwise one per machine]"),
    cpus: int | None = opt.option(
        "--cpus",
        type=click.IntRange(min=1),
        metavar="N",
        help="CPUs of a model, with --executor ray. [default: its GPUs' share of a machine]",
    ),
    time_limit: float | None = opt.option(
        "--time-limit", type=opt.Amount(min=1), metavar="S", help="Seconds that a model may take."
    ),
    retries: int | None = opt.RETRIES,
    tag: str = opt.option(
        "--tag", default="", metavar="NAME", help="Makes another sweep of the same options."
    ),
    print_slurm: bool = opt.flag("--print-slurm", help="Print a submit script for Slurm instead of running."),
    results: Path | None = opt.RESULTS,
    accept_prefix: bool = opt.ACCEPT_PREFIX,
) -> int:
    """Measure many models, one process each, and judge what they report.

    A model whose process crashes or hangs is tried once more, or as often as --retries says.
    """
    from bddzoo.results import default_root
    from bddzoo.runs.plan import tested_on
    from bddzoo.runs.sweep import Settings, Sweep

    models = [m for m in selection.models(app) if m.runnable]
    if not models:
        raise UsageError("none of these models has a network that could be run", hint="see 'bddzoo list'")
    root = default_root(results).resolve()
    folder = need_data(app, data, models[0].dataset)
    split, device, tries = run.split or "val", run.device, 1 if retries is None else retries
    options = _eval_options(run, folder, split, sources, accept_prefix)
    if executor != "ray" and (address or cpus):
        raise UsageError("--address and --cpus are for --executor ray")
    if folder.is_dir() or not print_slurm:  # a script may be for another machine's folder
        named = bool(selection.patterns) and not selection.filtered
        fitting, others = tested_on(models, folder, split, named=named)
        if others:
            left = len(models) - len(fitting)
            app.warn(f"{left} models are left out: {folder} does not hold {', '.join(others)}")
        models = fitting
    if print_slurm:
        from bddzoo.runs.plan import slurm_script

        more = [*_global_options(app), "--results", str(root), "--retries", str(tries)]
        more += ["--time-limit", f"{time_limit:g}"] if time_limit else []
        more += ["--gpus", str(run.gpus)] if run.gpus else []
        more += ["--tag", tag] if tag else []
        app.data(slurm_script(models, [*options, *more], 0 if device == "cpu" else run.gpus or 1))
        return int(ExitCode.OK)
    program = (sys.executable, "-m", "bddzoo", *_global_options(app))
    several = ("--gpus", str(run.gpus)) if (run.gpus or 1) > 1 and device != "cpu" else ()
    settings = Settings(
        arguments=tuple(options),
        results=root,
        # One number is the same from one GPU or several: it makes no other sweep.
        worker=(*program, "eval", *several),
        retries=tries,
        time_limit_s=time_limit,
        name=tag,
    )
    gpus = 0 if device == "cpu" else run.gpus
    if executor == "ray":
        make = _ray_executor(address, gpus, cpus, jobs, program, sources, run.offline)
    else:
        make = _local_executor(app, models, run, jobs, sources)
    app.detail(f"sweep {settings.id} in {settings.folder}")
    with SweepView(app) as view:
        finished = Sweep(models, settings, make, view.update).run()
    return _report(app, finished, settings)


def _local_executor(
    app: App, models: Sequence[Model], run: opt.Run, jobs: int | None, sources: Sequence[str]
) -> ExecutorFactory:
    """Processes on this machine, and weights that are fetched while they run."""
    from bddzoo.artifacts import Fetcher
    from bddzoo.runs.local import LocalExecutor, gpu_groups

    devices = gpu_groups(run.gpus or 1) if run.device in ("auto", "cuda") else ()
    fetcher = Fetcher(app.cache, sources, offline=run.offline)
    by_id = {model.id: model for model in models}
    count = jobs or max(1, len(devices))
    return lambda: LocalExecutor(count, devices, lambda name: fetcher.fetch(by_id[name]))


def _ray_executor(
    address: str | None,
    gpus: int | None,
    cpus: int | None,
    jobs: int | None,
    program: Sequence[str],
    sources: Sequence[str],
    offline: bool,
) -> ExecutorFactory:
    """A Ray cluster.

    Raises:
        ImportError: Ray is not installed; said before anything is done.
    """
    from bddzoo.runs.ray import RayExecutor, require_ray

    require_ray()
    fetch = (*program, "fetch", *(part for source in sources for part in ("--from", source)))
    fetch += ("--offline",) if offline else ()
    return lambda: RayExecutor(address, gpus, cpus, jobs, fetch)


def _eval_options(
    run: opt.Run, folder: Path, split: str, sources: Sequence[str], accept_prefix: bool
) -> list[str]:
    """What `bddzoo eval` is told of each model, besides its name."""
    options = ["--data", str(folder.resolve()), "--split", split, "--device", run.device]
    for name, value in (("batch-size", run.batch_size), ("limit", run.limit), ("protocol", run.protocol)):
        options += [f"--{name}", str(value)] if value else []
    options += ["--offline"] if run.offline else []
    options += ["--accept-prefix"] if accept_prefix else []
    return options + [part for source in sources for part in ("--from", source)]


def _global_options(app: App) -> list[str]:
    options: list[str] = []
    if app.registry_path is not None:
        options += ["--registry", str(app.registry_path.resolve())]
    if app.cache_dir is not None:
        options += ["--cache", str(app.cache_dir.resolve())]
    return options


def _report(app: App, jobs: Sequence[JobStatus], settings: Settings) -> int:
    from bddzoo.cli.output import number
    from bddzoo.results import Verdict, judge
    from bddzoo.results.verdict import worst

    rows, verdicts, crashed = [], [], False
    for job in sorted(jobs, key=lambda job: job.model.id):
        record = job.record
        report = judge(job.model, record) if record is not None else None
        lost = Verdict.UNVERIFIED if job.exit_code == ExitCode.INTEGRITY else Verdict.MISSING
        verdicts.append(report.verdict if report else lost)
        crashed = crashed or (report is None and job.exit_code == ExitCode.BUG)
        rows.append(
            {
                "model": job.model.id,
                "state": job.state,
                "verdict": str(report.verdict) if report else None,
                "reported": report.reported if report else None,
                "measured": report.measured if report else None,
                "reason": job.reason or ("; ".join(report.reasons) if report else ""),
            }
        )
    if app.json:
        app.data_json({"sweep": settings.id, "models": rows})
    else:
        app.table(
            ("model", "verdict", "reported", "measured", "why"),
            [
                (
                    row["model"],
                    row["verdict"] or row["state"],
                    "-" if row["reported"] is None else row["reported"],
                    number(row["measured"]),
                    row["reason"],
                )
                for row in rows
            ],
        )
    done = sum(job.state == "done" for job in jobs)
    app.say(f"{done} of {len(jobs)} measured, {sum(v is Verdict.REPRODUCED for v in verdicts)} reproduced")
    return int(ExitCode.BUG if crashed else worst(verdicts).exit_code)


ROWS = 20


class SweepView:
    """Shows the jobs of a sweep on stderr; a context manager."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._seen: dict[str, str] = {}
        self._live: Live | None = None

    def __enter__(self) -> SweepView:
        if sys.stderr.isatty() and not self._app.quiet and not self._app.json:
            from rich.live import Live

            self._live = Live(console=self._app.console(), refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, jobs: Sequence[JobStatus]) -> None:
        """Show the jobs as they are now."""
        if self._live is not None:
            self._live.update(self._table(jobs))
            return
        for job in jobs:
            if self._seen.get(job.model.id, "waiting") != job.state:
                self._seen[job.model.id] = job.state
                if self._app.json:
                    self._app.event("model", model=job.model.id, state=job.state, reason=job.reason)
                    continue
                note = f" on {job.place}" if job.place and job.state == "running" else ""
                note += f": {job.reason}" if job.reason else ""
                self._app.say(f"{job.state:9} {job.model.id}{note}  ({self.counts(jobs)})")

    def counts(self, jobs: Sequence[JobStatus]) -> str:
        """`3 done, 1 running, 4 waiting, about 12 min left`."""
        from bddzoo.runs.plan import remaining_s

        count = Counter(job.state for job in jobs)
        parts = [
            f"{count[state]} {state}"
            for state in ("done", "failed", "running", "queued", "elsewhere")
            if count[state]
        ]
        parts += [f"{count['waiting']} waiting"] if count["waiting"] else []
        left = remaining_s(jobs, count["running"])
        if left:
            parts.append(f"about {left / 60:.0f} min left" if left >= 90 else f"about {left:.0f} s left")
        return ", ".join(parts)

    def _table(self, jobs: Sequence[JobStatus]) -> Table:
        from rich.table import Table

        table = Table(title=self.counts(jobs), box=None, title_justify="left")
        for heading in ("model", "state", "where", "seconds", "try", ""):
            table.add_column(heading)
        order = ("running", "queued", "failed", "elsewhere", "done", "waiting")
        shown = sorted(jobs, key=lambda job: order.index(job.state))[:ROWS]
        for job in shown:
            seconds = f"{job.seconds:.0f}" if job.seconds else ""
            tries = str(job.tries) if job.tries > 1 else ""
            table.add_row(job.model.id, job.state, job.place, seconds, tries, job.reason)
        return table
