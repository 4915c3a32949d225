"""Bundles: files of models in one archive, for machines without a network.

A bundle is a zip archive, uncompressed because weights do not compress:

    bddzoo-bundle.json          what is in it: model, kind, name, size, digests
    registry.yaml               the part of the registry that the models need
    LICENCES.txt                what is known of the licences
    ZOO/TASK/KIND/NAME          the files, laid out so that the unpacked archive is a mirror

Nothing is ever extracted by the name of a member: content is read through the list, hashed, and
lands in the cache. Archives with names that would leave a folder are refused all the same.
"""

from __future__ import annotations

import re
import stat
import zipfile
from pathlib import Path, PurePosixPath

import msgspec

from bddzoo.artifacts.entry import check_name
from bddzoo.errors import BddzooError, IntegrityError, MissingError, UsageError
from bddzoo.registry.values import IDENT

MANIFEST = "bddzoo-bundle.json"
FORMAT = "bddzoo-bundle"
MAX_MANIFEST_BYTES = 64 << 20
MAX_TEXT = 4000
_KIND = "[a-z][a-z0-9-]{0,39}"
_DIGEST = "md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}"


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

    Args:
        path: The archive.

    Raises:
        MissingError: It cannot be read.
        IntegrityError: It is damaged, or its names would leave a folder.
        UsageError: It is no bundle.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                self._check_members(archive)
                self.manifest = self._read_manifest(archive)
                self._members = {info.filename: info.file_size for info in archive.infolist()}
        except zipfile.BadZipFile as error:
            raise self._no_bundle(f"it is no zip archive, or cut short ({error})") from None
        except OSError as error:
            raise MissingError(f"{path}: cannot be read: {error.strerror or error}") from None
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

    def text(self, name: str) -> str | None:
        """A text member, or None if there is none."""
        if name not in self._members:
            return None
        with zipfile.ZipFile(self.path) as archive:
            if archive.getinfo(name).file_size > MAX_MANIFEST_BYTES:
                return None
            return archive.read(name).decode("utf-8", "replace")

    def _check_members(self, archive: zipfile.ZipFile) -> None:
        seen: set[str] = set()
        for info in archive.infolist():
            mode = info.external_attr >> 16
            if not is_safe(info.filename.rstrip("/")) or info.orig_filename != info.filename:
                raise self._refuse(f"the name '{_plain(info.orig_filename)}' would leave its folder")
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
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._no_bundle(f"{MANIFEST}: {error}") from None
        if manifest.format != FORMAT or manifest.version != 1:
            raise self._no_bundle(f"format {manifest.format} {manifest.version} is not known here")
        return manifest

    def _check_file(self, file: BundleFile) -> None:
        for field, text in msgspec.structs.asdict(file).items():
            if isinstance(text, str) and not (text.isprintable() and len(text) <= MAX_TEXT):
                raise self._refuse(f"a file's {field} is no line of text: {text[:80]!a}")
        if re.fullmatch(IDENT, file.model) is None or re.fullmatch(_KIND, file.kind) is None:
            raise self._refuse(f"'{file.kind[:80]}' of '{file.model[:80]}' is no file of a model")
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
        return UsageError(f"{self.path} is no bundle: {why}", hint="bundles are made by 'bddzoo bundle'")


def _plain(name: str) -> str:
    """A name that cannot steer the user's terminal."""
    return name if name.isprintable() else ascii(name)[1:-1]


def is_safe(name: str) -> bool:
    """Whether a member's name stays inside the folder that the archive is unpacked into."""
    path = PurePosixPath(name)
    return not (
        not name
        or path.is_absolute()
        or any(part in ("..", ".") for part in name.split("/"))
        or "\\" in name
        or ":" in path.parts[0]
        or not name.isprintable()
    )
