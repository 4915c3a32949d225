"""What `bddzoo score` shows and writes: tables, result files, slices, intervals, worst frames, plots."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bddzoo.cli.app import App, json_text
from bddzoo.cli.output import check_target, number, table, wrapped
from bddzoo.errors import MissingError, UsageError, install_hint
from bddzoo.files import write_bytes
from bddzoo.text import csv_table, number_of

if TYPE_CHECKING:
    from bddzoo.evaluation.metrics.errors import ErrorAccumulator
    from bddzoo.evaluation.metrics.scores import Scores
    from bddzoo.evaluation.options import Evaluation, Options

# Pairs of classes that are named.
MOST_CONFUSED = 8


def json_of(found: Evaluation, options: Options, extras: dict[str, Any]) -> dict[str, Any]:
    """The official toolkit's result shape; what it has no place for is below the key `bddzoo`."""
    out: dict[str, Any] = found.scores.to_official()
    if options.official and not found.skipped and not extras:
        return out
    more = found.scores.to_json()
    more["compat"] = "official" if options.official else "strict"
    more["source"] = found.source
    more["warnings"] = found.warnings
    more["left_out"] = found.skipped
    if found.official is not None:
        more["official"] = found.official.to_official()
    if found.official_note:
        more["official_note"] = found.official_note
    out["bddzoo"] = {**more, **extras}
    return out


