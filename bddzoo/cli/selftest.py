"""`bddzoo selftest`: do networks compute what upstream's software computed."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bddzoo.cli import options as opt
from bddzoo.cli.app import App, Named
from bddzoo.cli.progress import Bar
from bddzoo.cli.select import Selection
from bddzoo.errors import ExitCode, MissingError, UsageError
from bddzoo.registry.tasks import TASKS

if TYPE_CHECKING:
    from bddzoo.engines.selftest.measures import CheckResult
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
    tune them for it. Without models, --all or --golden: the operators and the smallest network of each
    kind. Exits with 3 if anything differs, and with 6 if a model is unverified: there is no golden to
    compare it with.
    """
    if selection.patterns and selection.everything:
        raise UsageError("name models or give --all, not both")
    with Bar(app, "self-test") as bar:
        bar.step("loading PyTorch")
        # Threads that spin while they wait take twice the time on a machine that does something else, too.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        findings = list(_findings(app, bar, selection, golden, device))
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


def _findings(
    app: App, bar: Bar, selection: Selection, golden: Path | None, device: str
) -> Iterator[CheckResult]:
    """Make all checks that are asked for, and say at once what is not as it should be."""
    patterns, everything = selection.patterns, selection.everything
    if selection.filtered:
        patterns = tuple(model.id for model in selection.models(app))
    from bddzoo.engines.load import find_device
    from bddzoo.engines.selftest.folder import GoldenFolder, packaged
    from bddzoo.engines.selftest.openseg import OpensegTest, find_folder
    from bddzoo.engines.selftest.run import Selftest
    from bddzoo.evaluation.openseg_golden import check_metrics, score_map
    from bddzoo.inference.batches import prepare
    from bddzoo.inference.cpu import tune_for_cpu

    place = find_device(device)
    with packaged() as own:
        root, settings = golden or own, (app.registry.models, place, prepare, tune_for_cpu)
        home = find_folder(root)
        zoo = OpensegTest(home, *settings, score=score_map) if home is not None else None
        rest = [p for p in patterns if zoo is None or not zoo.names([p])]
        if home == root and rest:
            raise MissingError(f"{root} has no network like {rest[0]}", hint="leave it out to check all")
        folder = None if home == root else GoldenFolder(root, may_be_empty=home is not None)
        checks: dict[str, Callable[[], Iterable[CheckResult]]] = {}
        if folder is not None and (rest or not patterns):
            test = Selftest(folder, *settings)
            if not patterns:
                checks["operators"] = test.operators
            if golden is not None and not patterns:
                checks["goldens"] = test.strays
            for model in _chosen(app, test, rest, everything, golden is not None):
                named = zoo is not None and zoo.name_of(model)
                checks[model.id] = partial(zoo.model if zoo is not None and named else test.model, model)
        if zoo is not None:
            if not patterns:
                checks["openseg's operators"] = zoo.operators
            names = zoo.names(patterns) if patterns or everything or golden is not None else zoo.smallest()
            checks |= {f"openseg/{name}": partial(zoo.network, name) for name in names}
            if not patterns:
                checks["openseg's metrics"] = partial(check_metrics, zoo.root)
        for number, (name, check) in enumerate(checks.items(), start=1):
            bar.step(name)
            for finding in check():
                if finding.status in ("differs", "damaged", "unknown"):
                    bar.warn(f"{finding.subject}: {finding.check}: {finding.status}: {finding.note}")
                yield finding
            bar.update(number, len(checks))


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
    smallest: dict[str, Model] = {}
    for model in sorted(known, key=lambda m: (m.network and m.network.params) or 0):
        # Tasks that are scored alike have the same kind of network.
        smallest.setdefault(TASKS[model.task].metric, model)
    return list(smallest.values())


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
