"""Where labels lie: folders, JSON files, and zip archives that are read without unpacking."""

from __future__ import annotations

import os
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

from bddzoo.errors import MissingError

# A member of an archive that claims more than this is refused before it is inflated.
MAX_MEMBER_BYTES = {".png": 1 << 26, ".json": 1 << 30}
# RLE JSON packs about tenfold; a thousandfold is a bomb.
MAX_PACKING = 400


class Source:
    """Files below one path, by their path relative to it.

    Attributes:
        path: The folder, file or archive.
        members: Relative paths (with `/`) of all files, sorted.
        junk: Files that are no labels but are commonly found beside them (`.DS_Store`).
        seekable: Whether a member can be read in parts.
    """

    seekable = False

    def __init__(self, path: Path, members: list[str], junk: list[str]) -> None:
        self.path = path
        self.members = sorted(members)
        self.junk = sorted(junk)

    def where(self, member: str) -> Path:
        """How a member is called in messages."""
        return self.path / member

    def read(self, member: str) -> bytes:
        """Bytes of a member.

        Raises:
            MissingError: It cannot be read; the file is named.
        """
        raise MissingError(f"cannot read {self.where(member)}")

    def chunks(self, member: str, size: int) -> Iterator[bytes]:
        """The bytes of a member, piece by piece."""
        yield self.read(member)

    def read_part(self, member: str, start: int, size: int) -> bytes:
        """Some bytes of a member."""
        return self.read(member)[start : start + size]

    def with_suffix(self, suffix: str) -> list[str]:
        """Members whose names end so."""
        return [m for m in self.members if m.endswith(suffix)]


class FolderSource(Source):
    """Files of a folder and its subfolders, or a single file."""

    seekable = True

    def __init__(self, path: Path) -> None:
        members: list[str] = []
        junk: list[str] = []
        if path.is_file():
            members = [path.name]
            self._base = path.parent
        else:
            self._base = path
            for root, _, names in os.walk(path):
                inner = os.path.relpath(root, path).replace(os.sep, "/")
                prefix = "" if inner == "." else inner + "/"
                for name in names:
                    (junk if _is_junk(name) else members).append(prefix + name)
        super().__init__(path, members, junk)

    def where(self, member: str) -> Path:
        """Path of a member."""
        return self._base / member

    def read(self, member: str) -> bytes:
        """Bytes of a member."""
        path = self.where(member)
        try:
            return path.read_bytes()
        except OSError as error:
            raise _unreadable(path, error) from None

    def chunks(self, member: str, size: int) -> Iterator[bytes]:
        """The file, piece by piece."""
        path = self.where(member)
        try:
            with path.open("rb") as file:
                while piece := file.read(size):
                    yield piece
        except OSError as error:
            raise _unreadable(path, error) from None

    def read_part(self, member: str, start: int, size: int) -> bytes:
        """Some bytes of the file."""
        path = self.where(member)
        try:
            with path.open("rb", buffering=0) as file:
                file.seek(start)
                return file.read(size)
        except OSError as error:
            raise _unreadable(path, error) from None


class ZipSource(Source):
    """Members of a zip archive; nothing is written to disk."""

    def __init__(self, path: Path) -> None:
        try:
            self._archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise MissingError(f"{path} is not a readable zip archive: {error}") from None
        self._lock = threading.Lock()
        members: list[str] = []
        junk: list[str] = []
        for info in self._archive.infolist():
            if info.is_dir():
                continue
            name = info.filename
            hidden = name.startswith("__MACOSX/") or "/__MACOSX/" in name
            (junk if hidden or _is_junk(Path(name).name) else members).append(name)
        super().__init__(path, members, junk)

    def read(self, member: str) -> bytes:
        """Inflated bytes of a member."""
        info = self._archive.getinfo(member)
        limit = MAX_MEMBER_BYTES.get(Path(member).suffix.lower(), 1 << 28)
        packed = max(info.compress_size, 1)
        if info.file_size > limit or (info.file_size > 1 << 24 and info.file_size > packed * MAX_PACKING):
            raise MissingError(
                f"{self.where(member)} claims {info.file_size} bytes inside the archive",
                hint="too much for a label file; unpack it yourself if it is meant",
            )
        try:
            with self._lock:
                return self._archive.read(info)
        except (
            zipfile.BadZipFile,
            OSError,
            EOFError,
            NotImplementedError,
            RuntimeError,
            ValueError,
        ) as error:
            raise MissingError(f"cannot read {self.where(member)}: {error}") from None
        except Exception as error:  # zlib.error and friends have no common base
            raise MissingError(f"{self.where(member)} is damaged: {error}") from None


def open_source(path: Path) -> Source:
    """Open a folder, a file or a zip archive.

    Raises:
        MissingError: It does not exist or is no zip archive although it is called so.
    """
    if not path.exists():
        raise MissingError(f"no such file or folder: {path}")
    if path.is_file() and path.suffix.lower() == ".zip":
        return ZipSource(path)
    return FolderSource(path)


def _is_junk(name: str) -> bool:
    return name.startswith(".") or name in ("Thumbs.db", "desktop.ini")


def _unreadable(path: Path, error: OSError) -> MissingError:
    if isinstance(error, FileNotFoundError):
        return MissingError(f"no such file: {path}")
    return MissingError(f"cannot read {path}: {error.strerror or error}")
