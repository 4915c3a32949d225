"""Recorded cases: small inputs and what the official toolkit does with them."""

from __future__ import annotations

import contextlib
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.shared import ROOT as SHARED

OWN = Path(__file__).parents[1] / "data" / "evalcases"
FOREIGN = SHARED / "evalcases"
COCO_METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


def runs(only=lambda name, outcome: True):
    """(case folder, argv, outcome) of scoring runs, as pytest parameters named `case-run`."""
    out = []
    folders = sorted(p for p in OWN.iterdir() if p.is_dir())
    # The toolkit's own test files are read where they lie.
    folders += sorted(FOREIGN.glob("tk-*")) if FOREIGN.is_dir() else []
    for folder in folders:
        case = json.loads((folder / "case.json").read_text())
        expected = json.loads((folder / "expected.json").read_text())
        for run, argv in case["runs"].items():
            name, outcome = f"{folder.name}-{run}", expected[run].get("nproc1")
            if case["modules"][run] == "bdd100k.eval.run" and only(name, outcome):
                out.append(pytest.param(folder, argv, outcome, id=name))
    return out


def pycocotools_scores(truth: COCO, found, kind: str) -> dict[str, float]:
    """The twelve numbers of COCO's own evaluation, in percent, by our names."""
    with contextlib.redirect_stdout(io.StringIO()):
        run = COCOeval(truth, truth.loadRes(found), kind)
        run.evaluate()
        run.accumulate()
        run.summarize()
    return {
        name: math.nan if value == -1 else 100 * value
        for name, value in zip(COCO_METRICS, run.stats.tolist(), strict=True)
    }


def write_sides(root: Path, gt, pred, name: str = "pred.json") -> tuple[Path, Path]:
    """Files of ground truth and of predictions, with what is given."""
    (root / "gt.json").write_text(json.dumps(gt))
    (root / name).write_text(json.dumps(pred))
    return root / "gt.json", root / name


def same(ours, theirs) -> None:
    """Scores with equal numbers, bit for bit."""
    np.testing.assert_equal(dict(ours.summary), dict(theirs.summary))
    np.testing.assert_equal(
        {m: dict(r) for m, r in ours.table.items()}, {m: dict(r) for m, r in theirs.table.items()}
    )


def assert_same(ours, theirs, where="") -> None:
    """Same keys in the same order, same numbers to a relative 1e-9, null for NaN."""
    if isinstance(theirs, dict):
        assert list(ours) == list(theirs), where
        for key, value in theirs.items():
            assert_same(ours[key], value, f"{where}/{key}")
    elif isinstance(theirs, list):
        assert len(ours) == len(theirs), where
        for mine, other in zip(ours, theirs, strict=True):
            assert_same(mine, other, where)
    elif theirs == "NaN" or theirs != theirs:
        assert ours is None or math.isnan(ours), (where, ours)
    else:
        assert ours is not None, where
        assert math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=1e-12), (where, ours, theirs)
