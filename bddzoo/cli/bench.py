"""`bddzoo bench`: how fast models are on this device."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bddzoo.cli import options as opt
from bddzoo.cli.app import App
from bddzoo.cli.output import field_text, number
from bddzoo.cli.select import Selection, kind_of, recipe_or_weights
from bddzoo.errors import BddzooError, ExitCode, MissingError, UsageError
from bddzoo.files import format_size
from bddzoo.text import picked

if TYPE_CHECKING:
    from bddzoo.registry.model import Model
    from bddzoo.results.speed import SpeedRecord, StoredSpeed
    from bddzoo.runs.bench import BenchOptions, BenchTarget

LARGEST_BATCH, LARGEST_SIDE = 1024, 16384
Ratio = tuple[float, float, float]
PRECISIONS = {"fp32": "fp32", "amp": "amp-fp16", "bf16": "amp-bf16"}


class Whole(click.ParamType[Any]):
    """Whole numbers separated by commas."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        parts = [part.strip() for part in str(value).split(",")]
        if not all(part.isascii() and part.isdigit() and 1 <= int(part) <= LARGEST_BATCH for part in parts):
            self.fail(f"'{value}' is not a list of numbers from 1 to {LARGEST_BATCH}: 1,2,4", param, ctx)
        return tuple(dict.fromkeys(int(part) for part in parts))


class Size(click.ParamType[Any]):
    """Height and width of an image, as 720x1280."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        parts = str(value).lower().split("x")
        if len(parts) != 2 or not all(p.isascii() and p.isdigit() for p in parts):
            self.fail(f"'{value}' is not HEIGHTxWIDTH, such as 720x1280", param, ctx)
        height, width = map(int, parts)
        if not (1 <= height <= LARGEST_SIDE and 1 <= width <= LARGEST_SIDE):
            self.fail(f"a side of '{value}' is not between 1 and {LARGEST_SIDE}", param, ctx)
        return height, width


def _names(*names: str, default: str, metavar: str, help: str) -> Any:
    return opt.option(*names, type=opt.Names(), default=default, metavar=metavar, help=help)


@opt.command(
    epilog="""\b
A measurement that is there already, of the same model, device, versions and
settings, is not made again; --force does.
\b
Examples:
  bddzoo bench demo_semfpn_r18n_sem_seg
  bddzoo bench 'fcn_hr*' --batch-size 1,2,4 --precision fp32,amp
  bddzoo bench demo_semfpn_r18n_sem_seg demo_mask_rcnn_r18n_ins_seg --paired
  bddzoo results ls --speed
