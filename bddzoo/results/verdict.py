"""The verdict on a reported number, from one record.

`judge` is the only function that makes one. It takes the protocol from the record: a record that was measured
by another protocol of the registry than the row's is compared with the numbers published for that one. A
number is reproduced if the protocols agree, the images and labels are those that it was published for (as far
as their digests are known), every class occurs, the weights were verified, and the difference is within the
tolerance. The report says what was compared and what was not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Any

import msgspec

from bddzoo.datasets.classes import BDD_LAYOUT, CLASS_SETS
from bddzoo.datasets.identity import published_images
from bddzoo.datasets.openseg import DATA_SETS, class_set
from bddzoo.errors import ExitCode
from bddzoo.evaluation.metrics.scores import contradictions
from bddzoo.registry.model import Model, Reported
from bddzoo.results.record import INFERENCE_FIELDS, Record, WeightsUsed

# Fields of `Fingerprint` that move a number within the tolerance at most: shown by `diff`, not an obstacle.
HARMLESS_FIELDS = frozenset({"device", "batch_size"})


def differing_fields(model: Model, record: Record) -> list[tuple[str, object, object]]:
    """Protocol fields in which a record departs from the model's registered protocol.

    Returns:
        Field, the zoo's value, the record's value. Empty where the zoo's protocol is unknown.
    """
    if model.protocol is None:
        return []
    run = record.protocol
    names: tuple[str, ...] = ("dataset", "evaluator")
    if run.source == "inference":
        names += INFERENCE_FIELDS
    fields: list[tuple[str, object, object]] = []
    for name in names:
        theirs, ours = getattr(model.protocol, name), getattr(run, name)
        if name in ("crop", "stride") and model.protocol.mode != "slide" and run.mode != "slide":
            continue
        if _as_tuple(theirs) != _as_tuple(ours):
            fields.append((name, theirs, ours))
    if run.source == "inference" and run.precision != "fp32":
        fields.append(("precision", "fp32", run.precision))
    fields += [(name, "default", value) for name, value in sorted(run.options.items())]
    if record.task != model.task:
        fields.append(("task", model.task, record.task))
    return fields


def missing_images(record: Record) -> list[str]:
    """What keeps the scored images from being the split, no less and no more, one sentence each."""
    run = record.protocol
    reasons = []
    expected = whole_split(record)
    if run.limit is not None:
        reasons.append(f"partial data set: limited to {run.limit} images")
    elif expected is not None and run.images < expected:
        reasons.append(f"partial data set: {run.images} of {expected} images")
    elif expected is not None and run.images > expected:
        reasons.append(f"another data set: {run.images} images, and the split has {expected}")
    elif run.partial:
        reasons.append("partial data set")
    if run.skipped:
        names = ", ".join(run.skipped[:3]) + (" ..." if len(run.skipped) > 3 else "")
        reasons.append(f"{len(run.skipped)} images were skipped: {names}")
    if run.images == 0:
        reasons.append("no image was scored")
    return reasons


def whole_split(record: Record) -> int | None:
    """Number of images of the whole split; None where nobody knows.

    For a published data set it is the published number, whatever a data folder or a record claims.
    """
    run = record.protocol
    return published_images(run.dataset, record.task, run.split) or run.split_images


def _as_tuple(value: Any) -> Any:
    if value is msgspec.UNSET:
        return None
    return tuple(value) if isinstance(value, list | tuple) else value


class Verdict(str, Enum):
    """What a measurement says about a reported number."""

    REPRODUCED = "reproduced"
    DRIFTED = "drifted"
    BETTER = "better-than-reported"
    INCOMPARABLE = "incomparable"
    MISSING = "missing"
    UNVERIFIED = "unverified"

    def __str__(self) -> str:
        return self.value

    @property
    def exit_code(self) -> ExitCode:
        """Exit status that stands for this verdict."""
        return _EXIT_CODES[self]


_EXIT_CODES = {
    Verdict.REPRODUCED: ExitCode.OK,
    Verdict.DRIFTED: ExitCode.NOT_REPRODUCED,
    Verdict.BETTER: ExitCode.NOT_REPRODUCED,
    Verdict.INCOMPARABLE: ExitCode.INCOMPARABLE,
    Verdict.MISSING: ExitCode.MISSING,
    Verdict.UNVERIFIED: ExitCode.INTEGRITY,
}

# Worst first: a number that is known to be wrong outweighs one that could not be judged.
SEVERITY = (
    Verdict.DRIFTED,
    Verdict.BETTER,
    Verdict.UNVERIFIED,
    Verdict.MISSING,
    Verdict.INCOMPARABLE,
    Verdict.REPRODUCED,
)

# Points of the metric that two correct runs of one network may differ by: other kernels, other JPEG decoders
# and other GPUs move a logit in the last bits, which flips pixels at borders and the order of near-equal
# detections. Average precision hangs on that order and on few instances of rare classes, so it moves further.
DEFAULT_TOLERANCE: Mapping[str, Decimal] = {
    "mIoU": Decimal("0.05"),
    "fIoU": Decimal("0.05"),
    "pAcc": Decimal("0.05"),
    "PixelACC": Decimal("0.05"),
    "AP": Decimal("0.10"),
    "box_AP": Decimal("0.10"),
}
OTHER_TOLERANCE = Decimal("0.10")

# Which per-class table must be without gaps for the mean over classes to mean what was reported.
CLASS_TABLES: Mapping[str, tuple[str, ...]] = {"mIoU": ("IoU", "mIoU"), "AP": ("AP",), "box_AP": ("box_AP",)}
# Metrics that a class without ground truth leaves as they are by their own definition.
_OF_WHAT_IS_THERE = ("accuracy", "PQ")
# What a zoo's metric is called in the official summary, where the names differ.
NAMES_IN_SUMMARY: Mapping[str, tuple[str, ...]] = {"mIoU": ("mIoU", "IoU"), "PixelACC": ("PixelACC", "pAcc")}


@dataclass(frozen=True)
class MetricVerdict:
    """The verdict on one reported number.

    Attributes:
        metric: Our name of the metric.
        column: The zoo's name of it.
        verdict: See `Verdict`.
        reported: Value in the zoo, percent.
        measured: Value of the record, percent, not rounded.
        difference: Measured minus reported, points.
        tolerance: Largest absolute difference that counts as equal, points.
        reasons: Why it is not `reproduced`; empty when it is.
    """

    metric: str
    column: str
    verdict: Verdict
    reported: Decimal | None
    measured: float | None
    difference: float | None
    tolerance: Decimal | None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class VerdictReport:
    """The verdict on a model from one record: the worst of its metrics.

    Attributes:
        model: Id of the model.
        split: Split of the data set.
        verdict: The worst verdict of `metrics`.
        metrics: One entry for every number that the zoo reports on the split.
        reasons: Why it is not `reproduced`, over all metrics, without repetition.
        protocol: Id of the protocol that the record was judged by; None if it is unknown.
        compared: What of the measurement agrees with what is published: `protocol`, `image list` ...
        not_compared: What could not be compared, because nothing is published or recorded.
    """

    model: str
    split: str
    verdict: Verdict
    metrics: tuple[MetricVerdict, ...]
    reasons: tuple[str, ...]
    protocol: str | None = None
    compared: tuple[str, ...] = ()
    not_compared: tuple[str, ...] = ()

    @property
    def exit_code(self) -> ExitCode:
        """Exit status that stands for the verdict."""
        return self.verdict.exit_code

    @property
    def scope(self) -> str:
        """What was compared and what was not, in words; empty if there was nothing to compare with."""
        return describe_scope(self.compared, self.not_compared)

    @property
    def worst(self) -> MetricVerdict | None:
        """The metric that decided; the first of several."""
        return next((m for m in self.metrics if m.verdict is self.verdict), None)

    @property
    def reported(self) -> Decimal | None:
        """Reported value of the deciding metric, percent."""
        return self.worst.reported if self.worst else None

    @property
    def measured(self) -> float | None:
        """Measured value of the deciding metric, percent."""
        return self.worst.measured if self.worst else None


def describe_scope(compared: Sequence[str], not_compared: Sequence[str]) -> str:
    """`compared: numbers, protocol; not compared: ground truth`; empty for nothing."""
    parts = [f"compared: {', '.join(compared)}"] if compared else []
    parts += [f"not compared: {', '.join(not_compared)}"] if not_compared else []
    return "; ".join(parts)


def judge(model: Model, record: Record) -> VerdictReport:
    """Compare a record with what the zoo reports for the model.

    The order of the checks is: nothing to compare (`missing`); another protocol, a partial or skipped set or
    an absent class (`incomparable`); outside of the tolerance (`drifted`, `better-than-reported`); weights
    that were not verified or a protocol that is unknown (`unverified`); `reproduced`.
    """
    split = record.protocol.split
    row, model = model, as_measured(model, record)
    named = record.protocol.id
    protocol = model.protocol.id if model.protocol else named if isinstance(named, str) else None
    reported = reported_on(model, split)
    if record.model != model.id:
        reason = f"the record is of model {record.model}"
        return VerdictReport(model.id, split, Verdict.INCOMPARABLE, (), (reason,), protocol)
    if not reported:
        other = "" if model is row else f" for protocol '{protocol}'"
        reason = f"the zoo reports no number on split '{split}'{other}"
        return VerdictReport(model.id, split, Verdict.MISSING, (), (reason,), protocol)
    different, compared, unknown = _compare_inputs(model, record)
    shared = (*_obstacles(model, record), *different)
    doubts = _doubts(model, record)
    metrics = tuple(_judge_metric(model, record, number, shared, doubts) for number in reported)
    verdict = worst(m.verdict for m in metrics)
    reasons = tuple(dict.fromkeys(reason for m in metrics for reason in m.reasons))
    return VerdictReport(model.id, split, verdict, metrics, reasons, protocol, compared, unknown)


def reported_on(model: Model, split: str) -> list[Reported]:
    """The numbers that a zoo reports for a model on a split."""
    return [r for r in model.reported if r.split == split and r.value is not None]


def as_measured(model: Model, record: Record) -> Model:
    """The model under the protocol that a record was measured by, with the numbers published for it.

    A record of an earlier version does not name its protocol. Then it is the row's, unless that differs and
    exactly one of the others with published numbers agrees with the record in every field.
    """
    name = record.protocol.id
    if isinstance(name, str):
        return model.tested_by(name)
    if not differing_fields(model, record):
        return model
    names = dict.fromkeys(e.protocol for e in model.elsewhere if e.protocol in model.protocols)
    others = [model.tested_by(name) for name in names if name is not None]
    agreeing = [other for other in others if not differing_fields(other, record)]
    return agreeing[0] if len(agreeing) == 1 else model


def _compare_inputs(model: Model, record: Record) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """What of a measurement differs from what is published, in sentences; what agrees; what is unknown."""
    run = record.protocol
    truth = model.protocol.ground_truth.get(run.split) if model.protocol else None
    different: list[str] = []
    compared, unknown = ["numbers"], list[str]()
    own = run.source == "inference"
    if own:
        (compared if model.protocol else unknown).append("protocol")
    whole = not missing_images(record)
    for what, published, measured in (
        ("image list", truth.images if truth else None, run.image_list),
        ("ground truth", truth.labels if truth else None, run.labels),
    ):
        if published is None or not isinstance(measured, str) or not whole:
            unknown.append(what)
        elif measured == f"{published.algorithm}:{published.hex}":
            compared.append(what)
        else:
            different.append(f"the {what} is not the one that the number was published for")
    if own:
        used = record.weights
        if used is None or not used.proved:
            unknown.append("weights")
        else:
            compared.append("weights" if used.state == "verified" else "weights (first digits of the digest)")
    return tuple(different), tuple(compared), tuple(unknown)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst of several verdicts; `missing` for none, because nothing was looked at."""
    return min(verdicts, key=SEVERITY.index, default=Verdict.MISSING)


