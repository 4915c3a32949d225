"""Rules on reported numbers."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from decimal import ROUND_HALF_UP, Decimal
from functools import partial
from itertools import pairwise
from statistics import median

from bddzoo.registry.lint.findings import TICK, Found, ModelEntry, Rules, World
from bddzoo.registry.model import Model
from bddzoo.registry.query import quantity
from bddzoo.registry.tasks import TASKS

MAX_SPREAD = 4.0
MIN_SIBLINGS = 8
# A number, or a letter of _SIZES.
_DEPTH = re.compile(r"^(?:R-|ResNet-|VGG-|DLA-|HRNet-w|PVTv2-B)([0-9]+)|^(?:Swin|ConvNeXt|PVT)-([TSB])$")
_SIZES = "TSB"
_LENGTH = ("Iters", "Lr schd")
# Columns whose tick is more work at training, for a better network.
_OPTIONS = ("Strong", "Tricks")
Measure = Callable[[Model], Decimal | None]

RULES = Rules()


@RULES.add("GAP01", "val minus test out of line with the section")
def _gap(world: World) -> Found:
    """Val minus test far from what the other rows of the section have.

    Distance from the median in units of the scaled median absolute deviation; medians, so that the
    outliers themselves do not hide it.
    """
    groups: dict[tuple[str, str, str], list[tuple[ModelEntry, Decimal]]] = defaultdict(list)
    for entry in world.entries:
        for metric in {r.metric for r in entry.model.reported}:
            val, test = (entry.model.reported_value(metric, split) for split in ("val", "test"))
            if val is not None and test is not None:
                groups[entry.section.zoo.id, entry.section.task, metric].append((entry, val - test))
    for (_, _, metric), rows in groups.items():
        if len(rows) < MIN_SIBLINGS:
            continue
        middle = median(g for _, g in rows)
        spread = Decimal("1.4826") * median(abs(g - middle) for _, g in rows)
        for entry, mine in rows:
            if spread and abs(mine - middle) / spread > MAX_SPREAD:
                yield (
                    entry.subject,
                    f"{metric} val minus test is {mine}, the median of {len(rows)} rows is {middle}",
                )


@RULES.add("GAP02", "a deeper backbone that is worse on val but not on test")
def _ranks(world: World) -> Found:
    for metric, shallow, deep in _pairs(world, _depth, "backbone"):
        val = _less(deep, shallow, "val", metric)
        test = _less(deep, shallow, "test", metric)
        if val is True and test is False:
            mine, theirs = (entry.model.reported_value(metric, "val") for entry in (deep, shallow))
            said = f"{metric} is below {shallow.model.id} on val ({mine} < {theirs}) but not on test"
            yield deep.subject, said


@RULES.add("MON01", "a longer schedule that scores lower")
def _longer_is_worse(world: World) -> Found:
    return _more_is_worse(world, _length, "schedule")


@RULES.add("MON02", "a deeper backbone that scores lower")
def _deeper_is_worse(world: World) -> Found:
    return _more_is_worse(world, _depth, "backbone")


@RULES.add("MON03", "fp16 that scores lower")
def _half_is_worse(world: World) -> Found:
    return _more_is_worse(world, partial(_ticked, column="FP16"), "FP16")


def _more_is_worse(world: World, measure: Measure, what: str) -> Found:
    """Rows that score lower on val than the next smaller ones, all else equal."""
    for metric, less, more in _pairs(world, measure, what):
        if _less(more, less, "val", metric):
            yield more.subject, _compare(more, less, metric)


@RULES.add("MON04", "an option that scores lower")
def _option_is_worse(world: World) -> Found:
    """A row with an option ticked that scores lower than the one without, all else equal."""
    for column in _OPTIONS:
        for metric, plain, ticked in _pairs(world, partial(_ticked, column=column), column):
            for split in ("val", "test"):
                if _less(ticked, plain, split, metric):
                    yield ticked.subject, f"with {column}: {_compare(ticked, plain, metric, split)}"


@RULES.add("DUP01", "a number that equals another model's")
def _equal_values(world: World) -> Found:
    """A number that equals another model's, as far as its printed digits go."""
    seen: dict[tuple[str | None, ...], list[tuple[ModelEntry, Decimal]]] = defaultdict(list)
    for entry in world.entries:
        if entry.model.zoo.synthetic:
            continue
        for r in entry.model.reported:
            if r.value is None:
                continue
            protocol = entry.model.protocol
            key = (protocol.dataset if protocol else None, entry.model.task, r.split, r.metric)
            same = [other for other, theirs in seen[key] if _equal(r.value, theirs)]
            if r.split == "val" and r.metric == TASKS[entry.model.task].metric and same:
                names = ", ".join(o.model.id for o in same)
                yield entry.subject, f"{r.metric}-{r.split} {r.value} is also that of {names}"
            seen[key].append((entry, r.value))


