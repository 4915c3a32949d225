"""Frame attributes: weather, scene and time of day."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from bddzoo.errors import MissingError

ATTRIBUTES = ("weather", "scene", "timeofday")
_FILES = (
    "labels/{task}/polygons/{task}_{split}.json",
    "labels/{task}/rles/{task}_{split}.json",
    "labels/det_20/det_{split}.json",
    "labels/bdd100k_labels_images_{split}.json",
)


class FrameRow(msgspec.Struct):
    """The part of a frame that is wanted here."""

    name: str
    attributes: dict[str, Any] | None = None


class FrameFile(msgspec.Struct):
    """A frame list in its long form."""

    frames: list[FrameRow]


def attribute_files(root: Path, task: str, split: str) -> list[Path]:
    """Files of a data set that may hold frame attributes, those that are there."""
    paths = [root / name.format(task=task, split=split) for name in _FILES]
    return [path for path in paths if path.is_file()]


def read_attributes(root: Path, task: str, split: str, stems: Iterable[str]) -> dict[str, dict[str, str]]:
    """Attributes by stem, for those of the frames that have any; the first file to name one decides.

    Raises:
        MissingError: A file of that name is there but is no frame list.
    """
    missing = set(stems)
    found: dict[str, dict[str, str]] = {}
    for path in attribute_files(root, task, split):
        if not missing:
            break
        for name, values in _decode(path):
            stem = Path(name).stem
            if stem in missing and values:
                found[stem] = values
                missing.discard(stem)
    return found


def _decode(path: Path) -> list[tuple[str, dict[str, str]]]:
    """Names and attributes of a frame list; everything else in it is skipped, not built."""
    try:
        content = path.read_bytes()
        if content.lstrip()[:1] == b"{":
            rows = msgspec.json.decode(content, type=FrameFile).frames
        else:
            rows = msgspec.json.decode(content, type=list[FrameRow])
    except OSError as error:
        raise MissingError(f"cannot read {path}: {error.strerror or error}") from error
    except msgspec.DecodeError as error:
        raise MissingError(
            f"{path} is no list of frames: {error}", hint="remove it or download it again"
        ) from None
    return [
        (
            row.name,
            {key: str(row.attributes[key]) for key in ATTRIBUTES if row.attributes.get(key) is not None},
        )
        for row in rows
        if row.attributes
    ]
