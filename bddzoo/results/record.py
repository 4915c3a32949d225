"""One measured result with its provenance, and its JSON form."""

from __future__ import annotations

import contextlib
import hashlib
import math
import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, Literal, TypeVar

import msgspec

from bddzoo.errors import IntegrityError
from bddzoo.reading import json_errors
from bddzoo.registry.model import DigestState, Model
from bddzoo.results.environment import Environment, collect_environment
from bddzoo.text import as_text

SCHEMA = 1
TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"

# Fields of the inference itself; they say nothing about predictions that were made elsewhere.
INFERENCE_FIELDS = (
    *("scale", "resize", "interpolation", "float_resize", "channel_order", "div_value", "mean", "std"),
    *("center_crop", "pad_divisor", "mode", "crop", "stride", "flip", "flip_swap", "scales", "logits_resize"),
)


class Fingerprint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every field that changes a number, besides the weights.

    Attributes:
        dataset: What the data set is: `bdd100k`, `bddzoo-mini` ...
        split: `train`, `val` or `test`.
        images: Number of images that were scored.
        split_images: Number of images that the split has on disk; None when not counted.
        limit: Value of `--limit`, or None for all images.
        partial: Whether fewer images were scored than the split has.
        skipped: Names of images that could not be used.
        image_list: Digest of the list of scored images, see `digest_names`.
        ground_truth: Digest of their label files, see `digest_files`.
        labels: Digest of the labels' pixels, see `digest_labels`; unset in records of earlier versions.
        id: Id of the registry's protocol that the run followed; unset in records of earlier versions.
        scale: Size `(width, height)` that images were resized into, as `resize` says.
        resize: Kind of resize: `fit`, `short-side`, `short-side-floor` or `exact`.
        interpolation: Of the image: `linear` or `cubic`.
        float_resize: Whether the resize worked on float32.
        channel_order: Order of the channels of the network's input, `mean` and `std`.
        div_value: What grey levels were divided by first.
        mean: Per-channel mean that was subtracted, of grey levels over `div_value`.
        std: Per-channel divisor, same units.
        center_crop: `(height, width)` that was cut out of the middle; unset for the whole image.
        pad_divisor: Multiple that the padded size is of.
        mode: `whole` image or `slide`-ing windows.
        crop: Window `(height, width)` of `slide`.
        stride: Step `(height, width)` of `slide`.
        flip: Whether the mirrored image was averaged in.
        flip_swap: Pairs of classes that change places in the mirrored image.
        scales: Factors of the input whose logits were summed.
        logits_resize: How logits came back to the image's size.
        device: `cpu`, or `cuda` (its name is in the environment).
        precision: `fp32`, `amp-fp16`, `amp-bf16`, `tf32` ...
        batch_size: Images per forward pass.
        evaluator: Definition of the metrics.
        source: What was scored: our own `inference`, or published `predictions` / `scores`.
        options: Anything else that changes a number.
    """

    dataset: str
    split: str
    images: int
    split_images: int | None = None
    limit: int | None = None
    partial: bool = False
    skipped: tuple[str, ...] = ()
    image_list: str | None = None
    ground_truth: str | None = None
    scale: tuple[int, int] | None = None
    resize: str = "fit"
    interpolation: str = "linear"
    float_resize: bool | None = None
    channel_order: str = "RGB"
    div_value: float = 1.0
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    pad_divisor: int | None = None
    mode: str | None = None
    crop: tuple[int, int] | None = None
    stride: tuple[int, int] | None = None
    flip: bool | None = None
    flip_swap: tuple[tuple[int, int], ...] = ()
    scales: tuple[float, ...] = ()
    logits_resize: str = "bilinear"
    device: str = "cpu"
    precision: str = "fp32"
    batch_size: int = 1
    evaluator: str = "bdd100k"
    source: Literal["inference", "predictions", "scores"] = "inference"
    options: dict[str, str] = {}
    # Unset fields are not written, so a record of an earlier version stays the same file.
    labels: str | msgspec.UnsetType = msgspec.UNSET
    id: str | msgspec.UnsetType = msgspec.UNSET
    center_crop: tuple[int, int] | msgspec.UnsetType = msgspec.UNSET

    @classmethod
    def of(cls, model: Model, **fields: Any) -> Fingerprint:
        """Fingerprint of a run that followed the model's registered protocol.

        Args:
            model: Where the protocol's fields are taken from, if it has one.
            fields: Fields of the run: `dataset`, `split`, `images` and whatever differs from the protocol.
        """
        values: dict[str, Any] = {}
        if model.protocol is not None:
            values = {name: getattr(model.protocol, name) for name in (*INFERENCE_FIELDS, "evaluator", "id")}
            if values["center_crop"] is None:
                del values["center_crop"]
        return cls(**{**values, **fields})


class WeightsUsed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The weights file of a measurement.

    Attributes:
        name: File name.
        size_bytes: Size.
        md5: 32 hexadecimal digits.
        sha256: 64 hexadecimal digits.
        state: `verified` against a digest of the registry, `prefix` against its first digits, `observed`
            only, or `unknown`.
        source: Where the file came from: a URL, or None for a local file.
        accepted: Whether the user took the first digits of a digest for enough; unset where nobody was asked.
    """

    name: str
    size_bytes: int | None = None
    md5: str | None = None
    sha256: str | None = None
    state: DigestState = "unknown"
    source: str | None = None
    # Unset fields are not written, so a record of an earlier version stays the same file.
    accepted: bool | msgspec.UnsetType = msgspec.UNSET

    @property
    def proved(self) -> bool:
        """Whether a whole digest agrees, or as much of it as the user finds enough."""
        return self.state == "verified" or (self.state == "prefix" and self.accepted is True)

    def with_accepted_prefix(self) -> WeightsUsed:
        """The same, where the first digits of a digest are enough."""
        return msgspec.structs.replace(self, accepted=True) if self.state == "prefix" else self


