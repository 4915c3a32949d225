"""Which of several records speaks for a model."""

from __future__ import annotations

from collections.abc import Iterable

from bddzoo.registry.types import Model
from bddzoo.results.record import Record, recency
from bddzoo.results.verdict import Verdict, judge


def best_record(model: Model, records: Iterable[Record], split: str = "val") -> Record | None:
    """The newest comparable record of a model on a split, else the newest; None for none.

    A quick look at a part of the data set does not push a whole measurement aside.
    """
    of_split = [r for r in records if r.model == model.id and r.protocol.split == split]
    weak = (Verdict.INCOMPARABLE, Verdict.MISSING)
    comparable = [record for record in of_split if judge(model, record).verdict not in weak]
    return max(comparable or of_split, key=recency, default=None)
