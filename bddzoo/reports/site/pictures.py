"""Pictures of predictions: checked, and copied into the site."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from bddzoo.errors import BddzooError, IntegrityError, MissingError
from bddzoo.registry.types import Model
from bddzoo.reports.site.evidence import Evidence, Report

# First bytes of the kinds of pictures that every browser shows.
SIGNATURES: Mapping[str, tuple[bytes, ...]] = {
    ".jpg": (b"\xff\xd8\xff",),
    ".jpeg": (b"\xff\xd8\xff",),
    ".png": (b"\x89PNG\r\n\x1a\n",),
    ".webp": (b"RIFF",),
}


def copy_pictures(
    models: Iterable[Model],
    evidence: Mapping[str, Evidence],
    names: Mapping[str, str],
    folder: Path,
    report: Report,
) -> dict[str, str]:
    """Copy each model's picture; one that cannot be shown is reported, and the others are copied.

    Returns:
        Model id -> name of its picture below `pictures`.
    """
    found: dict[str, str] = {}
    for model in models:
        source = evidence[model.id].picture
        if source is None:
            continue
        name = names[model.id].removesuffix(".html") + source.suffix.lower()
        try:
            _check_picture(source)
            (folder / "pictures").mkdir(exist_ok=True)
            shutil.copyfile(source, folder / "pictures" / name)
        except BddzooError as error:
            report(error)
            continue
        found[model.id] = name
    return found


def _check_picture(path: Path) -> None:
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise MissingError(f"cannot read the picture {path}: {error.strerror}") from None
    if not head.startswith(SIGNATURES[path.suffix.lower()]):
        raise IntegrityError(f"{path} is not the picture that its name says: left out")