def check_targets(out_file: Path | None, plots: Path | None, force: bool) -> None:
    """Refuse places that cannot be written to, before the long work.

    Raises:
        MissingError: A folder where a file should be written, or the reverse.
        UsageError: There is nothing to draw with, or what is there is to stay.
    """
    from importlib.util import find_spec

    if out_file and out_file.is_dir():
        raise MissingError(f"cannot write {out_file}: it is a folder")
    if plots and plots.exists() and not plots.is_dir():
        raise MissingError(f"cannot write into {plots}: it is not a folder")
    if plots and find_spec("matplotlib") is None:
        raise UsageError("--plots needs matplotlib", hint=install_hint("plots"))
    if out_file:
        check_target(out_file, force)
    if plots:
        check_target(plots, force, "--plots")


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write JSON with NaN as null; the file appears only when complete."""
    write_bytes(path, (json_text(value) + "\n").encode("utf-8", "backslashreplace"))


def csv_of(scores: Scores) -> str:
    """Values of each class and over all of them, with all their digits."""
    head, rows = _rows(scores)
    rows += [[name, scores.summary[name]] for name in _plain(scores)]
    cells = [[str(row[0]), *("" if math.isnan(v) else repr(v) for v in row[1:])] for row in rows]
    return csv_table(head, cells)


def _rows(scores: Scores) -> tuple[list[str], list[list[Any]]]:
    """Heads, and a row for each class, each group of classes, and all of them."""
    from bddzoo.evaluation.metrics.scores import SUMMARY_NAMES

    metrics = list(scores.table)
    rows: list[list[Any]] = [
        [name, *(scores.table[m][name] for m in metrics)] for name in scores.table[metrics[0]]
    ]
    groups = dict.fromkeys(k for row in scores.groups.values() for k in row)
    rows += [[name, *(scores.groups[m][name] for m in metrics)] for name in groups]
    total = "mean" if "Precision" in metrics or "IoU" in metrics else "overall"
    rows.append([total, *(scores.summary.get(SUMMARY_NAMES.get(m, m), math.nan) for m in metrics)])
    return ["class", *metrics], rows


def show(app: App, scores: Scores) -> None:
    """Print the classes with the totals below, and what has no column."""
    head, rows = _rows(scores)
    absent = set(scores.absent)

    def cell(name: str, metric: str, value: float) -> str:
        marked = name in absent and metric != "PQ" and not isinstance(value, int) and not math.isnan(value)
        return _shown(value) + "*" * marked

    cells = [[r[0], *(cell(r[0], m, v) for m, v in zip(head[1:], r[1:], strict=True))] for r in rows]
    app.table(head, cells, total=True, stacked=True)
    plain = _plain(scores)
    if plain:
        app.data("   ".join(f"{n} {number(scores.summary[n])}" for n in plain))
    if scores.frames:
        partial = ", PARTIAL: not the whole set" if scores.partial else ""
        app.data(number_of(scores.frames, scores.unit) + partial)
    if absent and scores.task != "pan_seg":
        either = "PixelACC" in scores.summary or scores.task == "tagging"
        where = "in neither" if either else "not in the ground truth"
        what = "they count as 0 in means" if scores.unit == "video" else "left out of means"
        app.prose(f"{where} (*, {what}): " + ", ".join(scores.absent))
    if "Precision" in head and scores.task != "tagging":
        app.data("Precision is what the official toolkit calls Acc.")


def _plain(scores: Scores) -> list[str]:
    """Summary values that have no column."""
    names = ("fIoU", "pAcc", "PixelACC", "accuracy", "mMOTA", "mMOTP", "mIDF1", "mHOTA")
    return [n for n in names if n in scores.summary]


def _shown(value: float) -> str:
    """A count as it is, a percentage with two decimals."""
    return str(value) if isinstance(value, int) else number(value)


def headline(scores: Scores) -> str:
    """The most looked-at numbers in one line."""
    from bddzoo.evaluation.metrics.scores import HEADLINES

    return ", ".join(f"{n} {_shown(scores.summary[n])}" for n in HEADLINES[scores.task])


@dataclass(frozen=True)
class Extras:
    """What was asked for besides the scores; see the options."""

    by: tuple[tuple[str, ...], ...] = ()
    attributes: Path | None = None
    ci: bool = False
    seed: int = 0
    against: Path | None = None
    against_score_file: Path | None = None
    worst: int | None = None
    errors: bool = False
    calibration: bool = False
    plots: Path | None = None

    @property
    def keys(self) -> list[str]:
        """Attributes of frames to slice by."""
        return [key for names in self.by for key in names]

    def check(self, task: str) -> None:
        """Refuse what does not go together.

        Raises:
            UsageError: An option without the one that it belongs to, or for another task.
        """
        from bddzoo.evaluation.options import DETECTED

        if bool(self.keys) != bool(self.attributes):
            raise UsageError("--by and --attributes go together")
        if (self.errors or self.calibration) and task not in DETECTED:
            raise UsageError(
                "--errors and --calibration are about detections",
                hint="they go with -t " + " or ".join(DETECTED),
            )
        if self.against_score_file and not self.against:
            raise UsageError("--against-score-file goes with --against")

    def read_attributes(self, app: App, out: dict[str, Any]) -> dict[str, dict[str, str]]:
        """The attributes of each frame; says, also in `out` for JSON, which are a network's."""
        if self.attributes is None:
            return {}
        from bddzoo.datasets.attributes import predicted, read_attribute_files
        from bddzoo.evaluation.slices import check_keys

        known = read_attribute_files(self.attributes)
        check_keys(known, self.keys)
        if marked := predicted(known, self.keys):
            out["predicted_attributes"] = marked
            for key in marked:
                app.warn(f"{key} of {self.attributes} is what a network predicted, not a label")
        return known

    def add(
        self, found: Evaluation, attributes: Mapping[str, Mapping[str, str]], out: dict[str, Any]
    ) -> list[str]:
        """Compute them, put them into `out` for JSON, and return blocks of text.

        Args:
            found: The scores, with what they were computed from.
            attributes: Attributes of each frame.
            out: Gets a key for each of them.
        """
        blocks = []
        if self.ci:
            blocks.append(self._intervals(found, out))
        if self.keys:
            blocks.append(self._slices(found, attributes, out))
        if self.worst:
            blocks.append(self._worst(found, out, self.worst))
        if found.errors is not None:
            blocks.append(_errors(found.errors, out))
        if self.calibration:
            blocks.append(_calibration(found, out))
        if self.plots:
            from bddzoo.reports.plots.charts import plot

            paths = plot(found.accumulator, self.plots, found.errors)
            out["plots"] = [str(p) for p in paths]
            blocks.append("plots: " + (", ".join(str(p) for p in paths) or "none for this task"))
        return blocks

    def _intervals(self, found: Evaluation, out: dict[str, Any]) -> str:
        from bddzoo.evaluation.slices import LEVEL, RESAMPLES, intervals

        values = intervals(found.accumulator, seed=self.seed)
        images = "videos" if found.scores.unit == "video" else "images"
        out["intervals"] = {
            "level": LEVEL,
            "resamples": RESAMPLES,
            "seed": self.seed,
            "values": {m: list(v) for m, v in values.items()},
        }
        lines = [f"95% intervals ({RESAMPLES} bootstrap resamples of the {images}):"]
        for metric, (low, high) in values.items():
            lines.append(
                f"  {metric} {number(found.scores.summary[metric])}  [{number(low)}, {number(high)}]"
            )
        return "\n" + "\n".join(lines)

    def _slices(
        self, found: Evaluation, attributes: Mapping[str, Mapping[str, str]], out: dict[str, Any]
    ) -> str:
        from bddzoo.evaluation.metrics.scores import HEADLINES
        from bddzoo.evaluation.slices import slice_scores

        slices = slice_scores(found.accumulator, attributes, self.keys)
        out["slices"] = {
            key: {
                value: {"frames": s.frames, "summary": dict(s.summary), "per_class": dict(s.table)}
                for value, s in values.items()
            }
            for key, values in slices.items()
        }
        metrics = HEADLINES[found.scores.task]
        rows = [
            [key, value, str(scores.frames), *(_shown(scores.summary[m]) for m in metrics)]
            for key, values in slices.items()
            for value, scores in values.items()
        ]
        return "\n" + table(["by", "value", "frames", *metrics], rows)

    def _worst(self, found: Evaluation, out: dict[str, Any], count: int) -> str:
        from bddzoo.evaluation.slices import worst_frames

        metric, frames = worst_frames(found.accumulator, count)
        out["worst"] = [{"frame": name, metric: value} for name, value in frames]
        return "\n" + "\n".join(
            [
                f"worst {found.scores.unit}s by {metric}:",
                *(f"  {number(value):>6}  {name}" for name, value in frames),
            ]
        )


