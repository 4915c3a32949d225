"""`bddzoo sweep`: fetch, measure and judge many models."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bddzoo.cli.app import App, ZooCommand, complete_models, complete_tasks
from bddzoo.cli.results_option import results_option
from bddzoo.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from bddzoo.registry.types import Model
    from bddzoo.results.sweep import Job, Settings


@click.command(
    cls=ZooCommand,
    epilog="""\b
A sweep that was stopped, or killed, goes on where it was when it is started again with the same options;
another --name makes a new one. Each model runs in a process of its own; its output is kept in
RESULTS/.sweeps/. Two sweeps may share a results folder.
\b
Exit status: 0 all reproduced; else by the worst verdict: 3, 4, 5, 6; 1 a model's process crashed.
\b
Examples:
  bddzoo sweep --task sem_seg --data /data/bdd100k
  bddzoo sweep 'mask_rcnn*' --data /data/bdd100k --jobs 4 --time-limit 7200
  bddzoo sweep --all --data /data/bdd100k --name nightly-2026-01-31
  bddzoo sweep --task ins_seg --data /data/bdd100k --print-slurm > sweep.sh
""",
)
@click.argument("patterns", metavar="[MODEL|PATTERN]...", nargs=-1, shell_complete=complete_models)
@click.option("--all", "everything", is_flag=True, help="All models.")
@click.option("--task", shell_complete=complete_tasks, help="Only models of this task.")
@click.option(
    "--data", required=True, type=click.Path(path_type=Path), metavar="ROOT", help="BDD100K folder."
)
@click.option("--split", default="val", show_default=True, type=click.Choice(["train", "val"]))
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda")
@click.option("--batch-size", type=click.IntRange(min=1), metavar="N", help="Pictures per forward pass.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N pictures.")
@click.option(
    "--from",
    "sources",
    multiple=True,
    metavar="SOURCE",
    help="Folder, bundle or base URL to ask first for weights; repeatable.",
)
@click.option(
    "--jobs", type=click.IntRange(min=1), help="Models at the same time. [default: one per GPU, else 1]"
)
@click.option("--gpus-per-model", type=click.IntRange(min=1), default=1, show_default=True)
@click.option(
    "--time-limit", type=click.FloatRange(min=1), metavar="S", help="Seconds that a model may take."
)
@click.option(
    "--retries", type=click.IntRange(0, 10), default=1, show_default=True, help="After a crash or a hang."
)
@click.option("--name", default="", help="Makes another sweep of the same options.")
@click.option("--print-slurm", is_flag=True, help="Print a submit script for Slurm instead of running.")
@results_option
@click.pass_obj
def command(
    app: App,
    *,
    patterns: tuple[str, ...],
    everything: bool,
    task: str | None,
    data: Path,
    split: str,
    device: str,
    batch_size: int | None,
    limit: int | None,
    sources: tuple[str, ...],
    jobs: int | None,
    gpus_per_model: int,
    time_limit: float | None,
    retries: int,
    name: str,
    print_slurm: bool,
    results: Path | None,
) -> int:
    """Measure many models, one process each, and judge what they report."""
    from bddzoo.cli.fetch import select_models
    from bddzoo.datasets.layout import BddLayout
    from bddzoo.results import default_root
    from bddzoo.results.sweep import Settings, Sweep

    models = [m for m in select_models(app, patterns, task, everything) if m.network is not None]
    if not models:
        raise UsageError("none of these models has a network that could be run", hint="see 'bddzoo list'")
    options = ["--data", str(data.resolve()), "--split", split, "--device", device]
    options += ["--batch-size", str(batch_size)] if batch_size else []
    options += ["--limit", str(limit)] if limit else []
    for source in sources:
        options += ["--from", source]
    root = default_root(results).resolve()
    if print_slurm:
        app.data(slurm_script(models, options, root, name))
        return int(ExitCode.OK)
    for wanted in sorted({m.task for m in models}):
        BddLayout(data).listing(wanted, split, attributes=False)
    devices = gpu_groups(gpus_per_model) if device in ("auto", "cuda") else ()
    settings = Settings(
        arguments=tuple(options),
        results=root,
        worker=(sys.executable, "-m", "bddzoo", *_global_options(app), "eval"),
        jobs=jobs or max(1, len(devices)),
        retries=retries,
        time_limit_s=time_limit,
        devices=devices,
        name=name,
    )
    app.detail(f"sweep {settings.id} in {settings.folder}")
    from bddzoo.cli.sweep_view import SweepView

    with SweepView(app, settings.jobs) as view, _prefetching(app, models, sources):
        finished = Sweep(models, settings, view.update).run()
    return _report(app, finished, settings)


def gpu_groups(per_model: int) -> tuple[str, ...]:
    """Visible GPUs in groups, as values of CUDA_VISIBLE_DEVICES; empty without a GPU or its tools."""
    import os
    import subprocess

    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        numbers = [n.strip() for n in listed.split(",") if n.strip() and n.strip() != "-1"]
    else:
        command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        except (OSError, subprocess.SubprocessError):
            return ()
        numbers = done.stdout.split()
    groups = [numbers[i : i + per_model] for i in range(0, len(numbers), per_model)]
    return tuple(",".join(group) for group in groups if len(group) == per_model)


def slurm_script(models: Sequence[Model], options: list[str], root: Path, name: str) -> str:
    """A job array with one model per task; a task that is run again finds what is done."""
    ids = "\n".join(f"  {shlex.quote(model.id)}" for model in models)
    command = shlex.join(
        ["bddzoo", "sweep", *options, "--results", str(root), *(["--name", name] if name else [])]
    )
    return f"""\
