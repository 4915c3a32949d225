"""`bddzoo check`: test the chain of evidence behind reported numbers, link by link."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bddzoo.cli.app import App, Folder, ZooCommand, complete_models, complete_tasks
from bddzoo.cli.options import results_option
from bddzoo.errors import MissingError, UsageError

if TYPE_CHECKING:
    from bddzoo.registry.model import Model
    from bddzoo.results.links import Link, ModelCheck

LINK_NAMES = ("registry", "scores", "predictions", "weights")
_PATH = click.Path(path_type=Path)
MATRIX_LIMIT = 256


@click.command(
    cls=ZooCommand,
    formats=("table", "json", "junit", "github", "md"),
    epilog="""\b
Links, in this order; the first that breaks is named:
  registry     the number is what the zoo's own document says (--document)
  scores       the published scores file gives that number, to its printed precision
  predictions  the published predictions, scored here, give it too (--data)
  weights      inference with the verified weights gives it, within tolerance (--data)
\b
Exit status:
  0 everything that was asked for is reproduced; else by the worst: 3 not reproduced,
  4 incomparable, 5 missing, 6 unverified
\b
Examples:
  bddzoo check fpn_r50_512x1024_40k_sem_seg_bdd100k --data /data/bdd100k
  bddzoo check 'mask_rcnn*' --link scores --from /mnt/zoo-mirror
  bddzoo check bdd100k-models --link scores --link predictions --data /data/bdd100k --format junit
  bddzoo check --all --matrix
  bddzoo check --merge checks/ --format md
""",
)
@click.argument("patterns", metavar="[MODEL|PATTERN]...", nargs=-1, shell_complete=complete_models)
@click.option("--all", "everything", is_flag=True, help="All models.")
@click.option("--task", shell_complete=complete_tasks, help="Only models of this task.")
@click.option(
    "--link", "links", multiple=True, type=click.Choice(LINK_NAMES), help="Only this link; repeatable."
)
@click.option("--data", type=_PATH, metavar="ROOT", help="BDD100K folder: holds images/ and labels/.")
@click.option(
    "--document",
    "documents",
    multiple=True,
    type=_PATH,
    metavar="FILE",
    help="The zoo's Markdown document; repeatable.",
)
@click.option("--from-scores", type=_PATH, metavar="FILE", help="Scores file instead of the published one.")
@click.option("--from-preds", type=_PATH, metavar="PATH", help="Predictions instead of the published ones.")
@click.option("--from-weights", is_flag=True, help="Run the network now instead of taking a record.")
@click.option(
    "--from",
    "sources",
    multiple=True,
    metavar="SOURCE",
    help="Folder, bundle or base URL to ask first for files; repeatable.",
)
@click.option("--offline", is_flag=True, help="Open no connection.")
@click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="auto|cpu|cuda[:N]",
    help="Where --from-weights runs.",
)
@click.option(
    "--split",
    default="val",
    show_default=True,
    type=click.Choice(["train", "val"]),
    help="Split that the numbers are of.",
)
@results_option
@click.option("--matrix", is_flag=True, help="Only print the models, as a job matrix for GitHub Actions.")
@click.option(
    "--merge",
    type=Folder(),
    metavar="DIR",
    help="Put together what earlier checks printed with --format json.",
)
@click.pass_obj
def command(
    app: App,
    patterns: tuple[str, ...],
    everything: bool,
    task: str | None,
    links: tuple[Link, ...],
    data: Path | None,
    documents: tuple[Path, ...],
    from_scores: Path | None,
    from_preds: Path | None,
    from_weights: bool,
    sources: tuple[str, ...],
    offline: bool,
    device: str,
    split: str,
    results: Path | None,
    matrix: bool,
    merge: Path | None,
) -> int:
    """Test what stands behind reported numbers, and name the first link that breaks.

    All links are tested unless --link or one of the --from-... options says which. A link that cannot be
    looked at is `missing`, never a pass.
    """
    from bddzoo.cli.fetch import select_models
    from bddzoo.cli.weights import obtain_weights
    from bddzoo.reports.checks import read_checks
    from bddzoo.results.links import LINKS, ModelCheck
    from bddzoo.runs.evidence import EvidenceChecker

    if merge is not None:
        if patterns or everything or task or matrix:
            raise UsageError("--merge takes the models of its files", hint="give no models")
        return _report(app, read_checks(merge))
    models = select_models(app, patterns, task, everything)
    if matrix:
        return _print_matrix(app, models)
    if len(models) > 1 and (from_scores or from_preds):
        raise UsageError("--from-scores and --from-preds are files of one model", hint="name one model")
    given: dict[Link, object] = {
        "registry": documents,
        "scores": from_scores,
        "predictions": from_preds,
        "weights": from_weights,
    }
    asked = links or (
        tuple(n for n in LINKS if given[n]) if from_scores or from_preds or from_weights else LINKS
    )
    checker = EvidenceChecker(
        weights=lambda model: obtain_weights(app, model, None, sources),
        warn=app.warn,
        command=["bddzoo", *sys.argv[1:]],
        data=data,
        documents=documents,
        from_scores=from_scores,
        from_preds=from_preds,
        from_weights=from_weights,
        sources=sources,
        offline=offline,
        cache=app.cache_dir,
        device=device,
        split=split,
        results=results,
    )
    checks: list[ModelCheck] = []
    for model in models:
        app.detail(f"checking {model.id}")
        checks.append(
            ModelCheck(model.id, model.zoo.id, tuple(checker.check(model, n) for n in LINKS if n in asked))
        )
    return _report(app, checks)


def _print_matrix(app: App, models: Sequence[Model]) -> int:
    """One line of JSON: a job for each model that something is published of."""
    import json

    rows = [
        {"model": m.id, "zoo": m.zoo.id, "task": m.task}
        for m in models
        if any(artifact.sources for artifact in m.artifacts)
    ]
    if not rows:
        raise MissingError("nothing is published of these models that could be checked")
    if len(rows) > MATRIX_LIMIT:
        raise UsageError(
            f"{len(rows)} models, and GitHub starts at most {MATRIX_LIMIT} jobs of a matrix",
            hint="choose by pattern or --task",
        )
    app.data(json.dumps({"include": rows}, separators=(",", ":")))
    return 0


def _report(app: App, checks: Sequence[ModelCheck]) -> int:
    """Print the checks; returns the exit status of the worst."""
    from bddzoo.reports.checks import as_json, render
    from bddzoo.results.links import LINKS
    from bddzoo.results.verdict import Verdict, worst

    form = app.format or "table"
    if form == "json":
        app.data_json([as_json(check) for check in checks])
    else:
        app.data(render(checks, {"md": "broken"}.get(form, form)))
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if form == "github" and summary:
        try:
            with Path(summary).open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(render(checks, "summary") + "\n")
        except OSError as error:  # the verdict is what the job is about
            app.warn(f"cannot write the summary to {summary}: {error.strerror or error}")
    verdict = worst(check.verdict for check in checks)
    good = sum(check.verdict is Verdict.REPRODUCED for check in checks)
    seen = {link.link for check in checks for link in check.links}
    app.say(f"{good} of {len(checks)} reproduced; links: {', '.join(n for n in LINKS if n in seen)}")
    return int(verdict.exit_code)
