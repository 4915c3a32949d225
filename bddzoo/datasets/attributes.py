"""Frame attributes: weather, scene and time of day."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from bddzoo.datasets.classes import TAGS
from bddzoo.datasets.sources import Source, open_source
from bddzoo.errors import MissingError
from bddzoo.reading import json_errors

ATTRIBUTES = tuple(TAGS)
UNKNOWN = "unknown"
# Behind the name of an attribute: the score that a network gave its value.
SCORE = "_score"
_FILES = (
    "labels/{task}/polygons/{task}_{split}.json",
    "labels/{task}/rles/{task}_{split}.json",
    "labels/det_20/det_{split}.json",
    "labels/bdd100k_labels_images_{split}.json",
)


class _Row(msgspec.Struct):
    """The part of a frame that is wanted here."""

    name: str | None = None
    attributes: dict[str, Any] | None = None


class _File(_Row):
    """A list of frames in its long form; or, with a name, the file of one image of 2018."""

    frames: list[_Row] = []


def attribute_files(root: Path, task: str, split: str) -> list[Path]:
    """Files of a data set that may hold frame attributes, those that are there."""
    paths = [root / name.format(task=task, split=split) for name in _FILES]
    return [path for path in paths if path.is_file()]


def read_attributes(root: Path, task: str, split: str, stems: Iterable[str]) -> dict[str, dict[str, str]]:
    """Weather, scene and time of day by stem; the first file to name a frame decides.

    Raises:
        MissingError: A file of that name is there but is not a frame list.
    """
    missing = set(stems)
    found: dict[str, dict[str, str]] = {}
    for path in attribute_files(root, task, split):
        if not missing:
            break
        source = open_source(path)
        for stem, values in _decode(source, source.members[0]).items():
            chosen = {k: v for k, v in values.items() if k in ATTRIBUTES and v != UNKNOWN}
            if stem in missing and chosen:
                found[stem] = chosen
                missing.discard(stem)
    return found


def read_attribute_files(path: Path) -> dict[str, dict[str, str]]:
    """All attributes of the frames in a label file, or a folder or archive of them, by stem.

    Raises:
        MissingError: A file is not a list of frames, a frame is there twice, or none has attributes.
    """
    source = open_source(path)
    found: dict[str, dict[str, str]] = {}
    for member in source.with_suffix(".json"):
        for stem, values in _decode(source, member).items():
            if stem in found:
                raise _twice(path, stem)
            found[stem] = values
    if not any(found.values()):
        raise MissingError(f"{path} has no frame with attributes", hint="expected weather, scene, timeofday")
    return found


def predicted(attributes: Mapping[str, Mapping[str, str]], by: Iterable[str]) -> list[str]:
    """Those of some attributes that a network predicted."""
    return [key for key in by if any(key + SCORE in values for values in attributes.values())]


def _decode(source: Source, member: str) -> dict[str, dict[str, str]]:
    """Attributes by stem, null as `UNKNOWN`; everything else in the file is skipped, not built."""
    where = source.where(member)
    content = source.read_text(member)
    try:
        if content.lstrip()[:1] == b"{":
            file = msgspec.json.decode(content, type=_File)
            rows: list[_Row] = file.frames if file.name is None else [file]
        else:
            rows = msgspec.json.decode(content, type=list[_Row])
    except json_errors() as error:
        raise MissingError(
            f"{where} is not a list of frames: {error}", hint="remove it or download it again"
        ) from None
    found: dict[str, dict[str, str]] = {}
    for number, row in enumerate(rows, 1):
        if row.name is None:
            raise MissingError(f"{where}, frame {number} has no name")
        stem = Path(row.name.replace("\\", "/")).stem
        if stem in found:
            raise _twice(where, stem)
        values = (row.attributes or {}).items()
        found[stem] = {key: UNKNOWN if value is None else str(value) for key, value in values}
    return found


def _twice(where: Path, stem: str) -> MissingError:
    return MissingError(f"{where} has frame {stem} more than once", hint="keep one of them")
