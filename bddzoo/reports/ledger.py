"""The ledger: for each model what is reported, what was measured, and the verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bddzoo.registry.types import Model

if TYPE_CHECKING:
    from bddzoo.errors import IntegrityError
    from bddzoo.results import Record, Verdict

HEADER = ("model", "metric", "reported", "measured", "difference", "verdict", "date")


@dataclass(frozen=True)
class LedgerRow:
    """One reported number and the measurement that speaks to it.

    Attributes:
        model: Id of the model.
        metric: Our name of the metric.
        split: Split of the data set.
        reported: Value in the zoo, percent; None where the zoo reports none.
        measured: Value of the record, percent; None where nothing was measured.
        difference: Measured minus reported, points.
        tolerance: Largest difference that counts as equal, points.
        verdict: See `bddzoo.results.Verdict`; `missing` where nothing was measured.
        date: Day of the measurement, ISO 8601; None where nothing was measured.
        reasons: Why it is not `reproduced`.
    """

    model: str
    metric: str
    split: str
    reported: Decimal | None
    measured: float | None
    difference: float | None
    tolerance: Decimal | None
    verdict: Verdict
    date: str | None
    reasons: tuple[str, ...] = ()

    def cells(self) -> tuple[str, ...]:
        """The row as text, in the order of `HEADER`."""
        return (
            self.model,
            f"{self.metric}-{self.split}",
            "-" if self.reported is None else str(self.reported),
            "-" if self.measured is None else f"{self.measured:.2f}",
            "-" if self.difference is None else f"{self.difference:+.2f}",
            str(self.verdict),
            self.date or "-",
        )

    def to_json(self) -> dict[str, Any]:
        """The row in JSON's types."""
        from dataclasses import asdict

        return {**asdict(self), "verdict": str(self.verdict), "reasons": list(self.reasons)}


def ledger(
    models: Iterable[Model],
    root: Path,
    *,
    split: str = "val",
    on_error: Callable[[IntegrityError], None] | None = None,
) -> list[LedgerRow]:
    """Reported and measured numbers of models, side by side, from the records under a folder.

    Args:
        models: The models, in the order of the rows.
        root: Results folder.
        split: Split whose numbers are compared.
        on_error: Called for every damaged record, which is passed over.

    Returns:
        One row for every number that a zoo reports on the split; a model without such a number has none.
    """
    from bddzoo.results import Verdict, judge, load_records

    wanted = list(models)
    records: dict[str, list[Record]] = {}
    for record in load_records(root, on_error=on_error):
        records.setdefault(record.model, []).append(record)
    rows = []
    for model in wanted:
        record = best_record(model, records.get(model.id, []), split)
        report = judge(model, record) if record is not None else None
        verdicts = {m.metric: m for m in report.metrics} if report else {}
        for number in model.reported:
            if number.split != split or number.value is None:
                continue
            found = verdicts.get(number.metric)
            rows.append(
                LedgerRow(
                    model=model.id,
                    metric=number.metric,
                    split=split,
                    reported=number.value,
                    measured=found.measured if found else None,
                    difference=found.difference if found else None,
                    tolerance=found.tolerance if found else None,
                    verdict=found.verdict if found else Verdict.MISSING,
                    date=record.run.started[:10] if record else None,
                    reasons=found.reasons if found else ("not measured",),
                )
            )
    return rows


def best_record(model: Model, records: Iterable[Record], split: str = "val") -> Record | None:
    """The record that speaks for a model: the newest comparable one, else the newest; None for none.

    A quick look at a part of the data set does not push a whole measurement aside.
    """
    from bddzoo.results import Verdict, judge

    of_split = [record for record in records if record.protocol.split == split]
    comparable = [
        record
        for record in of_split
        if judge(model, record).verdict not in (Verdict.INCOMPARABLE, Verdict.MISSING)
    ]
    return max(comparable or of_split, key=lambda record: record.run.started, default=None)
