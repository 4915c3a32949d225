"""How the protocol of a run differs from the one that a reported number was measured with."""

from __future__ import annotations

from typing import Any

from bddzoo.registry.types import Model
from bddzoo.results.record import INFERENCE_FIELDS, Fingerprint, Record

# Fields of `Fingerprint` that move a number within the tolerance at most: shown by `diff`, not an obstacle.
HARMLESS_FIELDS = frozenset({"device", "batch_size"})


def differing_fields(model: Model, record: Record) -> list[tuple[str, object, object]]:
    """Protocol fields in which a record departs from the model's registered protocol.

    Returns:
        Field, the zoo's value, the record's value. Empty where the zoo's protocol is unknown.
    """
    if model.protocol is None:
        return []
    run = record.protocol
    names: tuple[str, ...] = ("dataset", "evaluator")
    if run.source == "inference":
        names += INFERENCE_FIELDS
    fields: list[tuple[str, object, object]] = []
    for name in names:
        theirs, ours = getattr(model.protocol, name), getattr(run, name)
        if name in ("crop", "stride") and model.protocol.mode != "slide" and run.mode != "slide":
            continue
        if _plain(theirs) != _plain(ours):
            fields.append((name, theirs, ours))
    if run.source == "inference" and run.precision != "fp32":
        fields.append(("precision", "fp32", run.precision))
    fields += [(name, "default", value) for name, value in sorted(run.options.items())]
    if record.task != model.task:
        fields.append(("task", model.task, record.task))
    return fields


def missing_images(record: Record) -> list[str]:
    """What keeps the scored images from being the whole split, one sentence each."""
    run = record.protocol
    reasons = []
    expected = whole_split(record)
    if run.limit is not None:
        reasons.append(f"partial data set: limited to {run.limit} images")
    elif expected is not None and run.images != expected:
        reasons.append(f"partial data set: {run.images} of {expected} images")
    elif run.partial:
        reasons.append("partial data set")
    if run.skipped:
        names = ", ".join(run.skipped[:3]) + (" ..." if len(run.skipped) > 3 else "")
        reasons.append(f"{len(run.skipped)} images were skipped: {names}")
    if run.images == 0:
        reasons.append("no image was scored")
    return reasons


def whole_split(record: Record) -> int | None:
    """Number of images of the whole split; None where nobody knows.

    For a published data set it is the published number, whatever a data folder or a record claims.
    """
    from bddzoo.datasets.identity import published_images

    run = record.protocol
    return published_images(run.dataset, record.task, run.split) or run.split_images


def fingerprint_changes(a: Fingerprint, b: Fingerprint) -> list[tuple[str, object, object]]:
    """Fields in which two fingerprints differ: name, value in `a`, value in `b`."""
    pairs = ((name, getattr(a, name), getattr(b, name)) for name in Fingerprint.__struct_fields__)
    return [(name, ours, theirs) for name, ours, theirs in pairs if _plain(ours) != _plain(theirs)]


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else value
