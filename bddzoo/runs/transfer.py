"""Records that were written on one machine and are kept on another."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from bddzoo.errors import IntegrityError
from bddzoo.results.codec import decode_record
from bddzoo.results.record import Record
from bddzoo.results.store import statistics_name, write_record


def pack_records(folder: Path) -> dict[str, bytes]:
    """Names and contents of the records below a folder, and of the statistics beside them."""
    return {
        path.name: path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".json", ".npz") and not path.name.startswith(".") and path.is_file()
    }


def keep_records(files: Mapping[str, bytes], root: Path, *, model: str, sweep: str) -> list[Record]:
    """Write records that were packed elsewhere.

    Args:
        files: See `pack_records`.
        root: Results folder.
        model: The model that they must be of.
        sweep: The sweep that they must be of.

    Returns:
        The records that are there now.

    Raises:
        IntegrityError: One is damaged, is not of that model and sweep, or lacks its statistics.
        MissingError: The folder cannot be written to.
    """
    kept = []
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
        kept.append(record)
    return kept
