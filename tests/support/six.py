"""Tiny networks for the six data sets, with a registry of their own; see `tests.support.tiny`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from bddzoo.datasets.openseg import DATA_SETS
from tests.support.tiny import _Dumper, _Number, networks

BGR = {
    "channel_order": "BGR",
    "div_value": 255,
    "mean": [_Number("0.485"), _Number("0.456"), _Number("0.406")],
    "std": [_Number("0.229"), _Number("0.224"), _Number("0.225")],
    "interpolation": "cubic",
    "float_resize": False,
    "evaluator": "openseg",
}
SIZES: dict[str, dict[str, Any]] = {
    "cityscapes": {},
    "ade20k": {"scale": [120, 120], "resize": "short-side", "pad_divisor": 8},
    "lip": {"scale": [97, 97], "resize": "exact"},
    "pascal_voc": {"scale": [113, 113], "resize": "short-side"},
    "pascal_context": {"scale": [120, 120], "resize": "short-side"},
    "coco_stuff": {"scale": [120, 120], "resize": "short-side"},
}


def model_id(dataset: str) -> str:
    """Id of the model of a data set."""
    return f"tiny_{dataset}"


def write_registry(path: Path, reported: dict[str, str] | None = None) -> Path:
    """Write a registry with a model for each data set; `reported` is their mIoU on val."""
    models = []
    for dataset, found in DATA_SETS.items():
        model: dict[str, Any] = {
            "id": model_id(dataset),
            "backbone": "tiny",
            "protocol": dataset,
            "network": {**networks()["sem_seg"], "num_classes": len(found.ids)},
            "artifacts": {"weights": {"name": f"{dataset}.pth", "sources": []}},
        }
        if reported and dataset in reported:
            model["reported"] = {"val": {"mIoU": _Number(reported[dataset])}}
        models.append(model)
    document = {
        "schema": 1,
        "protocols": {name: {"dataset": name, **BGR, **size} for name, size in SIZES.items()},
        "zoos": [
            {
                "id": "six",
                "title": "Six data sets",
                "tasks": {
                    "sem_seg": {
                        "engine": "mmseg",
                        "arch": "EncoderDecoder",
                        "columns": {"Backbone": {"backbone": True}, "mIoU": {"metric": ["val", "mIoU"]}},
                        "tables": {"default": {"columns": ["Backbone", "mIoU"]}},
                        "methods": [{"name": "Tiny", "models": models}],
                    }
                },
            }
        ],
    }
    path.write_text(yaml.dump(document, Dumper=_Dumper, sort_keys=False))
    return path


def write_weights(registry: Path, dataset: str, path: Path) -> Path:
    """Write deterministic weights of a data set's model."""
    import torch

    from bddzoo.engines.load import build_network
    from bddzoo.engines.recipe import recipe_state
    from bddzoo.registry import load_registry

    model = load_registry(registry).find(model_id(dataset))
    torch.save({"state_dict": recipe_state(build_network(model), 1.0)}, path)
    return path