"""
)
def command(
    app: App,
    *,
    selection: Selection = opt.SELECTION,
    device: str = opt.DEVICE,
    batch_sizes: tuple[int, ...] = opt.option(
        "--batch-size",
        type=Whole(),
        default="1",
        metavar="N,N",
        help="Images per forward pass; several are measured one after the other.",
    ),
    precisions: tuple[str, ...] = _names(
        "--precision", default="fp32", metavar="NAMES", help="fp32, amp (float16, GPU only), bf16."
    ),
    runtimes: tuple[str, ...] = _names(
        "--runtime", default="eager", metavar="NAMES", help="eager, compile, onnxruntime, openvino."
    ),
    size: tuple[int, int] = opt.option(
        "--size",
        type=Size(),
        default="720x1280",
        metavar="HxW",
        help="Size of the image; the model's protocol resizes it.",
    ),
    no_io: bool = opt.flag("--no-io", help="Leave out the measurement from file to file."),
    weights: Path = opt.weights_or_recipe("random"),
    seconds: float = opt.option(
        "--seconds",
        type=opt.Amount(min=0.1, max=3600),
        default=20.0,
        metavar="S",
        help="Limit for each timing, if its median is not known within 2 % before.",
    ),
    paired: bool = opt.flag("--paired", help="Run the models in turns, and give the ratios."),
    sources: tuple[str, ...] = opt.FROM,
    offline: bool = opt.OFFLINE,
    force: bool = opt.FORCE,
    results: Path | None = opt.RESULTS,
) -> int:
    """Measure latency, throughput and memory of models on this device; needs no weights and no data set.

    Each model runs in a process of its own until the median is known within 2 % (95 % interval) or the
    time is up. Detectors' second stage gets the largest number of proposals, whatever the image shows.
    What disturbed the machine is named in the record.
    """
    from bddzoo.engines.load import check_device_name
    from bddzoo.results import check_root, default_root
    from bddzoo.runs.bench import BenchOptions, BenchTarget

    check_device_name(device)
    models = _runnable(app, selection.models(app))
    if paired and len(models) < 2:
        raise UsageError("--paired compares models", hint="name two")
    root = default_root(results)
    check_root(root)
    planned = [
        BenchOptions(device, batch_sizes, precision, runtime, size, not no_io, seconds)
        for precision, runtime in _settings(precisions, runtimes)
    ]

    kind = kind_of(weights)
    if kind == "file" and len(models) > 1:
        raise UsageError("--weights FILE is of one model", hint="name one model")

    obtain = recipe_or_weights(app, weights, sources, offline=offline)

    groups = [models] if paired else [[model] for model in models]
    records: list[SpeedRecord] = []
    failed: list[BddzooError] = []
    try:
        for group in groups:
            for options in planned:
                again = force or paired or kind == "file"
                known = [] if again else _known(app, root, group[0], options, kind)
                if known:
                    app.say(f"{group[0].id}: measured before: {known[-1].path}")
                    records.append(known[-1].record)
                    continue
                try:
                    subjects = [BenchTarget(model, obtain(model), kind) for model in group]
                    records += _measure(app, root, subjects, options)
                except BddzooError as error:
                    if len(groups) * len(planned) == 1:
                        raise
                    failed.append(error)
                    app.error(f"{', '.join(m.id for m in group)}: {error.message}", hint=error.hint)
    finally:  # after Ctrl-C, too
        _show(app, records, paired=paired)
    return int(failed[0].exit_code if failed else ExitCode.OK)


def _runnable(app: App, chosen: Sequence[Model]) -> list[Model]:
    """The models that can be run; says how many cannot.

    Raises:
        BddzooError: None can; it says why.
    """
    from bddzoo.engines.registry_config import is_buildable, network_of

    models = [model for model in chosen if is_buildable(model) and model.protocol is not None]
    if not models:
        network_of(chosen[0])
        raise UsageError("none of these models can be run", hint="'bddzoo info MODEL' says why")
    if len(models) < len(chosen):
        app.warn(f"{len(chosen) - len(models)} models cannot be run and are left out")
    return models


def _settings(precisions: Sequence[str], runtimes: Sequence[str]) -> list[tuple[str, str]]:
    """Every precision with every runtime, each once.

    Raises:
        UsageError: A word that is neither.
    """
    from bddzoo.inference.runtimes import RUNTIMES

    given = (("--precision", precisions, tuple(PRECISIONS)), ("--runtime", runtimes, (*RUNTIMES, "compile")))
    for option, words, known in given:
        for word in words or ("",):
            if word not in known:
                raise UsageError(f"{option}: no '{word}'", hint=f"known: {', '.join(known)}")
    return list(dict.fromkeys((PRECISIONS[p], runtime) for p in precisions for runtime in runtimes))


def _measure(app: App, root: Path, subjects: list[BenchTarget], options: BenchOptions) -> list[SpeedRecord]:
    from bddzoo.cli.progress import Bar
    from bddzoo.results.speed import write_speed
    from bddzoo.runs.bench import INTERRUPTED, bench

    label = " and ".join(subject.model.id for subject in subjects)
    with Bar(app, label) as bar:
        found = bench(
            subjects,
            options,
            command=["bddzoo", *sys.argv[1:]],
            step=lambda text: bar.step(f"{label}: {text}"),
            warn=bar.warn,
        )
    for record in found:
        if not any(timing.times_ms for timing in record.timings):
            reason = next((t.failure for t in record.timings if t.failure), "nothing could be measured")
            raise MissingError(f"{record.model}: {reason}", hint="use a smaller --size or --batch-size")
        app.say(f"record: {write_speed(record, root)}")
    if any(INTERRUPTED in record.warnings for record in found):
        raise KeyboardInterrupt
    return found


def _known(app: App, root: Path, model: Model, options: BenchOptions, weights: str) -> list[StoredSpeed]:
    """Records of the same measurement: model, settings, device and versions."""
    from bddzoo.results.speed import scan_speed

    wanted = {("network", size) for size in options.batch_sizes}
    wanted |= {("file to file", 1)} if options.with_io else set()
    setting = (options.size, options.precision, options.runtime, weights)
    found = [
        item
        for item in scan_speed(root, app.warn_of)
        if item.record.model == model.id
        and item.record.setting[1:] == setting
        and wanted <= {(t.what, t.batch_size) for t in item.record.timings}
    ]
    if not found:  # torch is imported by the process that measures; here only where it must be
        return []
    import torch

    from bddzoo.engines.load import find_device
    from bddzoo.results.environment import collect_environment
    from bddzoo.runs.machine import describe_device

    device = describe_device(find_device(options.device), torch.get_num_threads())
    packages = collect_environment().packages
    return [
        item
        for item in found
        if item.record.setting[0] == device.label and item.record.environment.packages == packages
    ]


def _show(app: App, records: list[SpeedRecord], *, paired: bool) -> None:
    if app.json:
        app.data_json([brief(record) for record in records])
        return
    rows = [row for record in records for row in speed_rows(record)]
    same = _alike(SPEED_HEADER, rows, ("runtime", "precision", "batch", "what"))
    app.table(SPEED_HEADER, rows, optional=("p99", "p90", "memory", *same, "images/s"))
    if paired and len(records) > 1:
        app.data("")
        ratios(app, records[0], records[1:], paired=True)


def _alike(head: Sequence[str], rows: Sequence[Sequence[object]], names: Sequence[str]) -> list[str]:
    """Those columns that say the same in every row: what tells rows apart stays on a narrow terminal."""
    return [name for name in names if len({str(row[head.index(name)]) for row in rows}) == 1]


SPEED_HEADER = (
    *("model", "precision", "runtime", "what", "batch"),
    *("median ms", "95 % interval", "p90", "p99", "images/s", "memory"),
)


def speed_rows(record: SpeedRecord) -> list[list[object]]:
    """A row of `SPEED_HEADER` for each timing of a record."""
    rows: list[list[object]] = []
    for timing in record.timings:
        row: list[object] = [record.model, record.precision, record.runtime, timing.what, timing.batch_size]
        if not timing.times_ms:
            rows.append([*row, "-", timing.failure or "-", "-", "-", "-", "-"])
            continue
        interval = timing.interval_ms
        peak = timing.peak_device_bytes or record.peak_memory_bytes
        rows.append(
            [
                *row,
                f"{timing.median_ms:.1f}",
                f"[{interval[0]:.1f}, {interval[1]:.1f}]" if interval else "too few runs",
                f"{timing.percentile(0.9):.1f}",
                f"{timing.percentile(0.99):.1f}",
                number(timing.images_per_s),
                format_size(peak) if peak else "-",
            ]
        )
    return rows


def brief(record: SpeedRecord) -> dict[str, Any]:
    """What was measured, without the single times and the environment, for JSON."""
    return {
        "model": record.model,
        "device": record.device.label,
        **picked(record, "size precision runtime weights load_s params flops peak_memory_bytes"),
        "summary": summary(record),
        "warnings": record.warnings,
    }


def summary(record: SpeedRecord) -> list[dict[str, Any]]:
    """What the times of a record come to, for JSON."""
    return [
        {
            "what": t.what,
            "batch_size": t.batch_size,
            "runs": len(t.times_ms),
            "median_ms": t.median_ms,
            "interval_ms": t.interval_ms,
            "p90_ms": t.percentile(0.9),
            "p99_ms": t.percentile(0.99),
            "images_per_s": t.images_per_s,
        }
        for t in record.timings
        if t.times_ms
    ]


def ratios(app: App, first: SpeedRecord, others: list[SpeedRecord], *, paired: bool) -> None:
    """Print how much longer other models take than the first, with intervals."""
    rows = [
        [other.model, what, batch, f"{ratio:.3f}", f"[{low:.3f}, {high:.3f}]"]
        for other in others
        for what, batch, (ratio, low, high) in _ratios(first, other, paired)
    ]
    app.table((f"time, {first.model} = 1", "what", "batch", "ratio", "95 % interval"), rows)


def _ratios(a: SpeedRecord, b: SpeedRecord, paired: bool) -> Iterator[tuple[str, int, Ratio]]:
    """What was timed of both: time of `b` over that of `a`, with its interval."""
    from bddzoo.results.speed import median_ratio

    for timing in a.timings:
        same = b.timing(timing.what, timing.batch_size)
        if same is not None and timing.times_ms:
            ratio = median_ratio(timing.times_ms, same.times_ms, paired=paired)
            yield timing.what, timing.batch_size, ratio


def list_speed(app: App, root: Path, selection: Selection, *, latest: bool) -> None:
    """`results ls --speed`: a row for each record, of one image through the network."""
    from bddzoo.results.speed import scan_speed

    known = scan_speed(root, app.warn_of)
    stored = selection.items(app, known, lambda item: (item.record.model, item.record.zoo))
    stored.sort(key=lambda item: (item.record.model, item.record.started))
    if latest:
        stored = list({(item.record.model, *item.record.setting): item for item in stored}.values())
    if app.json:
        app.data_json([{"id": i.id, "path": str(i.path), **brief(i.record)} for i in stored])
        return
    if not stored:
        app.say(f"no records of speed in {root}")
        return
    rows = []
    for item in stored:
        record, one = item.record, item.record.timing()
        shown = [f"{one.median_ms:.1f}", number(one.images_per_s)] if one else ["-", "-"]
        disturbed = "yes" if record.warnings else ""
        rows.append(
            [
                *(item.id[:8], record.started[:10], record.model, record.device.label),
                *(record.precision, record.runtime, *shown, disturbed),
            ]
        )
    head = ["record", "date", "model", "device", "precision", "runtime", "ms", "images/s", "disturbed"]
    app.table(head, rows, optional=("disturbed", "date", *_alike(head, rows, ("runtime", "precision"))))


def show_speed(app: App, stored: StoredSpeed) -> None:
    """`results show` of a record of speed."""
    import msgspec

    record = stored.record
    if app.json:
        whole = msgspec.to_builtins(record)
        app.data_json({"id": stored.id, "path": str(stored.path), **whole, "summary": summary(record)})
        return
    height, width = record.size
    app.data(f"{record.model}  record {stored.id}\n{stored.path}\n")
    facts = {
        "device": record.device.label,
        "image": f"{width}x{height}",
        "weights": record.weights,
        "begun": record.started,
        "loading": f"{record.load_s:.1f} s",
        "parameters": f"{record.params:,}",
        "operations": f"{record.flops / 1e9:.1f} GFLOP, an image" if record.flops else "-",
        **{f"{name} of an image": str(count) for name, count in record.second_stage.items()},
    }
    app.table(("", "value"), list(facts.items()))
    app.data("")
    app.table(SPEED_HEADER[3:], [row[3:] for row in speed_rows(record)])
    for text in record.warnings:
        app.prose(f"disturbed: {text}")


def compare_speed(app: App, first: StoredSpeed, second: StoredSpeed) -> None:
    """`results compare` of two records of speed.

    Raises:
        UsageError: They are of different devices, so that a ratio says nothing about the models.
    """
    a, b = first.record, second.record
    if a.device.label != b.device.label:
        raise UsageError(f"measured on {a.device.label} and on {b.device.label}", hint="compare one device")
    paired = b.model in a.in_turns_with and a.started == b.started
    if app.json:
        found = [
            {"what": what, "batch_size": batch, **dict(zip(("ratio", "low", "high"), ratio, strict=True))}
            for what, batch, ratio in _ratios(a, b, paired)
        ]
        app.data_json({"a": first.id, "b": second.id, "in_turns": paired, "ratios": found})
        return
    ratios(app, a, [b], paired=paired)
    if not paired:
        app.say("measured one after the other: 'bddzoo bench A B --paired' runs them in turns")


def diff_speed(app: App, first: StoredSpeed, second: StoredSpeed, *, everything: bool) -> None:
    """`results diff` of two records of speed: fields that differ, and the medians.

    Args:
        app: Where it is printed.
        first: A record.
        second: Another.
        everything: Also when and by what command they were made.
    """
    from bddzoo.results.compare import field_changes

    a, b = first.record, second.record
    left_out = {"schema", "timings"} | (set() if everything else {"started", "command", "in_turns_with"})
    changes = field_changes(a, b, left_out)
    medians = [
        {"what": t.what, "batch_size": t.batch_size, "a_ms": t.median_ms, "b_ms": other.median_ms}
        for t in a.timings
        if t.times_ms and (other := b.timing(t.what, t.batch_size)) is not None
    ]
    if app.json:
        fields = [{"field": name, "a": x, "b": y} for name, (x, y) in changes.items()]
        app.data_json({"a": first.id, "b": second.id, "fields": fields, "medians": medians})
        return
    app.data(f"a  {first.id}  {a.model}\nb  {second.id}  {b.model}\n")
    app.table(("field", "a", "b"), [[n, field_text(x), field_text(y)] for n, (x, y) in changes.items()])
    app.data("")
    rows = [[m["what"], m["batch_size"], f"{m['a_ms']:.1f}", f"{m['b_ms']:.1f}"] for m in medians]
    app.table(("what", "batch", "a, median ms", "b, median ms"), rows)
