"""Columns of a model by name, and conditions on them."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from fnmatch import fnmatchcase

from bddzoo.errors import UsageError
from bddzoo.registry.model import Model
from bddzoo.registry.tasks import TASKS

Value = str | int | Decimal | None
# What a column holds where a model has no value.
NOTHING = (None, "", "-")

_OPERATORS: dict[str, Callable[[Decimal, Decimal], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "!=": operator.ne,
    "==": operator.eq,
    "=": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}
_CONDITION = re.compile(r"^\s*(.+?)\s*(>=|<=|!=|==|=|>|<)\s*(.*?)\s*$", re.DOTALL)
_QUANTITY = re.compile(r"^([-+]?[0-9]+(?:\.[0-9]+)?)\s*([kKmMgGwW]?)$")
# 4W is how one zoo writes 40 000.
_SUFFIX = {"": 1, "k": 1_000, "w": 10_000, "m": 1_000_000, "g": 1_000_000_000}

_COLUMNS: dict[str, Callable[[Model], Value]] = {
    "id": lambda m: m.id,
    "zoo": lambda m: m.zoo.id,
    "task": lambda m: m.task,
    "method": lambda m: m.method.name,
    "paper": lambda m: m.paper_id,
    "backbone": lambda m: m.backbone,
    "params": lambda m: m.network.params if m.network else None,
    "entries": lambda m: m.network.entries if m.network else None,
    "gflops": lambda m: (
        Decimal(str(m.network.gflops)) if m.network and m.network.gflops is not None else None
    ),
    "engine": lambda m: m.network.engine if m.network else None,
    "protocol": lambda m: m.protocol.id if m.protocol else None,
    "dataset": lambda m: m.protocol.dataset if m.protocol else None,
    "fills": lambda m: m.fills.model if m.fills else None,
    "not-buildable": lambda m: m.not_buildable.reason if m.not_buildable else None,
    # As `list` prints them: the id again, the task's main metric, and its values.
    "model": lambda m: m.id,
    "metric": lambda m: TASKS[m.task].metric,
    "val": lambda m: m.reported_value(TASKS[m.task].metric, "val"),
    "test": lambda m: m.reported_value(TASKS[m.task].metric, "test"),
}
PLAIN = tuple(_COLUMNS)


def matches(pattern: str, text: str) -> bool:
    """Whether a shell pattern, or the plain text, matches; case is ignored."""
    return pattern.lower() == text.lower() or fnmatchcase(text.lower(), pattern.lower())


def column(model: Model, name: str) -> Value:
    """A model's value in a column; None where it has none.

    Args:
        model: The model.
        name: `id`, `zoo`, `task`, `method`, `paper`, `backbone`, `params`, `entries`, `gflops`, `engine`,
            `protocol`, `dataset`, `fills` (the row that its weights belong to), `not-buildable` (why its
            network cannot be built), `model` (the id), `metric` (the main one of the task), `val` and `test`
            (its values), a metric and split such as `mIoU-val` or `AP-test`, the zoo's own
            name of a column such as `Mask AP-val`, or a setting such as `Iters`. Case is ignored.
    """
    key = name.lower()
    if key in _COLUMNS:
        return _COLUMNS[key](model)
    for entry in model.reported:
        if key in (f"{entry.metric}-{entry.split}".lower(), entry.column.lower()):
            return entry.value
    for title, text in model.settings.items():
        if title.lower() == key:
            return text
    return None


def column_names(models: Iterable[Model]) -> list[str]:
    """Every name that `column` knows for these models, our own names first."""
    names = dict.fromkeys(PLAIN)
    for model in models:
        names.update(dict.fromkeys(f"{r.metric}-{r.split}" for r in model.reported))
        names.update(dict.fromkeys(r.column for r in model.reported if r.column))
        names.update(dict.fromkeys(model.settings))
    return list(names)


def check_column(name: str, models: Iterable[Model]) -> str:
    """The column's proper spelling; a metric alone means its value on val.

    Raises:
        UsageError: No model has such a column; names near ones.
    """
    models = list(models)
    metrics = {r.metric.lower(): r.metric for m in models for r in m.reported}
    if name.lower() in metrics:
        name = f"{metrics[name.lower()]}-val"
    names = column_names(models)
    for known in names:
        if known.lower() == name.lower():
            return known
    from difflib import get_close_matches

    lower = {n.lower(): n for n in names}
    near = [lower[n] for n in get_close_matches(name.lower(), lower, n=3, cutoff=0.5)]
    hint = f"did you mean {' or '.join(near)}?" if near else f"columns: {', '.join(names)}"
    raise UsageError(f"no column '{name}'", hint=hint)


def quantity(value: Value) -> Decimal | None:
    """A value as a number: `40K` is 40000, `4W` is 40000, `1x` and text are None."""
    if isinstance(value, int | Decimal):
        return Decimal(value)
    match = _QUANTITY.match(value) if value else None
    return Decimal(match[1]) * _SUFFIX[match[2].lower()] if match else None


def parse_conditions(texts: Iterable[str], models: Sequence[Model]) -> list[Callable[[Model], bool]]:
    """Conditions such as `mIoU-val > 62`, `Iters = 80K`, `backbone = R-50*`, `FP16 = ✓`.

    Both sides are compared as numbers where both are numbers; else `=` and `!=` match shell patterns
    and the rest is an error. A model without a value meets `!=` only.

    Raises:
        UsageError: Not a condition, or a column that no model has.
    """
    found = []
    for text in texts:
        match = _CONDITION.match(text)
        if match is None or not match[3]:
            raise UsageError(
                f"cannot read the condition '{text}'",
                hint="write it as 'COLUMN OPERATOR VALUE', for example 'mIoU-val > 62'",
            )
        found.append(_condition(check_column(match[1], models), match[2], match[3].strip("'\"")))
    return found


def _condition(name: str, symbol: str, wanted: str) -> Callable[[Model], bool]:
    compare = _OPERATORS[symbol]
    number = quantity(wanted)
    if number is None and symbol not in ("=", "==", "!="):
        raise UsageError(f"'{symbol} {wanted}' needs a number", hint="for text use = or != with a pattern")

    def holds(model: Model) -> bool:
        value = column(model, name)
        if value in NOTHING:
            return symbol == "!="
        if number is not None:
            mine = quantity(value)
            if mine is not None:
                return compare(mine, number)
            if symbol not in ("=", "==", "!="):
                return False
        return matches(wanted, str(value)) is (symbol != "!=")

    return holds


def sort_models(models: Iterable[Model], name: str, reverse: bool = False) -> list[Model]:
    """Models by a column, numbers as numbers; those without a value come last either way."""
    rows = [(model, column(model, name)) for model in models]
    without = [model for model, value in rows if value in NOTHING]
    known = [(model, value) for model, value in rows if value not in NOTHING]
    if all(quantity(value) is not None for _, value in known):
        known.sort(key=lambda row: quantity(row[1]) or Decimal(0), reverse=reverse)
    else:
        known.sort(key=lambda row: str(row[1]).lower(), reverse=reverse)
    return [model for model, _ in known] + without
