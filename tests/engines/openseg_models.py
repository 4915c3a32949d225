"""Models of openseg's networks, made up for tests."""

from __future__ import annotations

from typing import Any

from bddzoo.registry.model import Method, Model, Network, Protocol, Zoo

R101 = "deepbase_resnet101_dilated8"
R101_D16 = "deepbase_resnet101_dilated16"
WRN38 = "wide_resnet38_dilated8"


def model_of(
    arch: str,
    backbone: str,
    classes: int,
    norm: str = "inplace_abn",
    head: dict[str, Any] | None = None,
    **protocol: Any,
) -> Model:
    """A model with that network and a protocol of these fields."""
    parts = {"backbone": {"type": backbone, "bn_type": norm}, **({"decode_head": head} if head else {})}
    return Model(
        id=f"{arch}-{backbone}",
        zoo=Zoo("openseg.pytorch", "openseg.pytorch"),
        task="sem_seg",
        method=Method("x"),
        backbone=backbone,
        settings={},
        reported=(),
        artifacts=(),
        network=Network("openseg", arch, parts, classes),
        protocol=Protocol("x", "cityscapes", **protocol),
    )
