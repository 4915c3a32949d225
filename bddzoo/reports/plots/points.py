"""Numbers of models from the registry and the records, ready to be plotted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bddzoo.datasets.classes import BDD100K
from bddzoo.errors import MissingError, UsageError
from bddzoo.registry.model import Model
from bddzoo.registry.tasks import TASKS
from bddzoo.reports.facts import dataset_name
from bddzoo.results import Record, StoredRecord, best_record
from bddzoo.results.speed import SpeedRecord, newest_speeds
from bddzoo.results.verdict import MetricVerdict, judge, measured_value

if TYPE_CHECKING:
    from bddzoo.evaluation.options import Accumulator


@dataclass(frozen=True)
class Point:
    """A model in a scatter plot.

    Attributes:
        model: Id of the model.
        group: What it is told apart by: its method, or a device.
        label: What is written next to it.
        x: Horizontal value.
        y: Vertical value.
    """

    model: str
    group: str
    label: str
    x: float
    y: float


@dataclass(frozen=True)
class ComparableModels:
    """Models that can be compared with each other.

    Attributes:
        models: The models, in published order.
        task: Their task.
        dataset: Data set that their numbers are of.
        metric: Metric that is plotted.
    """

    models: tuple[Model, ...]
    task: str
    dataset: str
    metric: str


def select(
    models: Sequence[Model], task: str | None, dataset: str | None, metric: str | None
) -> ComparableModels:
    """Models of one task and data set.

    Args:
        models: What the user asked for.
        task: Only this task; needed where there are several.
        dataset: Only this data set; where there are several, BDD100K if it is among them.
        metric: What to plot; the task's usual metric where None.

    Raises:
        MissingError: No model is left.
        UsageError: Several tasks, or data sets without BDD100K.
    """
    left = [m for m in models if task in (None, m.task)]
    tasks = list(dict.fromkeys(m.task for m in left))
    if not left:
        raise MissingError("no model to plot", hint="see 'bddzoo list'")
    if len(tasks) > 1:
        raise UsageError(f"models of several tasks: {', '.join(tasks)}", hint="choose one with --task")
    sets = list(dict.fromkeys(dataset_name(m) for m in left))
    if dataset is None:
        dataset = BDD100K if BDD100K in sets else sets[0]
        if dataset != BDD100K and len(sets) > 1:
            raise UsageError(
                f"models of several data sets: {', '.join(sets)}", hint="choose one with --dataset"
            )
    left = [m for m in left if dataset_name(m) == dataset]
    if not left:
        raise MissingError(f"no model of data set '{dataset}'", hint="there are " + ", ".join(sets))
    return ComparableModels(tuple(left), tasks[0], dataset, metric or TASKS[tasks[0]].metric)


def by_parameters(chosen: ComparableModels, split: str, records: Sequence[Record] | None) -> list[Point]:
    """Accuracy against millions of parameters.

    Args:
        chosen: The models.
        split: Split of the data set.
        records: Measured instead of reported numbers, from these.
    """
    points = []
    for model in chosen.models:
        value = _value(model, chosen.metric, split, records)
        if value is None or model.network is None or model.network.params is None:
            continue
        points.append(Point(model.id, model.method.name, _label(model), model.network.params / 1e6, value))
    return _some(points, f"no model of {chosen.dataset} with both parameters and {chosen.metric} on {split}")


def by_speed(chosen: ComparableModels, split: str, records: Sequence[Record]) -> list[Point]:
    """Measured accuracy against measured images per second; groups are the devices they were measured on."""
    points = []
    for model in chosen.models:
        devices = dict.fromkeys(device_of(r) for r in records if r.model == model.id)
        for device in devices:
            record = best_record(model, [r for r in records if device_of(r) == device], split)
            if record is None or record.run.images_per_s is None:
                continue
            value = measured_value(record, chosen.metric)
            if value is not None:
                points.append(Point(model.id, device, _label(model), record.run.images_per_s, value))
    return _some(points, f"no record of {chosen.dataset} has both a speed and {chosen.metric} on {split}")


def by_latency(
    chosen: ComparableModels,
    split: str,
    speeds: Sequence[SpeedRecord],
    records: Sequence[Record] | None,
    device: str | None = None,
) -> list[Point]:
    """Accuracy against milliseconds of one image through the network; groups are devices and settings.

    Args:
        chosen: The models.
        split: Split of the data set.
        speeds: Records of speed; the newest of a model and setting counts.
        records: Measured instead of reported numbers, from these.
        device: Only this device, or a pattern.
    """
    points = []
    settings = newest_speeds(speeds, device)
    for model in chosen.models:
        value = _value(model, chosen.metric, split, records)
        for setting, found in settings.items():
            timing = found[model.id].timing() if model.id in found else None
            if value is not None and timing is not None:
                points.append(Point(model.id, setting, _label(model), timing.median_ms, value))
    return _some(
        points,
        f"no model of {chosen.dataset} has both a measured speed and {chosen.metric} on {split}",
        "'bddzoo bench' measures; --device chooses another device",
    )


def device_of(record: Record) -> str:
    """Name of the device that a record was measured on, with its precision where that is not plain."""
    environment = record.environment
    if record.protocol.device.startswith("cuda"):
        name = environment.gpu[0] if environment.gpu else "GPU (unnamed)"
        name += f" x {record.run.processes}" if record.run.processes > 1 else ""
    else:
        name = f"{environment.cpu}, {environment.cores} cores"
    return name if record.protocol.precision == "fp32" else f"{name}, {record.protocol.precision}"


def by_split(chosen: ComparableModels, x: str, y: str) -> list[Point]:
    """Reported accuracy on one split against that on another."""
    points = []
    for model in chosen.models:
        first, second = (model.reported_value(chosen.metric, split) for split in (x, y))
        if first is not None and second is not None:
            points.append(Point(model.id, model.method.name, _label(model), float(first), float(second)))
    return _some(points, f"no model of {chosen.dataset} reports {chosen.metric} on both {x} and {y}")


def verdicts(
    models: Iterable[Model], records: Sequence[Record], split: str
) -> list[tuple[Model, MetricVerdict]]:
    """Every reported number that a record has measured, with its verdict."""
    found = []
    for model in models:
        record = best_record(model, records, split)
        if record is not None:
            rows = judge(model, record).metrics
            found += [(model, row) for row in rows if row.measured is not None and row.reported is not None]
    if not found:
        raise MissingError(
            f"no reported number on {split} has been measured",
            hint="measure with 'bddzoo eval' or 'bddzoo sweep'",
        )
    return found


def front(points: Sequence[Point], *, small_x: bool) -> list[Point]:
    """The points that no other one beats in both directions, from left to right.

    Args:
        points: Higher is better.
        small_x: Whether a smaller x is better, too (parameters), or a larger one (speed).
    """
    sign = 1 if small_x else -1
    best = float("-inf")
    kept = []
    for point in sorted(points, key=lambda p: (sign * p.x, -p.y, p.model)):
        if point.y > best:
            best = point.y
            kept.append(point)
    return kept[:: 1 if small_x else -1]


def statistics_of(stored: StoredRecord, metric: str | None) -> tuple[Accumulator, str]:
    """Statistics of a record's images that hold a metric, and the metric.

    Raises:
        MissingError: It kept none that do.
    """
    from bddzoo.evaluation import statistics
    from bddzoo.evaluation.metrics.scores import MAIN_TABLE, SUMMARY_NAMES
    from bddzoo.results.store import read_statistics

    record = stored.record
    table = MAIN_TABLE.get(record.task, "IoU")
    chosen = metric or SUMMARY_NAMES.get(table, table)
    known: list[str] = []
    for name in record.statistics:
        accumulator = statistics.load(read_statistics(stored, name))
        summary = accumulator.compute().summary
        if chosen in summary:
            return accumulator, chosen
        known += summary
    if not record.statistics:
        raise MissingError(
            f"record {stored.id} of {record.model} kept no statistics of its images", hint="measure it again"
        )
    raise MissingError(f"record {stored.id} has no metric '{chosen}'", hint="it has " + ", ".join(known))


def attributes_of(
    stored: StoredRecord, accumulator: Accumulator, data: Path | None, file: Path | None
) -> dict[str, dict[str, str]]:
    """Attributes of a record's frames, from a file of labels, otherwise from the data set.

    Raises:
        MissingError: The data set does not tell them.
    """
    from bddzoo.datasets import attributes

    if file is not None:
        return attributes.read_attribute_files(file)
    assert data is not None
    record = stored.record
    stems = [Path(name.split("\0", maxsplit=1)[0]).stem for name in accumulator.names]
    found = attributes.read_attributes(data, record.task, record.protocol.split, stems)
    if not found:
        raise MissingError(
            f"{data} does not tell the attributes of the frames of record {stored.id}",
            hint="name a label JSON with --attributes",
        )
    return found


def _value(model: Model, metric: str, split: str, records: Sequence[Record] | None) -> float | None:
    if records is None:
        reported = model.reported_value(metric, split)
        return None if reported is None else float(reported)
    record = best_record(model, records, split)
    return None if record is None else measured_value(record, metric)


def _label(model: Model) -> str:
    return f"{model.method.name}, {model.backbone}"


MEASURE = "'bddzoo eval' and 'bddzoo sweep' measure; --dataset chooses another data set"


def _some(points: list[Point], otherwise: str, hint: str = MEASURE) -> list[Point]:
    if not points:
        raise MissingError(f"nothing to plot: {otherwise}", hint=hint)
    return points
