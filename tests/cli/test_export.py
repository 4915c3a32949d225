"""`bddzoo export` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.command import assert_one_line, bddzoo
from tests.support.sampling import sampled

pytest.importorskip("onnxruntime", reason="extra onnx is not installed")
pytest.importorskip("onnxscript", reason="extra onnx is not installed")

MODEL, DETECTOR = "demo_semfpn_r18n_sem_seg", "demo_mask_rcnn_r18n_ins_seg"
SMALL = ("--size", "96x160", "--to", "onnx")


def test_models_are_written_and_compared(tmp_path: Path) -> None:
    done = bddzoo("export", MODEL, DETECTOR, *SMALL, "--format", "json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    semantic, detector = json.loads(done.stdout)
    assert semantic["same"] is detector["same"] is True
    assert semantic["deviation_std"] < 2e-5
    assert semantic["left_out"] is detector["left_out"] is None
    assert detector["outputs"] == ["boxes", "scores", "labels", "masks"]
    assert detector["detections"] > 0
    assert detector["measures"]["unpaired"]["value"] == 0
    assert detector["measures"]["boxes"]["value"] < 0.01
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"{DETECTOR}.onnx", f"{MODEL}.onnx"]
    again = bddzoo("export", MODEL, *SMALL, cwd=tmp_path)
    assert_one_line(again, 2, "--force")


def test_what_is_left_out_is_told_where_data_is_not(tmp_path: Path) -> None:
    done = bddzoo("export", DETECTOR, *SMALL, "--batch-size", "dynamic", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "left out is the second stage: whole detectors take one image" in done.stderr
    assert "left out" not in done.stdout
    assert "same: deviation" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((MODEL, *SMALL, "-o", "net.pb"), 2, ("NAME.onnx",)),
        ((MODEL, *SMALL, "--batch-size", "many"), 2, ("neither 'dynamic'",)),
        ((DETECTOR, *SMALL, "--argmax"), 2, ("class maps",)),
        ((MODEL, "--to", "onnx", "--size", "1x"), 2, ("HEIGHTxWIDTH",)),
        ((MODEL, *SMALL, "--weights", "none.pth"), 5, ("no such weights file",)),
        ((MODEL, DETECTOR, *SMALL, "-o", "net.onnx"), 2, ("name one model",)),
        (("nothing", *SMALL), 5, ("no model or zoo fits",)),
    ],
)
def test_bad_input(arguments: tuple[str, ...], code: int, words: tuple[str, ...], tmp_path: Path) -> None:
    assert_one_line(bddzoo("export", *arguments, cwd=tmp_path), code, *words)
    assert list(tmp_path.iterdir()) == []


COMMANDS = [
    ("export", MODEL, *SMALL),
    ("bench", MODEL, "--runtime", "onnxruntime", "--device", "cpu", "--results", "r"),
]


@pytest.mark.parametrize("command", sampled(COMMANDS, lambda c: c[0] == "export"), ids=lambda c: c[0])
def test_a_missing_package_is_named(command: tuple[str, ...], tmp_path: Path) -> None:
    """In an environment in which the packages cannot be found."""
    hide = tmp_path / "hide"
    hide.mkdir()
    names = ("onnx", "onnxruntime", "onnxscript")
    (hide / "sitecustomize.py").write_text(f"import sys\nsys.modules.update(dict.fromkeys({names}))\n")
    done = bddzoo(*command, env={"PYTHONPATH": str(hide)}, cwd=tmp_path)
    assert_one_line(done, 5, "is not installed", "onnx]")
