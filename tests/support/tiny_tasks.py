"""Small real networks of panoptic segmentation and image tagging, with their registry and data set."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tests.support.tiny import CHANNELS, detectors, make_data

DATASET = "bddzoo-mini-val4"
PAN_SEG, WEATHER, SCENE = "tiny_panoptic", "tiny_weather", "tiny_scene"
# Of the frames that `make_tasks` makes, in their order.
SKIES, PLACES = ("clear", "rainy", "overcast", "clear"), ("city street", "highway", "undefined", "tunnel")


def write_tasks_registry(path: Path, reported: float | None = None) -> Path:
    """Write a registry of one zoo: a panoptic network, and a classifier for each attribute.

    Args:
        path: The file.
        reported: What the zoo says that they score on split val.
    """
    detector = copy.deepcopy({**detectors()["faster_rcnn"], **detectors()["panoptic_fpn"]})
    del detector["base"]
    detector["rpn_head"].update(in_channels=CHANNELS, feat_channels=CHANNELS)
    roi = detector["roi_head"]
    for name in ("bbox_roi_extractor", "mask_roi_extractor"):
        roi[name]["out_channels"] = CHANNELS
    roi["bbox_head"].update(in_channels=CHANNELS, fc_out_channels=16)
    roi["mask_head"].update(in_channels=CHANNELS, conv_out_channels=CHANNELS, num_convs=1)
    detector["semantic_head"].update(
        in_channels=CHANNELS, inner_channels=CHANNELS, norm_cfg={"type": "GN", "num_groups": 2}
    )
    detector["test_cfg"]["rpn"].update(nms_pre=60, max_per_img=60)
    detector["test_cfg"]["rcnn"].update(score_thr=0.05, max_per_img=12)
    detector["test_cfg"]["panoptic"].update(stuff_area_limit=16)
    stem = {"depth": 18, "base_channels": 4, "stem_channels": 4, "num_stages": 4}
    panoptic = {
        "detector": detector,
        "backbone": {"type": "ResNet", **stem, "out_indices": [0, 1, 2, 3], "norm_cfg": {"type": "BN"}},
        "neck": {"type": "FPN", "in_channels": [4, 8, 16, 32], "out_channels": CHANNELS, "num_outs": 5},
    }
    classifier = {
        "backbone": {"type": "ResNet", **stem, "out_indices": [3], "norm_cfg": {"type": "BN"}},
        "neck": {"type": "GlobalAveragePooling"},
        "head": {"type": "LinearClsHead", "num_classes": 7, "in_channels": 32},
    }
    document = {
        "schema": 1,
        "protocols": {
            "pan_seg": {"dataset": DATASET, "pad_divisor": 32},
            "tagging": {
                "dataset": DATASET,
                "scale": [40, 40],
                "resize": "short-side-floor",
                "center_crop": [32, 32],
            },
        },
        "zoos": [
            {
                "id": "tiny",
                "title": "Tiny networks",
                "tasks": {
                    "pan_seg": _task(
                        "pan_seg", "mmdet", 40, [_method("Tiny", PAN_SEG, panoptic)], "PQ", reported
                    ),
                    "tagging": {
                        **_task(
                            "tagging",
                            "mmpretrain",
                            7,
                            [
                                _method("Tiny", WEATHER, classifier, attribute="weather"),
                                _method("Small", SCENE, classifier, attribute="scene"),
                            ],
                            "accuracy",
                            reported,
                        ),
                        "arch": "ImageClassifier",
                    },
                },
            }
        ],
    }
    path.write_text(json.dumps(document, indent=1))  # which is YAML
    return path


def _task(
    name: str, engine: str, classes: int, methods: list[dict[str, Any]], metric: str, reported: float | None
) -> dict[str, Any]:
    columns: dict[str, Any] = {"Backbone": {"backbone": True}}
    if reported is not None:
        columns[f"{metric}-val"] = {"metric": ["val", metric]}
        for method in methods:
            method["models"][0]["reported"] = {"val": {metric: reported}}
    return {
        "page": "https://127.0.0.1:9/readme",
        "engine": engine,
        "num_classes": classes,
        "protocol": name,
        "columns": columns,
        "tables": {"default": {"columns": list(columns)}},
        "methods": methods,
    }


def _method(name: str, model: str, network: dict[str, Any], **more: str) -> dict[str, Any]:
    weights = {"name": f"{model}.pth", "sources": [], "md5": "http://127.0.0.1:9/none.md5"}
    entry = {"id": model, "backbone": "tiny", "network": network, "artifacts": {"weights": weights}}
    return {"name": name, **more, "models": [entry]}


def make_tasks_weights(registry: Path, model: str, path: Path) -> Path:
    """Write a checkpoint with deterministic weights."""
    import torch

    from bddzoo.engines.load import build_network
    from bddzoo.engines.recipe import recipe_state
    from bddzoo.registry import load_registry

    torch.manual_seed(0)
    torch.save({"state_dict": recipe_state(build_network(load_registry(registry).find(model)), 1.0)}, path)
    return path


def make_tasks(root: Path) -> Path:
    """Write a data set of four frames with panoptic bitmasks and frame attributes."""
    make_data(root)
    bitmasks = root / "labels/pan_seg/bitmasks/val"
    bitmasks.mkdir(parents=True)
    (root / "images/100k").symlink_to("10k", target_is_directory=True)
    frames = []
    for index, image in enumerate(sorted((root / "images/10k/val").glob("*.jpg"))):
        height, width = cv2.imread(str(image)).shape[:2]
        bitmask = np.zeros((height, width, 4), np.uint8)
        bitmask[: height // 2] = (30, 0, 0, 1)  # sky
        bitmask[height // 2 :] = (7, 0, 0, 2)  # road
        bitmask[height // 2 : height - 4, 8:24] = (35, 0, 0, 3)  # a car
        cv2.imwrite(str(bitmasks / f"{image.stem}.png"), cv2.cvtColor(bitmask, cv2.COLOR_RGBA2BGRA))
        attributes = {"weather": SKIES[index], "scene": PLACES[index], "timeofday": "daytime"}
        frames.append({"name": image.name, "attributes": attributes, "labels": []})
    labels = root / "labels/det_20/det_val.json"
    labels.parent.mkdir(parents=True)
    labels.write_text(json.dumps(frames))
    return root
