"""Files of scores: the official toolkit's result, or ours."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bddzoo.errors import MissingError
from bddzoo.reading import json_errors, read_text

_TOTALS = frozenset({"AVERAGE", "OVERALL"})
# The official result file's names that differ from those of our summaries; those of mmcls, too.
_OURS = {"IoU": "mIoU", "Acc": "mPrecision", "accuracy_top-1": "accuracy"}


@dataclass
class ScoreFile:
    """What a scores file says.

    Attributes:
        summary: Metric to value over all classes, percent, in our names; NaN where it is not a number.
        classes: Metric to class to value, percent.
        frames: Number of images that were scored; None where the file does not say.
        partial: Whether it says that not all were.
        skipped: Names of images that it says were left out.
        absent: Classes that it says do not occur.
    """

    summary: dict[str, float] = field(default_factory=dict)
    classes: dict[str, dict[str, float]] = field(default_factory=dict)
    frames: int | None = None
    partial: bool = False
    skipped: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()


def read_score_file(file: Path, task: str = "") -> ScoreFile:
    """Read a scores file.

    Args:
        file: The official toolkit's result, or ours.
        task: What it is of, where that is known: of detection, "AP" is what we call `box_AP`.

    Raises:
        MissingError: The file cannot be read, or holds no metric.
    """
    try:
        content = json.loads(read_text(file, "the scores file"))
    except json_errors() as error:
        raise MissingError(f"{file} is not a scores file: {error}") from error
    if not isinstance(content, dict):
        raise MissingError(f"{file} is not a scores file: no JSON object")
    found = ScoreFile()
    if isinstance(content.get("summary"), dict):
        own = content
        found.summary = _numbers(content["summary"])
        tables = content.get("per_class")
        if isinstance(tables, dict):
            found.classes = {str(k): _numbers(v) for k, v in tables.items() if isinstance(v, dict)}
    else:
        own = content["bddzoo"] if isinstance(content.get("bddzoo"), dict) else {}
        _read_official(content, found, "box_" if task == "det" else "")
    if not found.summary:
        raise MissingError(f"{file} is not a scores file: no metric over all classes in it")
    frames = own.get("frames")
    found.frames = frames if isinstance(frames, int) and not isinstance(frames, bool) else None
    found.skipped = _names(own.get("left_out"))
    found.absent = _names(own.get("absent_classes"))
    found.partial = own.get("partial", False) is not False or bool(found.skipped)
    return found


def _read_official(content: Mapping[str, Any], found: ScoreFile, prefix: str) -> None:
    for plain, value in content.items():
        name = prefix + plain if plain.startswith(("AP", "AR")) else plain
        if not isinstance(value, list):
            found.summary.update({_OURS.get(k, k): v for k, v in _numbers({name: value}).items()})
            continue
        merged: dict[str, float] = {}
        for row in value:
            merged.update(_numbers(row) if isinstance(row, dict) else {})
        totals = [v for k, v in merged.items() if k in _TOTALS]
        # What follows the classes are groups of them.
        first = _numbers(value[0]) if value and isinstance(value[0], dict) else {}
        found.classes[name] = {k: v for k, v in first.items() if k not in _TOTALS}
        found.summary.update({_OURS.get(name, name): v for v in totals[:1]})


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in values.items():
        if value is None or value == "NaN":
            found[name] = float("nan")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            with contextlib.suppress(OverflowError):  # an integer of hundreds of digits is not a score
                found[name] = float(value)
    return found


def _names(value: object) -> tuple[str, ...]:
    return tuple(str(name) for name in value) if isinstance(value, list | tuple | dict) else ()
