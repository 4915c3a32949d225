"""What the records say of each model: the one that speaks for it, intervals, the chain, an image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bddzoo.errors import BddzooError, MissingError
from bddzoo.registry import Registry
from bddzoo.registry.model import Model
from bddzoo.results import Record, StoredRecord, VerdictReport, judge
from bddzoo.results.links import LINKS, Link, LinkResult, ModelCheck, from_report
from bddzoo.results.record import recency
from bddzoo.results.speed import SpeedRecord, newest_speeds, scan_speed
from bddzoo.results.store import best_stored, read_statistics, records_by_model
from bddzoo.results.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

# Where a link's measurement comes from, as a record spells it.
SOURCES: Mapping[Link, str] = {"scores": "scores", "predictions": "predictions", "weights": "inference"}
NOT_LOOKED: Mapping[Link, str] = {
    "registry": "not compared with the zoo’s document",
    "scores": "no published scores were compared",
    "predictions": "no published predictions were scored",
    "weights": "no run of the weights is on record",
}
# The kinds of images that every browser shows, and their first bytes.
IMAGES = {".jpg": b"\xff\xd8\xff", ".jpeg": b"\xff\xd8\xff", ".png": b"\x89PNG\r\n\x1a\n", ".webp": b"RIFF"}

Report = Callable[[BddzooError], None]


@dataclass(frozen=True)
class Evidence:
    """What was measured of one model.

    Attributes:
        stored: The record that speaks for the model, or None.
        report: The verdict from it.
        intervals: Metric -> (low, high) of its 95% interval, percent; empty where nothing was counted.
        chain: All four links; one that nobody looked at is `missing`.
        image: An image of its predictions, or None.
        speeds: The newest record of its speed by setting, see `bddzoo.results.speed.newest_speeds`.
    """

    stored: StoredRecord | None = None
    report: VerdictReport | None = None
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    chain: tuple[LinkResult, ...] = ()
    image: Path | None = None
    speeds: Mapping[str, SpeedRecord] = field(default_factory=dict)

    @property
    def record(self) -> Record | None:
        """The record itself."""
        return self.stored.record if self.stored else None

    @property
    def verdict(self) -> Verdict:
        """Verdict on the model; `missing` without a record."""
        return self.report.verdict if self.report else Verdict.MISSING


def gather(
    registry: Registry,
    root: Path,
    *,
    checks: Sequence[ModelCheck] = (),
    images: Path | None = None,
    intervals: bool = True,
    report: Report,
    note: Callable[[str], None],
) -> dict[str, Evidence]:
    """Model id to its evidence, for every model of the registry.

    Args:
        registry: The registry.
        root: Folder of the records.
        checks: Chains that `bddzoo check` printed; they go before what the records say.
        images: Folder with an image for each model, named by its id.
        intervals: Whether to resample the statistics that records kept.
        report: Called with everything that could not be used; the rest is done all the same.
        note: Called with what is left out although nothing is wrong with it.

    Raises:
        MissingError: A folder cannot be read.
    """
    stored = records_by_model(root, registry, report, note)
    chains = {(check.zoo, check.model): check for check in checks}
    files = _images(images)
    speeds = newest_speeds(stored.record for stored in scan_speed(root, report))
    found = {}
    for model in registry.models:
        mine = stored.get(model.id, [])
        best = best_stored(model, mine)
        found[model.id] = Evidence(
            best,
            judge(model, best.record) if best else None,
            _intervals(best, report) if best and intervals else {},
            _chain(model, mine, chains.get((model.zoo.id, model.id))),
            files.get(model.id) or _beside(mine),
            {setting: timed[model.id] for setting, timed in speeds.items() if model.id in timed},
        )
    return found


def _chain(model: Model, stored: Sequence[StoredRecord], check: ModelCheck | None) -> tuple[LinkResult, ...]:
    known = {result.link: result for result in check.links} if check else {}
    return tuple(known.get(link) or _link(model, stored, link) for link in LINKS)


def _link(model: Model, stored: Sequence[StoredRecord], link: Link) -> LinkResult:
    best = best_stored(model, [s for s in stored if s.record.protocol.source == SOURCES.get(link)])
    if best is None:
        return LinkResult(link, Verdict.MISSING, reasons=(NOT_LOOKED[link],))
    return from_report(link, judge(model, best.record), f"record {best.id}")


def _intervals(stored: StoredRecord, report: Report) -> dict[str, tuple[float, float]]:
    """Intervals from what the record counted on each image; only where it did is NumPy imported."""
    if not stored.record.statistics:
        return {}
    from bddzoo.evaluation import statistics
    from bddzoo.evaluation.slices import intervals

    found: dict[str, tuple[float, float]] = {}
    for name in stored.record.statistics:
        try:
            found.update(intervals(statistics.load(read_statistics(stored, name))))
        except BddzooError as error:
            report(error)
    return found


def _images(folder: Path | None) -> dict[str, Path]:
    """Images by the model id that their names are."""
    if folder is None:
        return {}
    try:
        names = sorted(folder.iterdir())
    except OSError as error:
        raise MissingError(f"cannot read the images in {folder}: {error.strerror}") from None
    return {path.stem: path for path in names if path.suffix.lower() in IMAGES}


def _beside(stored: Iterable[StoredRecord]) -> Path | None:
    """An image that lies next to a record and has its name, from the newest record that has one."""
    newest = sorted(stored, key=lambda s: recency(s.record), reverse=True)
    places = (s.path.with_suffix(suffix) for s in newest for suffix in IMAGES)
    return next((path for path in places if path.is_file()), None)
