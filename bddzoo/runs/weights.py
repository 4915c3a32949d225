"""The weights that a run uses: a file of the user's, or one that is fetched; and what is known of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bddzoo.errors import IntegrityError, MissingError
from bddzoo.registry.model import DigestState, Model
from bddzoo.results.record import WeightsUsed
from bddzoo.text import picked

if TYPE_CHECKING:
    from bddzoo.artifacts import Fetcher


def fetched_weights(model: Model, fetcher: Fetcher) -> tuple[Path, WeightsUsed]:
    """A model's own weights, from the cache or a source.

    Raises:
        MissingError: No source has them.
        IntegrityError: The file is not the one that the registry means.
        NetworkError: No source could be reached.
    """
    result = fetcher.fetch(model, rehash=True)
    return result.path, WeightsUsed(
        name=result.path.name, **picked(result, "size_bytes md5 sha256 source"), state=result.digest_state
    )


def given_weights(model: Model, path: Path, warn: Callable[[str], None]) -> tuple[Path, WeightsUsed]:
    """A file that the user names; one that is not the zoo's is welcome, but warned of.

    Raises:
        MissingError: There is no such file.
    """
    from bddzoo.artifacts import hash_file, verify_file

    if not path.is_file():
        raise MissingError(f"no such weights file: {path}")
    state: DigestState = "unknown"
    artifact = model.artifact("weights")
    if artifact is not None:
        try:
            state = verify_file(path, artifact)
        except IntegrityError as error:
            # The number is then not the zoo's.
            warn(f"not the zoo's file: {error.message}")
    hashes = hash_file(path)
    return path, WeightsUsed(
        name=path.name,
        size_bytes=path.stat().st_size,
        md5=hashes["md5"],
        sha256=hashes["sha256"],
        state=state,
    )
