"""From registry facts to the configuration that mmsegmentation or mmdet builds a network from."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from bddzoo.engines.openseg.spec import is_spec, spec_of
from bddzoo.errors import UsageError
from bddzoo.registry.model import Model, Network

SEGMENTORS = ("EncoderDecoder", "CascadeEncoderDecoder")
DETECTORS = (
    "MaskRCNN", "CascadeRCNN", "FasterRCNN", "SparseRCNN", "RetinaNet", "FCOS", "ATSS", "PanopticFPN",
)  # fmt: skip
CLASSIFIERS = ("ImageClassifier",)
# What a detector cannot do without, and its heads that know the number of classes.
_DETECTOR_PARTS = ("backbone", "neck", "test_cfg")
_CLASS_HEADS = ("bbox_head", "mask_head")
_HEADS = ("decode_head", "auxiliary_head")
# Weight of the auxiliary loss in every config of the zoo; matters for training only.
_LOSS_WEIGHT = {"decode_head": 1.0, "auxiliary_head": 0.4}


def network_of(model: Model) -> Network:
    """The architecture facts of a model.

    Raises:
        UsageError: The registry knows no architecture for it.
    """
    if model.not_buildable is not None:
        raise UsageError(
            f"model {model.id}: cannot be built ({model.not_buildable.reason}): {model.not_buildable.text}",
            hint="'bddzoo list' shows what can run",
        )
    if model.network is None:
        raise UsageError(
            f"model {model.id}: the registry has no network for it", hint="'bddzoo list' shows what can run"
        )
    return model.network


def is_buildable(model: Model) -> bool:
    """Whether an engine of this package builds the model's network."""
    network = model.network
    if network is None:
        return False
    if network.engine == "openseg":
        return is_spec(network)
    return network.arch in _BUILT.get(network.engine, ((),))[0]


def expand(model: Model, *, train: bool = False) -> dict[str, Any]:
    """The constructor arguments of the whole network, `type` included.

    Heads get their number of classes and `align_corners`, SyncBN becomes BN (same state dict, runs
    on one device), pre-trained initialisation is dropped. Sizes are taken as the registry has them.

    Args:
        model: A model with network facts.
        train: Keep the training configuration; dropped otherwise.

    Returns:
        A fresh nested dict in the form of mmsegmentation 1.x or mmdet 3.x; of openseg, which network it is.

    Raises:
        UsageError: The registry's facts make no network.
    """
    network = network_of(model)
    if network.engine == "openseg":
        return {"type": "OpensegNetwork", **asdict(spec_of(model))}
    if is_buildable(model):
        return _BUILT[network.engine][1](model, network, train)
    known = "; ".join(f"{engine} builds {', '.join(archs)}" for engine, (archs, _) in _BUILT.items())
    raise UsageError(
        f"model {model.id}: no engine builds a {network.arch} of '{network.engine}'",
        hint=f"{known}; openseg builds its own",
    )


def _take(model: Model, parts: dict[str, Any], role: str) -> Any:
    if not parts.get(role):
        raise UsageError(f"model {model.id}: network has no {role}", hint="fix the registry")
    return parts[role]


def _segmentor(model: Model, network: Network, train: bool) -> dict[str, Any]:
    parts = _plain(network.parts)
    config: dict[str, Any] = {"type": network.arch, "backbone": _take(model, parts, "backbone")}
    if parts.get("neck"):
        config["neck"] = parts["neck"]
    _take(model, parts, "decode_head")
    for role in _HEADS:
        if parts.get(role):
            config[role] = _head(parts[role], role, network)
    if network.arch == "CascadeEncoderDecoder":
        heads = config["decode_head"]
        config["num_stages"] = len(heads) if isinstance(heads, list) else 1
    config["test_cfg"] = {**parts.get("test_cfg", {}), **parts.get("test_cfg_extra", {}), **_windows(model)}
    config["train_cfg"] = parts.get("train_cfg", {}) if train else {}
    return config


def _head(head: Any, role: str, network: Network) -> Any:
    if isinstance(head, list):
        return [_head(h, role, network) for h in head]
    loss = {"type": "CrossEntropyLoss", "use_sigmoid": False, "loss_weight": _LOSS_WEIGHT[role]}
    given = {"num_classes": network.num_classes, "align_corners": network.align_corners, "loss_decode": loss}
    return {**given, **head}


def _windows(model: Model) -> dict[str, Any]:
    protocol = model.protocol
    if protocol is None:
        return {}
    if protocol.mode == "slide" and protocol.crop and protocol.stride:
        return {"mode": "slide", "crop_size": tuple(protocol.crop), "stride": tuple(protocol.stride)}
    return {"mode": "whole"}


def _detector(model: Model, network: Network, train: bool) -> dict[str, Any]:
    parts = _plain(network.parts)
    config: dict[str, Any] = {"type": network.arch}
    for role in _DETECTOR_PARTS:
        _take(model, parts, role)
    if not (parts.get("bbox_head") or (parts.get("rpn_head") and parts.get("roi_head"))):
        raise UsageError(f"model {model.id}: network has no head of its boxes", hint="fix the registry")
    config |= {role: part for role, part in parts.items() if role != "train_cfg"}
    # Of two stages the second classifies, of one stage the only one.
    owner = config.get("roi_head") or config
    for role in _CLASS_HEADS:
        heads = owner.get(role)
        for head in heads if isinstance(heads, list) else [heads] if heads else []:
            head.setdefault("num_classes", network.num_classes)
    config["train_cfg"] = _take(model, parts, "train_cfg") if train else None
    return config


def _classifier(model: Model, network: Network, train: bool) -> dict[str, Any]:
    parts = _plain(network.parts)
    config = {role: _take(model, parts, role) for role in ("backbone", "head")}
    config["head"].setdefault("loss", {"type": "CrossEntropyLoss", "loss_weight": 1.0})
    front = {"type": "ClsDataPreprocessor"}  # does nothing: images come normalised
    return {"type": network.arch, **config, "neck": parts.get("neck"), "data_preprocessor": front}


# Architectures of each engine's library, and what makes their configurations.
_BUILT: dict[str, tuple[tuple[str, ...], Callable[[Model, Network, bool], dict[str, Any]]]] = {
    "mmseg": (SEGMENTORS, _segmentor),
    "vis4d": (SEGMENTORS, _segmentor),
    "mmdet": (DETECTORS, _detector),
    "mmpretrain": (CLASSIFIERS, _classifier),
}


def _plain(value: Any) -> Any:
    """A deep copy in which SyncBN is BN and nothing asks for pre-trained weights."""
    if isinstance(value, dict):
        out = {k: _plain(v) for k, v in value.items() if k != "pretrained"}
        if out.get("type") == "SyncBN":
            out["type"] = "BN"
        init = out.get("init_cfg")
        if isinstance(init, dict) and init.get("type") == "Pretrained":
            del out["init_cfg"]
        return out
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return copy.deepcopy(value)
