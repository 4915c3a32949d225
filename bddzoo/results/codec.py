"""A record as JSON, and back."""

from __future__ import annotations

import msgspec

from bddzoo.errors import IntegrityError
from bddzoo.results.record import SCHEMA, Record


def encode_record(record: Record) -> bytes:
    """The record as canonical JSON: sorted keys, two spaces of indent, one newline at the end."""
    return msgspec.json.format(msgspec.json.encode(record, order="sorted"), indent=2) + b"\n"


def decode_record(data: bytes, where: str) -> Record:
    """Read a record from JSON.

    Raises:
        IntegrityError: Not valid JSON, or not a record of this schema.
    """
    try:
        record = _DECODER.decode(data)
    except _NOT_JSON as error:
        version = _schema_of(data)
        if version is not None and version > SCHEMA:
            raise IntegrityError(f"{where}: record of schema {version}", hint="update bddzoo") from error
        raise IntegrityError(
            f"{where}: not a record: {error}", hint="restore the file or remove it"
        ) from error
    if record.schema != SCHEMA:
        raise IntegrityError(f"{where}: record of schema {record.schema}, not {SCHEMA}", hint="update bddzoo")
    return record


def _schema_of(data: bytes) -> int | None:
    try:
        value = msgspec.json.decode(data)
    except _NOT_JSON:
        return None
    version = value.get("schema") if isinstance(value, dict) else None
    return version if isinstance(version, int) else None


# Thousands of brackets in a row end in a RecursionError.
_NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_DECODER = msgspec.json.Decoder(Record)
