"""Selftest findings as tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from bddzoo.engines.selftest.measures import (
    BOX_LIMIT_PX,
    MASK_LIMIT_PX,
    SCORE_LIMIT,
    STD_LIMIT,
    STD_LIMIT_GPU,
    TUNED_LIMIT,
    CheckResult,
    Measure,
)

_STD = ("input", "stages", "logits", "values")
_COLUMNS = (
    ("values (std)", _STD),
    ("tuned (std)", ("tuned",)),
    ("class map (px)", ("class map",)),
    ("boxes (px)", ("boxes",)),
    ("scores", ("scores",)),
    ("mask areas (px)", ("mask areas",)),
)
HEADER = ("model", "golden", *(title for title, _ in _COLUMNS), "result")


def rows(findings: Iterable[CheckResult]) -> list[tuple[str, ...]]:
    """One row a subject: the goldens it was checked with, its worst deviations, and the result."""
    grouped: dict[str, list[CheckResult]] = {}
    for finding in findings:
        name = f"ops/{finding.check}" if finding.subject == "ops" else finding.subject
        grouped.setdefault(name, []).append(finding)
    return [_row(name, group) for name, group in grouped.items()]


def document(findings: Sequence[CheckResult], environment: Mapping[str, str]) -> str:
    """The whole run as a Markdown page: what was compared, with what, and the worst deviations."""
    from tabulate import tabulate

    versions = ", ".join(f"{name} {version}" for name, version in environment.items())
    table = [[cell.replace("|", "\\|") for cell in row] for row in rows(findings)]
    shown = tabulate(table, headers=HEADER, tablefmt="github", disable_numparse=True)
    return f"{_TEXT.format(summary=summary(findings), versions=versions)}\n{shown}"


_TEXT = f"""# Selftest: equal to upstream

Each network is filled with deterministic weights and compared with what the zoo's own, unmodified
configuration computed on the software it was written for. Made by
`bddzoo selftest --all --golden DIR --format md`, with DIR a folder of golden data.

Result: {{summary}}.

With: {{versions}}.

* golden: `small_b`, `small` are the plain network on two crops, with two sets of weights; `full`, `full_b`
  are the whole protocol on two pictures, from the picture to class map or masks; `ops` are operators
  against a compiled mmcv. A model without a golden had its state dict's entries and parameters counted.
* values: the largest deviation of logits, or of features, proposals and heads, in units of the golden's
  standard deviation; the limit is {STD_LIMIT:g}, on a GPU {STD_LIMIT_GPU:g}.
* tuned: the same on the two crops for the network as `eval` and `predict` run it on a CPU, where sums are
  taken in another order; the limit is {TUNED_LIMIT:g}. (openseg's networks are checked so everywhere.)
* class map: pixels that differ although their margin is larger than the limit; none may.
* boxes, scores, mask areas: of the final detections; the limits are {BOX_LIMIT_PX:g} px, {SCORE_LIMIT:g} and
  {MASK_LIMIT_PX} px.
"""


def _row(name: str, group: Sequence[CheckResult]) -> tuple[str, ...]:
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


def _result(group: Sequence[CheckResult]) -> str:
    statuses = [f.status for f in group]
    for status in ("differs", "damaged", "unknown"):
        if status in statuses:
            return status
    return "no golden" if statuses == ["no golden"] else "equal"


def summary(findings: Sequence[CheckResult]) -> str:
    """One sentence on the whole run."""
    table = rows(findings)
    counts = {
        s: sum(r[-1] == s for r in table) for s in ("equal", "differs", "no golden", "damaged", "unknown")
    }
    return ", ".join(f"{n} {s}" for s, n in counts.items() if n) or "nothing checked"