def tolerance_of(model: Model, metric: str, value: Decimal, *, exact: bool = False) -> Decimal:
    """Largest difference from a printed value that counts as equal, in points.

    Half a unit of the last printed digit, because the zoo rounded, plus the registry's tolerance for the
    metric, or else `DEFAULT_TOLERANCE`; with `exact` the half unit only.
    """
    exponent = value.as_tuple().exponent
    printed = Decimal(5).scaleb(exponent - 1) if isinstance(exponent, int) else Decimal(0)
    if exact:
        return printed
    chosen = model.protocol.tolerance.get(metric) if model.protocol else None
    return printed + (chosen if chosen is not None else DEFAULT_TOLERANCE.get(metric, OTHER_TOLERANCE))


def measured_value(record: Record, metric: str) -> float | None:
    """The record's value of a reported metric in percent, or None."""
    names = NAMES_IN_SUMMARY.get(metric, (metric,))
    return next((record.summary[name] for name in names if name in record.summary), None)


def _judge_metric(
    model: Model, record: Record, number: Reported, obstacles: tuple[str, ...], doubts: tuple[str, ...]
) -> MetricVerdict:
    assert number.value is not None
    measured = measured_value(record, number.metric)
    # Scoring is exact: only inference may differ from machine to machine.
    exact = record.protocol.source != "inference"
    tolerance = tolerance_of(model, number.metric, number.value, exact=exact)

    def verdict(kind: Verdict, reasons: tuple[str, ...], difference: float | None) -> MetricVerdict:
        return MetricVerdict(
            number.metric, number.column, kind, number.value, measured, difference, tolerance, reasons
        )

    if measured is None or not math.isfinite(measured):
        known = measured_named(record, number.metric)
        reason = f"measured {number.metric} is not a number" if known else f"{number.metric} was not measured"
        return verdict(Verdict.MISSING, (reason, *obstacles), None)
    difference = measured - float(number.value)
    obstacles = (*obstacles, *_absent(record, number.metric))
    if obstacles:
        return verdict(Verdict.INCOMPARABLE, obstacles, difference)
    # A float's exact value, so that the border itself is inside whatever the binary fraction.
    if abs(Decimal(repr(measured)) - number.value) > tolerance:
        kind = Verdict.BETTER if difference > 0 else Verdict.DRIFTED
        reason = f"{number.metric} differs by {difference:+.3f} points, tolerance {tolerance}"
        return verdict(kind, (reason, *doubts), difference)
    return verdict(Verdict.UNVERIFIED if doubts else Verdict.REPRODUCED, doubts, difference)


