"""Deterministic weights: a network's state filled from entry names and shapes alone.

No checkpoint can be had for most models, so golden outputs were made with weights that any
framework can make again. Entry by entry, a PCG64 generator seeded with the SHA-256 of the name
draws standard normals, which are scaled by rules that depend on the name's last word; `gain` is
one number a model that keeps its activations in range. Variant b salts the names and gives gates
(layer scales, attention scales, position biases) values at which they matter; variant n salts them,
too, and makes a sixth of the norms' weights negative.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor, nn

# A gain at which activations of all networks stay in range.
GAIN = 0.7
Variant = Literal["base", "b", "n"]


def value_for(
    name: str, shape: tuple[int, ...], gain: float = 1.0, variant: Variant = "base"
) -> npt.NDArray[np.float32]:
    """The float32 values of a floating-point entry.

    Args:
        name: Entry name in the state dict.
        shape: Its shape.
        gain: The model's gain; only enters weights of two or more dimensions.
        variant: `base`, `b` or `n`.

    Returns:
        Array of that shape. Every operation is one float32 rounding, in a fixed order, so that the
        bytes are the same everywhere.
    """
    salt = "" if variant == "base" else f"{variant}:"
    seed = int.from_bytes(hashlib.sha256((salt + name).encode()).digest()[:8], "big")
    generator = np.random.Generator(np.random.PCG64(seed))
    z = np.asarray(generator.standard_normal(tuple(shape))).astype(np.float32)
    leaf = name.rsplit(".", 1)[-1]
    small = np.float32(0.02)
    if leaf == "running_mean":
        return small * z
    if name.endswith("init_proposal_bboxes.weight"):  # boxes of Sparse R-CNN, which have to have an area
        return np.float32(0.5) + np.float32(0.1) * z
    if leaf == "running_var":
        return np.float32(1.0) + np.float32(0.1) * np.abs(z)
    if z.ndim >= 2 and (leaf == "weight" or leaf.endswith("_weight")):
        fan_in = math.prod(shape[1:])
        return z * np.float32(gain * math.sqrt(2.0 / fan_in))
    if z.ndim == 1 and leaf == "weight":
        weight = np.float32(1.0) + small * z
        return np.where(z < np.float32(-1.0), -weight, weight) if variant == "n" else weight
    if variant == "b":
        if leaf in ("gamma", "scale"):
            return np.float32(0.5) + np.float32(0.1) * z
        scales = {"bases": 0.3, "relative_position_bias_table": 0.5, "pos_embed": 0.2, "cls_token": 0.2}
        if leaf in scales:
            return np.float32(scales[leaf]) * z
    return small * z


def recipe_state(module: nn.Module, gain: float, variant: Variant = "base") -> dict[str, Tensor]:
    """A whole state dict for a network.

    Args:
        module: Any network; it is not changed.
        gain: The model's gain.
        variant: `base`, `b` or `n`.

    Returns:
        Entries in the order of the module's state dict. Batch counters are zero, other integer
        entries are as built.
    """
    import torch

    state: dict[str, Tensor] = {}
    for name, built in module.state_dict().items():
        if built.is_floating_point():
            values: Any = np.ascontiguousarray(value_for(name, tuple(built.shape), gain, variant))
            state[name] = torch.from_numpy(values).reshape(built.shape)
        elif name.endswith("num_batches_tracked"):
            state[name] = torch.zeros_like(built)
        else:
            state[name] = built.clone()
    return state


def state_sha256(state: dict[str, Tensor]) -> str:
    """SHA-256 over names and little-endian bytes of all entries, in order; hexadecimal."""
    digest = hashlib.sha256()
    for name, tensor in state.items():
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
