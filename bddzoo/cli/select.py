"""What a command is about: models, by id, zoo, pattern and filter; their data, weights, files and records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar, get_args

import click
from click.core import ParameterSource

from bddzoo.errors import MissingError, UsageError

if TYPE_CHECKING:
    from bddzoo.artifacts.fetcher import FetchJob
    from bddzoo.cli.app import App
    from bddzoo.inference.speedups import Speedups
    from bddzoo.registry.model import ArtifactKind, Model
    from bddzoo.results import StoredRecord, WeightsUsed


T = TypeVar("T")
PLACES = 3


@dataclass(frozen=True)
class Selection:
    """What the user typed to name models.

    Attributes:
        patterns: Ids, zoos, or shell patterns of either.
        task: Only models of this task.
        zoo: Only this zoo, or a pattern.
        where: Conditions on columns, such as `mIoU > 62`.
        everything: All models.
    """

    patterns: tuple[str, ...] = ()
    task: str | None = None
    zoo: str | None = None
    where: tuple[str, ...] = ()
    everything: bool = False

    @property
    def given(self) -> bool:
        """Whether anything was typed."""
        return bool(self.patterns or self.filtered or self.everything)

    @property
    def filtered(self) -> bool:
        """Whether a filter was typed."""
        return self.task is not None or self.zoo is not None or bool(self.where)

    def models(self, app: App, *, needed: bool = True) -> list[Model]:
        """The models, each once: in the order of the patterns, and in the registry's for each.

        Args:
            app: Its registry is searched.
            needed: Something has to be named; otherwise naming nothing means all models.

        Raises:
            UsageError: Nothing was named, an unknown task, or a condition that cannot be read.
            MissingError: A name or a filter fits no model.
        """
        if needed and not self.given:
            every = any(p.name == "everything" for p in click.get_current_context().command.params)
            hint = "name a MODEL, a zoo or a pattern" + (", or give --all" if every else "")
            raise UsageError("no model given", hint=hint)
        registry = app.registry
        self._check_filters(app)
        fitting = {m.id for m in registry.select(zoo=self.zoo, task=self.task, where=self.where)}
        found: dict[str, Model] = {}
        for pattern in self.patterns:
            # An id may hold characters that mean something in a pattern, so it is tried as it is first.
            named = [registry.by_id[pattern]] if pattern in registry.by_id else registry.select((pattern,))
            if not named:
                raise MissingError(f"no model or zoo fits '{pattern}'", hint=near_models(app, pattern))
            chosen = {m.id: m for m in named if m.id in fitting}
            if not chosen:
                raise MissingError(
                    f"no model that fits '{pattern}' is {self._filters()}", hint="see 'bddzoo list'"
                )
            found |= chosen
        if not self.patterns:
            found = {m.id: m for m in registry.models if m.id in fitting}
        if not found and self.filtered:
            raise MissingError(f"no model is {self._filters()}", hint="see 'bddzoo list'")
        return list(found.values())

    def items(self, app: App, items: Iterable[T], name: Callable[[T], tuple[str, str]]) -> list[T]:
        """Those of some things that belong to a selected model, which may be gone from the registry.

        Args:
            app: Its registry knows what the filters are about.
            items: Records, or entries of the cache.
            name: Model and zoo of one.
        """
        from bddzoo.registry.query import matches

        kept = list(items)
        if self.patterns:
            kept = [i for i in kept if any(matches(p, part) for p in self.patterns for part in name(i))]
        if self.zoo is not None:
            kept = [i for i in kept if matches(self.zoo, name(i)[1])]
        if self.task is not None or self.where:
            self._check_filters(app)
            known = {m.id for m in app.registry.select(task=self.task, where=self.where)}
            kept = [i for i in kept if name(i)[0] in known]
        return kept

    def _check_filters(self, app: App) -> None:
        from bddzoo.registry.problems import did_you_mean
        from bddzoo.registry.query import matches

        if self.task is not None:
            known = sorted({m.task for m in app.registry.models})
            if self.task not in known:
                # A task of `score` that the zoo calls otherwise; its protocol is called after it.
                protocol = f"bdd100k-{self.task}"
                called = {m.task for m in app.registry.models if m.protocol and m.protocol.id == protocol}
                hint = f"the zoo calls it {called.pop()}" if called else f"known: {', '.join(known)}"
                raise UsageError(f"no models of task '{self.task}'", hint=hint)
        zoos = [z.id for z in app.registry.zoos]
        if self.zoo is not None and not any(matches(self.zoo, zoo) for zoo in zoos):
            near = did_you_mean(self.zoo, zoos)
            raise MissingError(f"there is no zoo '{self.zoo}'{near}", hint=f"known: {', '.join(zoos)}")

    def _filters(self) -> str:
        parts = [f"of task {self.task}"] if self.task else []
        parts += [f"of zoo {self.zoo}"] if self.zoo else []
        parts += [f"where {condition}" for condition in self.where]
        return " and ".join(parts)


def near_models(app: App, name: str) -> str:
    """Which ids a name may have meant, for a hint."""
    from difflib import get_close_matches

    lower = {model_id.lower(): model_id for model_id in app.registry.by_id}
    inside = [model_id for key, model_id in lower.items() if name.lower() in key]
    near = inside or [lower[key] for key in get_close_matches(name.lower(), lower, n=PLACES, cutoff=0.5)]
    if not near:
        return "see 'bddzoo list'"
    more = f", or all {len(near)} with '*{name}*'" if len(near) > PLACES else ""
    return f"did you mean {' or '.join(near[:PLACES])}{more}?"


def under_protocol(app: App, model: Model, name: str | None) -> Model:
    """A model as it is tested by another protocol, with the numbers that were published for that.

    Raises:
        UsageError: There is no such protocol, or it is of another data set.
    """
    from bddzoo.registry.problems import unknown

    if name is None or (model.protocol is not None and name == model.protocol.id):
        return model
    protocol = app.registry.protocols.get(name)
    if protocol is None:
        raise UsageError(unknown("protocol", name, app.registry.protocols))
    if model.protocol is not None and protocol.dataset != model.protocol.dataset:
        raise UsageError(
            f"protocol {name} is of {protocol.dataset}, model {model.id} of {model.protocol.dataset}",
            hint=f"'bddzoo info {model.id}' names its own",
        )
    return model.tested_by(name, protocol)


def find_data(app: App, typed: Path | None, dataset: str = "bdd100k") -> Path | None:
    """Root of a data set: `--data`, else `BDDZOO_DATA`, else the config file; None where none is named.

    What was not typed is said.

    Raises:
        UsageError: The config file is not what it should be.
    """
    from bddzoo.config import read_config

    if typed is not None:
        if click.get_current_context().get_parameter_source("data") is ParameterSource.ENVIRONMENT:
            app.say(f"data: {typed} (from BDDZOO_DATA)")
        return typed
    config = read_config()
    root = config.root_of(dataset)
    if root is not None:
        app.say(f"data: {root} (from {config.path})")
    return root


def with_runtime(app: App, speedups: Speedups, model: Model, device: str, results: Path | None) -> Speedups:
    """The speedups, `--runtime auto` being the fastest that was measured for the model on this processor."""
    if speedups.runtime != "auto":
        return speedups
    from bddzoo.engines.export import PACKAGES, need_packages
    from bddzoo.inference.load import resolve_device
    from bddzoo.inference.runtimes import EAGER, RUNTIMES
    from bddzoo.inference.speedups import Speedups
    from bddzoo.results import default_root
    from bddzoo.results.environment import cpu_model
    from bddzoo.results.speed import runtime_times, scan_speed

    eager = replace(speedups, runtime=EAGER)
    if resolve_device(device).type != "cpu" or eager != Speedups():
        return eager  # the others run on a CPU, and with no other speedup
    records = [i.record for i in scan_speed(default_root(results), app.warn_of)]
    times = runtime_times(records, model.id, cpu_model())
    usable = {}
    for name, ms in times.items():
        if name in RUNTIMES:
            try:
                if name in PACKAGES:
                    need_packages(name)
            except MissingError as error:
                app.say(f"{model.id}: {name} was measured here, but {error}")
                continue
            usable[name] = ms
    if EAGER not in usable or len(usable) < 2:
        wanted = f"bddzoo bench {model.id} --runtime {','.join(RUNTIMES)}"
        app.say(f"{model.id}: runs in PyTorch; for --runtime auto measure on this processor first: {wanted}")
        return eager
    best = min(usable, key=lambda name: usable[name])
    told = ", ".join(f"{name} {ms:.4g} ms" for name, ms in usable.items())
    app.say(f"{model.id}: runs in {best}, the fastest that was measured on this processor ({told})")
    return replace(speedups, runtime=best)


def need_data(app: App, typed: Path | None, dataset: str) -> Path:
    """As `find_data`, where a data set is needed.

    Raises:
        UsageError: None is named.
    """
    root = find_data(app, typed, dataset)
    if root is None:
        raise UsageError(
            f"no folder of {dataset} given",
            hint="give --data ROOT, set BDDZOO_DATA, or name it in the config file: bddzoo config",
        )
    return root


def find_named(app: App, results: Path | None, reference: str) -> StoredRecord:
    """The record that a user names, with a warning for each that is damaged; see `find_record`."""
    from bddzoo.results import default_root, find_record

    root, model = default_root(results), app.registry.by_id.get(reference)
    found = find_record(root, reference, app.warn_of, model)
    if model is not None:
        date = found.record.run.started[:10]
        app.say(f"{reference}: by its best record, {found.id} of {date}; 'bddzoo results ls' has all")
    return found


def parse_kinds(words: Sequence[str]) -> list[ArtifactKind]:
    """Kinds of files by name; `scores` and `all` stand for several.

    Raises:
        UsageError: An unknown word.
    """
    from bddzoo.registry.model import ArtifactKind

    kinds: tuple[ArtifactKind, ...] = get_args(ArtifactKind)
    groups: dict[str, tuple[ArtifactKind, ...]] = {"scores": ("scores-val", "scores-test"), "all": kinds}
    found: dict[ArtifactKind, None] = {}
    for word in words or ("",):
        group = groups.get(word, tuple(k for k in kinds if k == word))
        if not group:
            raise UsageError(f"--what: no kind '{word}'", hint=f"known: {', '.join([*kinds, *groups])}")
        found.update(dict.fromkeys(group))
    return list(found)


def check_prefix(verify: bool, accept_prefix: bool) -> None:
    """Refuse --accept-prefix where nothing is verified."""
    if accept_prefix and not verify:
        raise UsageError("--accept-prefix says what --verify accepts", hint="give --verify, too")


def files_of(models: Sequence[Model], kinds: Sequence[ArtifactKind]) -> list[FetchJob]:
    """Files to fetch. A kind that a model lacks is left out, unless it is all that was asked for.

    Raises:
        MissingError: None of the models has any of the kinds.
    """
    from bddzoo.artifacts.fetcher import FetchJob

    jobs = [FetchJob(m, k) for m in models for k in kinds if m.artifact(k) is not None]
    if not jobs:
        names = models[0].id if len(models) == 1 else f"these {len(models)} models"
        raise MissingError(
            f"{names}: no zoo gives {' or '.join(kinds)}", hint="see what there is with 'bddzoo info MODEL'"
        )
    return jobs


Obtain: TypeAlias = "Callable[[Model], tuple[Path, WeightsUsed]]"


def kind_of(weights: Path) -> str:
    """What `--weights random|zoo|FILE` names: `random`, `zoo` or `file`."""
    return str(weights) if str(weights) in ("random", "zoo") else "file"


def recipe_or_weights(
    app: App, weights: Path, sources: Sequence[str], *, offline: bool = False
) -> Callable[[Model], Path | None]:
    """Finds the weights that `--weights random|zoo|FILE` names; None for those by the recipe."""
    kind = kind_of(weights)
    if kind == "random":
        return lambda _: None
    obtain = weights_from(app, weights if kind == "file" else None, sources, offline=offline)
    return lambda model: obtain(model)[0]


def weights_from(
    app: App,
    weights: Path | None,
    sources: Sequence[str],
    *,
    offline: bool = False,
    accept_prefix: bool = False,
) -> Obtain:
    """Finds the path of a model's weights, and what is known of them.

    Args:
        app: Global options.
        weights: A file of the user; None to take the model's own from the cache or a source.
        sources: Folders or URLs that are asked before the registry's.
        offline: Open no connection.
        accept_prefix: The first digits of a digest are enough, where no more are known; a record keeps that.

    Returns:
        A function of the model. It raises `MissingError` where there is no such file, or no source has it,
        `IntegrityError` for a download that is not what the registry means, and `NetworkError` where no
        source could be reached.
    """

    def obtain(model: Model) -> tuple[Path, WeightsUsed]:
        from bddzoo.artifacts import Fetcher
        from bddzoo.cli.progress import make_reporter
        from bddzoo.runs.measure import fetched_weights, given_weights

        if weights is not None:
            path, used = given_weights(model, weights, app.warn)
        else:
            with make_reporter(app, 1) as reporter:
                fetcher = Fetcher(app.cache, sources, offline=offline, progress=reporter)
                path, used = fetched_weights(model, fetcher)
        return path, used.with_accepted_prefix() if accept_prefix else used

    return obtain


def digest_tensors(path: Path) -> str:
    """Digest of the weights in a file; `bddzoo.artifacts.tensors` says of what exactly.

    Raises:
        MissingError: The file cannot be read, or torch is needed and not installed.
        IntegrityError: It is not a checkpoint, or would run code.
    """
    from bddzoo.artifacts.tensors import digest_safetensors, digest_state, is_safetensors

    if is_safetensors(path):
        return digest_safetensors(path)
    try:
        from bddzoo.engines.checkpoint import read_checkpoint

        state = read_checkpoint(path)
    except (ImportError, OSError) as error:
        from bddzoo.engines.openmmlab import failed_import

        raise failed_import(error) or error from None
    return digest_state(state)
