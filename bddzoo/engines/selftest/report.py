"""Selftest findings as tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bddzoo.engines.selftest.measures import Finding, Measure

_STD = ("input", "stages", "logits", "values")
_COLUMNS = (
    ("values (std)", _STD),
    ("class map (px)", ("class map",)),
    ("boxes (px)", ("boxes",)),
    ("scores", ("scores",)),
    ("mask areas (px)", ("mask areas",)),
)
HEADER = ("model", "golden", *(title for title, _ in _COLUMNS), "result")


def rows(findings: Iterable[Finding]) -> list[tuple[str, ...]]:
    """One row a subject: the goldens it was checked with, its worst deviations, and the result."""
    grouped: dict[str, list[Finding]] = {}
    for finding in findings:
        name = f"ops/{finding.check}" if finding.subject == "ops" else finding.subject
        grouped.setdefault(name, []).append(finding)
    return [_row(name, group) for name, group in grouped.items()]


def _row(name: str, group: Sequence[Finding]) -> tuple[str, ...]:
    measures = [m for f in group for m in f.measures]
    kinds = [f.check for f in group if f.check != "keys"] or ["-"]
    cells = [_worst([m for m in measures if m.name in names]) for _, names in _COLUMNS]
    return (name, ", ".join(kinds) if group[0].subject != "ops" else "ops", *cells, _result(group))


def _worst(measures: Sequence[Measure]) -> str:
    if not measures:
        return "-"
    value = max(m.value for m in measures)
    return (
        f"{value:.0f}"
        if measures[0].name in ("class map", "mask areas")
        else f"{value:.1e}"
        if value
        else "0"
    )


def _result(group: Sequence[Finding]) -> str:
    statuses = [f.status for f in group]
    for status in ("differs", "unknown"):
        if status in statuses:
            return status
    return "no golden" if statuses == ["no golden"] else "equal"


def summary(findings: Sequence[Finding]) -> str:
    """One sentence on the whole run."""
    table = rows(findings)
    counts = {s: sum(r[-1] == s for r in table) for s in ("equal", "differs", "no golden", "unknown")}
    return ", ".join(f"{n} {s}" for s, n in counts.items() if n) or "nothing checked"
