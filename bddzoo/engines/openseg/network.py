"""A network of the zoo: from outside the zoo's state, inside the parts that compute; and how the zoo runs it.

The zoo's activated batch norm computes `(x - mean) / sqrt(var + eps) * (|weight| + eps) + bias`, with eps
1e-5, which is ordinary batch norm with another weight. A bias of a convolution in front of a norm is
subtracted from the norm's mean. Where a part has a bias that the zoo's convolution has not, it is zero.
What cannot be derived from the result (weights of norms, biases, means) is kept next to it: it is small.

Tested as the zoo does it: mirrored, on several scales, resized by OpenCV.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from bddzoo.engines.openseg.heads import build_aux_head, build_backbone, build_head, features
from bddzoo.engines.openseg.layout import Conv, Norm, StateEntry, Unit, entries_of, units
from bddzoo.engines.openseg.spec import Spec
from bddzoo.engines.semantic import SemSegRunner
from bddzoo.errors import UsageError

if TYPE_CHECKING:
    from bddzoo.registry.model import Model


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


_MAX_CHANNELS = 128


class OpensegRunner(SemSegRunner):
    """A network with the test protocol of its model.

    Raises:
        UsageError: The protocol swaps classes that the network does not have, or asks for windows.
    """

    def __init__(self, module: nn.Module, model: Model) -> None:
        super().__init__(module, model)
        if self._windows is not None:
            raise UsageError(
                f"model {model.id}: its protocol asks for windows, openseg's networks see whole images",
                hint="fix the registry",
            )
        protocol = model.protocol
        self._flip = protocol is not None and protocol.flip
        self._scales = protocol.scales if protocol is not None else ()
        self._cubic = protocol is not None and protocol.logits_resize == "cv2-cubic"
        self._order = _swapped(self.num_classes, model)

    @torch.no_grad()
    def outputs(self, x: Tensor) -> tuple[Tensor | None, Tensor]:
        """Auxiliary logits (None where the network has none) and main logits of one plain pass.

        Args:
            x: (N, 3, h, w) float32, normalised, on the network's device.

        Returns:
            (N, K, h, w) float32 each.
        """
        return cast(Any, self.module)(x)  # type: ignore[no-any-return]

    @torch.no_grad()
    def logits(
        self, x: Tensor, out_size: tuple[int, int] | None = None, image_size: tuple[int, int] | None = None
    ) -> Tensor:
        """Class scores before any softmax, by the whole protocol.

        Mirrored images give a mean with the image's own scores, several scales a sum over scales and
        mirrors, as in the zoo's trainer and tester.

        Args:
            x: (N, 3, h, w) float32, normalised and padded, on the network's device.
            out_size: Height and width of the result in pixels, the original image's; None: as it is.
            image_size: Height and width of the input without its padding, which is cut off; None: no padding.

        Returns:
            (N, K, H, W) float32 logits.
        """
        scores = self._all_scales(x) if self._scales else self._mirrored(x)
        if self._flip and not self._scales:
            scores = scores.div_(2)
        if image_size is not None:
            scores = scores[:, :, : image_size[0], : image_size[1]]
        if out_size is None or tuple(scores.shape[2:]) == tuple(out_size):
            return scores
        if self._cubic:
            return resize_cubic(scores, out_size)
        return functional.interpolate(scores, size=tuple(out_size), mode="bilinear", align_corners=True)

    def _mirrored(self, x: Tensor) -> Tensor:
        """Scores of one pass, plus those of the mirrored image if the protocol says so."""
        scores = self.encode(x)
        if self._flip:
            mirrored = self.encode(x.flip(3)).flip(3)
            scores = scores.add_(mirrored if self._order is None else mirrored[:, self._order])
        return scores

    def _all_scales(self, x: Tensor) -> Tensor:
        """The sum of scores over scales, at the input's size."""
        size = x.shape[2:]
        total: Tensor | None = None
        for scale in self._scales:
            small = (int(size[0] * scale), int(size[1] * scale))
            scores = self._mirrored(functional.interpolate(x, small, mode="bilinear", align_corners=True))
            scores = functional.interpolate(scores, size, mode="bilinear", align_corners=True)
            total = scores if total is None else total.add_(scores)
        assert total is not None
        return total


def resize_cubic(scores: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, K, h, w) float32 to (N, K, H, W) by OpenCV's INTER_CUBIC, which is not PyTorch's bicubic."""
    import cv2
    import numpy as np

    height, width = size
    resized = np.empty((*scores.shape[:2], height, width), np.float32)
    # OpenCV 5 takes no more than 128 channels at once. Its way with single ones is another, more exact
    # than what the zoo's numbers were made with, so they are taken in a few equal parts.
    parts = np.array_split(np.arange(scores.shape[1]), -(-scores.shape[1] // _MAX_CHANNELS))
    for item, target in zip(scores.permute(0, 2, 3, 1).cpu().numpy(), resized, strict=True):
        for part in parts:
            source = np.ascontiguousarray(item[:, :, part[0] : part[-1] + 1])
            large = cv2.resize(source, (width, height), interpolation=cv2.INTER_CUBIC)
            target[part[0] : part[-1] + 1] = large.reshape(height, width, -1).transpose(2, 0, 1)
    return torch.from_numpy(resized).to(scores.device)


def _swapped(classes: int, model: Model) -> list[int] | None:
    """The order of classes in a mirrored image, e.g. left arm for right arm; None if it is the usual one."""
    pairs = model.protocol.flip_swap if model.protocol is not None else ()
    order = list(range(classes))
    for a, b in pairs:
        if not (0 <= a < classes and 0 <= b < classes):
            raise UsageError(
                f"model {model.id}: its protocol swaps classes {a} and {b}, the network has {classes}",
                hint="fix the registry",
            )
        order[a], order[b] = b, a
    return order if pairs else None
