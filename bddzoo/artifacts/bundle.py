"""Bundles: files of models in one archive, for machines without a network.

A bundle is a zip archive, uncompressed because weights do not compress:

    bddzoo-bundle.json          what is in it: model, kind, name, size, digests
    registry.yaml               the part of the registry that the models need
    LICENCES.txt                what is known of the licences
    ZOO/TASK/KIND/NAME          the files, laid out so that the unpacked archive is a mirror

Nothing is ever extracted by the name of a member: content is read through the list, hashed, and
lands in the cache. Archives with names that would leave a folder are refused all the same.
`cache export` writes the same archives, without the texts.
"""

from __future__ import annotations

import hashlib
import re
import stat
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from bddzoo.artifacts.cache import Cache, Entry, check_name, now, safe
from bddzoo.artifacts.digests import CHUNK_BYTES
from bddzoo.artifacts.partial import Partial
from bddzoo.artifacts.streams import Origin, SourceError, Stream
from bddzoo.errors import BddzooError, IntegrityError, MissingError, UsageError
from bddzoo.files import is_inside, is_special, replacing, zip_info
from bddzoo.reading import archive_errors, json_errors
from bddzoo.registry.structs import IDENT
from bddzoo.text import picked, printable

MANIFEST = "bddzoo-bundle.json"
FORMAT = "bddzoo-bundle"
MAX_MANIFEST_BYTES = 64 << 20
MAX_TEXT = 4000
_KIND = "[a-z][a-z0-9-]{0,39}"
_DIGEST = "md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}"

# Facts that a bundle and the cache know alike.
SHARED = "model zoo task kind name size_bytes md5 sha256 published published_at"


class BundleFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a bundle; `member` is its name in the archive."""

    model: str
    zoo: str
    task: str
    kind: str
    name: str
    size_bytes: int
    md5: str
    sha256: str
    member: str
    source: str = ""
    fetched: str = ""
    published: str | None = None
    published_at: str | None = None


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The list of a bundle."""

    format: str
    version: int
    files: list[BundleFile]


