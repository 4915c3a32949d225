"""A record as JSON, and back."""

from __future__ import annotations

import contextlib
import re
from datetime import datetime
from typing import Any

import msgspec

from bddzoo.errors import IntegrityError
from bddzoo.results.record import SCHEMA, Record
from bddzoo.text import as_text


def encode_record(record: Record) -> bytes:
    r"""The record as canonical JSON: sorted keys, two spaces of indent, one newline at the end.

    A path may hold bytes that are no UTF-8, which JSON has no room for: they are written as `\udcff`.
    """
    try:
        text = msgspec.json.encode(record, order="sorted")
    except UnicodeEncodeError:
        text = msgspec.json.encode(_spelt_out(msgspec.to_builtins(record)), order="sorted")
    return msgspec.json.format(text, indent=2) + b"\n"


def _spelt_out(value: Any) -> Any:
    if isinstance(value, str):
        return as_text(value)
    if isinstance(value, dict):
        return {_spelt_out(key): _spelt_out(item) for key, item in value.items()}
    return [_spelt_out(item) for item in value] if isinstance(value, list | tuple) else value


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
    if not _is_time(record.run.started):
        raise IntegrityError(
            f"{where}: not a record: run.started is {record.run.started!r}, no UTC time",
            hint="restore the file or remove it",
        )
    return record


def _is_time(text: str) -> bool:
    with contextlib.suppress(ValueError):
        return _TIME.fullmatch(text) is not None and bool(datetime.fromisoformat(text[:-1]))
    return False


def _schema_of(data: bytes) -> int | None:
    try:
        value = msgspec.json.decode(data)
    except _NOT_JSON:
        return None
    version = value.get("schema") if isinstance(value, dict) else None
    return version if isinstance(version, int) else None


# Thousands of brackets in a row end in a RecursionError.
_NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_DECODER = msgspec.json.Decoder(Record)
