"""Small models to fetch."""

from __future__ import annotations

import hashlib
import os
import random
from pathlib import Path
from typing import Any

from bddzoo.artifacts import Cache, Fetcher, NetworkPolicy, partial
from bddzoo.registry.model import Artifact, Digest, Method, Model, Zoo

# Quick enough for tests; the numbers of real life are the defaults.
QUICK = NetworkPolicy(
    connect_s=2, read_s=0.4, header_s=1, stall_s=0.6, stall_bytes=1000,
    attempts=4, backoff_s=0.01, backoff_max_s=0.05,
)  # fmt: skip
CALM = NetworkPolicy(connect_s=10, read_s=20, backoff_s=0.01, backoff_max_s=0.1)


def make_bytes(size: int, seed: int = 0) -> bytes:
    """Bytes that look like nothing."""
    return random.Random(seed).randbytes(size)


DATA = make_bytes(200_000)
OTHER = make_bytes(90_000, seed=1)


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
    options.setdefault("policy", QUICK)
    return Fetcher(Cache(folder / "cache"), **options)


def leftovers(cache: Cache) -> list[Path]:
    """Unfinished downloads in a cache."""
    return [p for p in cache.root.rglob("*.part") if p.is_file()]


def fetch_in_process(folder: str, model: Model, verify: bool) -> None:
    """What a child process does: fetch, and end with 0 if the content is right."""
    # As often as a large download would in its many seconds.
    partial.CHECKPOINT_EVERY_S = 0.02
    result = make_fetcher(Path(folder), policy=CALM).fetch(model, verify=verify)
    found = hashlib.sha256(result.path.read_bytes()).hexdigest()
    os._exit(0 if found == result.sha256 == result.path.parent.name else 1)


def objects(tmp_path: Path) -> list[Path]:
    """Contents of a test's cache."""
    return sorted(p for p in (tmp_path / "cache" / "objects").rglob("*") if p.is_file())


def change(path: Path) -> None:
    """Change a byte of a file and keep its size and times."""
    status = path.stat()
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
