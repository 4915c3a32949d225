"""Whether one record is better than another: a paired bootstrap over images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

from bddzoo.errors import IncomparableError, MissingError
from bddzoo.results.store import StoredRecord, read_statistics

if TYPE_CHECKING:
    from bddzoo.evaluation.options import Accumulator

LEVEL = 0.95


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

    Args:
        a: The first record.
        b: The second record.
        resamples: Number of draws.
        seed: Of the draws.

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
    import numpy as np

    from bddzoo.evaluation.bootstrap import resampled

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
        change = theirs[metric] - ours[metric]
        change = change[~np.isnan(change)]
        if not change.size:
            continue
        tail = 100 * (1 - LEVEL) / 2
        low, high = (float(v) for v in np.percentile(change, [tail, 100 - tail]))
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
