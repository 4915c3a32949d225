"""Class maps by other runtimes than PyTorch: the same, from files that are kept and never trusted blindly."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bddzoo.engines.load import build_network
from bddzoo.engines.recipe import GAIN, recipe_state
from bddzoo.engines.selftest.instance import compare_with_runner
from bddzoo.errors import MissingError, UsageError
from bddzoo.inference.load import load_runner
from bddzoo.inference.runtimes import RUNTIMES
from bddzoo.inference.speedups import Speedups
from bddzoo.registry import load_registry
from bddzoo.registry.model import Model
from tests.engines.models import shallow_detector, shallow_segmentor

pytest.importorskip("onnxruntime", reason="extra onnx is not installed")
pytest.importorskip("onnxscript", reason="extra onnx is not installed")

MODEL = load_registry(None).find("demo_semfpn_r18n_sem_seg")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / "bddzoo" / "converted"


def logits_of(runtime: str, gain: float = GAIN, model: Model = MODEL) -> np.ndarray[Any, Any]:
    state = recipe_state(build_network(model), gain)
    runner: Any = load_runner(model, state, "cpu", Speedups(runtime=runtime))[0]
    x = torch.randn(2, 3, 90, 160, generator=torch.Generator().manual_seed(0))
    found: torch.Tensor = runner.logits(x, (180, 320))
    return found.numpy()


@pytest.mark.parametrize("runtime", RUNTIMES[1:])
def test_logits_are_pytorchs(runtime: str) -> None:
    pytest.importorskip(runtime, reason=f"{runtime} is not installed")
    wanted = logits_of("eager")
    assert np.abs(logits_of(runtime) - wanted).max() < 2e-5 * wanted.std()


def test_files_are_kept_by_weights_and_shape_and_made_again_where_damaged(folder: Path) -> None:
    def logits(runtime: str, gain: float = GAIN) -> np.ndarray[Any, Any]:
        return logits_of(runtime, gain, shallow_segmentor())

    first = logits("onnxruntime")
    (file,) = folder.iterdir()
    stamp = file.stat().st_mtime_ns
    assert (logits("onnxruntime") == first).all()
    assert file.stat().st_mtime_ns == stamp, "converted once"
    other = logits("onnxruntime", gain=0.5)
    assert len(list(folder.iterdir())) == 2
    assert np.abs(other - logits("eager", gain=0.5)).max() < 2e-5 * other.std()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1  # weights, most likely: the file still loads
    file.write_bytes(content)
    assert (logits("onnxruntime") == first).all()
    assert file.read_bytes() != bytes(content)


def test_it_is_recorded_and_goes_with_nothing_else() -> None:
    assert Speedups(runtime="onnxruntime").options["runtime"].startswith("onnxruntime ")
    for other in (
        Speedups(runtime="onnxruntime", channels_last=True),
        Speedups(runtime="openvino", precision="amp-bf16"),
    ):
        with pytest.raises(UsageError, match="no other speedup"):
            other.check(torch.device("cpu"))
    with pytest.raises(UsageError, match="runs on a CPU"):
        Speedups(runtime="onnxruntime").check(torch.device("cuda"))


def test_a_runtime_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it is asked for first: its version goes into records before anything runs."""
    monkeypatch.setitem(sys.modules, "openvino", None)
    asked = Speedups(runtime="openvino")
    for ask in (lambda: asked.options, lambda: asked.check(torch.device("cpu"))):
        with pytest.raises(MissingError, match="openvino is not installed"):
            ask()


def test_detections_are_pytorchs(folder: Path) -> None:
    """One image at a time, and a file with one threshold or padding is not taken for another."""
    model = shallow_detector()
    state = recipe_state(build_network(model), GAIN)
    wanted, runner = (load_runner(model, state, "cpu", Speedups(runtime=name))[0] for name in RUNTIMES[:2])
    size, x = (90, 160), torch.randn(2, 3, 96, 160, generator=torch.Generator().manual_seed(0))
    x[:, :, 90:] = 0
    found = runner.detect(x, [size] * 2, [size] * 2, [(1.0, 1.0)] * 2)
    for number in (0, 1):
        count, measures = compare_with_runner(wanted, x[number, None], size, found[number])
        assert count == 100
        assert all(measure.ok for measure in measures), measures
    assert len(list(folder.iterdir())) == 1
    network = runner.network
    key = network._key((1, 3, 96, 160), size)
    assert key != network._key((1, 3, 96, 160), (96, 160))
    runner.module.roi_head.test_cfg.score_thr = 0.5
    assert key != network._key((1, 3, 96, 160), size)


def test_networks_of_other_tasks_are_refused() -> None:
    model = load_registry(None).find("resnet18_4x_scene_tag_bdd100k")
    state = recipe_state(build_network(model), GAIN)
    with pytest.raises(UsageError, match="semantic segmentation and detectors"):
        load_runner(model, state, "cpu", Speedups(runtime="onnxruntime"))
