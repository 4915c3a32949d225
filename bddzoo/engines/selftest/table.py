"""Tables of verdicts: one row a model, and the whole run as a page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from bddzoo.engines.selftest.measures import (
    FACTOR,
    FLOORS,
    MASK_LIMIT_PX,
    UNVERIFIED,
    CheckResult,
    Measure,
)

_COLUMNS: tuple[tuple[str, Callable[[Measure], bool]], ...] = (
    ("values (std)", lambda m: m.unit == "std" and not m.name.startswith("tuned ") and m.name != "float32"),
    ("tuned (std)", lambda m: m.unit == "std" and m.name.startswith("tuned ") and "float32" not in m.name),
    ("class map (px)", lambda m: m.name == "class map"),
    ("boxes (px)", lambda m: m.name == "boxes"),
    ("scores", lambda m: m.name == "scores"),
    ("mask areas (px)", lambda m: m.name == "mask areas"),
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
  are the whole protocol on two images, from the image to class map or masks; `ops` are operators
  against a compiled mmcv. A model without a golden is {UNVERIFIED}: only its state dict's
  entries and parameters were counted.
* values: the largest deviation of logits, or of features, proposals and heads, in units of the golden's
  standard deviation. The limit is {FACTOR:g} times the noise that is kept next to each golden, and at least
  {FLOORS["std"]:g}. A network that is further away is compared again in float64: what is wrong in a network
  is wrong there, too, and what only this machine's float32 did is gone.
* tuned: the same on the two crops for the network as `eval` and `predict` run it on a CPU, where sums are
  taken in another order. (openseg's networks are checked so everywhere.)
* class map: pixels that differ although their margin is larger than the limit; none may.
* boxes, scores, mask areas: of proposals and final detections, paired with the golden ones; the limits are
  {FLOORS["px"]:g} px, {FLOORS["score"]:g} or {FACTOR:g} times the noise, and {MASK_LIMIT_PX} px. What has no
  partner must hang on a decision of suppression without margin.
"""


def _row(name: str, group: Sequence[CheckResult]) -> tuple[str, ...]:
    measures = [m for f in group for m in f.measures]
    kinds = [f.check for f in group if f.check != "keys"] or ["-"]
    cells = [_worst([m for m in measures if belongs(m)]) for _, belongs in _COLUMNS]
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
    return UNVERIFIED if all(status == "no golden" for status in statuses) else "equal"


def results(findings: Sequence[CheckResult]) -> set[str]:
    """The results of models and operators: `equal`, `differs`, `unverified`, `damaged` or `unknown`."""
    return {row[-1] for row in rows(findings)}


def summary(findings: Sequence[CheckResult]) -> str:
    """One sentence on the whole run."""
    table = rows(findings)
    counts = {
        s: sum(r[-1] == s for r in table) for s in ("equal", "differs", UNVERIFIED, "damaged", "unknown")
    }
    return ", ".join(f"{n} {s}" for s, n in counts.items() if n) or "nothing checked"
