"""Real networks, small enough to run in milliseconds, with a registry and a data set of their own.

The networks are mmsegmentation's and mmdet's, built and loaded by the ordinary code from an ordinary
registry file; only their widths are small. Their weights mean nothing.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

ROOT = Path(__file__).resolve().parents[2]
SEM_SEG, INS_SEG = "tiny_fpn_sem_seg", "tiny_mask_rcnn_ins_seg"
DATASET = "bddzoo-mini-val{count}"
CHANNELS = 8


@functools.cache
def detectors() -> dict[str, Any]:
    """The detectors among the parts of the real registry; to be copied."""
    document = yaml.load((ROOT / "registry.yaml").read_text(), Loader=yaml.CSafeLoader)
    return dict(document["parts"]["detectors"])


def networks() -> dict[str, dict[str, Any]]:
    """Network facts of the two models, in the registry's own spelling."""
    stem = {"depth": 18, "base_channels": 4, "stem_channels": 4, "num_stages": 4, "out_indices": [0, 1, 2, 3]}
    neck = {"type": "FPN", "in_channels": [4, 8, 16, 32], "out_channels": CHANNELS}
    detector = copy.deepcopy(detectors()["mask_rcnn"])
    detector["rpn_head"].update(in_channels=CHANNELS, feat_channels=CHANNELS)
    roi = detector["roi_head"]
    roi["bbox_roi_extractor"]["out_channels"] = CHANNELS
    roi["mask_roi_extractor"]["out_channels"] = CHANNELS
    roi["bbox_head"].update(in_channels=CHANNELS, fc_out_channels=16)
    roi["mask_head"].update(in_channels=CHANNELS, conv_out_channels=CHANNELS, num_convs=1)
    detector["test_cfg"]["rpn"].update(nms_pre=60, max_per_img=60)
    detector["test_cfg"]["rcnn"].update(max_per_img=12)
    return {
        "sem_seg": {
            "backbone": {"type": "ResNetV1c", **stem, "norm_cfg": {"type": "BN"}},
            "neck": {**neck, "num_outs": 4},
            "decode_head": {
                "type": "FPNHead",
                "in_channels": [CHANNELS] * 4,
                "in_index": [0, 1, 2, 3],
                "feature_strides": [4, 8, 16, 32],
                "channels": CHANNELS,
                "norm_cfg": {"type": "BN"},
            },
        },
        "ins_seg": {
            "detector": detector,
            "backbone": {"type": "ResNet", **stem, "norm_cfg": {"type": "BN"}},
            "neck": {**neck, "num_outs": 5},
        },
    }


def write_registry(
    path: Path,
    *,
    weights: dict[str, bytes] | None = None,
    sources: dict[str, str] | None = None,
    reported: dict[str, dict[str, str]] | None = None,
    dataset: str = "bdd100k",
    scale: list[int] | None = None,
) -> Path:
    """Write a registry of one zoo with the two models.

    Args:
        path: The file.
        weights: Content of the weights by task; their MD5 and size go into the registry.
        sources: URL of the weights by task.
        reported: Metric to value on split val, by task.
        dataset: Data set of the protocols.
        scale: Test size; None to run images as they are.
    """
    facts = networks()
    common = {"dataset": dataset, **({"scale": scale} if scale else {})}
    tasks = {}
    for task, name in (("sem_seg", SEM_SEG), ("ins_seg", INS_SEG)):
        entry: dict[str, Any] = {"name": f"{name}.pth", "sources": [], "md5": "http://127.0.0.1:9/none.md5"}
        if sources and task in sources:
            entry["sources"] = [sources[task]]
        if weights and task in weights:
            entry["digests"] = [f"md5:{hashlib.md5(weights[task]).hexdigest()} published"]
            entry["size"] = len(weights[task])
        model: dict[str, Any] = {
            "id": name,
            "backbone": "tiny",
            "network": facts[task],
            "artifacts": {"weights": entry},
        }
        columns: dict[str, Any] = {"Backbone": {"backbone": True}}
        if reported and task in reported:
            model["reported"] = {"val": {m: _Number(v) for m, v in reported[task].items()}}
            columns.update({f"{m}-val": {"metric": ["val", m]} for m in reported[task]})
        tasks[task] = {
            "page": "https://127.0.0.1:9/readme",
            "engine": "mmseg" if task == "sem_seg" else "mmdet",
            **({"arch": "EncoderDecoder"} if task == "sem_seg" else {}),
            "num_classes": 19 if task == "sem_seg" else 8,
            "protocol": task,
            "columns": columns,
            "tables": {"default": {"columns": list(columns)}},
            "methods": [{"name": "Tiny", "models": [model]}],
        }
    document = {
        "schema": 1,
        "protocols": {"sem_seg": common, "ins_seg": {**common, "float_resize": False, "pad_divisor": 32}},
        "zoos": [{"id": "tiny", "title": "Tiny networks", "tasks": tasks}],
    }
    path.write_text(yaml.dump(document, Dumper=_Dumper, sort_keys=False))
    return path


