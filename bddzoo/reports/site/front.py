"""What the front page shows, as plain values for its template."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bddzoo.registry import Registry
from bddzoo.registry.model import Model, Section
from bddzoo.reports.hosts import History
from bddzoo.reports.site.columns import Column, columns, dataset
from bddzoo.reports.site.evidence import Evidence

TASKS = {
    "sem_seg": "Semantic segmentation",
    "ins_seg": "Instance segmentation",
    "pan_seg": "Panoptic segmentation",
    "drivable": "Drivable area",
    "det": "Object detection",
}
# In the order in which the page explains them.
VERDICTS = {
    "reproduced": "Measured here, under the same protocol, on the whole set, with verified weights: the same "
    "within the tolerance.",
    "drifted": "Measured lower than reported, by more than the tolerance.",
    "better-than-reported": "Measured higher than reported, by more than the tolerance.",
    "incomparable": "Measured, but under another protocol or on a part of the set.",
    "unverified": "The number agrees, but nobody could verify the weights or the protocol.",
    "missing": "Nothing was measured, or nothing was reported. Never a pass.",
}


@dataclass(frozen=True)
class Table:
    """One task's table.

    Attributes:
        task: Id of the task.
        title: The task in words.
        columns: Columns after the model's own.
        models: Rows, zoo by zoo in published order.
        rows: Text of every cell, row by row.
    """

    task: str
    title: str
    columns: Sequence[Column]
    models: Sequence[Model]
    rows: Sequence[Sequence[str]]

    @property
    def numeric(self) -> list[int]:
        """Positions of the columns of numbers, as a style sheet counts: the model's own is 1."""
        return [i for i, column in enumerate(self.columns, 2) if column.kind == "number"]

    @property
    def verdict(self) -> int:
        """Index of the verdict's column."""
        return next(i for i, column in enumerate(self.columns) if column.kind == "verdict")


def by_task(sections: Iterable[Section]) -> list[list[Section]]:
    """Sections of each task, tasks in the registry's order."""
    found: dict[str, list[Section]] = {}
    for section in sections:
        found.setdefault(section.task, []).append(section)
    return list(found.values())


def task_title(task: str) -> str:
    """A task in words."""
    return TASKS.get(task, task.replace("_", " "))


def task_table(sections: Sequence[Section], evidence: Mapping[str, Evidence], history: History) -> Table:
    """The table of one task, over all its zoos."""
    shown = columns(sections, evidence, history)
    models = [m for s in sections for m in s.models]
    task = sections[0].task
    rows = [[column.cell(model) for column in shown] for model in models]
    return Table(task, task_title(task), shown, models, rows)


def counts(registry: Registry, evidence: Mapping[str, Evidence]) -> dict[str, int]:
    """How many models there are, were measured, and were reproduced; models that are made up not counted."""
    real = [m for m in registry.models if not m.zoo.synthetic]
    return {
        "models": len(real),
        "zoos": len({m.zoo.id for m in real}),
        "datasets": len({dataset(m) for m in real}),
        "measured": sum(evidence[m.id].stored is not None for m in real),
        "reproduced": sum(str(evidence[m.id].verdict) == "reproduced" for m in real),
    }
