"""Load weights into a network with every entry accounted for."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bddzoo.engines.checkpoint import open_checkpoint
from bddzoo.errors import BddzooWarning, IntegrityError
from bddzoo.registry.model import Model
from bddzoo.text import number_of, printable

if TYPE_CHECKING:
    from torch import Tensor, nn

# Names of Vis4D's Semantic FPN checkpoints to those of mmsegmentation's network, which computes the same:
# Vis4D's table for loading mmsegmentation weights (vis4d/model/seg/semantic_fpn.py), read backwards. The
# blocks of its feature pyramid carry one more index when torchvision 0.13 or newer saved them.
_RULES = (
    (r"^basemodel\.", "backbone."),
    (r"^fpn\.inner_blocks\.(\d+)\.(?:0\.)?(weight|bias)$", r"neck.lateral_convs.\1.conv.\2"),
    (r"^fpn\.layer_blocks\.(\d+)\.(?:0\.)?(weight|bias)$", r"neck.fpn_convs.\1.conv.\2"),
    (r"^seg_head\.(scale_heads\.\d+\.\d+)\.(weight|bias)$", r"decode_head.\1.conv.\2"),
    (r"^seg_head\.(scale_heads\.\d+\.\d+)\.norm\.", r"decode_head.\1.bn."),
    (r"^seg_head\.", "decode_head."),
)


def from_vis4d(name: str) -> str:
    """The mmsegmentation name of an entry of a Vis4D file; other names are returned as they are."""
    for pattern, replacement in _RULES:
        changed, count = re.subn(pattern, replacement, name)
        if count:
            return changed
    return name


def is_vis4d(names: Iterable[str]) -> bool:
    """Whether entry names are Vis4D's rather than mmsegmentation's."""
    return any(name.startswith(("basemodel.", "seg_head.", "fpn.")) for name in names)


# What files hold besides the network: parts that only training uses, a loss's own numbers, what profilers and
# averages count. Anything else that the network lacks makes it another network.
_TRAINING = ("auxiliary_head.", "data_preprocessor.")
_UNUSED = re.compile(r"(^|\.)loss(_\w+)?\.|(^|\.)(total_ops|total_params|n_averaged)$")
_SHOWN = 3


def load_weights(module: nn.Module, weights: str | Path | Mapping[str, Tensor], model: Model) -> None:
    """Load weights into a network, or refuse; a user is warned of what is odd about them.

    Args:
        module: A network of `build_network(model)`.
        weights: A checkpoint file, or a state dict.
        model: The model; decides which zoo's names are translated.

    Raises:
        MissingError: There is no such file.
        IntegrityError: It is not a checkpoint, or entries are missing, unexpected or of the wrong
            shape or type; they are named. Nothing is changed in the network then.
    """
    if isinstance(weights, str | Path):
        checkpoint = open_checkpoint(weights)
        state, wrappers, source = checkpoint.state, checkpoint.wrappers, str(weights)
    else:
        state, wrappers, source = dict(weights), (), "the state dict"
    own = module.state_dict()
    if wrapper := _wrapper(state, own):
        state = {name.removeprefix(wrapper): tensor for name, tensor in state.items()}
        wrappers = (*wrappers, wrapper)
    vis4d = model.network is not None and model.network.engine == "vis4d" and is_vis4d(state)
    if vis4d:
        state = {from_vis4d(name): tensor for name, tensor in state.items()}
    averages = {"ema_" + name.replace(".", "_") for name in state}  # mmengine's and mmcv's EMA hooks
    averaged = [name for name in state if name in averages and name not in own]
    training = tuple(part for part in _TRAINING if not any(name.startswith(part) for name in own))
    unused = [n for n in state if n not in own and (n.startswith(training) or _UNUSED.search(n))]
    left_out = {*averaged, *unused}
    state = {name: tensor for name, tensor in state.items() if name not in left_out}
    missing = [name for name in own if name not in state]
    # PyTorch before 0.4.1 and Vis4D save none; inference does not use them.
    defaulted = [name for name in missing if name.endswith(".num_batches_tracked")]
    if vis4d or len(defaulted) == len(missing):  # named as missing next to others, they help to tell why
        missing = [name for name in missing if name not in defaulted]
    _refuse_misfits(source, model.id, own, state, missing)
    module.load_state_dict({**{n: own[n] for n in defaulted}, **state}, strict=True)
    remarks = []
    if wrappers:
        remarks.append(f"taken off the names of its entries: {_listed(wrappers)}")
    if defaulted and not vis4d:  # no file of Vis4D has them
        count = number_of(len(defaulted), "batch counter")
        remarks.append(f"{count} missing, which inference does not use")
    if averaged:
        count = number_of(len(averaged), "moving average")
        remarks.append(f"{count} (ema_*) next to the weights not loaded")
    if unused:
        remarks.append(f"not loaded, inference does not use them: {_listed(unused)}")
    if strange := entries_not_finite(state):
        remarks.append(not_finite_warning(strange))
    for line in remarks:
        warnings.warn(f"{source}: {line}", BddzooWarning, stacklevel=2)


def _wrapper(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    """What stands before every name of a file and before none of the network's, as a trainer's `model.`."""
    if any(name in own for name in state):
        return ""
    ours, theirs = (_stem(names) for names in (own, state))
    wrapper = theirs.removesuffix(ours)
    return wrapper if any(name.removeprefix(wrapper) in own for name in state) else ""


def _stem(names: Iterable[str]) -> str:
    """The parts that all names begin with, with their dots."""
    return "".join(f"{part}." for part in os.path.commonprefix([n.split(".")[:-1] for n in names]))  # noqa: RUF071


def entries_not_finite(state: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Entries that hold NaN or infinity."""
    return tuple(n for n, t in state.items() if t.is_floating_point() and not bool(t.isfinite().all()))


def not_finite_warning(names: Sequence[str]) -> str:
    """What is said of them, by every command that reads weights."""
    return f"NaN or infinity in the weights: {_listed(names)}"


def _listed(names: Sequence[str]) -> str:
    return "; ".join(printable(n, 80) for n in names[:_SHOWN]) + (" ..." if len(names) > _SHOWN else "")


def _refuse_misfits(
    source: str, model_id: str, own: Mapping[str, Tensor], state: Mapping[str, Tensor], missing: Sequence[str]
) -> None:
    unexpected = [name for name in state if name not in own]
    shared = [name for name in state if name in own]
    shapes = [
        f"{n} is {_shape(state[n])}, expected {_shape(own[n])}"
        for n in shared
        if state[n].shape != own[n].shape
    ]
    types = [
        f"{n} is {_dtype(state[n])}, expected {_dtype(own[n])}"
        for n in shared
        if state[n].dtype.is_floating_point != own[n].dtype.is_floating_point or state[n].dtype.is_complex
    ]
    findings = [
        f"{len(names)} {kind}: {_listed(names)}"
        for kind, names in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("mis-shaped", shapes),
            ("mis-typed", types),
        )
        if names
    ]
    if findings:
        raise IntegrityError(
            f"{source} does not fit {model_id}: {', '.join(findings)}",
            hint="the file holds this network and more, so it is a larger network's"
            if not (missing or shapes or types)
            else "these are another model's weights",
        )


def _shape(tensor: Tensor) -> str:
    return "x".join(str(n) for n in tensor.shape) or "a scalar"


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