class Bundle:
    """An opened bundle.

    Raises:
        MissingError: It cannot be read.
        IntegrityError: It is damaged, or its names would leave a folder.
        UsageError: It is not a bundle.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if is_special(path):  # its end would be looked for for ever
            raise self._no_bundle("it is not a regular file")
        try:
            with zipfile.ZipFile(path) as archive:
                self._check_members(archive)
                self.manifest = self._read_manifest(archive)
                self._members = {info.filename: info.file_size for info in archive.infolist()}
        except OSError as error:
            raise MissingError(f"{path}: cannot be read: {error.strerror or error}") from None
        except archive_errors() as error:
            raise self._no_bundle(f"it is not a zip archive, or cut short ({error})") from None
        for file in self.manifest.files:
            self._check_file(file)

    def find(self, model_id: str, kind: str, name: str) -> BundleFile | None:
        """The file of a model, or one of that kind and name."""
        files = [f for f in self.manifest.files if f.kind == kind]
        by_model = next((f for f in files if f.model == model_id), None)
        return by_model or next((f for f in files if f.name == name), None)

    def by_member(self, member: str) -> BundleFile | None:
        """The first file that is stored under a name."""
        return next((f for f in self.manifest.files if f.member == member), None)

    def open(self, member: str, offset: int, known: Origin) -> Stream:
        """Read a file of the bundle from `offset` on, from 0 if it is not the one that is known.

        Raises:
            SourceError: It is not in the bundle, or cannot be read.
        """
        file = self.by_member(member)
        if file is None:
            raise SourceError(f"has no '{member}'", kind="missing")
        url = f"bundle:{self.path}!{member}"
        offset = offset if known.is_of(url) and known.etag == file.sha256 else 0
        archive = zipfile.ZipFile(self.path)
        try:
            data = archive.open(member)
            data.seek(offset)
        except archive_errors() as error:
            archive.close()
            raise SourceError(f"damaged: {error}", kind="integrity") from None

        def chunks() -> Iterator[bytes]:
            try:
                while piece := data.read(CHUNK_BYTES):
                    yield piece
            except archive_errors() as error:
                raise SourceError(f"damaged: {error}", kind="integrity") from None

        def close() -> None:
            data.close()
            archive.close()

        return Stream(Origin(url=url, etag=file.sha256, total=file.size_bytes), offset, chunks(), close)

    def _check_members(self, archive: zipfile.ZipFile) -> None:
        seen: set[str] = set()
        for info in archive.infolist():
            mode = info.external_attr >> 16
            if not is_inside(info.filename.rstrip("/")) or info.orig_filename != info.filename:
                raise self._refuse(f"the name '{printable(info.orig_filename, 80)}' would leave its folder")
            if mode and stat.S_ISLNK(mode):
                raise self._refuse(f"'{info.filename}' is a link")
            if info.flag_bits & 1:
                raise self._refuse(f"'{info.filename}' is encrypted")
            if info.filename in seen:
                raise self._refuse(f"'{info.filename}' is in it twice")
            seen.add(info.filename)

    def _read_manifest(self, archive: zipfile.ZipFile) -> Manifest:
        try:
            info = archive.getinfo(MANIFEST)
        except KeyError:
            raise self._no_bundle(f"it has no {MANIFEST}") from None
        if info.file_size > MAX_MANIFEST_BYTES:
            raise self._refuse(f"its list has {info.file_size} bytes")
        try:
            manifest = msgspec.json.decode(archive.read(info), type=Manifest)
        except json_errors() as error:
            raise self._no_bundle(f"{MANIFEST}: {error}") from None
        if manifest.format != FORMAT or manifest.version != 1:
            raise self._no_bundle(f"format {manifest.format} {manifest.version} is not known here")
        return manifest

    def _check_file(self, file: BundleFile) -> None:
        for field, text in msgspec.structs.asdict(file).items():
            if isinstance(text, str) and not (text.isprintable() and len(text) <= MAX_TEXT):
                raise self._refuse(f"a file's {field} is not a line of text: {text[:80]!a}")
        if re.fullmatch(IDENT, file.model) is None or re.fullmatch(_KIND, file.kind) is None:
            raise self._refuse(f"'{file.kind[:80]}' of '{file.model[:80]}' is not a file of a model")
        if file.published is not None and re.fullmatch(_DIGEST, file.published) is None:
            raise self._refuse(f"{file.model}: a published digest that is none")
        try:
            check_name(file.name)
        except UsageError as error:
            raise self._refuse(error.message) from None
        digits = set("0123456789abcdef")
        if len(file.sha256) != 64 or len(file.md5) != 32 or not digits.issuperset(file.sha256 + file.md5):
            raise self._refuse(f"{file.model}: a digest that is none")
        if file.member not in self._members:
            raise self._refuse(f"{file.model}: '{file.member}' is not in it")
        if self._members[file.member] != file.size_bytes:
            # Reading ends at the archive's size, so that a small bundle cannot unfold into a full disk.
            sizes = f"{self._members[file.member]} bytes, its list says {file.size_bytes}"
            raise self._refuse(f"{file.model}: '{file.member}' has {sizes}")

    def _refuse(self, why: str) -> BddzooError:
        return IntegrityError(
            f"{self.path}: refused: {why}", hint="get the bundle again from whoever made it"
        )

    def _no_bundle(self, why: str) -> BddzooError:
        return UsageError(f"{self.path} is not a bundle: {why}", hint="bundles are made by 'bddzoo bundle'")


def write_bundle(
    path: Path, cache: Cache, entries: Sequence[Entry], texts: Mapping[str, str], each: Callable[[int], None]
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
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "x", zipfile.ZIP_STORED) as archive:
        listing = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
        archive.writestr(zip_info(MANIFEST), listing)
        for name, text in texts.items():
            archive.writestr(zip_info(name), text.encode())
        for member, entry in sources.items():
            _write_member(archive, member, cache.path_of(entry), entry, each)
    return path.stat().st_size


def check_target(path: Path) -> None:
    """Refuse to replace what is not a bundle: a slip of the hand could be a registry, weights, or a device.

    Raises:
        UsageError: It is not a bundle.
    """
    hint = "choose another FILE, or remove it first"
    if is_special(path):
        raise UsageError(f"{path} is not a regular file", hint=hint)
    if path.is_file() and path.stat().st_size:
        try:
            with zipfile.ZipFile(path) as archive:
                known = MANIFEST in archive.namelist()
        except (zipfile.BadZipFile, OSError):
            known = False
        if not known:
            raise UsageError(f"{path} exists and is not a bundle", hint=hint)


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
        if not is_inside(member):
            raise UsageError(f"model {entry.model}: '{member}' cannot be a name in a bundle")
        sources.setdefault(member, entry)
        files.append(BundleFile(**picked(entry, f"{SHARED} source fetched"), member=member))
    return files, sources


def _write_member(
    archive: zipfile.ZipFile, member: str, path: Path, entry: Entry, each: Callable[[int], None]
) -> None:
    state = hashlib.sha256()
    info = zip_info(member)
    info.file_size = entry.size_bytes
    try:
        source = path.open("rb", buffering=0)
    except FileNotFoundError:
        raise MissingError(f"{path} is gone from the cache", hint="fetch the model again") from None
    with source, archive.open(info, "w", force_zip64=True) as target:
        while data := source.read(CHUNK_BYTES):
            state.update(data)
            target.write(data)
            each(len(data))
    if state.hexdigest() != entry.sha256:
        raise IntegrityError(
            f"{path} was changed since it was fetched: sha256 {state.hexdigest()}, expected {entry.sha256}",
            hint=f"fetch it again: bddzoo fetch --force {entry.model}",
        )


def import_file(bundle: Bundle, file: BundleFile, cache: Cache, each: Callable[[int], None]) -> Entry:
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
    entry = Entry(
        **picked(file, SHARED),
        mtime_ns=0,
        source=file.source or f"bundle:{bundle.path}!{file.member}",
        fetched=file.fetched or now(),
    )
    cache.prepare()
    partial = Partial(cache.root / "partial" / safe(file.model) / safe(file.kind))
    stream = None
    try:
        stream = bundle.open(file.member, 0, Origin())
        partial.open(stream.origin)
        for piece in stream.chunks:
            partial.write(piece)
            each(len(piece))
        if partial.finish() != entry.hashes:
            raise SourceError(f"damaged: its digest is not sha256:{file.sha256}")
        return cache.admit(entry, partial.give)
    except SourceError as error:
        what = f"{bundle.path}: {file.member} is {error.text}"
        raise IntegrityError(what, hint="copy the bundle again") from None
    finally:
        partial.discard()
        if stream is not None:
            stream.close()
