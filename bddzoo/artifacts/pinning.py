"""Digests and sizes of files, written into the registry where it does not know them."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from bddzoo.artifacts.cache import Cache, Entry
from bddzoo.artifacts.digests import hash_file
from bddzoo.artifacts.fetcher import Fetcher
from bddzoo.errors import IntegrityError, MissingError
from bddzoo.registry import load_text
from bddzoo.registry.edit import Editor, pin_text, pinned
from bddzoo.registry.model import Model


def pin_entry(editor: Editor, model: Model, entry: Entry) -> bool:
    """Fill in the digests and size of a file of the cache.

    Args:
        editor: The registry's file.
        model: The model that the file is of.
        entry: The file.

    Returns:
        Whether anything was new.

    Raises:
        IntegrityError: The file is not the one that the registry means.
    """
    artifact = next((a for a in model.artifacts if a.kind == entry.kind), None)
    if artifact is None:
        return False
    for digest in artifact.digests:
        if not entry.hashes.get(digest.algorithm).startswith(digest.hex):
            raise IntegrityError(
                f"{model.id}: {entry.kind} in the cache has another {digest.algorithm} than the registry",
                hint="check it with 'bddzoo cache verify'",
            )
    day = entry.fetched[:10]
    published = entry.published_digest
    texts = [pin_text(published.algorithm, published.hex, "published", day)] if published else []
    texts += [pin_text("md5", entry.md5, "observed", day), pin_text("sha256", entry.sha256, "observed", day)]
    have = {d.algorithm for d in artifact.digests}
    if artifact.size_bytes is not None and {"md5", "sha256"} <= have:
        return False
    own = editor.model_data(model.id).get("artifacts", {})
    new = {**own, entry.kind: pinned(own.get(entry.kind), texts, f"{entry.size_bytes} observed {day}")}
    editor.set_model_key(model.id, "artifacts", new)
    return True


def pin_weights(
    editor: Editor, model_id: str, file: Path | None, url: str | None, cache: Path | None
) -> None:
    """Write source, size and digests of a model's weights, from a local file or else from a download.

    Args:
        editor: The registry's file, with the model in it.
        model_id: The model.
        file: Local file of the weights; None to download them.
        url: Where they are published.
        cache: Cache folder that a download goes to; None for the default one.

    Raises:
        MissingError: The file cannot be read.
        NetworkError: The download failed.
    """
    weights: dict[str, Any] = {"sources": [url]} if url else {"name": file.name} if file else {}
    if file is not None:
        try:
            found = hash_file(file)
            size = file.stat().st_size
        except OSError as error:
            raise MissingError(f"cannot read {file}: {error.strerror or error}") from None
    else:
        editor.set_model_key(model_id, "artifacts", {"weights": weights})
        model = load_text(editor.text, editor.name).find(model_id)
        result = Fetcher(Cache(cache)).fetch(model, "weights")
        found, size = {"md5": result.md5, "sha256": result.sha256}, result.size_bytes
    day = datetime.now(timezone.utc).date().isoformat()
    weights["digests"] = [pin_text(name, digits, "observed", day) for name, digits in found.items()]
    weights["size"] = f"{size} observed {day}"
    editor.set_model_key(model_id, "artifacts", {"weights": weights})
