"""The examples in docs/evaluation.md run as they are printed."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs" / "evaluation.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", DOCS.read_text(encoding="utf-8"), re.M | re.S)


def test_the_examples_run_one_after_the_other(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert len(BLOCKS) >= 3
    names = {}
    for block in BLOCKS:
        exec(compile(block, str(DOCS), "exec"), names)
    lines = capsys.readouterr().out.splitlines()
    # What the comments promise: percent, of the class, and the classes that are not there.
    assert 80 < float(lines[0]) < 100
    assert float(lines[1]) == pytest.approx(90, abs=1)
    assert lines[2] == "()"
    # IoU 19000 / 20950: a hit at nine thresholds of ten.
    value, _, remarks = lines[3].partition(" ")
    assert float(value) == pytest.approx(90)
    assert remarks == "[]"
    assert float(lines[4]) == pytest.approx(100)
    assert float(lines[5]) == pytest.approx(100 * 19000 / 20950)
    assert list(names["official"]) == ["IoU", "Acc", "fIoU", "pAcc"]
    assert names["low"] <= names["result"].scores.summary["mIoU"] <= names["high"]
    assert names["night"].frames == 1
    assert names["frames"][0][0] in ("0.png", "1.png")
