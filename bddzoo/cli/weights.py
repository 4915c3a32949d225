"""The weights that a command runs with: a file that the user names, or one that is fetched."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bddzoo.cli.app import App
from bddzoo.errors import IntegrityError, MissingError
from bddzoo.registry.model import DigestState, Model

if TYPE_CHECKING:
    from bddzoo.results import WeightsUsed


def obtain_weights(
    app: App, model: Model, weights: Path | None, sources: Sequence[str], *, offline: bool = False
) -> tuple[Path, WeightsUsed]:
    """Path of the weights, and what is known of them.

    Args:
        app: Global options.
        model: The model.
        weights: A file of the user; None to take the model's own from the cache or a source.
        sources: Folders or URLs that are asked before the registry's.
        offline: Open no connection.

    Raises:
        MissingError: No such file, or no source has it.
        IntegrityError: A downloaded file is not the one that the registry means.
        NetworkError: No source could be reached.
    """
    from bddzoo.results import WeightsUsed

    if weights is None:
        from bddzoo.artifacts import Cache, Fetcher
        from bddzoo.cli.progress import make_reporter

        reporter = make_reporter(app, 1)
        with reporter:
            fetcher = Fetcher(Cache(app.cache_dir), sources, offline=offline, progress=reporter)
            result = fetcher.fetch(model, rehash=True)
        return result.path, WeightsUsed(
            name=result.path.name,
            size_bytes=result.size_bytes,
            md5=result.md5,
            sha256=result.sha256,
            state=result.digest_state,
            source=result.source,
        )
    if not weights.is_file():
        raise MissingError(f"no such weights file: {weights}")
    from bddzoo.artifacts import hash_file, verify_file

    state: DigestState = "unknown"
    artifact = model.artifact("weights")
    if artifact is not None:
        try:
            state = verify_file(weights, artifact)
        except IntegrityError as error:
            # The user's own weights are welcome; the number is then not the zoo's.
            app.warn(f"not the zoo's file: {error.message}")
    hashes = hash_file(weights)
    return weights, WeightsUsed(
        name=weights.name,
        size_bytes=weights.stat().st_size,
        md5=hashes["md5"],
        sha256=hashes["sha256"],
        state=state,
    )


def digest_tensors(path: Path) -> str:
    """Digest of the weights in a file; `bddzoo.artifacts.tensors` says of what exactly.

    Raises:
        MissingError: The file cannot be read, or torch is needed and not installed.
        IntegrityError: It is no checkpoint, or would run code.
    """
    from bddzoo.artifacts.tensors import digest_safetensors, digest_state, is_safetensors

    if is_safetensors(path):
        return digest_safetensors(path)
    try:
        from bddzoo.engines.checkpoint import read_checkpoint

        state = read_checkpoint(path)
    except ImportError as error:
        from bddzoo.engines.openmmlab import install_engines_hint

        raise MissingError(f"reading {path.name} needs {error.name}", hint=install_engines_hint()) from None
    return digest_state(state)
