"""Detectors of fixed shapes: in PyTorch the same numbers as mmdet's own prediction."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from bddzoo.datasets.formats.scalabel import Detections, Instances
from bddzoo.engines.fixed_shapes import FixedShapeDetector
from bddzoo.engines.instance import read_outputs
from bddzoo.engines.load import load_model
from bddzoo.errors import UsageError
from bddzoo.registry.model import Model
from tests.engines.models import narrow_detector, registry, with_parts

# One of each kind: anchors, two stages, a cascade; points with centerness, boxes that are learnt.
NARROW = ("retinanet_r50_fpn_1x_det", "mask_rcnn_r50_fpn_1x_ins_seg", "cascade_mask_rcnn_r50_fpn_1x_ins_seg")
SIZE = (90, 160)


def outputs_of(runner: Any, x: torch.Tensor) -> list[Any]:
    with torch.no_grad():
        return [values.numpy() for values in FixedShapeDetector(runner.module, SIZE)(x)]


def assert_equal(found: Detections, wanted: Detections) -> None:
    assert len(found) == len(wanted)
    assert np.array_equal(found.labels, wanted.labels)
    assert np.allclose(found.boxes, wanted.boxes, atol=1e-3)
    assert np.allclose(found.scores, wanted.scores, atol=1e-6)
    assert isinstance(found, Instances) == isinstance(wanted, Instances)
    if isinstance(wanted, Instances):
        assert found.masks.shape == wanted.masks.shape
        assert (found.masks != wanted.masks).sum() <= len(wanted)


def padded_noise() -> torch.Tensor:
    x = torch.randn(1, 3, 96, 160, generator=torch.Generator().manual_seed(0))
    x[:, :, SIZE[0] :] = 0
    return x


@pytest.mark.parametrize(
    "model",
    [
        *(narrow_detector(f"{name}_bdd100k") for name in NARROW),
        registry().find("fcos_r50_fpn_1x_det_bdd100k"),
        with_parts(
            registry().find("sparse_rcnn_r50_fpn_1x_det_bdd100k"),
            backbone={"depth": 18},
            neck={"in_channels": [64, 128, 256, 512]},
            roi_head={"num_stages": 2, "stage_loss_weights": [1, 1]},
        ),
    ],
    ids=lambda model: model.id,
)
def test_detections_are_mmdets(model: Model) -> None:
    runner, x = load_model(model, None), padded_noise()
    (wanted,) = runner.detect(x, [SIZE], [(180, 320)], [(0.5, 0.5)])
    found = read_outputs(runner.module, outputs_of(runner, x), (180, 320), (0.5, 0.5))
    assert len(wanted) == 100
    assert_equal(found, wanted)


def test_what_is_not_there_is_zero() -> None:
    """Few or no detections leave rows of score 0 at the end; those in front are mmdet's."""
    runner, x = load_model(narrow_detector(), None), padded_noise()
    settings = runner.module.roi_head.test_cfg
    best = runner.detect(x, [SIZE], [SIZE], [(1.0, 1.0)])[0].scores
    for threshold, count in ((float(best[2]), 2), (0.999, 0)):
        settings.score_thr = threshold
        boxes, scores, labels, masks = outputs_of(runner, x)
        assert len(boxes) == len(scores) == len(labels) == len(masks) == settings.max_per_img
        assert int((scores > 0).sum()) == count
        assert not boxes[count:].any()
        assert (labels[count:] == -1).all()
        (wanted,) = runner.detect(x, [SIZE], [SIZE], [(1.0, 1.0)])
        found = read_outputs(runner.module, [boxes, scores, labels, masks], SIZE, (1.0, 1.0))
        assert_equal(found, wanted)


def test_another_kind_of_suppression_is_named() -> None:
    runner = load_model(narrow_detector(), None)
    runner.module.roi_head.test_cfg.nms.type = "soft_nms"
    with pytest.raises(UsageError, match="soft_nms"):
        FixedShapeDetector(runner.module, SIZE)
