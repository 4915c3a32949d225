"""`bddzoo bench` as a user runs it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.command import bddzoo, environment
from tests.cli.conftest import TinyZoo
from tests.support.tiny import INS_SEG, SEM_SEG

DEMO = "demo_semfpn_r18n_sem_seg"
FAST = ("--device", "cpu", "--size", "64x96", "--seconds", "0.2")


@pytest.fixture(scope="module")
def measured(tiny: TinyZoo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("results")
    options = ("--paired", "--registry", tiny.registry, "--results", root)
    done = bddzoo("bench", SEM_SEG, INS_SEG, *FAST, *options)
    assert done.returncode == 0, done.stderr
    assert "ratio" in done.stdout
    assert done.stderr.count("record: ") == 2
    return root


def test_what_was_measured_is_listed_shown_and_compared(measured: Path) -> None:
    listed = bddzoo("results", "ls", "--speed", "--results", measured, "--format", "json")
    a, b = (item["id"] for item in json.loads(listed.stdout))
    table = bddzoo("results", "ls", "--speed", SEM_SEG, "--results", measured)
    assert SEM_SEG in table.stdout
    assert INS_SEG not in table.stdout
    shown = bddzoo("results", "show", a[:6], "--results", measured)
    assert "file to file" in shown.stdout
    ratio = json.loads(bddzoo("results", "compare", a, b, "--results", measured, "--format", "json").stdout)
    assert ratio["in_turns"] is True
    for item in ratio["ratios"]:
        assert 0 < item["low"] <= item["ratio"] <= item["high"]
    differing = json.loads(bddzoo("results", "diff", a, b, "--results", measured, "--format", "json").stdout)
    fields = {item["field"]: (item["a"], item["b"]) for item in differing["fields"]}
    assert set(fields["model"]) == {SEM_SEG, INS_SEG}
    assert not {"device.name", "size", "started", "command"} & set(fields)
    assert [item["what"] for item in differing["medians"]] == ["network", "file to file"]
    assert "median ms" in bddzoo("results", "diff", a, b, "--results", measured).stdout
    # Records of numbers are others.
    assert json.loads(bddzoo("results", "ls", "--results", measured, "--format", "json").stdout) == []


def test_what_tells_rows_apart_stays_on_a_narrow_terminal(tiny: TinyZoo, tmp_path: Path) -> None:
    options = (*FAST, "--no-io", "--registry", tiny.registry, "--results", tmp_path)
    narrow = {"COLUMNS": "80"}
    done = bddzoo("bench", SEM_SEG, "--precision", "fp32,bf16", *options, env=narrow)
    listed = bddzoo("results", "ls", "--speed", "--results", tmp_path, env=narrow)
    for shown in (done.stdout, listed.stdout):
        assert "bf16" in shown
        assert "fp32" in shown
        assert max(map(len, shown.splitlines())) <= 80


def test_a_measurement_is_not_made_twice(tiny: TinyZoo, measured: Path) -> None:
    command = ("bench", SEM_SEG, *FAST, "--registry", tiny.registry, "--results", measured)
    again = bddzoo(*command)
    assert again.returncode == 0
    assert "measured before" in again.stderr
    assert len(list(measured.rglob("speed/*.json"))) == 2
    other = bddzoo(*command, "--batch-size", "2", "--format", "json")
    (row,) = json.loads(other.stdout)
    assert [item["batch_size"] for item in row["summary"]] == [2, 1]
    assert len(list(measured.rglob("speed/*.json"))) == 3


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("no_such_model",), 5, "no model or zoo fits"),
        ((), 2, "no model given"),
        ((DEMO, "--batch-size", "0"), 2, "not a list of numbers"),
        ((DEMO, "--batch-size", "1,x"), 2, "not a list of numbers"),
        ((DEMO, "--size", "720"), 2, "not HEIGHTxWIDTH"),
        ((DEMO, "--size", "0x99999999999"), 2, "not between"),
        ((DEMO, "--precision", "fp8"), 2, "known: fp32, amp, bf16"),
        ((DEMO, "--runtime", "tensorrt"), 2, "known: "),
        ((DEMO, "--paired"), 2, "name two"),
        ((DEMO, "--device", "tpu"), 2, "no device is called"),
        ((DEMO, "--device", "cpu", "--precision", "amp"), 2, "needs a GPU"),
        ((DEMO, "--weights", "no-such-file.pth"), 5, "no such weights file"),
        ((DEMO, "--weights", "zoo", "--offline", "--cache", "CACHE"), 0, ""),
    ],
)
def test_bad_input(arguments: tuple[str, ...], code: int, text: str, tmp_path: Path) -> None:
    typed = [str(tmp_path) if a == "CACHE" else a for a in arguments]
    size = () if "--size" in typed else ("--size", "64x64")
    done = bddzoo("bench", *typed, *size, "--seconds", "0.1", "--results", tmp_path / "results")
    assert done.returncode == code, done.stderr
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    if code:
        assert not (tmp_path / "results").exists()


def test_ctrl_c_keeps_what_was_measured(tmp_path: Path) -> None:
    root, log = tmp_path / "results", tmp_path / "log"
    sizes = ["--size", "90x160", "--batch-size", "1,8", "--seconds", "0.3"]
    command = ["bench", DEMO, "--device", "cpu", *sizes, "-v", "--results", str(root)]
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "bddzoo", *command], stderr=stderr, env=environment(), text=True
        )
    deadline = time.monotonic() + 240
    while "batch size 8" not in log.read_text() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130, log.read_text()
    assert "Traceback" not in log.read_text()
    (path,) = root.rglob("speed/*.json")
    record = json.loads(path.read_bytes())
    assert [t["batch_size"] for t in record["timings"]] == [1]
    assert "interrupted" in record["warnings"]
