"""The state of a network as the zoo's files have it: names, shapes, order, and where each tensor goes.

Nothing here builds anything: entries and parameters can be counted without PyTorch. A *unit* is one
convolution or one norm of the zoo; its `target` is the module of our network that holds its numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import NamedTuple

from bddzoo.engines.openseg.spec import Spec

_STATISTICS = ("weight", "bias", "running_mean", "running_var")


class Conv(NamedTuple):
    """A convolution.

    Attributes:
        name: Its name in the zoo's files.
        target: The module that holds it.
        shape: Of its weight.
        bias: Whether the zoo's has a bias.
        norm: Target of the norm that the bias goes into; None where the target holds a bias itself.
        halves_swapped: The target takes the two halves of its input in the other order.
    """

    name: str
    target: str
    shape: tuple[int, int, int, int]
    bias: bool = False
    norm: str | None = None
    halves_swapped: bool = False


class Norm(NamedTuple):
    """A norm; `counted` ones have a batch counter."""

    name: str
    target: str
    channels: int
    counted: bool


class Entry(NamedTuple):
    """An entry of the state dict; `kind` is `param` or `buffer`."""

    key: str
    shape: tuple[int, ...]
    dtype: str
    kind: str


Unit = Conv | Norm
Channels = tuple[int, int]


class Layout:
    """The units of a network, collected in the order of the zoo's files.

    Attributes:
        spec: The network.
        units: What there is so far.
    """

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.units: list[Unit] = []

    def conv(
        self, name: str, channels: Channels, kernel: int = 1, *, to: str | None = None, bias: bool = False
    ) -> None:
        """A convolution between channels `(in, out)`; its target has the same name unless said."""
        self.units.append(Conv(name, to or name, (channels[1], channels[0], kernel, kernel), bias))

    def norm(self, name: str, channels: int, *, to: str | None = None, activated: bool = False) -> None:
        """A norm; one with an activation is one module in the zoo's activated form, two in the plain one."""
        plain = not self.spec.activated
        shown = f"{name}.0" if plain and activated else name
        self.units.append(Norm(shown, to or name, channels, plain))

    def block(
        self,
        name: str,
        to: str,
        channels: Channels,
        kernel: int = 1,
        *,
        bias: bool = True,
        first: int = 0,
        halves_swapped: bool = False,
    ) -> None:
        """Convolution and activated norm, items `first` and `first + 1` of `name`, held by a ConvModule."""
        shape = (channels[1], channels[0], kernel, kernel)
        norm = f"{to}.bn" if bias else None
        self.units.append(Conv(f"{name}.{first}", f"{to}.conv", shape, bias, norm, halves_swapped))
        self.norm(f"{name}.{first + 1}", channels[1], to=f"{to}.bn", activated=True)


def units(spec: Spec) -> list[Unit]:
    """Convolutions and norms of a network, in the order of the zoo's files."""
    from bddzoo.engines.openseg.layout_backbones import lay_backbone
    from bddzoo.engines.openseg.layout_heads import lay_heads

    layout = Layout(spec)
    lay_backbone(layout)
    lay_heads(layout)
    return layout.units


def entries_of(unit: Unit) -> Iterator[Entry]:
    """The entries of a unit, in order."""
    if isinstance(unit, Conv):
        yield Entry(f"{unit.name}.weight", unit.shape, "float32", "param")
        if unit.bias:
            yield Entry(f"{unit.name}.bias", unit.shape[:1], "float32", "param")
        return
    for leaf in _STATISTICS:
        kind = "buffer" if leaf.startswith("running") else "param"
        yield Entry(f"{unit.name}.{leaf}", (unit.channels,), "float32", kind)
    if unit.counted:
        yield Entry(f"{unit.name}.num_batches_tracked", (), "int64", "buffer")


def entries(spec: Spec) -> list[Entry]:
    """All entries of a network's state dict, in the order of the zoo's files."""
    return [entry for unit in units(spec) for entry in entries_of(unit)]


def count(spec: Spec) -> tuple[int, int]:
    """Number of parameters, and of state-dict entries."""
    found = entries(spec)
    return sum(prod(e.shape) for e in found if e.kind == "param"), len(found)
