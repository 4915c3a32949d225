"""Files in object stores and model hubs (`s3://`, `gs://`, `hf://`), through fsspec.

The packages behind each scheme are extras of this one; credentials are found as those packages find them.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from bddzoo.artifacts.digests import CHUNK_BYTES
from bddzoo.artifacts.failures import SourceError
from bddzoo.artifacts.origin import Origin
from bddzoo.artifacts.streams import Stream

PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "hf": "huggingface_hub"}
# Read ahead in pieces that are worth a request.
BLOCK_BYTES = 8 << 20


def open_remote(url: str, offset: int, known: Origin) -> Stream:
    """Open a file of an object store from `offset` on, from 0 if it changed since.

    Raises:
        SourceError: Anything that goes wrong.
    """
    scheme = url.partition(":")[0]
    package = PACKAGES.get(scheme)
    try:
        system, path = import_module("fsspec.core").url_to_fs(url)
    except ImportError:
        raise SourceError(f"{scheme}:// needs the package {package or 'fsspec'}: pip install it") from None
    except ValueError as error:
        raise SourceError(f"no way to open '{scheme}' addresses: {error}") from None
    try:
        # A stale listing would hide a file that was just uploaded.
        system.invalidate_cache()
        info = system.info(path)
        if info.get("type") == "directory":
            raise SourceError("is a folder", kind="missing")
        origin = Origin(url=url, etag=_validator(info), total=info.get("size"))
        if offset and (origin.total != known.total or (known.is_of(url) and known.etag != origin.etag)):
            offset = 0
        file = system.open(path, "rb", block_size=BLOCK_BYTES, cache_type="readahead")
        file.seek(offset)
    except SourceError:
        raise
    except Exception as error:
        raise _explain(error) from None
    return Stream(origin, offset, _read(file), file.close)


def _validator(info: dict[str, Any]) -> str | None:
    """What an object store says to tell versions of a file apart."""
    for key in ("ETag", "etag", "sha256", "md5Hash", "blob_id", "LastModified", "last_modified", "mtime"):
        if info.get(key):
            return f"{key}:{info[key]}"
    return None


def _read(file: Any) -> Iterator[bytes]:
    while True:
        try:
            data = file.read(CHUNK_BYTES)
        except Exception as error:
            raise _explain(error) from None
        if not data:
            return
        yield data


def _explain(error: Exception) -> SourceError:
    """Name a fault of packages whose exceptions have nothing in common."""
    words = " ".join(str(error).split())[:200] or type(error).__name__
    if isinstance(error, FileNotFoundError):
        return SourceError("no such file", kind="missing")
    if isinstance(error, PermissionError) or type(error).__name__ == "NoCredentialsError":
        return SourceError(f"no permission: {words}", status=403)
    return SourceError(f"{type(error).__name__}: {words}", retry=True)
