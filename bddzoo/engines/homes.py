"""Which modules register the parts that networks are made of.

Only a shortcut: a network with a part that is not listed here is built after importing everything.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

# Built into torch, or registered by what every network imports; no module of its own.
_EVERYWHERE = frozenset(
    {"BN", "GN", "LN", "GELU", "LeakyReLU", "ReLU", "RoIAlign", "nms", "BaseDataPreprocessor"}
)

_COMMON = {
    "ContextBlock": "mmcv.cnn.bricks.context_block",
    "DCN": "mmcv.ops.deform_conv",
    "DCNv2": "mmcv.ops.modulated_deform_conv",
    "mmpretrain.ConvNeXt": "mmpretrain.models.backbones.convnext",
}

_MMSEG = {
    "segmentors": {
        "EncoderDecoder": "encoder_decoder",
        "CascadeEncoderDecoder": "cascade_encoder_decoder",
    },
    "backbones": {
        "HRNet": "hrnet",
        "ResNet": "resnet",
        "ResNetV1c": "resnet",
        "ResNetV1d": "resnet",
        "SwinTransformer": "swin",
        "VisionTransformer": "vit",
    },
    "necks": {"FPN": "fpn", "MultiLevelNeck": "multilevel_neck"},
    "decode_heads": {
        "APCHead": "apc_head",
        "ASPPHead": "aspp_head",
        "CCHead": "cc_head",
        "DMHead": "dm_head",
        "DNLHead": "dnl_head",
        "DPTHead": "dpt_head",
        "DepthwiseSeparableASPPHead": "sep_aspp_head",
        "EMAHead": "ema_head",
        "FCNHead": "fcn_head",
        "FPNHead": "fpn_head",
        "GCHead": "gc_head",
        "ISAHead": "isa_head",
        "NLHead": "nl_head",
        "OCRHead": "ocr_head",
        "PSAHead": "psa_head",
        "PSPHead": "psp_head",
        "PointHead": "point_head",
        "UPerHead": "uper_head",
    },
    "losses": {"CrossEntropyLoss": "cross_entropy_loss"},
}

_MMDET = {
    "detectors": {"CascadeRCNN": "cascade_rcnn", "MaskRCNN": "mask_rcnn"},
    "backbones": {"HRNet": "hrnet", "ResNet": "resnet"},
    "necks": {"FPN": "fpn", "HRFPN": "hrfpn"},
    "dense_heads": {"RPNHead": "rpn_head"},
    "roi_heads": {
        "CascadeRoIHead": "cascade_roi_head",
        "StandardRoIHead": "standard_roi_head",
        "FCNMaskHead": "mask_heads.fcn_mask_head",
        "Shared2FCBBoxHead": "bbox_heads.convfc_bbox_head",
        "SingleRoIExtractor": "roi_extractors.single_level_roi_extractor",
    },
    "task_modules": {
        "AnchorGenerator": "prior_generators.anchor_generator",
        "DeltaXYWHBBoxCoder": "coders.delta_xywh_bbox_coder",
    },
    "losses": {
        "CrossEntropyLoss": "cross_entropy_loss",
        "L1Loss": "smooth_l1_loss",
        "SmoothL1Loss": "smooth_l1_loss",
    },
}

# Registers the plain linear layer that box heads ask for by name.
_ALSO = {"Shared2FCBBoxHead": "mmdet.models.layers.normed_predictor"}

_SCOPES = {"mmseg": _MMSEG, "mmdet": _MMDET}


def modules_of(scope: str, config: dict[str, Any]) -> list[str] | None:
    """The modules that a configuration's parts are in, or None if one is not known.

    Args:
        scope: `mmseg` or `mmdet`.
        config: A network's configuration.
    """
    homes = dict(_COMMON)
    for package, members in _SCOPES[scope].items():
        homes.update({name: f"{scope}.models.{package}.{module}" for name, module in members.items()})
    modules: dict[str, None] = {}
    for name in types_of(config):
        if name in homes:
            modules[homes[name]] = None
            if name in _ALSO:
                modules[_ALSO[name]] = None
        elif name not in _EVERYWHERE:
            return None
    return list(modules)


def types_of(value: Any) -> Iterator[str]:
    """Every `type` in a configuration."""
    if isinstance(value, dict):
        if "type" in value:
            yield str(value["type"])
        for item in value.values():
            yield from types_of(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from types_of(item)
