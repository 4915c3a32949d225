"""What `bddzoo score --against` says: which of two prediction sets is better, and how sure that is."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bddzoo.cli.score_output import number, text_table

if TYPE_CHECKING:
    from bddzoo.evaluation.options import Evaluation


def compare_with(found: Evaluation, other: Evaluation, path: Path, seed: int, out: dict[str, Any]) -> str:
    """Compare a prediction set with another of the same ground truth.

    Args:
        found: The set in question.
        other: The one that it is held against.
        path: Where the other one lies.
        seed: Of the bootstrap.
        out: Gets `against`, for JSON.

    Returns:
        A block of text.

    Raises:
        IncomparableError: The two were not scored on the same frames.
    """
    from bddzoo.results.compare import LEVEL, compare_statistics

    rows = compare_statistics(other.accumulator, found.accumulator, seed=seed)
    out["against"] = {
        "path": str(path),
        "seed": seed,
        "metrics": [asdict(row) | {"conclusion": row.conclusion} for row in rows],
    }
    frames = len(found.accumulator)
    draws = rows[0].resamples if rows else 0
    percent = f"{100 * LEVEL:.0f}%"
    head = f"against {path}, {frames} frames, {percent} intervals of {draws} paired bootstrap resamples:"
    table = text_table(
        ["metric", "against", "this", "difference", "interval", "this is"],
        [
            [
                row.metric,
                number(row.a),
                number(row.b),
                f"{row.difference:+.2f}",
                f"[{row.low:+.2f}, {row.high:+.2f}]",
                row.conclusion,
            ]
            for row in rows
        ],
        left=1,
    )
    return f"\n{head}\n{table}"
