"""`bddzoo selftest`: do networks compute what upstream's software computed."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bddzoo.cli import options as opt
from bddzoo.cli.app import App, Named
from bddzoo.cli.progress import Bar
from bddzoo.cli.select import Selection
from bddzoo.errors import ExitCode, MissingError, UsageError

if TYPE_CHECKING:
    from bddzoo.engines.selftest.measures import CheckResult
    from bddzoo.engines.selftest.openseg import OpensegTest
    from bddzoo.engines.selftest.run import Selftest
    from bddzoo.registry.model import Model


@opt.command(
    formats=("table", "json", "md"),
    epilog="""\b
Examples:
  bddzoo selftest
  bddzoo selftest 'upernet_swin*' --device cuda
  bddzoo selftest --all --format json
  bddzoo selftest --golden /data/golden --format md
""",
)
def command(
    app: App,
    *,
    selection: Selection = opt.SELECTION_OR_ALL,
    golden: Path | None = opt.option(
        "--golden",
        type=Named(),
        metavar="DIR",
        help="Folder of golden data in place of the one that ships with bddzoo; checks all models in it.",
    ),
    device: str = opt.DEVICE,
) -> int:
    """Check networks and operators against golden tensors; needs no weights and no data set.

    Networks are filled with deterministic weights, run on stored images, and compared with what the zoo's
    own configurations gave on the software they were written for; on a CPU also as 'eval' and 'predict'
    tune them for it. Without models, --all or --golden: the operators and one small model a task. Exits
    with 3 if anything differs, and with 6 if a model is unverified: there is no golden to compare it with.
    """
    patterns, everything = selection.patterns, selection.everything
    if patterns and everything:
        raise UsageError("name models or give --all, not both")
    if selection.filtered:
        patterns = tuple(model.id for model in selection.models(app))
    from bddzoo.engines.load import find_device
    from bddzoo.engines.selftest.folder import GoldenFolder, packaged
    from bddzoo.engines.selftest.openseg import OpensegTest, find_folder
    from bddzoo.engines.selftest.run import Selftest
    from bddzoo.evaluation.openseg_golden import check_metrics, score_map
    from bddzoo.inference.cpu import tune_for_cpu
    from bddzoo.inference.preprocess import prepare

    place = find_device(device)
    findings: list[CheckResult] = []
    with packaged() as own:
        root, settings = golden or own, (app.registry.models, place, prepare, tune_for_cpu)
        home = find_folder(root)
        zoo = OpensegTest(home, *settings, score=score_map) if home is not None else None
        rest = [p for p in patterns if zoo is None or not zoo.names([p])]
        if home == root and rest:
            raise MissingError(f"{root} has no network like {rest[0]}", hint="leave it out to check all")
        folder = None if home == root else GoldenFolder(root, may_be_empty=home is not None)
        if folder is not None and (rest or not patterns):
            test = Selftest(folder, *settings)
            models = _chosen(app, test, rest, everything, golden is not None)
            strays = golden is not None and not patterns
            findings += _run(app, test, zoo, models, operators=not patterns, strays=strays)
        if zoo is not None:
            names = zoo.names(patterns) if patterns or everything or golden is not None else zoo.smallest()
            findings += _run_openseg(app, zoo, names, operators=not patterns)
            if not patterns:
                metrics = check_metrics(zoo.root)
                for finding in metrics:
                    _warn(app, finding)
                findings += metrics
    _show(app, findings)
    from bddzoo.engines.selftest.measures import UNVERIFIED, results

    found = results(findings)
    codes = {
        "differs": ExitCode.NOT_REPRODUCED,
        "damaged": ExitCode.INTEGRITY,
        "unknown": ExitCode.MISSING,
        UNVERIFIED: ExitCode.INTEGRITY,
    }
    return int(next((code for result, code in codes.items() if result in found), ExitCode.OK))


def _chosen(
    app: App, test: Selftest, patterns: Sequence[str], everything: bool, in_folder: bool
) -> list[Model]:
    from bddzoo.engines.registry_config import is_buildable, network_of

    if patterns:
        for pattern in patterns:
            if not app.registry.select([pattern]):
                app.registry.find(pattern)  # says which ids are near
        models = app.registry.select(patterns)
        if not any(is_buildable(m) for m in models):
            network_of(models[0])
            raise UsageError(
                f"no engine builds {models[0].id}", hint="'bddzoo selftest --all' shows what can run"
            )
        return [m for m in models if is_buildable(m)]
    if everything:
        return [m for m in app.registry.models if is_buildable(m)]
    known = test.known()
    if in_folder:
        return known
    sizes = {m.id: (m.network.params or 0) if m.network else 0 for m in known}
    smallest = [
        min((m for m in known if m.task == task), key=lambda m: sizes[m.id], default=None)
        for task in dict.fromkeys(m.task for m in known)
    ]
    return [m for m in smallest if m is not None]


def _run(
    app: App,
    test: Selftest,
    zoo: OpensegTest | None,
    models: Sequence[Model],
    *,
    operators: bool,
    strays: bool,
) -> list[CheckResult]:
    findings: list[CheckResult] = []
    if operators:
        findings += test.operators()
    if strays:
        findings += test.strays()
    for finding in findings:
        _warn(app, finding)

    def check(model: Model) -> list[CheckResult]:
        return zoo.model(model) if zoo is not None and zoo.name_of(model) else test.model(model)

    return findings + _each(app, {m.id: partial(check, m) for m in models})


def _each(app: App, checks: Mapping[str, Callable[[], list[CheckResult]]]) -> list[CheckResult]:
    """Make checks one after the other, and say at once what is not as it should be."""
    findings: list[CheckResult] = []
    with Bar(app, "networks") as bar:
        for number, (name, check) in enumerate(checks.items(), start=1):
            bar.step(name)
            found = check()
            findings += found
            for finding in found:
                _warn(bar, finding)
            bar.update(number, len(checks))
    return findings


def _warn(app: App | Bar, finding: CheckResult) -> None:
    """Say at once what is not as it should be, and why."""
    if finding.status in ("differs", "damaged", "unknown"):
        app.warn(f"{finding.subject}: {finding.check}: {finding.status}: {finding.note}")


def _run_openseg(app: App, zoo: OpensegTest, names: Sequence[str], *, operators: bool) -> list[CheckResult]:
    findings = list(zoo.operators()) if operators else []
    for finding in findings:
        _warn(app, finding)
    return findings + _each(app, {f"openseg/{name}": partial(zoo.network, name) for name in names})


def _show(app: App, findings: Sequence[CheckResult]) -> None:

    from bddzoo.engines.openmmlab import DISTRIBUTIONS
    from bddzoo.engines.ops import ops_in_use
    from bddzoo.engines.selftest import measures
    from bddzoo.results.environment import installed_versions

    if app.json:
        app.data_json({"ops": ops_in_use(), "findings": [f.to_dict() for f in findings]})
        return
    if app.format == "md":
        packages = installed_versions(("torch", "torchvision", *DISTRIBUTIONS))
        app.data(measures.document(findings, {"Python": platform.python_version(), **packages}))
    else:
        rows = measures.rows(findings)
        # Values first, and last what no network has.
        least = sorted(range(3, len(measures.HEADER) - 1), key=lambda i: (any(r[i] != "-" for r in rows), -i))
        app.table(measures.HEADER, rows, optional=[measures.HEADER[i] for i in least])
    app.say(measures.summary(findings))
