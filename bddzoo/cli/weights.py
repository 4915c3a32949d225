"""The weights that a command runs with: a file that the user names, or one that is fetched."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bddzoo.cli.app import App
from bddzoo.errors import MissingError
from bddzoo.registry.model import Model

if TYPE_CHECKING:
    from bddzoo.results import WeightsUsed


def kind_of(weights: Path) -> str:
    """What `--weights random|zoo|FILE` names: `random`, `zoo` or `file`."""
    return str(weights) if str(weights) in ("random", "zoo") else "file"


def obtain_or_recipe(
    app: App, model: Model, weights: Path, sources: Sequence[str], *, offline: bool = False
) -> Path | None:
    """Path of the weights that `--weights random|zoo|FILE` names; None for those by the recipe.

    Raises:
        BddzooError: See `obtain_weights`.
    """
    kind = kind_of(weights)
    if kind == "random":
        return None
    return obtain_weights(app, model, weights if kind == "file" else None, sources, offline=offline)[0]


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
    from bddzoo.artifacts import Cache, Fetcher
    from bddzoo.cli.progress import make_reporter
    from bddzoo.runs.weights import fetched_weights, given_weights

    if weights is not None:
        return given_weights(model, weights, app.warn)
    with make_reporter(app, 1) as reporter:
        fetcher = Fetcher(Cache(app.cache_dir), sources, offline=offline, progress=reporter)
        return fetched_weights(model, fetcher)


def digest_tensors(path: Path) -> str:
    """Digest of the weights in a file; `bddzoo.artifacts.tensors` says of what exactly.

    Raises:
        MissingError: The file cannot be read, or torch is needed and not installed.
        IntegrityError: It is not a checkpoint, or would run code.
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
