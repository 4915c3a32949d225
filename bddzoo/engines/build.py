"""Build a network from registry facts."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from bddzoo.engines.openseg.spec import spec_of
from bddzoo.engines.part_modules import build_part
from bddzoo.engines.registry_config import expand, network_of
from bddzoo.errors import UsageError
from bddzoo.registry.model import Model

if TYPE_CHECKING:
    from torch import nn


def build_network(model: Model, *, train: bool = False) -> nn.Module:
    """Build the network of a model.

    Args:
        model: A model with network facts.
        train: Build it for training: in training mode, with its training configuration and
            gradients; call its `init_weights()` before a first step. The default is what inference
            needs: evaluation mode, no gradients; its weights mean nothing until they are loaded.

    Returns:
        The module on the CPU, float32, BN in place of SyncBN. State-dict names, shapes and dtypes
        are those of the upstream configuration, so that its checkpoints load without renaming.

    Raises:
        UsageError: The registry's facts make no network.
        MissingError: mmsegmentation, mmdet or what they need is not installed.
    """
    network = network_of(model)
    if network.engine == "openseg":
        return _openseg(model, train)
    config = expand(model, train=train)
    scope = "mmseg" if network.engine == "vis4d" else network.engine  # the same network by other names
    if network.engine == "mmpretrain":
        from bddzoo.engines.classify import build_classifier

        module = build_classifier(f"model {model.id}", config, whole=train)
    else:
        module = build_part(f"model {model.id}", scope, config, whole=train)
    # Advice to authors of networks, which would be repeated for each image.
    warnings.filterwarnings("ignore", message="When align_corners=True", module=r"mmseg\.models")
    warnings.filterwarnings("ignore", message="To copy construct from a tensor", module=r"mmdet\.models")
    warnings.filterwarnings("ignore", message="torch.meshgrid")
    if train:
        module.train()
    else:
        module.eval()
        module.requires_grad_(False)
    return module


def _openseg(model: Model, train: bool) -> nn.Module:
    if train:
        raise UsageError(
            f"model {model.id}: networks of openseg are for inference, their norms are folded",
            hint="train it with openseg's own code",
        )
    spec = spec_of(model)
    from bddzoo.engines.openseg.network import OpensegNetwork

    return OpensegNetwork(spec)
