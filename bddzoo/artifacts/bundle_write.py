"""Write bundles: cached files into one archive, each hashed on the way."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from bddzoo.artifacts.bundle import FORMAT, MANIFEST, BundleFile, Manifest, is_safe
from bddzoo.artifacts.cache import Cache
from bddzoo.artifacts.digests import CHUNK_BYTES
from bddzoo.artifacts.disk import temp_beside
from bddzoo.artifacts.entry import Entry
from bddzoo.errors import IntegrityError, MissingError, UsageError
from bddzoo.files import is_special

_EPOCH = (1980, 1, 1, 0, 0, 0)


def write_bundle(
    path: Path,
    cache: Cache,
    entries: Sequence[Entry],
    texts: Mapping[str, str] | None = None,
    each: Callable[[int], None] | None = None,
) -> int:
    """Write cached files into a bundle; equal input gives equal bytes.

    Args:
        path: The bundle; it appears whole or not at all.
        cache: Where the files are.
        entries: Which files.
        texts: Further members by name, e.g. `registry.yaml`.
        each: Called with the number of bytes of every piece written.

    Returns:
        Size of the bundle in bytes.

    Raises:
        IntegrityError: A cached file was changed.
        MissingError: A cached file is gone.
        UsageError: There is something else at `path` than a bundle.
        OSError: The bundle cannot be written.
    """
    check_target(path)
    files, sources = _list_files(cache, entries)
    manifest = Manifest(FORMAT, 1, files)
    path.parent.mkdir(parents=True, exist_ok=True)
    temp = temp_beside(path)
    try:
        with zipfile.ZipFile(temp, "x", zipfile.ZIP_STORED, allowZip64=True) as archive:
            listing = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
            archive.writestr(_info(MANIFEST), listing)
            for name, text in (texts or {}).items():
                archive.writestr(_info(name), text.encode())
            for member, entry in sources.items():
                _write_member(archive, member, cache.path_of(entry), entry, each)
        temp.replace(path)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise
    return path.stat().st_size


def check_target(path: Path) -> None:
    """Refuse to replace what is no bundle: a slip of the hand could be a registry, weights, or a device.

    Raises:
        UsageError: It is no bundle.
    """
    hint = "choose another FILE, or remove it first"
    if is_special(path):
        raise UsageError(f"{path} is no regular file", hint=hint)
    if path.is_file() and path.stat().st_size:
        try:
            with zipfile.ZipFile(path) as archive:
                known = MANIFEST in archive.namelist()
        except (zipfile.BadZipFile, OSError):
            known = False
        if not known:
            raise UsageError(f"{path} exists and is no bundle", hint=hint)


def _list_files(cache: Cache, entries: Iterable[Entry]) -> tuple[list[BundleFile], dict[str, Entry]]:
    files: list[BundleFile] = []
    sources: dict[str, Entry] = {}
    for entry in entries:
        member = f"{entry.zoo or 'zoo'}/{entry.task or 'task'}/{entry.kind}/{entry.name}"
        if member in sources and sources[member].sha256 != entry.sha256:
            # Two models with files of the same name: the second goes into a folder of its own.
            member = (
                f"{entry.zoo or 'zoo'}/{entry.task or 'task'}/{entry.kind}/{entry.sha256[:12]}/{entry.name}"
            )
        if not is_safe(member):
            raise UsageError(f"model {entry.model}: '{member}' cannot be a name in a bundle")
        sources.setdefault(member, entry)
        files.append(
            BundleFile(
                model=entry.model,
                zoo=entry.zoo,
                task=entry.task,
                kind=entry.kind,
                name=entry.name,
                size_bytes=entry.size_bytes,
                md5=entry.md5,
                sha256=entry.sha256,
                member=member,
                source=entry.source,
                fetched=entry.fetched,
                published=entry.published,
                published_at=entry.published_at,
            )
        )
    return files, sources


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.external_attr = 0o644 << 16
    return info


def _write_member(
    archive: zipfile.ZipFile, member: str, path: Path, entry: Entry, each: Callable[[int], None] | None
) -> None:
    state = hashlib.sha256()
    info = _info(member)
    info.file_size = entry.size_bytes
    try:
        source = path.open("rb", buffering=0)
    except FileNotFoundError:
        raise MissingError(f"{path} is gone from the cache", hint="fetch the model again") from None
    with source, archive.open(info, "w", force_zip64=True) as target:
        while data := source.read(CHUNK_BYTES):
            state.update(data)
            target.write(data)
            if each is not None:
                each(len(data))
    if state.hexdigest() != entry.sha256:
        raise IntegrityError(
            f"{path} was changed since it was fetched: sha256 {state.hexdigest()}, expected {entry.sha256}",
            hint=f"fetch it again: bddzoo fetch --force {entry.model}",
        )
