"""Long lists of networks that are alike: a sample of them by default, all in CI."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import pytest

Value = TypeVar("Value")


def sampled(values: Iterable[Value], chosen: Callable[[Value], bool]) -> list[Any]:
    """Parameters for `parametrize`; those that are not chosen run with `BDDZOO_TEST_ALL=1` only."""
    return [v if chosen(v) else pytest.param(v, marks=pytest.mark.exhaustive) for v in values]


def sampled_rows(rows: Iterable[tuple[Any, ...]], chosen: Callable[[Any], bool]) -> list[Any]:
    """The same where a test has several parameters."""
    return [pytest.param(*row, marks=() if chosen(row) else pytest.mark.exhaustive) for row in rows]


def every(step: int) -> Callable[[object], bool]:
    """Chooses the first of each `step` values."""
    count = iter(range(1 << 30))
    return lambda _: next(count) % step == 0
