"""Networks as files: what they compute, what they say of themselves, and what cannot be written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bddzoo.engines.export import Exported, Session, compare_outputs, expected_outputs, export
from bddzoo.engines.instance import dense_outputs, read_outputs
from bddzoo.engines.load import build_network, load_model
from bddzoo.engines.selftest.instance import compare_with_runner
from bddzoo.errors import BddzooError, UsageError
from bddzoo.registry import load_registry
from tests.engines.models import shallow_detector, shallow_segmentor, with_parts

onnx = pytest.importorskip("onnx", reason="extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="extra onnx is not installed")
pytest.importorskip("onnxscript", reason="extra onnx is not installed")

REGISTRY = load_registry(None)
SEMANTIC = "demo_semfpn_r18n_sem_seg"
# Heads with operators of their own, and attention; docs/export.md has one of every kind.
FAMILIES = ("psanet_r50-d8_512x1024_40k", "pointrend_r50_512x1024_40k", "upernet_swin-t_512x1024_40k")


def runner_of(model_id: str) -> Any:
    return load_model(REGISTRY.find(model_id), None)


def image(count: int = 1, height: int = 96, width: int = 160) -> torch.Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(count))


def facts_of(done: Exported) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(str(done.path)).metadata_props}


@pytest.fixture(scope="module")
def semantic() -> Any:
    return load_model(shallow_segmentor(), None)


@pytest.fixture(scope="module")
def written(semantic: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "net.onnx"
    export(semantic, path, (96, 160), batch=None, facts={"weights": "random"})
    return path


@pytest.mark.parametrize("count", [1, 3])
def test_any_batch_computes_what_pytorch_does(written: Path, semantic: Any, count: int) -> None:
    x = image(count)
    (found,) = Session(written, "onnxruntime", 1)(x.numpy())
    deviation, wrong = compare_outputs(found, expected_outputs(semantic, x)[0].numpy())
    assert deviation < 2e-5
    assert wrong == 0


def test_the_file_says_what_belongs_around_it(written: Path) -> None:
    model = onnx.load(str(written))
    onnx.checker.check_model(model)
    facts = {entry.key: entry.value for entry in model.metadata_props}
    protocol = REGISTRY.find(SEMANTIC).protocol
    assert protocol is not None
    assert tuple(json.loads(facts["mean"])) == protocol.mean
    assert tuple(json.loads(facts["std"])) == protocol.std
    assert (facts["channel_order"], facts["model"], facts["weights"]) == ("RGB", SEMANTIC, "random")
    assert [i.name for i in model.graph.input] == ["image"]
    assert [o.name for o in model.graph.output] == ["logits"]
    assert list(written.parent.iterdir()) == [written]


def test_classes_in_place_of_logits(semantic: Any, tmp_path: Path) -> None:
    done = export(semantic, tmp_path / "net.onnx", (96, 160), argmax=True)
    (found,) = Session(done.path, "onnxruntime", 1)(image().numpy())
    assert found.dtype == np.uint8
    assert (found == expected_outputs(semantic, image())[0].argmax(1).numpy()).mean() > 0.9999


def test_a_detectors_dense_part_for_more_images(tmp_path: Path) -> None:
    runner = load_model(shallow_detector(), None)
    done = export(runner, tmp_path / "net.onnx", (96, 160), batch=None)
    assert done.left_out.startswith("second stage: whole detectors take one image")
    assert facts_of(done)["left_out"] == done.left_out
    found = Session(done.path, "onnxruntime", 1)(image(3).numpy())
    wanted = expected_outputs(runner, image(3))
    assert len(found) == len(wanted) == len(done.outputs)
    for ours, theirs in zip(found, wanted, strict=True):
        assert compare_outputs(ours, theirs.numpy())[0] < 2e-5
    runner.module.roi_head.test_cfg.nms.type = "soft_nms"
    done = export(runner, tmp_path / "other.onnx", (96, 160))
    assert done.left_out == "second stage: suppression of kind soft_nms is in the way"
    with pytest.raises(UsageError, match="class maps"):
        export(runner, tmp_path / "other.onnx", (96, 160), argmax=True)


def check_whole(runner: Any, done: Any) -> None:
    """Run a whole detector's file at a size with padding, and compare."""
    x = image(1, 96, 160)
    x[:, :, 90:] = 0
    found = read_outputs(
        runner.module, Session(done.path, "onnxruntime", 1)(x.numpy()), (90, 160), (1.0, 1.0)
    )
    count, measures = compare_with_runner(runner, x, (90, 160), found)
    assert count == len(found) == 100
    assert all(measure.ok for measure in measures), measures


