"""Records of speed: how long a model takes on a device, with what that depends on, as JSON.

They lie in a folder `speed` next to the records of a model's numbers, one file each, named by content.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import TypeAlias

import msgspec

from bddzoo.errors import IntegrityError
from bddzoo.registry.query import matches
from bddzoo.results.environment import Environment
from bddzoo.results.record import damaged, decode_any
from bddzoo.results.store import Stored, find_file, model_folder, read_file, write_file
from bddzoo.text import number_of

SPEED_SCHEMA = 1
FOLDER = "speed"
# Draws of the bootstrap; its intervals hold 95 %.
RESAMPLES = 2000


class Device(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The device that was measured, as it was found.

    Attributes:
        name: Name of the GPU, or of the processor.
        type: `cuda` or `cpu`.
        threads: Threads that PyTorch computed with on the CPU.
        driver: Version of the GPU's driver.
        details: Clocks, temperature and limits that the driver gives, before the first run.
    """

    name: str
    type: str
    threads: int
    driver: str | None = None
    details: dict[str, str] = {}

    @property
    def label(self) -> str:
        """Name as people call it, with the number of threads on a CPU."""
        if self.type != "cpu":
            return self.name
        return f"{self.name}, {number_of(self.threads, 'thread')}"


class Timing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing that was repeated.

    Attributes:
        what: `network`: from the input in memory to class maps or instances in memory. `file to file`: the
            same with reading the JPEG and writing the PNG.
        batch_size: Images of one run.
        times_ms: Milliseconds of each run after the warm-up, in order; empty where memory did not suffice.
        warm_up_ms: Milliseconds of each run before.
        peak_device_bytes: Largest memory that tensors held on the GPU meanwhile.
        failure: Why there are no times.
    """

    what: str = "network"
    batch_size: int = 1
    times_ms: tuple[float, ...] = ()
    warm_up_ms: tuple[float, ...] = ()
    peak_device_bytes: int | None = None
    failure: str | None = None

    def percentile(self, share: float) -> float:
        """Milliseconds that so large a share of the runs stayed within (nearest rank)."""
        ordered = sorted(self.times_ms)
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)]

    @property
    def median_ms(self) -> float:
        """Median of a run, in milliseconds."""
        return median(self.times_ms)

    @property
    def interval_ms(self) -> tuple[float, float] | None:
        """95 % interval of the median, in milliseconds; see `median_interval`."""
        return median_interval(self.times_ms)

    @property
    def images_per_s(self) -> float:
        """Images per second at the median."""
        return self.batch_size * 1000 / self.median_ms


class SpeedRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How fast a model is on a device.

    Attributes:
        schema: Version of this layout.
        model: Id of the model.
        zoo: Id of its zoo.
        task: Task.
        size: Height and width of the image that was run, in pixels; the protocol's resize follows.
        precision: `fp32`, `amp-fp16` or `amp-bf16`.
        runtime: `eager`, `compile`, `onnxruntime` or `openvino`.
        weights: `random`: by a deterministic recipe; `zoo`: the zoo's file; `file`: another.
        second_stage: Proposals and detections that a detector's heads were given in each image.
        device: What ran it.
        environment: Versions and machine.
        started: UTC time, ISO 8601 with seconds and `Z`.
        command: The command line.
        load_s: Seconds to build the network and to load its weights.
        params: Parameters.
        flops: Operations of one image; see `bddzoo.engines.flops`.
        peak_memory_bytes: Largest resident memory of the process.
        timings: What was repeated.
        warnings: What may have disturbed the measurement, as found; empty for a quiet machine.
        in_turns_with: Ids of the models whose runs alternated with this one's.
    """

    schema: int = SPEED_SCHEMA
    model: str
    zoo: str
    task: str
    size: tuple[int, int]
    precision: str
    runtime: str
    weights: str
    second_stage: dict[str, int] = {}
    device: Device
    environment: Environment
    started: str
    command: tuple[str, ...] = ()
    load_s: float
    params: int
    flops: int | None = None
    peak_memory_bytes: int | None = None
    timings: tuple[Timing, ...] = ()
    warnings: tuple[str, ...] = ()
    in_turns_with: tuple[str, ...] = ()

    def timing(self, what: str = "network", batch_size: int = 1) -> Timing | None:
        """The timing of that kind that has times; None where there is none."""
        found = (t for t in self.timings if t.what == what and t.batch_size == batch_size and t.times_ms)
        return next(found, None)

    @property
    def setting_name(self) -> str:
        """Device and size of the image in words, with what is not the default."""
        height, width = self.size
        parts = [self.device.label, f"{width}x{height}"]
        parts += [self.precision] if self.precision != "fp32" else []
        parts += [self.runtime] if self.runtime != "eager" else []
        return ", ".join(parts)

    @property
    def setting(self) -> tuple[object, ...]:
        """What two records must share to be of one measurement, besides the model."""
        return (self.device.label, self.size, self.precision, self.runtime, self.weights)


StoredSpeed: TypeAlias = Stored[SpeedRecord]