class _Number(str):
    """A number with its decimals kept."""


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(_Number, lambda d, v: d.represent_scalar("tag:yaml.org,2002:float", str(v)))


def make_weights(registry: Path, task: str, path: Path, gain: float = 1.0) -> bytes:
    """Write a checkpoint as upstream does, with deterministic weights; returns its bytes."""
    import torch

    from bddzoo.engines.load import build_network
    from bddzoo.engines.recipe import recipe_state
    from bddzoo.registry import load_registry

    model = load_registry(registry).find(SEM_SEG if task == "sem_seg" else INS_SEG)
    torch.manual_seed(0)
    state = recipe_state(build_network(model), gain)
    torch.save({"meta": {"CLASSES": ("a", "b"), "epoch": 1}, "state_dict": state}, path)
    return path.read_bytes()


def make_data(root: Path, count: int = 4, *, height: int = 48, width: int = 80, marker: bool = True) -> Path:
    """Write a data set in the official layout: smooth noise, labels in which every class occurs.

    Args:
        root: Folder.
        count: Images of split val.
        height: Pixels.
        width: Pixels.
        marker: Say in the folder that it is a synthetic set of `count` images.
    """
    folders = {
        name: root / path
        for name, path in {
            "images": "images/10k/val",
            "masks": "labels/sem_seg/masks/val",
            "bitmasks": "labels/ins_seg/bitmasks/val",
        }.items()
    }
    for folder in folders.values():
        folder.mkdir(parents=True)
    for index in range(count):
        rng = np.random.default_rng(index)
        base = rng.integers(0, 256, (6, 10, 3)).astype(np.uint8)
        image = cv2.resize(base, (width, height), interpolation=cv2.INTER_CUBIC)
        # Strips of every class in changing order, some pixels ignored.
        strips = np.repeat(rng.permutation(19), -(-width // 19))[:width].astype(np.uint8)
        mask = np.tile(strips, (height, 1))
        mask[:4] = 255
        bitmask = np.zeros((height, width, 4), np.uint8)
        for number, category in enumerate(rng.permutation(8)):
            column = number * (width // 8)
            bitmask[8 : 8 + height // 2, column : column + width // 8 - 1] = (category + 1, 0, 0, number + 1)
        name = f"frame{index:05d}"
        cv2.imwrite(str(folders["images"] / f"{name}.jpg"), image)
        cv2.imwrite(str(folders["masks"] / f"{name}.png"), mask)
        cv2.imwrite(str(folders["bitmasks"] / f"{name}.png"), cv2.cvtColor(bitmask, cv2.COLOR_RGBA2BGRA))
    if marker:
        made = {"generator": "bddzoo mini", "version": 1, "seed": 0, "train": 0, "val": count}
        (root / "mini.json").write_text(json.dumps(made))
    return root