def test_a_whole_detector(tmp_path: Path) -> None:
    runner = load_model(shallow_detector("retinanet_r50_fpn_1x_det_bdd100k"), None)
    done = export(runner, tmp_path / "net.onnx", (96, 160), image_size=(90, 160))
    assert (done.left_out, done.outputs) == ("", ("boxes", "scores", "labels"))
    check_whole(runner, done)
    assert (facts_of(done)["image_size"], facts_of(done)["left_out"]) == ("[90, 160]", "")


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "name",
    [
        "cascade_mask_rcnn_r50_fpn_1x_ins_seg",
        "mask_rcnn_r50_fpn_dconv_1x_ins_seg",
        "fcos_r50_fpn_1x_det",
        "atss_r50_fpn_dyhead_1x_det",
        "sparse_rcnn_r50_fpn_1x_det",
    ],
)
def test_whole_detectors(name: str, tmp_path: Path) -> None:
    runner = runner_of(f"{name}_bdd100k")
    check_whole(runner, export(runner, tmp_path / "net.onnx", (96, 160), image_size=(90, 160)))


@pytest.mark.parametrize(
    ("model_id", "kinds"),
    [
        ("retinanet_r50_fpn_1x_det_bdd100k", {"scores", "boxes"}),
        ("fcos_r50_fpn_1x_det_bdd100k", {"scores", "boxes", "centerness"}),
        ("faster_rcnn_r50_fpn_1x_det_bdd100k", {"scores", "boxes"}),
        ("sparse_rcnn_r50_fpn_1x_det_bdd100k", set()),
    ],
)
def test_the_dense_head_of_every_kind_of_detector(model_id: str, kinds: set[str]) -> None:
    module: Any = build_network(REGISTRY.find(model_id))
    features = module.extract_feat(image(1, 128, 128))
    found = dense_outputs(module, features)
    assert set(found) == {f"{kind}{level}" for kind in kinds for level in range(len(features))}
    sizes = {name[-1]: tuple(values.shape[2:]) for name, values in found.items()}
    assert all(sizes[str(level)] == tuple(f.shape[2:]) for level, f in enumerate(features) if found)


def test_openvino_computes_the_same(semantic: Any, tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino", reason="extra openvino is not installed")
    done = export(semantic, tmp_path / "net.xml", (96, 160))
    (found,) = Session(done.path, "openvino", 1)(image().numpy())
    assert compare_outputs(found, expected_outputs(semantic, image())[0].numpy())[0] < 2e-5
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.bin", "net.xml"]
    assert openvino.Core().read_model(str(done.path)).get_rt_info(["bddzoo", "model"]).astype(str) == SEMANTIC


def test_an_operator_in_the_way_is_named(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="extra openvino is not installed")
    shallow = shallow_detector("mask_rcnn_r50_fpn_dconv_1x_ins_seg_bdd100k")
    deeper = {"depth": 50, "stage_with_dcn": [True]}
    runner = load_model(with_parts(shallow, backbone=deeper, neck={"in_channels": [32]}), None)
    with pytest.raises(BddzooError, match="operator DeformConv is in the way"):
        export(runner, tmp_path / "net.xml", (64, 64), batch=2)
    assert list(tmp_path.iterdir()) == []
    done = export(runner, tmp_path / "net.onnx", (64, 64), batch=2)
    found = Session(done.path, "onnxruntime", 1)(image(2, 64, 64).numpy())
    for ours, theirs in zip(found, expected_outputs(runner, image(2, 64, 64)), strict=True):
        assert compare_outputs(ours, theirs.numpy())[0] < 2e-5


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", FAMILIES)
def test_families(name: str, tmp_path: Path) -> None:
    runner = runner_of(f"{name}_sem_seg_bdd100k")
    done = export(runner, tmp_path / "net.onnx", (128, 256))
    x = image(1, 128, 256)
    (found,) = Session(done.path, "onnxruntime", 1)(x.numpy())
    deviation, wrong = compare_outputs(found, expected_outputs(runner, x)[0].numpy())
    assert deviation < 2e-5
    assert wrong == 0


def test_deviations_and_ties() -> None:
    wanted = np.zeros((1, 2, 1, 3), np.float32)
    wanted[0, :, 0] = [[1, 0, 0.5], [0, 1, 0.5]]
    found = wanted.copy()
    found[0, 0, 0, 2] -= 0.001  # a tie that falls the other way
    deviation, wrong = compare_outputs(found, wanted)
    assert deviation == pytest.approx(0.001 / wanted.std(), rel=1e-3)
    assert wrong == 0
    assert compare_outputs(wanted[:, ::-1], wanted * 1.0)[1] == 0  # as far apart as the classes are
    found = wanted.copy()
    found[0, :, 0, 0] = [0.4, 0.6]
    assert compare_outputs(found, wanted)[1] == 0
    sharp = np.array([[[[10.0]], [[0.0]]]], np.float32)
    assert compare_outputs(np.array([[[[4.0]], [[4.5]]]], np.float32), sharp)[1] == 0
