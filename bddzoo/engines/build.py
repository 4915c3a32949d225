"""Build a network from registry facts."""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

from bddzoo.engines.openmmlab import install_engines_hint
from bddzoo.engines.ops import ensure_ops
from bddzoo.engines.part_modules import FIRST, lean_imports, modules_of, registries_as_they_are, types_of
from bddzoo.engines.registry_config import expand, network_of
from bddzoo.errors import BddzooError, MissingError, UsageError
from bddzoo.registry.model import Model

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
    network = network_of(model)
    if network.engine == "openseg":
        return _openseg(model, train)
    config = expand(model, train=train)
    ensure_ops()
    module = _construct(f"model {model.id}", _SCOPE[network.engine], config, train)
    # Advice to those who write networks, which would be said for each image.
    warnings.filterwarnings("ignore", message="When align_corners=True", module=r"mmseg\.models")
    warnings.filterwarnings("ignore", message="To copy construct from a tensor", module=r"mmdet\.models")
    if train:
        module.train()
    else:
        module.eval()
        module.requires_grad_(False)
    return module


def build_part(name: str, config: dict[str, Any]) -> nn.Module:
    """Build a single backbone or head of mmsegmentation.

    Args:
        name: What it is for, in errors.
        config: Its constructor arguments, `type` included.

    Raises:
        UsageError: These arguments make no part.
        MissingError: mmsegmentation or what it needs is not installed.
    """
    ensure_ops()
    return _construct(name, "mmseg", config, False)


def _openseg(model: Model, train: bool) -> nn.Module:
    from bddzoo.engines.openseg.spec import spec_of

    if train:
        raise UsageError(
            f"model {model.id}: networks of openseg are for inference, their norms are folded",
            hint="train it with openseg's own code",
        )
    spec = spec_of(model)
    from bddzoo.engines.openseg.network import OpensegNetwork

    return OpensegNetwork(spec)


def _construct(subject: str, scope: str, config: dict[str, Any], train: bool) -> nn.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = None if train else _build_lean(scope, config)
            return module if module is not None else _build_plain(scope, config)
    except BddzooError:
        raise
    except ImportError as error:
        raise MissingError(
            f"cannot import what {subject} needs: {error}", hint=install_engines_hint()
        ) from error
    except (TypeError, KeyError, ValueError, AssertionError, AttributeError) as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise UsageError(
            f"{subject}: its network cannot be built: {text}", hint="fix the registry"
        ) from error


def _build_plain(scope: str, config: dict[str, Any]) -> nn.Module:
    """Import all of the library, then build."""
    libraries = [scope]
    if any(name.startswith("mmpretrain.") for name in types_of(config)):
        libraries.append("mmpretrain")
    for library in libraries:
        try:
            import_module(f"{library}.models")
        except (ImportError, AssertionError) as error:  # they assert each other's versions
            text = " ".join(str(error).split())
            raise MissingError(f"cannot import {library}: {text}", hint=install_engines_hint()) from error
    return _from_registry(scope, config)


def _build_lean(scope: str, config: dict[str, Any]) -> nn.Module | None:
    """Build from the parts' own modules alone; None where that cannot be had."""
    modules = modules_of(scope, config)
    if modules is None or f"{scope}.models" in sys.modules:
        return None
    try:
        with lean_imports():
            for name in (*FIRST, *modules):
                import_module(name)
            with registries_as_they_are({name.partition(".")[0] for name in modules}):
                return _from_registry(scope, config)
    except Exception:  # whatever it is, the plain way either works or says it better
        return None


def _from_registry(scope: str, config: dict[str, Any]) -> nn.Module:
    from mmengine.config import ConfigDict

    # With the scope said, another library's default scope in the same process does not matter.
    models = import_module(f"{scope}.registry").MODELS
    module: nn.Module = models.build(ConfigDict({**config, "_scope_": scope}))
    return module