def measured_named(record: Record, metric: str) -> bool:
    """Whether the record has the metric at all, be it without a value."""
    return any(name in record.summary for name in NAMES_IN_SUMMARY.get(metric, (metric,)))


def _obstacles(model: Model, record: Record) -> tuple[str, ...]:
    reasons = [
        f"protocol field '{field}' differs: {ours} here, {theirs} in the zoo"
        for field, theirs, ours in differing_fields(model, record)
    ]
    return (*reasons, *missing_images(record))


def _doubts(model: Model, record: Record) -> tuple[str, ...]:
    reasons, run = [], record.protocol
    if run.source == "inference":
        if record.weights is None:
            reasons.append("the weights file is not recorded")
        elif record.weights.proved and not (record.weights.md5 or record.weights.sha256):
            reasons.append("no digest of the weights is recorded")
        elif record.weights.proved:
            reasons += _other_digests(model, record.weights)
        elif record.weights.state == "prefix":
            reasons.append("only the first digits of the digest of the weights are known")
        else:
            reasons.append(f"the digest of the weights is {record.weights.state}, not verified")
    if whole_split(record) is None:
        reasons.append("the number of images of the whole split is unknown")
    if model.protocol is None:
        reasons.append("the zoo's test protocol is unknown")
    parts, printed = (record.summary, record.per_class, record.absent_classes), run.source == "scores"
    reasons += [f"contradicts itself: {text}" for text in contradictions(*parts, printed=printed)]
    return tuple(reasons)


