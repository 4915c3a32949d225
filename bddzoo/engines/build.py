"""Build a network from registry facts."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from bddzoo.engines.config import expand, network_of
from bddzoo.engines.ops import INSTALL, ensure_ops
from bddzoo.errors import BddzooError, MissingError, UsageError
from bddzoo.registry.types import Model

if TYPE_CHECKING:
    from torch import nn

_SCOPE = {"mmseg": "mmseg", "vis4d": "mmseg", "mmdet": "mmdet"}


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
    config = expand(model, train=train)
    ensure_ops()
    module = _construct(model, _SCOPE[network_of(model).engine], config)
    # Advice to those who choose sizes; ours are the registry's, and it would be said for each image.
    warnings.filterwarnings("ignore", message="When align_corners=True", module=r"mmseg\.models")
    if train:
        module.train()
    else:
        module.eval()
        module.requires_grad_(False)
    return module


def _construct(model: Model, scope: str, config: dict[str, Any]) -> nn.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _from_registry(scope, config)
    except BddzooError:
        raise
    except ImportError as error:
        raise MissingError(f"cannot import what a network of {scope} needs: {error}", hint=INSTALL) from error
    except (TypeError, KeyError, ValueError, AssertionError, AttributeError) as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise UsageError(
            f"model {model.id}: its network cannot be built: {text}", hint="fix the registry"
        ) from error


def _from_registry(scope: str, config: dict[str, Any]) -> nn.Module:
    from importlib import import_module

    from mmengine.config import ConfigDict

    import_module(f"{scope}.models")
    if str(config["backbone"].get("type", "")).startswith("mmpretrain."):
        import_module("mmpretrain.models")
    module: nn.Module = import_module(f"{scope}.registry").MODELS.build(ConfigDict(config))
    return module
