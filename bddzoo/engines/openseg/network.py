"""A network of the zoo: from outside the zoo's state, inside the parts that compute."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bddzoo.engines.openseg.folding import FoldedState
from bddzoo.engines.openseg.heads import build_aux_head, build_backbone, build_head, features
from bddzoo.engines.openseg.layout import StateEntry, units
from bddzoo.engines.openseg.spec import Spec
from bddzoo.errors import UsageError


class OpensegNetwork(nn.Module):
    """One network.

    `state_dict`, `load_state_dict`, `parameters` and `named_parameters` speak of the zoo's own entries, in
    their order. They are not the tensors that the parts compute with: see `bddzoo.engines.openseg.folding`.

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