def _other_digests(model: Model, used: WeightsUsed) -> list[str]:
    """Digests of verified weights that are not the registry's: it was changed since, or the record was."""
    artifact = model.artifact("weights")
    known = artifact.digests if artifact is not None else ()
    if any(digest.algorithm == "tensors" for digest in known):
        return []  # a copy in another container has other bytes
    own = {"md5": used.md5 or "", "sha256": used.sha256 or ""}
    return [
        f"the {d.algorithm} of the weights is not the one that the registry has"
        for d in known
        if own[d.algorithm] and not own[d.algorithm].startswith(d.hex.lower())
    ]


def _class_names(record: Record) -> Iterable[str]:
    """Classes that a table of the record's data set has a row for: none is left out silently."""
    dataset = record.protocol.dataset
    if dataset in DATA_SETS:
        return class_set(dataset).names
    classes = CLASS_SETS.get(record.task) if dataset in BDD_LAYOUT else None
    return (name for name in classes.names if name != "background") if classes else ()


def _absent(record: Record, metric: str) -> tuple[str, ...]:
    if metric in _OF_WHAT_IS_THERE:
        return ()
    absent = list(record.absent_classes)
    for table in CLASS_TABLES.get(metric, ()):
        row = record.per_class.get(table)
        if row is not None:
            names = dict.fromkeys((*_class_names(record), *row))
            absent += [name for name in names if row.get(name) is None]
    if not absent:
        return ()
    return (f"classes without a value: {', '.join(dict.fromkeys(absent))}",)
