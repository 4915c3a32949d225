"""From the zoo's tensors to those that the parts compute with, and back.

The zoo's activated batch norm computes `(x - mean) / sqrt(var + eps) * (|weight| + eps) + bias`, with eps
1e-5, which is ordinary batch norm with another weight. A bias of a convolution in front of a norm is
subtracted from the norm's mean. Where a part has a bias that the zoo's convolution has not, it is zero.
What cannot be derived from the result (weights of norms, biases, means) is kept next to it: it is small.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bddzoo.engines.openseg.layout import Conv, Norm, StateEntry, Unit, entries_of

EPS = 1e-5


class FoldedState(nn.Module):
    """The zoo's state of a network, folded into its parts.

    Args:
        network: The network; its parts are found by the units' targets.
        units: The zoo's convolutions and norms, in order.
        activated: Whether norms are the zoo's activated ones.
    """

    @torch.no_grad()
    def __init__(self, network: nn.Module, units: Sequence[Unit], *, activated: bool) -> None:
        super().__init__()
        self.units = tuple(units)
        self.activated = activated
        # A plain dict: the parts stay the network's.
        self._places: dict[str, Any] = {unit.target: network.get_submodule(unit.target) for unit in units}
        self._shifted = {unit.norm for unit in units if isinstance(unit, Conv)} - {None}
        for unit in units:
            place = self._places[unit.target]
            if isinstance(unit, Conv):
                if unit.norm is not None:
                    self._keep(f"{unit.name}.bias", torch.zeros(unit.shape[0]))
                elif place.bias is not None:
                    place.bias.zero_()
                continue
            if activated:
                self._keep(f"{unit.name}.weight", place.weight)
                place.weight.add_(EPS)
            if unit.target in self._shifted:
                self._keep(f"{unit.name}.running_mean", place.running_mean)

    def original(self) -> Iterator[tuple[StateEntry, Tensor]]:
        """The zoo's entries and tensors, in order; as loaded, bit for bit."""
        for unit in self.units:
            place = self._places[unit.target]
            for entry in entries_of(unit):
                kept = self._buffers.get(_buffer(entry.key))
                leaf = entry.key.rpartition(".")[2]
                tensor = kept if kept is not None else getattr(place, leaf)
                if isinstance(unit, Conv) and unit.halves_swapped and leaf == "weight":
                    tensor = _swap_halves(tensor)
                yield entry, tensor

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take a whole state in the zoo's names."""
        biases: dict[str, Tensor] = {}
        for unit in self.units:
            place = self._places[unit.target]
            if isinstance(unit, Conv):
                weight = state[f"{unit.name}.weight"]
                place.weight.copy_(_swap_halves(weight) if unit.halves_swapped else weight)
                if unit.norm is not None:
                    biases[unit.norm] = self._set(f"{unit.name}.bias", state)
                elif unit.bias:
                    place.bias.copy_(state[f"{unit.name}.bias"])
            else:
                self._load_norm(unit, place, state, biases.get(unit.target))

    def _load_norm(self, unit: Norm, place: Any, state: Mapping[str, Tensor], bias: Tensor | None) -> None:
        for entry in entries_of(unit):
            getattr(place, entry.key.rpartition(".")[2]).copy_(state[entry.key])
        if self.activated:
            place.weight.copy_(self._set(f"{unit.name}.weight", state).abs() + EPS)
        if bias is not None:
            place.running_mean.copy_(self._set(f"{unit.name}.running_mean", state) - bias)

    def _keep(self, key: str, tensor: Tensor) -> None:
        self.register_buffer(_buffer(key), tensor.detach().clone(), persistent=False)

    def _set(self, key: str, state: Mapping[str, Tensor]) -> Tensor:
        kept = self._buffers[_buffer(key)]
        assert kept is not None
        return kept.copy_(state[key])


def _buffer(key: str) -> str:
    """The name of a kept tensor; PyTorch allows no dots."""
    return key.replace(".", "/")


def _swap_halves(weight: Tensor) -> Tensor:
    """(O, 2 n, 1, 1) with the two halves of the inputs in the other order."""
    return torch.cat(weight.chunk(2, dim=1)[::-1], dim=1)
