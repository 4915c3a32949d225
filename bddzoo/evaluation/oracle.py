"""The official toolkit itself, for those who must quote it, and for tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

from bddzoo.datasets.classes import TRACKED
from bddzoo.errors import MissingError, install_hint
from bddzoo.evaluation.metrics.scores import (
    OFFICIAL_METRICS,
    OFFICIAL_PLAIN,
    OFFICIAL_TOTAL,
    RLE_NAMES,
    SUMMARY_NAMES,
    Scores,
)

SERVER = Path(__file__).with_name("toolkit_server.py")


def toolkit_python() -> str | None:
    """The Python that has the toolkit: this one, or `BDDZOO_ORACLE_PYTHON`, or none."""
    if find_spec("bdd100k") and find_spec("scalabel"):
        return sys.executable
    return os.environ.get("BDDZOO_ORACLE_PYTHON")


class Toolkit:
    """A running official toolkit; use as a context manager.

    Attributes:
        versions: Versions of `bdd100k` and `scalabel`.

    Raises:
        MissingError: It is not installed, or does not start.
    """

    def __init__(self, python: str | None = None) -> None:
        chosen = python or toolkit_python()
        if not chosen:
            raise MissingError(
                "the official toolkit (bdd100k) is not installed",
                hint=f"{install_hint('oracle')}, or leave out --evaluator official",
            )
        try:
            self._process = subprocess.Popen(
                [chosen, str(SERVER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                encoding="utf-8",
            )
        except OSError as error:
            raise MissingError(f"the official toolkit does not start: {error}") from None
        self.versions: dict[str, str] = self._answer()

    def evaluate(self, task: str, gt: Path, pred: Path, score_file: Path | None = None) -> dict[str, Any]:
        """Outcome of one evaluation: `{"status": "ok", "result": ...}` or `{"status": "error", ...}`."""
        arguments = ["-t", task, "-g", str(gt), "-r", str(pred)]
        if score_file:
            arguments += ["--score-file", str(score_file)]
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps(arguments) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise MissingError("the official toolkit ended unexpectedly") from None
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise MissingError(
                "the official toolkit ended unexpectedly", hint="try 'python -c \"import bdd100k.eval.run\"'"
            )
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Stop it."""
        if self._process.stdin:
            self._process.stdin.close()
        if self._process.stdout:
            self._process.stdout.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def __enter__(self) -> Toolkit:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def evaluate_official(
    task: str, gt: Path, pred: Path, score_file: Path | None = None
) -> tuple[Scores, dict[str, str]]:
    """Scores as the installed toolkit gives them, and its versions.

    Raises:
        MissingError: It is not installed, or fails on the input; its exception is quoted.
    """
    for path in filter(None, (gt, pred, score_file)):
        if not path.exists():
            raise MissingError(f"no such file or folder: {path}")
    with Toolkit() as toolkit:
        outcome = toolkit.evaluate(task, gt.absolute(), pred.absolute(), score_file and score_file.absolute())
        if outcome["status"] != "ok":
            raise MissingError(
                f"the official toolkit fails on {pred}: {outcome['exception']}: "
                + " ".join(outcome["message"].split()),
                hint="bddzoo's own evaluation says what is wrong",
            )
        return scores_of(task, outcome["result"]), toolkit.versions


def scores_of(task: str, result: dict[str, Any]) -> Scores:
    """`Scores` from the toolkit's result."""
    table, summary, groups = {}, {}, {}
    renamed = {a: b for a, b in RLE_NAMES.items() if b in result}
    for ours, theirs in OFFICIAL_METRICS[task].items():
        rows = result[theirs] if theirs in result else result[RLE_NAMES[theirs]]
        total = rows[-1][OFFICIAL_TOTAL[task]]
        table[ours] = {"pedestrian": total} if task == "pose" else rows[0]
        summary[SUMMARY_NAMES.get(ours, ours)] = total
        if len(rows) > 2:
            groups[ours] = {**rows[1], **{n: v for n, v in rows[2].items() if n != OFFICIAL_TOTAL[task]}}
    for name in OFFICIAL_PLAIN.get(task, ()):
        summary[name] = result[name]
    unit = "video" if task in TRACKED else "frame"
    return Scores(task, table, summary, groups=groups, renamed=renamed, unit=unit)
