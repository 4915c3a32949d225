"""Small real models and records for the tests of this room."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from bddzoo.datasets.classes import CLASS_SETS
from bddzoo.errors import BddzooError, IntegrityError
from bddzoo.registry.model import Method, Model, Protocol, Reported, Zoo
from bddzoo.results import Record, StoredRecord, WeightsUsed, scan_records
from bddzoo.results.environment import Environment
from bddzoo.results.record import Fingerprint, RunInfo, new_record

CLASSES = ("road", "car", "sky")
MD5 = "0" * 32
ENVIRONMENT = Environment(
    bddzoo="0.1.0",
    python="3.11.7",
    packages={"numpy": "2.1.0"},
    platform="Linux 6.1 x86_64",
    cpu="a cpu",
    cores=2,
)


def make_model(
    reported: dict[str, str | None] | None = None,
    *,
    protocol: bool = True,
    tolerance: str | None = None,
    **kw: Any,
) -> Model:
    task = kw.pop("task", "sem_seg")
    values = {"mIoU": "61.59"} if reported is None else reported
    return Model(
        id=kw.pop("id", "fcn_r50"),
        zoo=Zoo(id="bdd100k-models", title="BDD100K Models"),
        task=task,
        method=Method(name="FCN"),
        backbone="R-50-D8",
        settings={},
        reported=tuple(
            Reported("val", metric, f"{metric}-val", None if value is None else Decimal(value))
            for metric, value in values.items()
        ),
        artifacts=(),
        protocol=Protocol(
            id="p",
            dataset="bdd100k",
            scale=(1280, 720),
            tolerance={m: Decimal(tolerance) for m in values} if tolerance is not None else {},
        )
        if protocol
        else None,
        **kw,
    )


def make_models(count: int) -> list[Model]:
    """`m0`, `m1` and so on."""
    return [make_model(id=f"m{i}") for i in range(count)]


def each(count: int, times: int = 1) -> Counter[str]:
    """Those models, as often as each is expected."""
    return Counter({f"m{i}": times for i in range(count)})


def make_record(model: Model | None = None, value: float = 61.592, **changes: Any) -> Record:
    """A whole, verified record of `model` whose mIoU is `value`."""
    model = model or make_model()
    spread = changes.pop("per_class", {"IoU": dict.fromkeys(CLASS_SETS[model.task].names, value)})
    run = {"started": "2026-01-02T03:04:05Z", "duration_s": 10.0, "images_per_s": 100.0, "seed": 0}
    run.update(changes.pop("run", {}))
    fields: dict[str, Any] = {"dataset": "bdd100k", "split": "val", "images": 1000, "split_images": 1000}
    fields.update(changes.pop("protocol", {}))
    known = {d.algorithm: d.hex for a in model.artifacts if a.kind == "weights" for d in a.digests}
    own = WeightsUsed(
        name="w.pth", size_bytes=3, md5=known.get("md5", MD5), sha256=known.get("sha256"), state="verified"
    )
    weights = changes.pop("weights", own)
    return new_record(
        model,
        summary=changes.pop("summary", {"mIoU": value}),
        per_class=spread,
        protocol=Fingerprint.of(model, **fields),
        run=RunInfo(**run),
        weights=weights,
        environment=ENVIRONMENT,
        **changes,
    )


def fail(error: BddzooError) -> None:
    raise error


def stored_in(
    root: Path, on_error: Callable[[IntegrityError], None] = fail, **which: str
) -> list[StoredRecord]:
    """What `scan_records` finds; damaged records are errors unless something else is to become of them."""
    return list(scan_records(root, on_error=on_error, **which))


def records_in(root: Path, on_error: Callable[[IntegrityError], None] = fail, **which: str) -> list[Record]:
    """The records alone."""
    return [stored.record for stored in stored_in(root, on_error, **which)]


def started(folder: Path) -> Counter[str]:
    """How often each model of a sweep was started; see `sweep_worker`."""
    log = folder / "log.txt"
    return Counter(log.read_text().split() if log.exists() else [])


def measured(folder: Path) -> Counter[str]:
    """How many records each model of a sweep has."""
    return Counter(record.model for record in records_in(folder / "results"))
