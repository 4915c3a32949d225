"""Say whether a file on disk is the one that the registry means."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from bddzoo.artifacts.digests import first_mismatch, hashes_of, strongest
from bddzoo.artifacts.sniff import HEAD_BYTES, name_impostor
from bddzoo.errors import IntegrityError, MissingError
from bddzoo.registry.types import Artifact


def verify_file(path: Path, artifact: Artifact) -> Literal["verified", "unknown"]:
    """Compare a file with what the registry knows of it: size first, then the digests.

    Returns:
        `verified` if a known digest agrees, `unknown` if none is known.

    Raises:
        MissingError: There is no such file, or it cannot be read.
        IntegrityError: Size or digest differ.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            impostor = name_impostor(file.read(HEAD_BYTES), path.name)
        if impostor is not None:
            raise IntegrityError(f"{path}: is {impostor}", hint="fetch it again")
        if artifact.size_bytes is not None and size != artifact.size_bytes:
            raise IntegrityError(
                f"{path}: has {size} bytes, the registry knows {artifact.size_bytes}", hint="fetch it again"
            )
        known = strongest(artifact.digests)
        if known is None:
            return "unknown"
        hashes = hashes_of(path)
    except OSError as error:
        raise MissingError(f"{path}: cannot be read: {error.strerror or error}") from error
    wrong = first_mismatch(artifact.digests, hashes)
    if wrong is not None:
        found = hashes.get(wrong.algorithm)
        raise IntegrityError(
            f"{path}: has {wrong.algorithm} {found}, expected {wrong.hex}", hint="fetch it again"
        )
    return "verified"
