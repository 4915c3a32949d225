"""Tell a wrong network from another processor.

A network is compared with its golden in float32, as it predicts. Where that is further away than noise, it
is compared again in float64, where no instruction set, library, thread count or reduced precision matters:
what is wrong in the network is as wrong there, and what this machine's float32 did is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import TorchFunctionMode

from bddzoo.engines.load import put_on
from bddzoo.engines.recipe import Variant, recipe_state, state_sha256
from bddzoo.engines.selftest.measures import CheckResult, Measure

if TYPE_CHECKING:
    from torch import nn

# What float32 products are off by here and there, in units of their deviation.
_USUAL = 2e-6
# How much further than its limit a value may be in float32 where float64 is right, on a machine with that.
SLACK = 10


Check = Callable[["nn.Module"], list[Measure]]
Judge = Callable[[CheckResult, "nn.Module", Check, str], None]


def judge(finding: CheckResult, module: nn.Module, check: Check, prefix: str = "") -> None:
    """Add the measures of a check to a finding.

    Args:
        finding: The finding.
        module: The network, in float32.
        check: What is measured of it, in the type it has.
        prefix: Goes before the names of the measures.
    """
    measures = check(module)
    if not all(m.ok for m in measures):
        with float64(module):
            exact = check(module)
        if all(m.ok for m in exact):
            slack = SLACK * coarseness(next(module.parameters()).device)
            worst = max((m for m in measures if m.unit == "std"), key=lambda m: m.value / m.limit)
            rounding = Measure("float32", worst.value, slack * worst.limit, "std", worst.where)
            measures = [*exact, rounding]
            finding.note = (
                f"equal in float64; float32 is off by {worst.value:.2g} std here, limit {rounding.limit:.2g}"
            )
    for measure in measures:
        measure.name = prefix + measure.name
    finding.measures += measures


def fill(module: nn.Module, gain: float, variant: Variant, device: torch.device) -> str:
    """Load the deterministic weights, and put a network on a device; returns the weights' digest."""
    module.to("cpu")
    state = recipe_state(module, gain, variant)
    module.load_state_dict(state, strict=True)
    put_on(module, device)
    return state_sha256(state)


class _NoFloat32(TorchFunctionMode):
    """Code that asks for float32 by name gets float64."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if kwargs.get("dtype") is torch.float32:
            kwargs["dtype"] = torch.float64
        return func(*args, **kwargs)


@contextmanager
def float64(module: nn.Module) -> Iterator[None]:
    """Let a network compute in float64, and what it makes on the way be of that type."""
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        module.double()
        with _NoFloat32():
            yield
    finally:
        torch.set_default_dtype(before)
        module.float()


def coarseness(device: torch.device) -> float:
    """How many times coarser than usual a device multiplies float32; 1 or more.

    TF32 gives about 300, bfloat16 2000.
    """
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(64, n, 16, 16, generator=generator) for n in (32, 32))
    apart = []
    for multiply in (
        lambda x, y: torch.nn.functional.conv2d(x, y[:, :, :3, :3]),
        lambda x, y: x.flatten(1) @ y.flatten(1).T,
    ):
        exact = multiply(a.double(), b.double())
        found = multiply(a.to(device), b.to(device)).cpu().double()
        apart.append(float((found - exact).abs().max() / exact.std()))
    return max(1.0, max(apart) / _USUAL)