def decode_speed(data: bytes, where: str) -> SpeedRecord:
    """Read a record of speed.

    Raises:
        IntegrityError: Not valid JSON, or not such a record.
    """
    record = decode_any(_DECODER, data, where, SPEED_SCHEMA, "a record of speed")
    times = [t for timing in record.timings for t in (*timing.times_ms, *timing.warm_up_ms)]
    if not all(math.isfinite(t) and t > 0 for t in times):
        raise damaged(where, "not a record of speed: a time is not positive")
    return record


_DECODER = msgspec.json.Decoder(SpeedRecord)


def write_speed(record: SpeedRecord, root: Path) -> Path:
    """Write a record to `<root>/<zoo>/<task>/<model>/speed/<first digits of its SHA-256>.json`.

    Raises:
        MissingError: The folder cannot be written to.
    """
    return write_file(record, model_folder(root, record.zoo, record.task, record.model) / FOLDER)


def scan_speed(root: Path, on_error: Callable[[IntegrityError], None]) -> Iterator[StoredSpeed]:
    """All records of speed below a results folder, in the order of their paths.

    A damaged one is reported and skipped.
    """
    for path in sorted(root.glob(f"*/*/*/{FOLDER}/*.json")):
        try:
            yield read_file(path, decode_speed)
        except IntegrityError as error:
            on_error(error)


def newest_speeds(
    records: Iterable[SpeedRecord], device: str | None = None
) -> dict[str, dict[str, SpeedRecord]]:
    """The newest record of each model that timed single images, by setting (its name) and model.

    Args:
        records: In any order.
        device: Only settings of this name, or of this device; or a pattern.
    """
    found: dict[str, dict[str, SpeedRecord]] = {}
    for record in sorted(records, key=lambda record: record.started):
        names = record.setting_name, record.device.name
        if record.timing() is not None and (device is None or any(matches(device, n) for n in names)):
            found.setdefault(record.setting_name, {})[record.model] = record
    return dict(sorted(found.items()))


def runtime_times(records: Iterable[SpeedRecord], model: str, cpu: str) -> dict[str, float]:
    """Milliseconds of one image of a model in each runtime on a processor, from measurements that compare.

    Args:
        records: In any order; the newest of each runtime counts.
        model: Id of the model.
        cpu: Name of the processor.

    Returns:
        Of one size of the image and number of threads: that of the most runtimes.
    """
    found: dict[tuple[object, ...], dict[str, float]] = {}
    for record in sorted(records, key=lambda record: record.started):
        device, timing = record.device, record.timing()
        if record.model == model and (device.type, device.name) == ("cpu", cpu) and timing is not None:
            setting = (record.size, device.threads, record.precision, record.weights)
            found.setdefault(setting, {})[record.runtime] = timing.median_ms
    return max(found.values(), key=len, default={})


def find_speed(root: Path, reference: str) -> StoredSpeed | None:
    """The record of speed that a path, an id or its first digits name; None where they name none.

    Raises:
        IntegrityError: A file was named that is no such record.
        MissingError: Several ids begin so.
    """
    path = Path(reference)
    if path.parent.name == FOLDER and path.is_file():
        return read_file(path, decode_speed)
    found = find_file(root, f"*/*/*/{FOLDER}", reference)
    return read_file(found, decode_speed) if found else None


def median_interval(times: Sequence[float]) -> tuple[float, float] | None:
    """Interval that holds the median with at least 95 %, from the order of the values alone.

    The number of values below the true median is binomial with a half, whatever their distribution
    (Conover, Practical Nonparametric Statistics, 3rd edition, section 3.2).

    Returns:
        Two of the values, or None for fewer than six, from which no such interval follows.
    """
    count = len(times)
    rank, below = 0, 0.0
    while True:  # the largest rank whose tail stays within 2.5 %
        below += math.comb(count, rank) / 2**count
        if below > 0.025:
            break
        rank += 1
    if rank == 0:
        return None
    ordered = sorted(times)
    return ordered[rank - 1], ordered[count - rank]


def median_ratio(a: Sequence[float], b: Sequence[float], *, paired: bool) -> tuple[float, float, float]:
    """Median of `b` over that of `a`, with a 95 % interval by the bootstrap.

    Args:
        a: Times.
        b: Times, in the same unit.
        paired: They were taken in turns, so that the n-th of each belong together: runs are drawn in pairs.

    Returns:
        The ratio, and the lower and upper end of its interval.
    """
    generator = random.Random(0)
    ratios = []
    both = list(zip(a, b, strict=False))
    for _ in range(RESAMPLES):
        if paired:
            drawn = generator.choices(both, k=len(both))
            ratios.append(median([y for _, y in drawn]) / median([x for x, _ in drawn]))
        else:
            ratios.append(median(generator.choices(b, k=len(b))) / median(generator.choices(a, k=len(a))))
    ratios.sort()
    return median(b) / median(a), ratios[RESAMPLES // 40], ratios[-RESAMPLES // 40 - 1]
