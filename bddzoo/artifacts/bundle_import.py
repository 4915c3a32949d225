"""Take files out of a bundle into the cache."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from bddzoo.artifacts.bundle import Bundle, BundleFile
from bddzoo.artifacts.cache import Cache
from bddzoo.artifacts.digests import CHUNK_BYTES
from bddzoo.artifacts.entry import Entry, now, safe
from bddzoo.artifacts.origin import Origin
from bddzoo.artifacts.partial import Partial, new_partial
from bddzoo.errors import IntegrityError


def import_file(
    bundle: Bundle, file: BundleFile, cache: Cache, each: Callable[[int], None] | None = None
) -> Entry:
    """Copy one file of a bundle into the cache, hashing it on the way.

    Args:
        bundle: The bundle.
        file: One of its files.
        cache: Where to.
        each: Called with the number of bytes of every piece copied.

    Raises:
        IntegrityError: The content is not what the bundle's list says.
        OSError: The cache cannot be written.
    """
    cache.prepare()
    partial = new_partial(cache.root / "partial" / safe(file.model) / safe(file.kind))
    try:
        partial.open(Origin(url=f"bundle:{bundle.path}"))
        try:
            with zipfile.ZipFile(bundle.path) as archive, archive.open(file.member) as data:
                while piece := data.read(CHUNK_BYTES):
                    partial.write(piece)
                    if each is not None:
                        each(len(piece))
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise _damaged(bundle.path, file, str(error)) from None
        hashes = partial.finish()
        if (hashes.sha256, hashes.md5, hashes.size_bytes) != (file.sha256, file.md5, file.size_bytes):
            raise _damaged(bundle.path, file, f"expected sha256 {file.sha256}, found {hashes.sha256}")
        return _admit(bundle, file, cache, partial)
    finally:
        partial.discard()


def _admit(bundle: Bundle, file: BundleFile, cache: Cache, partial: Partial) -> Entry:
    entry = Entry(
        model=file.model,
        kind=file.kind,
        name=file.name,
        size_bytes=file.size_bytes,
        md5=file.md5,
        sha256=file.sha256,
        mtime_ns=0,
        source=file.source or f"bundle:{bundle.path}!{file.member}",
        fetched=file.fetched or now(),
        zoo=file.zoo,
        task=file.task,
        published=file.published,
        published_at=file.published_at,
    )
    return cache.admit(entry, partial.give)


def _damaged(path: Path, file: BundleFile, why: str) -> IntegrityError:
    return IntegrityError(f"{path}: {file.member} is damaged: {why}", hint="copy the bundle again")
