"""The weights that a command runs with: a file that the user names, or one that is fetched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bddzoo.cli.app import App
from bddzoo.errors import MissingError
from bddzoo.registry.model import Model

if TYPE_CHECKING:
    from bddzoo.results import WeightsUsed


Obtain = Callable[[Model], "tuple[Path, WeightsUsed]"]


def kind_of(weights: Path) -> str:
    """What `--weights random|zoo|FILE` names: `random`, `zoo` or `file`."""
    return str(weights) if str(weights) in ("random", "zoo") else "file"


def recipe_or_weights(
    app: App, weights: Path, sources: Sequence[str], *, offline: bool = False
) -> Callable[[Model], Path | None]:
    """Finds the weights that `--weights random|zoo|FILE` names; None for those by the recipe."""
    kind = kind_of(weights)
    if kind == "random":
        return lambda _: None
    obtain = weights_from(app, weights if kind == "file" else None, sources, offline=offline)
    return lambda model: obtain(model)[0]


def weights_from(
    app: App,
    weights: Path | None,
    sources: Sequence[str],
    *,
    offline: bool = False,
    accept_prefix: bool = False,
) -> Obtain:
    """Finds the path of a model's weights, and what is known of them.

    Args:
        app: Global options.
        weights: A file of the user; None to take the model's own from the cache or a source.
        sources: Folders or URLs that are asked before the registry's.
        offline: Open no connection.
        accept_prefix: The first digits of a digest are enough, where no more are known; a record keeps that.

    Returns:
        A function of the model. It raises `MissingError` where there is no such file, or no source has it,
        `IntegrityError` for a download that is not what the registry means, and `NetworkError` where no
        source could be reached.
    """

    def obtain(model: Model) -> tuple[Path, WeightsUsed]:
        from bddzoo.artifacts import Cache, Fetcher
        from bddzoo.cli.progress import make_reporter
        from bddzoo.runs.weights import fetched_weights, given_weights

        if weights is not None:
            path, used = given_weights(model, weights, app.warn)
        else:
            with make_reporter(app, 1) as reporter:
                fetcher = Fetcher(Cache(app.cache_dir), sources, offline=offline, progress=reporter)
                path, used = fetched_weights(model, fetcher)
        return path, used.with_accepted_prefix() if accept_prefix else used

    return obtain


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
