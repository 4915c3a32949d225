"""Small models to fetch."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any

from bddzoo.artifacts import Cache, Fetcher, Manners
from bddzoo.registry.types import Artifact, Digest, Method, Model, Zoo

# Quick enough for tests; the numbers of real life are the defaults.
QUICK = Manners(
    connect_s=2, read_s=0.5, stall_s=0.5, stall_bytes=1000, attempts=4, backoff_s=0.01, backoff_max_s=0.05
)


def make_bytes(size: int, seed: int = 0) -> bytes:
    """Bytes that look like nothing."""
    return random.Random(seed).randbytes(size)


def make_model(
    data: bytes | None = None, known: str = "md5", model_id: str = "net_a", **artifact: Any
) -> Model:
    """A model with one weights file.

    Args:
        data: Its content, for size and digests.
        known: Digests in the registry: words out of `md5`, `sha256` and `size`.
        model_id: Id.
        artifact: Fields of the artifact.
    """
    digests = []
    if data is not None and "md5" in known:
        digests.append(Digest("md5", hashlib.md5(data).hexdigest(), "published"))
    if data is not None and "sha256" in known:
        digests.append(Digest("sha256", hashlib.sha256(data).hexdigest(), "observed"))
    fields: dict[str, Any] = {"kind": "weights", "name": f"{model_id}.pth", "digests": tuple(digests)}
    if data is not None and "size" in known:
        fields["size_bytes"] = len(data)
    fields.update(artifact)
    return Model(
        id=model_id,
        zoo=Zoo("testzoo", "Test zoo"),
        task="sem_seg",
        method=Method("FCN"),
        backbone="R-50",
        settings={},
        reported=(),
        artifacts=(Artifact(**fields),),
    )


def make_fetcher(folder: Path, **options: Any) -> Fetcher:
    """A fetcher with a cache in a folder, and little patience."""
    options.setdefault("manners", QUICK)
    return Fetcher(Cache(folder / "cache"), **options)


def leftovers(cache: Cache) -> list[Path]:
    """Temporary and partial files in a cache."""
    return [p for p in cache.root.rglob("*") if p.is_file() and (p.suffix in (".tmp", ".part"))]
