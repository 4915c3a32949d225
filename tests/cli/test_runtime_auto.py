"""`--runtime auto`: the runtime that was measured as fastest on this processor, if it can be used."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from bddzoo.datasets.mini import make_mini
from bddzoo.results.environment import cpu_model
from bddzoo.results.speed import Device, Timing, write_speed
from tests.cli.command import run_here
from tests.results.test_speed import record

MODEL = "demo_semfpn_r18n_sem_seg"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_mini(tmp_path_factory.mktemp("auto") / "set", val=1).root


def measured(root: Path, **times: float) -> Path:
    for runtime, ms in times.items():
        device = Device(name=cpu_model(), type="cpu", threads=2)
        given = {"model": MODEL, "zoo": "demo", "runtime": runtime, "device": device}
        write_speed(record(timings=(Timing(times_ms=(ms,)),), **given), root)
    return root


@pytest.mark.parametrize(
    ("times", "said", "used"),
    [
        ({}, "bddzoo bench", None),
        ({"eager": 5.0}, "bddzoo bench", None),
        ({"eager": 5.0, "openvino": 6.0}, "runs in eager", None),
        ({"eager": 5.0, "onnxruntime": 6.0, "openvino": 4.0}, "runs in openvino", "openvino"),
    ],
)
def test_the_fastest_that_can_be_used(
    capsys: pytest.CaptureFixture[str],
    data: Path,
    tmp_path: Path,
    times: dict[str, float],
    said: str,
    used: str | None,
) -> None:
    root = measured(tmp_path / "results", **times)
    given = ("eval", MODEL, "--data", data, "--device", "cpu", "--results", root, "--format", "json")
    done = run_here(capsys, *given, "--runtime", "auto")
    assert done.returncode in (0, 3, 4), done.stderr
    lacking = [name for name in times if name != "eager" and find_spec(name) is None]
    for name in lacking:
        assert f"{name} was measured here, but {name} is not installed" in done.stderr
    if not lacking:
        assert said in done.stderr
    path = Path(json.loads(done.stdout)["record"])
    options = json.loads(path.read_text())["protocol"]["options"]
    found = options.get("runtime", "").partition(" ")[0] or None
    assert found == (None if used in lacking else used), "the record says what ran, never auto"
