"""What else is known of a row: numbers from other places, the rows it stands for, why it cannot be built."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from bddzoo.registry import structs as doc
from bddzoo.registry.model import REASONS, Elsewhere, Fills, NotBuildable, Reported
from bddzoo.registry.problems import PathLike, unknown

if TYPE_CHECKING:
    from bddzoo.registry.resolve import Resolver


def fills_of(resolver: Resolver, at: PathLike, row: doc.ModelDoc) -> Fills | None:
    """The row that a model's weights belong to; that it is there is checked at the end."""
    if row.fills is None:
        return None
    resolver.mentioned.append(((*at, "fills", "model"), row.fills.model, row.id))
    return Fills(row.fills.model, tuple(row.fills.differs))


def not_buildable_of(resolver: Resolver, at: PathLike, row: doc.ModelDoc) -> NotBuildable | None:
    """Why nobody can build a row's network; an unknown code is noted."""
    code = row.not_buildable
    if code is None:
        return None
    here: PathLike = (*at, "not_buildable")
    if code not in REASONS:
        resolver.note(here, unknown("reason", code, REASONS), row.id, len(at))
    if row.network is not None:
        resolver.note(here, "a row with a network can be built", row.id, len(at))
    return NotBuildable(code, REASONS.get(code, ""))


def elsewhere_of(
    resolver: Resolver, at: PathLike, index: int, spec: doc.ElsewhereDoc, row: doc.ModelDoc
) -> Elsewhere:
    """Numbers that were published in another place."""
    here: PathLike = (*at, "elsewhere", index)
    for key in ("url", "weights"):
        resolver.url((*here, key), getattr(spec, key), row.id, len(at))
    if spec.model is not None:
        resolver.mentioned.append(((*here, "model"), spec.model, row.id))
    if spec.protocol is not None and spec.protocol not in resolver.protocols:
        message = unknown("protocol", spec.protocol, resolver.protocols)
        resolver.note((*here, "protocol"), message, row.id, len(at))
    for split, numbers in spec.reported.items():
        for metric, value in numbers.items():
            resolver.percent((*here, "reported", split, metric), value, row.id, len(at))
    return Elsewhere(
        source=spec.source,
        reported=numbers_of(spec.reported),
        url=spec.url,
        date=spec.date,
        protocol_differs=spec.protocol_differs,
        protocol=spec.protocol,
        weights=spec.weights,
        model=spec.model,
        note=spec.note,
    )


def numbers_of(reported: Mapping[Any, Mapping[Any, int | Decimal | None]]) -> tuple[Reported, ...]:
    """Numbers by split and metric, where no table names their columns."""
    return tuple(
        Reported(split, metric, "", None if value is None else Decimal(value))
        for split, numbers in reported.items()
        for metric, value in numbers.items()
    )
