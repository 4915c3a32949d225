"""Result tables and result files of `bddzoo score`."""

from __future__ import annotations

import csv as csv_module
import io
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bddzoo.text import number_of

if TYPE_CHECKING:
    from bddzoo.evaluation.metrics.scores import Scores
    from bddzoo.evaluation.options import Evaluation, Options

# What a reader looks at first.
HEADLINE = {
    "sem_seg": ("mIoU", "fIoU", "pAcc"),
    "drivable": ("mIoU", "fIoU", "pAcc"),
    "ins_seg": ("AP", "AP50", "AP75"),
    "pan_seg": ("PQ", "SQ", "RQ"),
}
TOTALS = {"sem_seg": "mean", "drivable": "mean", "ins_seg": "overall", "pan_seg": "overall"}


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


def check_targets(out_file: Path | None, plots: Path | None) -> None:
    """Refuse places that cannot be written to, before the long work.

    Raises:
        MissingError: A folder where a file should be written, or the reverse.
        UsageError: There is nothing to draw with.
    """
    from importlib.util import find_spec

    from bddzoo.errors import MissingError, UsageError, install_hint

    if out_file and out_file.is_dir():
        raise MissingError(f"cannot write {out_file}: it is a folder")
    if plots and plots.exists() and not plots.is_dir():
        raise MissingError(f"cannot write into {plots}: it is no folder")
    if plots and find_spec("matplotlib") is None:
        raise UsageError("--plots needs matplotlib", hint=install_hint("plots"))


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write JSON with NaN as null; the file appears only when complete."""
    from bddzoo.files import write_bytes

    text = json.dumps(_nulls(value), indent=2, ensure_ascii=False, allow_nan=False)
    write_bytes(path, (text + "\n").encode("utf-8", "backslashreplace"))


def _nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _nulls(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_nulls(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def table_of(found: Evaluation, *, csv: bool = False) -> str:
    """Per-class table with the totals below."""
    scores = found.scores
    metrics = list(scores.table)
    classes = list(scores.table[metrics[0]])
    rows: list[list[Any]] = [[name, *(scores.table[m][name] for m in metrics)] for name in classes]
    groups = dict.fromkeys(k for row in scores.groups.values() for k in row)
    rows += [[name, *(scores.groups[m][name] for m in metrics)] for name in groups]
    rows.append([TOTALS[scores.task], *(_total(scores, m) for m in metrics)])
    head = ["class", *(_column(m) for m in metrics)]
    if csv:
        out = io.StringIO()
        writer = csv_module.writer(out, lineterminator="\n")
        writer.writerow(head)
        for row in rows:
            writer.writerow([row[0], *("" if math.isnan(v) else repr(v) for v in row[1:])])
        for name in _plain(scores):
            writer.writerow([name, repr(scores.summary[name])])
        return out.getvalue().rstrip("\n")
    return _text(scores, head, rows)


def _text(scores: Scores, head: list[str], rows: list[list[Any]]) -> str:
    absent = set(scores.absent)

    def cell(name: str, metric: str, value: float) -> str:
        if math.isnan(value):
            return "-"
        if metric == "N":
            return str(int(value))
        return f"{value:.2f}" + ("*" if name in absent and metric != "PQ" else "")

    shown = [[r[0], *(cell(r[0], m, v) for m, v in zip(head[1:], r[1:], strict=True))] for r in rows]
    lines = [text_table(head, shown, rule_before_last=True)]
    plain = _plain(scores)
    if plain:
        lines.append("   ".join(f"{n} {number(scores.summary[n])}" for n in plain))
    if scores.frames:
        lines.append(
            number_of(scores.frames, "frame") + (", PARTIAL: not the whole set" if scores.partial else "")
        )
    if absent and scores.task != "pan_seg":
        where = "in neither" if "PixelACC" in scores.summary else "not in the ground truth"
        lines.append(f"{where} (*, left out of means): " + ", ".join(scores.absent))
    if "Precision" in head:
        lines.append("Precision is what the official toolkit calls Acc.")
    return "\n".join(lines)


def _plain(scores: Scores) -> list[str]:
    """Summary values that have no column."""
    return [n for n in ("fIoU", "pAcc", "PixelACC") if n in scores.summary]


def _column(metric: str) -> str:
    return metric


def _total(scores: Scores, metric: str) -> float:
    return scores.summary.get(metric, scores.summary.get("m" + metric, math.nan))


def headline(scores: Scores) -> str:
    """The most looked-at numbers in one line."""
    return ", ".join(f"{n} {number(scores.summary[n])}" for n in HEADLINE[scores.task])


def number(value: float) -> str:
    """A percentage for people."""
    return "-" if math.isnan(value) else f"{value:.2f}"


def text_table(
    head: list[str], rows: list[list[str]], *, left: int = 1, rule_before_last: bool = False
) -> str:
    """Columns of text under their heads; the first `left` ones flush left, numbers flush right.

    The tabulate package would do it too, but takes a quarter of this command's start-up.
    """
    widths = [max(len(r[i]) for r in [head, *rows]) for i in range(len(head))]

    def line(cells: list[str]) -> str:
        texts = [
            c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))
        ]
        return "  ".join(texts).rstrip()

    rule = "  ".join("-" * w for w in widths)
    lines = [line(head), rule, *map(line, rows)]
    if rule_before_last:
        lines.insert(-1, rule)
    return "\n".join(lines)
