"""Compare a network's state-dict entries with what is known of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bddzoo.engines.selftest.measures import CheckResult, Measure
from bddzoo.errors import IntegrityError

if TYPE_CHECKING:
    from torch import nn


def check_keys(
    finding: CheckResult,
    module: nn.Module,
    read: Callable[[], list[list[Any]] | None],
    entries: int | None,
    params: int | None,
) -> CheckResult:
    """Settle a finding on a network's entries: names, shapes, types and order.

    Args:
        finding: The finding.
        module: The network.
        read: Reads the manifest, None where there is none; then the numbers alone are compared.
        entries: The known number of entries.
        params: The known number of parameters.
    """
    parameters = dict(module.named_parameters())
    mine = [
        [n, list(t.shape), str(t.dtype).removeprefix("torch."), "param" if n in parameters else "buffer"]
        for n, t in module.state_dict().items()
    ]
    try:
        manifest = read()
    except IntegrityError as error:
        finding.status, finding.note = "damaged", str(error)
        return finding
    if manifest is not None:
        wrong = [a[0] for a, b in zip(manifest, mine, strict=False) if list(a) != b]
        count = len(wrong) + abs(len(manifest) - len(mine))
        finding.measures = [Measure("entries", count, 0, "count", wrong[0] if wrong else "")]
        return finding.settle()
    numbers = (
        ("entries", len(mine), entries),
        ("params", sum(p.numel() for p in parameters.values()), params),
    )
    finding.measures = [Measure(n, abs(a - b), 0, "count") for n, a, b in numbers if b is not None]
    if finding.settle().status == "equal":
        finding.status = "no golden"
        finding.note = "unverified: no golden is known; only entries and parameters were counted"
    return finding
