"""Small models of the two tasks, made of the same parts as the zoo's, for tests that build networks."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

from msgspec.structs import replace

from bddzoo.registry import Registry, load_registry
from bddzoo.registry.model import Model


@cache
def registry() -> Registry:
    return load_registry(None)


def with_parts(model: Model, **changes: dict[str, Any]) -> Model:
    """The model with constructor arguments of some parts replaced."""
    assert model.network is not None
    parts = copy.deepcopy(model.network.parts)
    for role, arguments in changes.items():
        parts[role].update(arguments)
    return replace(model, network=replace(model.network, parts=parts, params=None, entries=None))


def narrow_segmentor() -> Model:
    """Semantic FPN on a ResNet-18 of 8 channels: 0.1 million parameters."""
    model = registry().find("fpn_r50_512x1024_40k_sem_seg_bdd100k")
    return with_parts(
        model,
        backbone={"depth": 18, "base_channels": 8, "stem_channels": 8},
        neck={"in_channels": [8, 16, 32, 64], "out_channels": 16},
        decode_head={"in_channels": [16] * 4, "channels": 16},
    )


def narrow_vis4d() -> Model:
    """The same network as Vis4D names it."""
    model = registry().find("semantic_fpn_r50_40k_bdd100k")
    assert model.network is not None
    network = narrow_segmentor().network
    assert network is not None
    return replace(model, network=replace(model.network, parts=network.parts, params=None, entries=None))


def narrow_detector(model_id: str = "mask_rcnn_r50_fpn_1x_ins_seg_bdd100k") -> Model:
    """A detector of one stage, of two, or a cascade, on a ResNet-18 of 8 channels."""
    model = registry().find(model_id)
    assert model.network is not None
    heads = {"bbox_head": {"in_channels": 16, "feat_channels": 16, "stacked_convs": 1}}
    if "roi_head" in model.network.parts:
        second = copy.deepcopy(model.network.parts["roi_head"])
        for name in ("bbox", "mask") if "mask_head" in second else ("bbox",):
            second[f"{name}_roi_extractor"]["out_channels"] = 16
        stages = second["bbox_head"]
        for head in stages if isinstance(stages, list) else [stages]:
            head.update(in_channels=16, fc_out_channels=32)
        if "mask_head" in second:
            second["mask_head"].update(in_channels=16, conv_out_channels=16, num_convs=1)
        heads = {"rpn_head": {"in_channels": 16, "feat_channels": 16}, "roi_head": second}
    return with_parts(
        model,
        backbone={"depth": 18, "base_channels": 8},
        neck={"in_channels": [8, 16, 32, 64], "out_channels": 16},
        **heads,
    )


def shallow_detector(model_id: str = "mask_rcnn_r50_fpn_1x_ins_seg_bdd100k") -> Model:
    """The same of three levels, on a stage or two: conversion takes as long as there are operations."""
    model = narrow_detector(model_id)
    assert model.network is not None
    parts = copy.deepcopy(model.network.parts)
    first = "rpn_head" if "rpn_head" in parts else "bbox_head"
    del parts[first]["anchor_generator"]["strides"][3:]
    heads = {first: parts[first]}
    if "roi_head" in parts:
        heads["roi_head"] = parts["roi_head"]
        for name in ("bbox", "mask"):
            parts["roi_head"][f"{name}_roi_extractor"]["featmap_strides"] = [4, 8]
    count = 1 + parts["neck"].get("start_level", 0)
    neck = {"in_channels": [8, 16][:count], "num_outs": 3}
    return with_parts(model, backbone=first_stages(count), neck=neck, **heads)


def shallow_segmentor() -> Model:
    """The demo's Semantic FPN of one stage and one level."""
    return with_parts(
        registry().find("demo_semfpn_r18n_sem_seg"),
        backbone=first_stages(1),
        neck={"in_channels": [16], "num_outs": 1},
        decode_head={"feature_strides": [4], "in_channels": [32], "in_index": [0]},
    )


def first_stages(count: int) -> dict[str, Any]:
    """Arguments of a ResNet that ends after its first or second stage."""
    return {
        "num_stages": count,
        "strides": [1, 2][:count],
        "dilations": [1] * count,
        "out_indices": list(range(count)),
    }
