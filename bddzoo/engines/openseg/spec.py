"""Which network of openseg.pytorch a model is, and whether there is such a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from bddzoo.errors import UsageError
from bddzoo.registry.model import REASONS, Model, Network


class Backbone(NamedTuple):
    """A backbone by the zoo's own name.

    Attributes:
        family: `resnet101`, `wrn38` or `hrnet48`.
        stride: Input over feature size.
        aux_channels: Channels of the features that the auxiliary head sees.
        channels: Channels of the features that the main head sees.
    """

    family: str
    stride: int
    aux_channels: int
    channels: int


BACKBONES = {
    "deepbase_resnet101_dilated8": Backbone("resnet101", 8, 1024, 2048),
    "deepbase_resnet101_dilated16": Backbone("resnet101", 16, 1024, 2048),
    "wide_resnet38_dilated8": Backbone("wrn38", 8, 2048, 4096),
    "hrnet48": Backbone("hrnet48", 4, 720, 720),
}

# Architecture, by the zoo's model_name, to the backbone families that its class runs on.
ARCHS = {
    "fcnet": ("resnet101", "wrn38"),
    "base_ocnet": ("resnet101", "wrn38"),
    "asp_ocnet": ("resnet101", "wrn38"),
    "isanet": ("resnet101",),
    "spatial_ocrnet": ("resnet101", "wrn38"),
    "spatial_asp_ocrnet": ("resnet101",),
    "hrnet_w48": ("hrnet48",),
    "hrnet_w48_ocr": ("hrnet48",),
    "hrnet_w48_ocr_b": ("hrnet48",),
    "hrnet_w48_asp_ocr": ("hrnet48",),
    "hrnet_w48_isa": ("hrnet48",),
}

BN_TYPES = ("inplace_abn", "torchsyncbn")


@dataclass(frozen=True)
class Spec:
    """One network.

    Attributes:
        arch: The zoo's model_name, a key of `ARCHS`.
        backbone: The zoo's name, a key of `BACKBONES`.
        num_classes: Channels of the logits.
        bn_type: `inplace_abn`: activated batch norm, LeakyReLU in the heads (branch master), or
            `torchsyncbn`: plain batch norm, ReLU in the heads (branch pytorch-1.7).
        factors: ISA only: size `(rows, columns)` of its local groups, in features.
    """

    arch: str
    backbone: str
    num_classes: int
    bn_type: str = "inplace_abn"
    factors: tuple[int, int] = (8, 8)

    @property
    def base(self) -> Backbone:
        """Facts of the backbone."""
        return BACKBONES[self.backbone]

    @property
    def activated(self) -> bool:
        """Whether norms are the zoo's activated ones."""
        return self.bn_type == "inplace_abn"


def why_not(arch: str, backbone: str, bn_type: str = "inplace_abn") -> str | None:
    """The code in `bddzoo.registry.model` of why there is no such network; None if there is one."""
    if backbone.startswith("mobilenet"):
        return "no-backbone-code"
    base = BACKBONES.get(backbone)
    if base is None or arch not in ARCHS:
        return "no-such-network"
    if base.family not in ARCHS[arch]:
        if base.family == "wrn38" and arch in ("isanet", "spatial_asp_ocrnet"):
            return "fixed-aux-width"
        if base.family == "hrnet48" and arch in ("base_ocnet", "asp_ocnet"):
            return "no-network-class"
        if base.family == "hrnet48" and arch == "isanet":
            return "fixed-aux-width"
        return "no-such-network"
    if bn_type not in BN_TYPES or (bn_type != "inplace_abn" and base.family == "wrn38"):
        return "norm-not-known"
    return None


def is_spec(network: Network) -> bool:
    """Whether the registry's facts make a network of this engine."""
    arch, backbone, bn_type = _names(network)
    return network.engine == "openseg" and why_not(arch, backbone, bn_type) is None


def spec_of(model: Model) -> Spec:
    """The network of a model.

    Raises:
        UsageError: The registry's facts make none; says the code of the reason.
    """
    network = model.network
    assert network is not None
    arch, backbone, bn_type = _names(network)
    code = why_not(arch, backbone, bn_type)
    if code is not None:
        raise UsageError(
            f"model {model.id}: {arch} on {backbone or 'no backbone'} ({bn_type}) cannot be built: {code}",
            hint=REASONS[code],
        )
    head = network.parts.get("decode_head") or {}
    factors = head.get("factors", [8, 8]) if isinstance(head, dict) else None
    if not (
        isinstance(factors, list | tuple)
        and len(factors) == 2
        and all(type(n) is int and n > 0 for n in factors)
    ):
        raise UsageError(
            f"model {model.id}: decode_head.factors: expected two positive whole numbers, got {factors}",
            hint="fix the registry",
        )
    return Spec(arch, backbone, network.num_classes, bn_type, (factors[0], factors[1]))


def _names(network: Network) -> tuple[str, str, str]:
    part = network.parts.get("backbone") or {}
    return network.arch, str(part.get("type", "")), str(part.get("bn_type", "inplace_abn"))
