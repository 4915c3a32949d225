"""A network of the zoo: from outside the zoo's state, inside the parts that compute.

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
from torch.nn import functional

from bddzoo.engines.openseg.heads import build_aux_head, build_backbone, build_head, features
from bddzoo.engines.openseg.layout import Conv, Norm, StateEntry, Unit, entries_of, units
from bddzoo.engines.openseg.spec import Spec
from bddzoo.errors import UsageError

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


class OpensegNetwork(nn.Module):
    """One network.

    `state_dict`, `load_state_dict`, `parameters` and `named_parameters` speak of the zoo's own entries, in
    their order. They are not the tensors that the parts compute with: see `FoldedState`.

    Attributes:
        spec: Which network.
        align_corners: Of every resize in it.
        out_channels: Channels of the logits.
        concatenates: Whether HRNet's maps are made one size before the heads see them.
    """

    align_corners = True

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec
        self.out_channels = spec.num_classes
        self.concatenates = True
        self.backbone = build_backbone(spec)
        self.decode_head = build_head(spec)
        self.auxiliary_head = build_aux_head(spec)
        self.folded: FoldedState | None = FoldedState(self, units(spec), activated=spec.activated)
        for _, tensor in super().named_parameters():
            tensor.requires_grad_(False)
        self.eval()

    def forward(self, x: Tensor) -> tuple[Tensor | None, Tensor]:
        """Auxiliary logits, or None where the network has none, and main logits.

        Args:
            x: (N, 3, H, W) float32, normalised.

        Returns:
            (N, K, H, W) float32 each.
        """
        aux, main = self.coarse(x, aux=True)
        return None if aux is None else self._resize(aux, x), self._resize(main, x)

    def encode_decode(self, x: Tensor, metas: object = None) -> Tensor:
        """Main logits (N, K, H, W); what only the auxiliary ones need is not computed."""
        return self._resize(self.coarse(x, aux=False)[1], x)

    def coarse(self, x: Tensor, *, aux: bool) -> tuple[Tensor | None, Tensor]:
        """Logits (N, K, h, w) of the features' size.

        Args:
            x: (N, 3, H, W) float32, normalised.
            aux: Whether auxiliary logits are wanted even where the main ones do without.
        """
        seen, main = features(self.spec, self.backbone, x, concatenate=self.concatenates)
        guided = "ocr" in self.spec.arch
        coarse = None
        if self.auxiliary_head is not None and (aux or guided):
            coarse = self.auxiliary_head((seen,))
        return coarse, self.decode_head((main,), coarse) if guided else self.decode_head((main,))

    def _resize(self, scores: Tensor, x: Tensor) -> Tensor:
        return functional.interpolate(scores, x.shape[2:], mode="bilinear", align_corners=True)

    def forget_original(self) -> None:
        """Give up the zoo's state, so that the parts may be changed; the weights stay in them."""
        self.folded = None

    # -- the zoo's state -----------------------------------------------------------------------------

    def state_dict(
        self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False
    ) -> Any:
        """The zoo's entries, as they were loaded."""
        found = {} if destination is None else destination
        for entry, tensor in self._original():
            found[prefix + entry.key] = tensor if keep_vars else tensor.detach()
        return found

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Any]]:
        """The zoo's parameters."""
        if self.folded is None:
            yield from super().named_parameters(prefix, recurse, remove_duplicate)
            return
        for entry, tensor in self._original():
            if entry.kind == "param":
                yield (f"{prefix}." if prefix else "") + entry.key, tensor

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """The zoo's buffers."""
        if self.folded is None:
            yield from super().named_buffers(prefix, recurse, remove_duplicate)
            return
        for entry, tensor in self._original():
            if entry.kind == "buffer":
                yield (f"{prefix}." if prefix else "") + entry.key, tensor

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Take the zoo's entries, all of them.

        Raises:
            UsageError: Entries are missing, unexpected or mis-shaped; nothing is changed then.
        """
        own = {entry.key: entry.shape for entry, _ in self._original()}
        wrong = sorted(set(own) ^ set(state)) or [k for k in own if tuple(state[k].shape) != own[k]]
        if wrong:
            raise UsageError(f"these entries do not fit the network: {', '.join(wrong[:3])}")
        with torch.no_grad():
            self._held().load(state)
        return nn.modules.module._IncompatibleKeys([], [])

    def _original(self) -> Iterator[tuple[StateEntry, Tensor]]:
        return self._held().original()

    def _held(self) -> FoldedState:
        if self.folded is None:
            raise UsageError(
                "the network was tuned and no longer has the zoo's state", hint="build and load it again"
            )
        return self.folded