@RULES.add("NUM01", "a number with fewer decimals than usual")
def _digits(world: World) -> Found:
    places: dict[str, list[int]] = defaultdict(list)
    for entry in world.entries:
        for r in entry.model.reported:
            if r.value is not None:
                places[r.metric].append(_decimals(r.value))
    usual = {metric: max(set(found), key=found.count) for metric, found in places.items()}
    for entry in world.entries:
        for r in entry.model.reported:
            if r.value is not None and _decimals(r.value) < usual[r.metric]:
                yield (
                    entry.subject,
                    f"{r.metric}-{r.split} {r.value} has fewer than {usual[r.metric]} decimals",
                )


@RULES.add("NUM02", "a number on the test split, and none on val", of="entries")
def _test_alone(entry: ModelEntry) -> Iterator[str]:
    for r in entry.model.reported:
        if r.split == "test" and r.value is not None and entry.model.reported_value(r.metric, "val") is None:
            yield f"{r.metric}-test is {r.value}, {r.metric}-val is not given"


def _decimals(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    return -exponent if isinstance(exponent, int) else 0


def _equal(a: Decimal, b: Decimal) -> bool:
    step = Decimal(1).scaleb(-min(_decimals(a), _decimals(b)))
    return a.quantize(step, ROUND_HALF_UP) == b.quantize(step, ROUND_HALF_UP)


def _less(a: ModelEntry, b: ModelEntry, split: str, metric: str) -> bool | None:
    mine, theirs = a.model.reported_value(metric, split), b.model.reported_value(metric, split)
    return None if mine is None or theirs is None else mine < theirs


def _compare(a: ModelEntry, b: ModelEntry, metric: str, split: str = "val") -> str:
    mine, theirs = (e.model.reported_value(metric, split) for e in (a, b))
    return f"{metric}-{split} {mine} is below {theirs} of {b.model.id}"


def _depth(model: Model) -> Decimal | None:
    match = _DEPTH.match(model.backbone)
    return Decimal(match[1] or _SIZES.index(match[2])) if match else None


def _family(backbone: str) -> str:
    match = _DEPTH.match(backbone)
    return (
        backbone if match is None else backbone[: match.start(match.lastindex or 0)] + backbone[match.end() :]
    )


def _length(model: Model) -> Decimal | None:
    for name in _LENGTH:
        text = model.settings.get(name, "")
        number = Decimal(text[:-1]) if re.fullmatch(r"[0-9]+x", text) else quantity(text)
        if number is not None:
            return number
    return None


def _ticked(model: Model, column: str) -> Decimal | None:
    return Decimal(model.settings[column] == TICK) if column in model.settings else None


def _pairs(world: World, measure: Measure, what: str) -> list[tuple[str, ModelEntry, ModelEntry]]:
    """Rows of one heading that differ in one thing: `(metric, the smaller, the next larger)`."""
    found: list[tuple[str, ModelEntry, ModelEntry]] = []
    for heading in world.headings:
        groups: dict[object, list[tuple[Decimal, ModelEntry]]] = defaultdict(list)
        for entry in heading.entries:
            size = measure(entry.model)
            if size is not None:
                groups[_rest(entry.model, what)].append((size, entry))
        for rows in groups.values():
            rows.sort(key=lambda r: r[0])
            for (small, a), (large, b) in pairwise(rows):
                if small < large:
                    metrics = [r.metric for r in a.model.reported if r.split == "val"]
                    found += [(metric, a, b) for metric in metrics]
    return found


def _rest(model: Model, what: str) -> object:
    """Everything about a row that must be equal for two rows to be compared."""
    skip = {*_LENGTH, "MS-train"} if what == "schedule" else {what}
    settings: Mapping[str, str] = {k: v for k, v in model.settings.items() if k not in skip}
    backbone = _family(model.backbone) if what == "backbone" else model.backbone
    return (backbone, tuple(sorted(settings.items())))
