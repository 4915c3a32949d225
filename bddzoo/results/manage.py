"""Bring records in from elsewhere, and remove old ones."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bddzoo.errors import BddzooError, IntegrityError, MissingError
from bddzoo.files import files_below
from bddzoo.results.record import decode_record, recency
from bddzoo.results.store import (
    StoredRecord,
    check_statistics,
    read_file,
    read_statistics,
    record_path,
    scan_records,
    statistics_name,
    write_record,
)


@dataclass(frozen=True)
class Imported:
    """One record that was brought in: its file here, and whether it was new."""

    path: Path
    new: bool


def import_records(
    places: Iterable[Path], root: Path, on_error: Callable[[BddzooError], None]
) -> Iterator[Imported]:
    """Copy records, from files or folders at any depth, into a results folder.

    Every record is checked first; one that is there already is left as it is.

    Args:
        places: Record files, or folders that hold some.
        root: Results folder.
        on_error: Called with what is wrong with a file that is not taken, or a folder that cannot be read.

    Raises:
        MissingError: A place does not exist, or the results folder cannot be written.
    """
    for place in places:
        if not place.exists():
            raise MissingError(f"no such file or folder: {place}")
        for file in files_below(place, ".json", on_error) if place.is_dir() else [place]:
            try:
                stored = read_file(file, decode_record)
                statistics = {name: read_statistics(stored, name) for name in stored.record.statistics}
                check_statistics(stored)
            except BddzooError as error:
                on_error(error)
                continue
            new = not record_path(stored.record, root).exists()
            yield Imported(write_record(stored.record, root, statistics), new)


def pack_records(folder: Path) -> dict[str, bytes]:
    """Read the records below a folder, and their statistics: file name to content."""
    return {
        path.name: path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".json", ".npz") and not path.name.startswith(".") and path.is_file()
    }


def keep_records(files: Mapping[str, bytes], root: Path, *, model: str, sweep: str) -> None:
    """Write records that were packed on another machine.

    Args:
        files: See `pack_records`.
        root: Results folder.
        model: The model that they must be of.
        sweep: The sweep that they must be of.

    Raises:
        IntegrityError: One is damaged, is not of that model and sweep, or lacks its statistics.
        MissingError: The folder cannot be written to.
    """
    for name, data in files.items():
        if not name.endswith(".json"):
            continue
        record = decode_record(data, name)
        if (record.model, record.run.sweep) != (model, sweep):
            raise IntegrityError(f"{name}: a record of {record.model}, where one of {model} was expected")
        statistics = {}
        for kind, digest in record.statistics.items():
            content = files.get(statistics_name(digest))
            if content is None or hashlib.sha256(content).hexdigest() != digest:
                raise IntegrityError(f"{name}: its statistics of '{kind}' did not arrive whole")
            statistics[kind] = content
        write_record(record, root, statistics)


def superseded(root: Path, keep: int, on_error: Callable[[BddzooError], None]) -> list[StoredRecord]:
    """Records of which newer ones exist that were measured the same way.

    The same way: model, protocol fingerprint, and weights agree in every field.

    Args:
        root: Results folder.
        keep: How many of each group stay, the newest; at least 1.
        on_error: Called for damaged records, which are left alone.
    """
    import msgspec

    groups: dict[bytes, list[StoredRecord]] = {}
    for stored in scan_records(root, on_error=on_error):
        record = stored.record
        weights = record.weights.sha256 if record.weights else None
        key = msgspec.json.encode((record.zoo, record.task, record.model, record.protocol, weights))
        groups.setdefault(key, []).append(stored)
    old = []
    for group in groups.values():
        group.sort(key=lambda stored: recency(stored.record))
        old += group[: -max(1, keep)]
    return sorted(old, key=lambda stored: stored.path)


def leftovers(root: Path) -> list[Path]:
    """Temporary files of writers that were killed; those of this minute may still be in use."""
    import time

    minute_ago = time.time() - 60
    return [path for path in sorted(root.rglob(".*.tmp")) if path.stat().st_mtime < minute_ago]


def remove_records(stored: Iterable[StoredRecord]) -> None:
    """Delete records, and the statistics that no other record of their folder names.

    Raises:
        MissingError: One cannot be deleted.
    """
    for item in stored:
        remove_file(item.path)
        named = _named_statistics(item.path.parent)
        for digest in item.record.statistics.values():
            if named is not None and digest not in named:
                remove_file(item.path.parent / statistics_name(digest))


def remove_file(path: Path) -> None:
    """Delete a file that may be gone already.

    Raises:
        MissingError: It cannot be deleted.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise MissingError(f"cannot delete {path}: {error.strerror or error}") from error


def _named_statistics(folder: Path) -> set[str] | None:
    """Statistics that the folder's records name; None where a damaged one may name any."""
    named: set[str] = set()
    for path in folder.glob("*.json"):
        try:
            named.update(read_file(path, decode_record).record.statistics.values())
        except BddzooError:
            return None
    return named
