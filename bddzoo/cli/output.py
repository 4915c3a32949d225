"""How a verdict is shown: shared by the commands that print one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bddzoo.results import VerdictReport


def number(value: float | None, sign: str = "") -> str:
    """A percentage with two decimals, `-` for one that is unknown.

    Args:
        value: Percent or points, None for unknown.
        sign: `+` to show the sign of positive values too.
    """
    if value is None:
        return "-"
    # A difference that rounds to nothing has no direction.
    return f"{value:{sign}.2f}" if abs(value) >= 0.005 else "0.00"


def describe_verdict(report: VerdictReport) -> str:
    """The verdict as a small table with the reasons below it."""
    from tabulate import tabulate

    rows = [
        [
            metric.column,
            str(metric.reported),
            number(metric.measured),
            number(metric.difference, "+"),
            f"±{metric.tolerance}",
            str(metric.verdict),
        ]
        for metric in report.metrics
    ]
    head = ["metric", "reported", "measured", "difference", "tolerance", "verdict"]
    table = tabulate(rows, headers=head, disable_numparse=True) + "\n" if rows else ""
    reasons = "".join(f"\n  {reason}" for reason in report.reasons)
    scope = f" ({report.scope})" if report.scope else ""
    return f"{table}verdict: {report.verdict}{scope}{reasons}"


def verdict_json(report: VerdictReport | None) -> dict[str, Any] | None:
    """The verdict in JSON's types; None where there is none."""
    if report is None:
        return None
    return {
        "verdict": str(report.verdict),
        "split": report.split,
        "protocol": report.protocol,
        "compared": list(report.compared),
        "not_compared": list(report.not_compared),
        "reasons": list(report.reasons),
        "metrics": [
            {
                "metric": metric.metric,
                "column": metric.column,
                "verdict": str(metric.verdict),
                "reported": metric.reported,
                "measured": metric.measured,
                "difference": metric.difference,
                "tolerance": metric.tolerance,
                "reasons": list(metric.reasons),
            }
            for metric in report.metrics
        ],
    }