#!/bin/bash
#SBATCH --job-name=bddzoo-sweep
#SBATCH --array=0-{len(models) - 1}
#SBATCH --gpus=1
#SBATCH --requeue
#SBATCH --output=bddzoo-sweep-%A-%a.log
set -euo pipefail
models=(
{ids}
)
exec {command} "${{models[$SLURM_ARRAY_TASK_ID]}}\""""


class _prefetching:
    """Fetches weights in the background while networks run."""

    def __init__(self, app: App, models: Sequence[Model], sources: tuple[str, ...]) -> None:
        from threading import Thread

        self._thread = Thread(target=self._work, args=(app, models, sources), daemon=True)
        self._over = False

    def _work(self, app: App, models: Sequence[Model], sources: tuple[str, ...]) -> None:
        from bddzoo.artifacts import Cache, Fetcher
        from bddzoo.results.sweep import prefetch

        fetcher = Fetcher(Cache(app.cache_dir), sources)
        for _ in prefetch(models, fetcher.fetch):
            if self._over:
                return

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over = True


def _global_options(app: App) -> list[str]:
    options: list[str] = []
    if app.registry_path is not None:
        options += ["--registry", str(app.registry_path.resolve())]
    if app.cache_dir is not None:
        options += ["--cache", str(app.cache_dir.resolve())]
    return options


def _report(app: App, jobs: Sequence[Job], settings: Settings) -> int:
    from bddzoo.cli.verdicts import number
    from bddzoo.results import Verdict, judge
    from bddzoo.results.verdict import worst

    rows, verdicts, crashed = [], [], False
    for job in sorted(jobs, key=lambda job: job.model.id):
        report = judge(job.model, job.record) if job.record is not None else None
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
        from tabulate import tabulate

        table = [
            [
                row["model"],
                row["verdict"] or row["state"],
                "-" if row["reported"] is None else str(row["reported"]),
                number(row["measured"]),  # type: ignore[arg-type]
                str(row["reason"])[:100],
            ]
            for row in rows
        ]
        app.data(
            tabulate(
                table, headers=["model", "verdict", "reported", "measured", "why"], disable_numparse=True
            )
        )
    done = sum(job.state == "done" for job in jobs)
    app.say(f"{done} of {len(jobs)} measured, {sum(v is Verdict.REPRODUCED for v in verdicts)} reproduced")
    return int(ExitCode.BUG if crashed else worst(verdicts).exit_code)
