"""What `bddzoo score` gives beyond the official result: slices, intervals, worst frames, plots.

What `bddzoo score --against` says: which of two prediction sets is better, and how sure that is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bddzoo.cli.score_output import HEADLINE, number, text_table

if TYPE_CHECKING:
    from bddzoo.evaluation.options import Evaluation


@dataclass(frozen=True)
class Extras:
    """Which of them were asked for.

    Attributes:
        by: Frame attributes to slice by.
        attributes: Attributes of each frame.
        ci: Whether to give intervals.
        seed: Of the bootstrap.
        worst: How many of the worst frames to list.
        plots: Folder for pictures.
    """

    by: list[str]
    attributes: Mapping[str, Mapping[str, str]]
    ci: bool
    seed: int
    worst: int | None
    plots: Path | None

    def add(self, found: Evaluation, out: dict[str, Any]) -> list[str]:
        """Compute them, put them into `out` for JSON, and return blocks of text."""
        blocks = []
        if self.ci:
            blocks.append(self._intervals(found, out))
        if self.by:
            blocks.append(self._slices(found, out))
        if self.worst:
            blocks.append(self._worst(found, out, self.worst))
        if self.plots:
            from bddzoo.reports.plots.curves import plot

            paths = plot(found.accumulator, self.plots)
            out["plots"] = [str(p) for p in paths]
            blocks.append("plots: " + (", ".join(str(p) for p in paths) or "none for this task"))
        return blocks

    def _intervals(self, found: Evaluation, out: dict[str, Any]) -> str:
        from bddzoo.evaluation.bootstrap import LEVEL, RESAMPLES, intervals

        values = intervals(found.accumulator, seed=self.seed)
        out["intervals"] = {
            "level": LEVEL,
            "resamples": RESAMPLES,
            "seed": self.seed,
            "values": {m: list(v) for m, v in values.items()},
        }
        lines = [f"95% intervals ({RESAMPLES} bootstrap resamples of the images):"]
        for metric, (low, high) in values.items():
            lines.append(
                f"  {metric} {number(found.scores.summary[metric])}  [{number(low)}, {number(high)}]"
            )
        return "\n" + "\n".join(lines)

    def _slices(self, found: Evaluation, out: dict[str, Any]) -> str:
        from bddzoo.evaluation.slices import slice_scores

        slices = slice_scores(found.accumulator, self.attributes, self.by)
        out["slices"] = {
            key: {
                value: {"frames": s.frames, "summary": dict(s.summary), "per_class": dict(s.table)}
                for value, s in values.items()
            }
            for key, values in slices.items()
        }
        metrics = HEADLINE[found.scores.task]
        rows = [
            [key, value, str(scores.frames), *(number(scores.summary[m]) for m in metrics)]
            for key, values in slices.items()
            for value, scores in values.items()
        ]
        return "\n" + text_table(["by", "value", "frames", *metrics], rows, left=2)

    def _worst(self, found: Evaluation, out: dict[str, Any], count: int) -> str:
        from bddzoo.evaluation.slices import worst_frames

        metric, frames = worst_frames(found.accumulator, count)
        out["worst"] = [{"frame": name, metric: value} for name, value in frames]
        return "\n" + "\n".join(
            [f"worst frames by {metric}:", *(f"  {number(value):>6}  {name}" for name, value in frames)]
        )


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
