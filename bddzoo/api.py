"""What a script needs of bddzoo; `import bddzoo` has these names, and loads them when they are used."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bddzoo.errors import BddzooError, BddzooWarning
from bddzoo.registry import load_registry

if TYPE_CHECKING:
    import torch

    from bddzoo.artifacts import Fetcher
    from bddzoo.engines.load import Runner
    from bddzoo.evaluation import Scores
    from bddzoo.inference.batches import Result
    from bddzoo.registry.model import ArtifactKind, Model
    from bddzoo.results import Record, VerdictReport, WeightsUsed
    from bddzoo.runs.measure import Measurement

__all__ = ["BddzooError", "LoadedModel", "evaluate", "fetch", "judge", "load_model", "load_registry", "score"]


def fetch(
    model: str | Model,
    kind: ArtifactKind = "weights",
    *,
    sources: Sequence[str] = (),
    verify: bool = False,
    offline: bool = False,
    cache: str | Path | None = None,
) -> Path:
    """Have a file of a model in the cache.

    Args:
        model: Id in the registry that ships with bddzoo, or a model of another one.
        kind: `weights`, `scores-val`, `scores-test`, `preds`, `masks`, `visuals` or `config`.
        sources: Folders, bundles or base URLs that are asked before the registry's.
        verify: Hash a cached file again, and accept only what a known digest proves.
        offline: Open no connection.
        cache: Cache folder; None for the default one.

    Returns:
        The file in the cache; it is not to be changed.

    Raises:
        MissingError: There is no such model or file, or no source has it.
        IntegrityError: The bytes are others than they should be; with `verify` also without a digest.
        NetworkError: No source could be reached.
    """
    return _fetcher(sources, offline, cache).fetch(_model(model), kind, verify=verify).path


@dataclass(frozen=True)
class LoadedModel:
    """A network with its weights, ready to predict.

    Attributes:
        model: What the registry knows of it.
        device: Where it runs.
    """

    model: Model
    device: torch.device
    _runner: Runner

    def predict(
        self, images: Iterable[str | Path], *, batch_size: int | None = None
    ) -> Iterator[tuple[Path, Result]]:
        """Predictions for image files of any size, in order; they are read ahead and run in batches.

        Args:
            images: Image files.
            batch_size: Images per forward pass; by default one on a CPU and some on a GPU.

        Yields:
            The file, and its class map (H, W) uint8, or `Detections` with `boxes` (N, 4) in pixels, `scores`
            (N,) and `labels` (N,) class ids from 0; of instance segmentation also `masks` (N, H, W) bool;
            `PanopticMap` of panoptic segmentation; of image tagging `Tag` with `name` and `score`.

        Raises:
            BddzooError: An image cannot be used.
        """
        from bddzoo.inference.pipeline import predict_frames

        files = [Path(image) for image in images]
        named = [(str(index), file) for index, file in enumerate(files)]
        found = predict_frames(self._runner, self.model, named, device=self.device, batch_size=batch_size)
        for name, result in found:
            yield files[int(name)], result


def load_model(
    model: str | Model,
    *,
    weights: str | Path | None = None,
    device: str = "auto",
    sources: Sequence[str] = (),
    offline: bool = False,
    cache: str | Path | None = None,
) -> LoadedModel:
    """Build a model's network and load its weights, every entry accounted for and nothing executed.

    Args:
        model: Id in the registry that ships with bddzoo, or a model of another one.
        weights: Checkpoint file; None to fetch the model's own.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        sources: See `fetch`.
        offline: See `fetch`.
        cache: See `fetch`.

    Raises:
        UsageError: The model cannot be run.
        MissingError: There is no such model, file or device.
        IntegrityError: The weights are not this model's.
    """
    from bddzoo.inference.load import load_runner
    from bddzoo.inference.pipeline import protocol_of

    found = _model(model)
    protocol_of(found)
    path, _ = _weights(found, weights, sources, offline, cache)
    runner, place = load_runner(found, path, device)
    return LoadedModel(found, place, runner)


def evaluate(
    model: str | Model,
    data: str | Path,
    *,
    split: str = "val",
    weights: str | Path | None = None,
    device: str = "auto",
    gpus: int = 1,
    batch_size: int | None = None,
    limit: int | None = None,
    out: str | Path | None = None,
    results: str | Path | None = None,
    sources: Sequence[str] = (),
    offline: bool = False,
    cache: str | Path | None = None,
) -> Measurement:
    """Run a model over a split of its data set and score it with the official metrics.

    Args:
        model: Id in the registry that ships with bddzoo, or a model of another one.
        data: Root of the data set.
        split: Split of the data set.
        weights: Checkpoint file; None to fetch the model's own.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        gpus: GPUs that share the images; with `cpu`, processes.
        batch_size: Images per forward pass; None for the default of the device.
        limit: Use only the first so many images.
        out: Folder for the predictions; None to write none.
        results: Folder of records that the record is written to; None to write none.
        sources: See `fetch`.
        offline: See `fetch`.
        cache: See `fetch`.

    Returns:
        `scores`, and the `record` that `judge` takes; without a record where `failures` names images.

    Raises:
        UsageError: The model cannot be run.
        MissingError: The data set is not as expected, or no image could be used.
        IntegrityError: The weights are not this model's.
    """
    from bddzoo.results.store import check_root, write_record
    from bddzoo.runs.loop import MeasureOptions, Watcher
    from bddzoo.runs.measure import check_data, measure

    found, root = _model(model), Path(data)
    options = MeasureOptions(
        split, device, batch_size, limit, Path(out) if out is not None else None, processes=gpus
    )
    watcher = Watcher(warn=_warn)
    check_data(found, root, options, Watcher())
    if results is not None:
        check_root(Path(results))
    path, used = _weights(found, weights, sources, offline, cache)
    outcome = measure(found, root, path, used, options, watcher, command=("bddzoo.evaluate",))
    if results is not None and outcome.record is not None:
        write_record(outcome.record, Path(results), outcome.statistics)
    return outcome


def score(
    task: str, ground_truth: str | Path, predictions: str | Path, *, score_file: str | Path | None = None
) -> Scores:
    """Score predictions on disk as the official BDD100K toolkit does, and refuse what it scores wrong.

    Args:
        task: `sem_seg`, `drivable`, `ins_seg` or `pan_seg`.
        ground_truth: Folder of PNGs, RLE JSON, or a zip of either.
        predictions: Likewise; also a folder that `bddzoo predict` wrote.
        score_file: Scores of bitmasks; found in or next to them by default.

    Returns:
        `summary`, metric to percent, and `table`, metric to class to percent; NaN where there is no value.

    Raises:
        UsageError: Unknown task.
        MissingError: Anything that cannot be scored; every bad file is named.
    """
    from bddzoo.datasets.sources import find_predictions
    from bddzoo.evaluation.disk import evaluate

    given = Path(score_file) if score_file is not None else None
    found, given = find_predictions(Path(predictions), task, given)
    result = evaluate(task, Path(ground_truth), found, score_file=given)
    for line in result.warnings:
        _warn(line)
    return result.scores


def judge(model: str | Model, record: Record) -> VerdictReport:
    """The verdict on the numbers that a model's zoo reports, from one record.

    Args:
        model: Id in the registry that ships with bddzoo, or a model of another one.
        record: Of `evaluate`.

    Returns:
        `verdict`, `reasons`, and `metrics` with `reported`, `measured` and `tolerance` of each.
    """
    from bddzoo.results.verdict import judge as judge_record

    return judge_record(_model(model), record)


def _model(model: str | Model) -> Model:
    return load_registry().find(model) if isinstance(model, str) else model


def _fetcher(sources: Sequence[str], offline: bool, cache: str | Path | None) -> Fetcher:
    from bddzoo.artifacts import Cache, Fetcher

    return Fetcher(Cache(Path(cache) if cache is not None else None), sources, offline=offline)


def _weights(
    model: Model, given: str | Path | None, sources: Sequence[str], offline: bool, cache: Any
) -> tuple[Path, WeightsUsed]:
    from bddzoo.runs.measure import fetched_weights, given_weights

    if given is not None:
        return given_weights(model, Path(given), _warn)
    return fetched_weights(model, _fetcher(sources, offline, cache))


def _warn(text: str) -> None:
    warnings.warn(text, BddzooWarning, stacklevel=3)