def _errors(errors: ErrorAccumulator, out: dict[str, Any]) -> str:
    """Kinds of errors with what they cost, and the classes that are taken for others."""
    found = errors.compute()
    out["errors"] = found
    kinds = {**found["errors"], **found["extremes"]}
    rows = [
        [kind, str(entry.get("count", "")), f"{entry['gain']:+.2f}", entry["meaning"]]
        for kind, entry in kinds.items()
    ]
    head = f"errors at IoU 0.50 (TIDE's kinds, not official numbers; AP50 {number(found['AP50'])}):"
    names, matrix = found["confusion"]["classes"], found["confusion"]["matrix"]
    pairs = [
        (matrix[i][j], f"{names[i]} for {names[j]} ({matrix[i][j]})")
        for i in range(len(names))
        for j in range(len(names))
        if i != j and matrix[i][j]
    ]
    pairs.sort(key=lambda pair: -pair[0])
    confused = ", ".join(text for _, text in pairs[:MOST_CONFUSED]) or "none"
    shown = table(["kind", "number", "AP50", "detections"], rows)
    return f"\n{head}\n{shown}\n" + wrapped(f"taken for another class: {confused}")


def _calibration(found: Evaluation, out: dict[str, Any]) -> str:
    """How the scores of detections compare with the share that is right."""
    from bddzoo.evaluation.metrics.detection import MatchAccumulator
    from bddzoo.evaluation.metrics.errors import calibration

    assert isinstance(found.accumulator, MatchAccumulator)
    values = calibration(found.accumulator)
    out["calibration"] = values
    rows = [
        [
            f"{b['low']:.1f} to {b['high']:.1f}",
            str(b["count"]),
            number(100 * b["score"]),
            number(100 * b["right"]),
        ]
        for b in values["bins"]
    ]
    head = (
        f"calibration at IoU 0.50 (not an official number): ECE {number(values['ECE'])}, "
        f"largest gap {number(values['MCE'])}"
    )
    return f"\n{head}\n" + table(["score", "number", "mean score", "right"], rows)


def compare_with(found: Evaluation, other: Evaluation, path: Path, seed: int, out: dict[str, Any]) -> str:
    """Compare a prediction set with another of the same ground truth.

    Returns:
        A block of text.

    Raises:
        IncomparableError: The two were not scored on the same frames.
    """
    from bddzoo.evaluation.slices import LEVEL
    from bddzoo.results.compare import compare_statistics

    rows = compare_statistics(other.accumulator, found.accumulator, seed=seed)
    out["against"] = {
        "path": str(path),
        "seed": seed,
        "metrics": [asdict(row) | {"conclusion": row.conclusion} for row in rows],
    }
    frames = len(found.accumulator)
    draws = rows[0].resamples if rows else 0
    percent = f"{100 * LEVEL:.0f}%"
    number_of_frames = number_of(frames, found.scores.unit)
    head = f"against {path}, {number_of_frames}, {percent} intervals of {draws} paired bootstrap resamples:"
    shown = table(
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
    )
    return f"\n{wrapped(head)}\n{shown}"
