"""Whether one record is better than another (a paired bootstrap over images); in what two differ."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import isnan
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import msgspec

from bddzoo.errors import IncomparableError, MissingError
from bddzoo.results.record import Record
from bddzoo.results.store import StoredRecord, read_statistics
from bddzoo.results.verdict import HARMLESS_FIELDS

if TYPE_CHECKING:
    from bddzoo.evaluation.options import Accumulator


@dataclass(frozen=True)
class Comparison:
    """The difference of one metric between two records.

    Attributes:
        metric: Name.
        a: Value of the first record, percent.
        b: Value of the second record, percent.
        difference: Second minus first, points.
        low: Lower end of the interval of the difference, points.
        high: Upper end.
        level: Share of the draws inside of the interval.
        resamples: Number of draws.
        images: Number of images that are drawn from.
    """

    metric: str
    a: float
    b: float
    difference: float
    low: float
    high: float
    level: float
    resamples: int
    images: int

    @property
    def conclusion(self) -> str:
        """`better` or `worse`, the second than the first, or `undecided`: zero lies inside the interval."""
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "undecided"


def compare_records(
    a: StoredRecord, b: StoredRecord, *, resamples: int = 1000, seed: int = 0
) -> list[Comparison]:
    """Compare two records of the same images by resampling the images, both with the same draws.

    Percentile intervals of the difference, as in Efron and Tibshirani, An Introduction to the Bootstrap
    (1993), chapter 13; pairing takes out what makes an image hard for both.

    Raises:
        IncomparableError: They were not measured on the same images and labels.
        MissingError: A record kept no statistics of its images.
    """
    from bddzoo.evaluation import statistics

    _require_same_images(a, b)
    names = [name for name in a.record.statistics if name in b.record.statistics]
    if not names:
        poor = a if not a.record.statistics else b
        raise MissingError(
            f"record {poor.id} of {poor.record.model} kept no statistics of its images",
            hint="measure it again",
        )
    found = []
    for name in names:
        first, second = (statistics.load(read_statistics(stored, name)) for stored in (a, b))
        if first.names != second.names:
            raise IncomparableError(f"{a.id} and {b.id} hold different images")
        found += compare_statistics(first, second, resamples=resamples, seed=seed)
    return found


def compare_statistics(
    first: Accumulator, second: Accumulator, *, resamples: int = 1000, seed: int = 0
) -> list[Comparison]:
    """Compare what was counted on each image of two prediction sets; see `compare_records`.

    Args:
        first: Statistics of the first set.
        second: Of the second set; the same images in the same order.
        resamples: Number of draws.
        seed: Of the draws.

    Raises:
        IncomparableError: The images differ.
    """
    from bddzoo.evaluation.slices import LEVEL, interval, resampled

    # Frames of masks are called as their PNGs, those of JSON as their images.
    left, right = ([PurePath(name).stem for name in one.names] for one in (first, second))
    if left != right:
        lost = sorted(set(left) ^ set(right))
        example = f", for one {lost[0]}" if lost else ""
        raise IncomparableError(f"the two were not scored on the same images{example}")
    ours = resampled(first, resamples=resamples, seed=seed)
    theirs = resampled(second, resamples=resamples, seed=seed)
    totals = (first.compute().summary, second.compute().summary)
    found = []
    for metric in (m for m in ours if m in theirs):
        low, high = interval(theirs[metric] - ours[metric])
        if isnan(low):  # not one draw has the metric
            continue
        a, b = float(totals[0][metric]), float(totals[1][metric])
        found.append(Comparison(metric, a, b, b - a, low, high, LEVEL, resamples, len(first.names)))
    return found


def _require_same_images(a: StoredRecord, b: StoredRecord) -> None:
    ours, theirs = a.record.protocol, b.record.protocol
    fields = [
        field
        for field in ("dataset", "split", "image_list", "ground_truth", "evaluator")
        if getattr(ours, field) != getattr(theirs, field)
    ]
    if a.record.task != b.record.task:
        fields.insert(0, "task")
    if fields:
        raise IncomparableError(
            f"records {a.id} and {b.id} differ in {', '.join(fields)}", hint="see 'bddzoo results diff'"
        )


# Fields that explain no difference: the digest tells whether weights differ, whatever they are called, and of
# a protocol its fields count, not its name.
_INCIDENTAL = frozenset(
    {"weights.name", "weights.source", "weights.state", "weights.accepted", "weights", "protocol.id"}
)
# Of the circumstances of a run only the seed can change a number. The number of processes cannot: frames are
# divided so that the result is that of one process, bit for bit.
_SEED = "run.seed"


@dataclass(frozen=True)
class FieldChange:
    """A field whose value differs.

    Attributes:
        field: Dotted name, e.g. `protocol.scale` or `environment.packages.torch`.
        a: Value in the first record, None where it has none.
        b: Value in the second record.
        matters: `changes the number`, `moves it within the tolerance` or `incidental`.
    """

    field: str
    a: Any
    b: Any
    matters: str


@dataclass(frozen=True)
class ValueChange:
    """A metric, over all classes or of one class, in both records, in percent.

    Attributes:
        name: Metric or class.
        a: Value in the first record; None where it has none.
        b: Value in the second record.
    """

    name: str
    a: float | None
    b: float | None

    @property
    def difference(self) -> float | None:
        """Second minus first in points, or None where either has no value."""
        return None if self.a is None or self.b is None else self.b - self.a


@dataclass(frozen=True)
class RecordDiff:
    """What differs between two records.

    Attributes:
        fields: Fields that differ, those that matter most first.
        summary: Every metric of either record.
        classes: Metric to its classes whose values differ, the largest change first.
    """

    fields: tuple[FieldChange, ...]
    summary: tuple[ValueChange, ...]
    classes: Mapping[str, tuple[ValueChange, ...]]

    @property
    def same_numbers(self) -> bool:
        """Whether every metric is equal in both, bit for bit."""
        return not self.classes and all(change.a == change.b for change in self.summary)

    @property
    def explanation(self) -> str:
        """One sentence on what may have changed the numbers."""
        causes = [change.field for change in self.fields if change.matters == NUMBER]
        near = [change.field for change in self.fields if change.matters == TOLERANCE]
        if self.same_numbers:
            return "the numbers are equal" + (
                f" although {_and(causes + near)} differ" if causes + near else ""
            )
        if causes:
            return f"the numbers differ; so do {_and(causes)}, which change them"
        if near:
            return f"the numbers differ; so do {_and(near)}, which should move them within the tolerance only"
        return "the numbers differ although no recorded field does: something unrecorded changed, or chance"


NUMBER = "changes the number"
TOLERANCE = "moves it within the tolerance"
INCIDENTAL = "incidental"


def diff_records(a: Record, b: Record) -> RecordDiff:
    """Compare two records field by field, metric by metric, class by class.

    Args:
        a: The first record, by custom the older or the reference.
        b: The second record.
    """
    numbers = ("summary", "per_class", "schema", "statistics")
    changes = [
        FieldChange(name, *values, _matters(name)) for name, values in field_changes(a, b, numbers).items()
    ]
    changes.sort(key=lambda change: (NUMBER, TOLERANCE, INCIDENTAL).index(change.matters))
    classes = {
        metric: rows
        for metric in dict.fromkeys((*a.per_class, *b.per_class))
        if (rows := _class_changes(a.per_class.get(metric, {}), b.per_class.get(metric, {})))
    }
    return RecordDiff(tuple(changes), _values(a.summary, b.summary), classes)


def field_changes(
    a: msgspec.Struct, b: msgspec.Struct, left_out: Collection[str]
) -> dict[str, tuple[Any, Any]]:
    """Dotted names of the fields that differ, and their values in both; None where there is none."""
    left, right = (
        _flat({k: v for k, v in msgspec.to_builtins(record).items() if k not in left_out})
        for record in (a, b)
    )
    names = dict.fromkeys((*left, *right))
    return {n: (left.get(n), right.get(n)) for n in names if left.get(n) != right.get(n)}


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, item in value.items():
        if isinstance(item, Mapping):
            flat.update(_flat(item, f"{prefix}{name}."))
        else:
            flat[prefix + name] = item
    return flat


def _matters(field: str) -> str:
    room, _, name = field.partition(".")
    if field in _INCIDENTAL or (room == "run" and field != _SEED):
        return INCIDENTAL
    if room == "environment" or (room == "protocol" and name in HARMLESS_FIELDS):
        return TOLERANCE
    return NUMBER


def _values(a: Mapping[str, float | None], b: Mapping[str, float | None]) -> tuple[ValueChange, ...]:
    return tuple(ValueChange(name, a.get(name), b.get(name)) for name in dict.fromkeys((*a, *b)))


def _class_changes(a: Mapping[str, float | None], b: Mapping[str, float | None]) -> tuple[ValueChange, ...]:
    changed = [change for change in _values(a, b) if change.a != change.b]
    # A class that only one record has comes first: no difference in points is larger than having none.
    return tuple(
        sorted(changed, key=lambda c: -abs(c.difference) if c.difference is not None else float("-inf"))
    )


def _and(names: list[str]) -> str:
    shown = names[:4] + ([f"{len(names) - 4} more"] if len(names) > 4 else [])
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