class RunInfo(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Circumstances that do not change the number.

    Attributes:
        started: UTC time of the start, ISO 8601 with seconds and `Z`.
        duration_s: Seconds from start to scores, by a clock that does not jump.
        command: The command line.
        seed: Seed of the run, or None where nothing was random.
        images_per_s: Images per second, reading to scoring.
        peak_memory_bytes: Largest resident memory of the process.
        peak_device_memory_bytes: Largest memory held on the GPU; None on CPU.
        sweep: Id of the sweep that it is of, or None.
        processes: Processes that shared the images.
    """

    started: str
    duration_s: float
    command: tuple[str, ...] = ()
    seed: int | None = None
    images_per_s: float | None = None
    peak_memory_bytes: int | None = None
    peak_device_memory_bytes: int | None = None
    sweep: str | None = None
    processes: int = 1


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One measured result with its provenance.

    Attributes:
        schema: Version of this layout.
        model: Id of the model.
        zoo: Id of its zoo.
        task: Task.
        summary: Metric to its value over all classes, in percent; None for a value that is not a number.
        per_class: Metric to class to value, in percent; None where the class has no value.
        absent_classes: Classes that do not occur in the ground truth.
        protocol: Every field that changes the numbers.
        weights: The weights file; None where predictions or scores were taken from elsewhere.
        environment: Versions and machine.
        run: Circumstances.
        statistics: What was counted on each image, for intervals and paired comparison: name to the SHA-256
            of a file next to the record (see `bddzoo.evaluation.statistics`).
    """

    schema: int = SCHEMA
    model: str
    zoo: str
    task: str
    summary: dict[str, float | None]
    per_class: dict[str, dict[str, float | None]] = {}
    absent_classes: tuple[str, ...] = ()
    protocol: Fingerprint
    weights: WeightsUsed | None = None
    environment: Environment
    run: RunInfo
    statistics: dict[str, str] = {}


def new_record(
    model: Model,
    *,
    summary: Mapping[str, float],
    per_class: Mapping[str, Mapping[str, float]],
    protocol: Fingerprint,
    run: RunInfo,
    weights: WeightsUsed | None = None,
    absent_classes: tuple[str, ...] = (),
    environment: Environment | None = None,
    statistics: Mapping[str, bytes] | None = None,
) -> Record:
    """Make a record; NaN and infinities become None, so that the file is valid JSON.

    Args:
        model: The measured model.
        summary: Metric to value in percent, e.g. `Scores.summary`.
        per_class: Metric to class to value in percent, e.g. `Scores.table`.
        protocol: See `Fingerprint.of`.
        run: Circumstances of the run.
        weights: The weights file, None where none was used.
        absent_classes: Classes without ground truth.
        environment: Collected now when None.
        statistics: Contents of the files that `write_record` puts next to the record.
    """
    return Record(
        model=model.id,
        zoo=model.zoo.id,
        task=model.task,
        summary={metric: _finite(value) for metric, value in summary.items()},
        per_class={
            metric: {name: _finite(value) for name, value in row.items()} for metric, row in per_class.items()
        },
        absent_classes=tuple(absent_classes),
        protocol=protocol,
        weights=weights,
        environment=environment or collect_environment(),
        run=run,
        statistics={name: hashlib.sha256(data).hexdigest() for name, data in (statistics or {}).items()},
    )


def recency(record: Record) -> tuple[bool, str]:
    """Sort key that puts the newest record last.

    A record from the future was made while a clock was wrong, and counts as the oldest: otherwise it would be
    the newest for years. A day is allowed, because clocks of machines differ.
    """
    tomorrow = (datetime.now(timezone.utc) + timedelta(days=1)).strftime(TIME_FORMAT)
    return record.run.started <= tomorrow, record.run.started


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


AnyRecord = TypeVar("AnyRecord", bound=msgspec.Struct)


def encode_record(record: msgspec.Struct) -> bytes:
    r"""A record of either kind as canonical JSON: sorted keys, two spaces of indent, one newline at the end.

    Bytes of a path that are not UTF-8 are written as `\udcff`.
    """
    try:
        text = msgspec.json.encode(record, order="sorted")
    except UnicodeEncodeError:
        text = msgspec.json.encode(_spelt_out(msgspec.to_builtins(record)), order="sorted")
    return msgspec.json.format(text, indent=2) + b"\n"


def _spelt_out(value: Any) -> Any:
    if isinstance(value, str):
        return as_text(value)
    if isinstance(value, dict):
        return {_spelt_out(key): _spelt_out(item) for key, item in value.items()}
    return [_spelt_out(item) for item in value] if isinstance(value, list | tuple) else value


def decode_record(data: bytes, where: str) -> Record:
    """Read a record from JSON.

    Raises:
        IntegrityError: Not valid JSON, or not a record of this schema.
    """
    record = decode_any(_DECODER, data, where, SCHEMA)
    for name, digest in record.statistics.items():  # it becomes a file name
        if not _SHA256.fullmatch(digest):
            raise damaged(where, f"not a record: the digest of its statistics '{name}' is not a SHA-256")
    if not _is_time(record.run.started):
        raise damaged(where, f"not a record: run.started is {record.run.started!r}, no UTC time")
    return record


def decode_any(
    decoder: msgspec.json.Decoder[AnyRecord], data: bytes, where: str, schema: int, what: str = "a record"
) -> AnyRecord:
    """Read a record of a kind from JSON.

    Args:
        decoder: Of the kind.
        data: The JSON.
        where: The file, for errors.
        schema: Version of the kind's layout that is understood.
        what: What the kind is called.

    Raises:
        IntegrityError: Not valid JSON, or not such a record of this schema.
    """
    try:
        record = decoder.decode(data)
        version = record.schema  # type: ignore[attr-defined]
    except json_errors() as error:
        version = _schema_of(data)
        if version is None or version <= schema:
            raise damaged(where, f"not {what}: {error}") from error
    if version != schema:
        raise IntegrityError(f"{where}: record of schema {version}, not {schema}", hint="update bddzoo")
    return record


def damaged(where: str, reason: str) -> IntegrityError:
    """The error for a file that is not the record that it should be."""
    return IntegrityError(f"{where}: {reason}", hint="restore the file or remove it")


def _is_time(text: str) -> bool:
    with contextlib.suppress(ValueError):
        return _TIME.fullmatch(text) is not None and bool(datetime.fromisoformat(text[:-1]))
    return False


def _schema_of(data: bytes) -> int | None:
    try:
        value = msgspec.json.decode(data)
    except json_errors():
        return None
    version = value.get("schema") if isinstance(value, dict) else None
    return version if isinstance(version, int) else None


_SHA256 = re.compile("[0-9a-f]{64}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_DECODER = msgspec.json.Decoder(Record)
