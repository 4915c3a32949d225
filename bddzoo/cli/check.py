"""`bddzoo check`: test the chain of evidence behind reported numbers, link by link."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bddzoo.cli import options as opt
from bddzoo.cli.app import App, Folder, Named
from bddzoo.cli.progress import Bar
from bddzoo.cli.select import Selection, find_data, under_protocol, weights_from
from bddzoo.errors import MissingError, UsageError

if TYPE_CHECKING:
    from bddzoo.registry.model import Model
    from bddzoo.results.links import Link, ModelCheck
    from bddzoo.runs.evidence import EvidenceChecker

LINK_NAMES = ("registry", "scores", "predictions", "weights")
MATRIX_LIMIT = 256


@opt.command(
    formats=("table", "json", "junit", "github", "md"),
    epilog="""\b
Links, in this order; the first that breaks is named:
  registry     the number is what the zoo's own document says
  scores       the published scores file gives that number
  predictions  the published predictions, scored here, give it too (--data)
  weights      inference with the verified weights gives it (--data)
\b
Exit status:
  0 everything that was asked for is reproduced; otherwise by the worst:
  3 not reproduced, 4 incomparable, 5 missing, 6 unverified
\b
Examples:
  bddzoo check fpn_r50_512x1024_40k_sem_seg_bdd100k --data /data/bdd100k
  bddzoo check 'mask_rcnn*' --link scores --from /mnt/zoo-mirror
  bddzoo check bdd100k-models --link predictions --data /data/bdd100k
  bddzoo check --all --matrix
  bddzoo check --merge checks/ --format md
""",
)
def command(
    app: App,
    *,
    selection: Selection = opt.SELECTION_OR_ALL,
    links: tuple[Link, ...] = opt.option(
        "--link", multiple=True, type=click.Choice(LINK_NAMES), help="Only this link; repeatable."
    ),
    data: Path | None = opt.DATA,
    documents: tuple[Path, ...] = opt.option(
        "--document",
        multiple=True,
        type=Named(),
        metavar="FILE",
        help="The zoo's Markdown document instead of the registry's; repeatable.",
    ),
    from_scores: Path | None = opt.option(
        "--from-scores", type=Named(), metavar="FILE", help="Scores file instead of the published one."
    ),
    predictions: Path | None = opt.PREDICTIONS_OF_CHECK,
    run_now: bool = opt.flag("--run", help="Run the network now instead of taking a record."),
    sources: tuple[str, ...] = opt.FROM,
    run: opt.Run = opt.RUN,
    results: Path | None = opt.RESULTS,
    accept_prefix: bool = opt.ACCEPT_PREFIX,
    matrix: bool = opt.flag("--matrix", help="Only print the models, as a job matrix for GitHub Actions."),
    merge: Path | None = opt.option(
        "--merge",
        type=Folder(),
        metavar="DIR",
        help="Put together what earlier checks printed with --format json.",
    ),
) -> int:
    """Test what stands behind reported numbers, and name the first link that breaks.

    All links that the zoo has published something for are tested, unless --link or one of the options that
    name what to look at says which. One that cannot be looked at is `missing`, never a pass.
    """
    from bddzoo.engines.ops import warn_of_mmcv
    from bddzoo.reports.checks import read_checks
    from bddzoo.runs.evidence import EvidenceChecker

    if merge is not None:
        if selection.given or matrix:
            raise UsageError("--merge takes the models of its files", hint="give no models")
        return _report(app, read_checks(merge))
    models = selection.models(app)
    if matrix:
        return _print_matrix(app, models)
    if len(models) > 1 and (from_scores or predictions):
        raise UsageError("--from-scores and --predictions are files of one model", hint="name one model")
    if run_now:
        warn_of_mmcv()
    with Bar(app, "checking") as bar:
        checker = EvidenceChecker(
            weights=weights_from(app, None, sources, offline=run.offline, accept_prefix=accept_prefix),
            warn=bar.warn,
            command=["bddzoo", *sys.argv[1:]],
            documents=documents,
            from_scores=from_scores,
            from_preds=predictions,
            from_weights=run_now,
            sources=sources,
            offline=run.offline,
            cache=app.cache_dir,
            options=run.options(),
            results=results,
            accept_prefix=accept_prefix,
        )
        checks = list(_check_all(app, bar, models, checker, links, data, run.protocol))
    return _report(app, checks)


def _check_all(
    app: App,
    bar: Bar,
    models: Sequence[Model],
    checker: EvidenceChecker,
    links: tuple[Link, ...],
    data: Path | None,
    protocol: str | None,
) -> Iterator[ModelCheck]:
    """Check the models, each on its own data set."""
    from bddzoo.results.links import LINKS, ModelCheck

    given: dict[Link, object] = {
        "registry": checker.documents,
        "scores": checker.from_scores,
        "predictions": checker.from_preds,
        "weights": checker.from_weights,
    }
    one_named = checker.from_scores or checker.from_preds or checker.from_weights
    asked = links or (tuple(n for n in LINKS if given[n]) if one_named else LINKS)
    roots: dict[str, Path | None] = {}
    for number, model in enumerate(models, start=1):
        dataset = model.dataset
        if dataset not in roots:
            roots[dataset] = find_data(app, data, dataset)
        bar.step(f"checking {model.id}")
        tested = under_protocol(app, model, protocol)
        own = replace(checker, data=roots[dataset])
        found = tuple(own.check(tested, n) for n in LINKS if n in asked)
        if not links:  # nobody asked for a link that the zoo gives nothing for
            found = tuple(link for link in found if link.published) or found
        yield ModelCheck(model.id, model.zoo.id, found)
        bar.update(number, len(models))


def _print_matrix(app: App, models: Sequence[Model]) -> int:
    """One line of JSON: a job for each model that something is published of."""
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
    from bddzoo.reports.checks import as_json, broken, github, junit, summary
    from bddzoo.results.links import LINKS
    from bddzoo.results.verdict import Verdict, worst

    form = app.format or "table"
    if form == "json":
        app.data_json([as_json(check) for check in checks])
    elif form == "table":
        _show(app, checks)
    else:
        render = {"junit": junit, "github": github, "md": broken}[form]
        # An annotation is meant to be obeyed; what it says is escaped.
        app.data(render(checks), safe=form == "github")
    target = os.environ.get("GITHUB_STEP_SUMMARY")
    if form == "github" and target:
        try:
            with Path(target).open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(summary(checks) + "\n")
        except OSError as error:  # the verdict is what the job is about
            app.warn(f"cannot write the summary to {target}: {error.strerror or error}")
    verdict = worst(check.verdict for check in checks)
    good = sum(check.verdict is Verdict.REPRODUCED for check in checks)
    seen = {link.link for check in checks for link in check.links}
    app.say(f"{good} of {len(checks)} reproduced; links: {', '.join(n for n in LINKS if n in seen)}")
    return int(verdict.exit_code)


def _show(app: App, checks: Sequence[ModelCheck]) -> None:
    from bddzoo.reports.checks import link_rows, sentences

    app.table(("model", "link", "verdict", "reported / found", "why"), link_rows(checks))
    app.data("")
    for check in checks:
        app.prose("\n".join(sentences(check)))
