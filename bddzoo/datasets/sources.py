"""Where labels lie: folders, JSON files, and zip archives that are read without unpacking."""

from __future__ import annotations

import errno
import os
import stat
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from bddzoo.errors import MissingError
from bddzoo.files import is_inside, walk_once
from bddzoo.reading import MAX_PACKING, archive_errors
from bddzoo.text import printable

if TYPE_CHECKING:
    import zipfile

    from bddzoo.datasets.zip_member import MemberReader

# A member of an archive that claims more than this is refused before it is inflated as a whole.
MAX_MEMBER_BYTES = {".png": 1 << 26, ".json": 1 << 30}


class Source:
    """Files below one path, by their path relative to it.

    Attributes:
        path: The folder, file or archive.
        members: Relative paths (with `/`) of all files, sorted.
        packed: Whether they are in an archive.
        junk: Files that are not labels but are commonly found next to them (`.DS_Store`).
    """

    packed = False

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

    def read_text(self, member: str) -> bytes:
        """Bytes of a text file in UTF-8, without a byte order mark.

        Raises:
            MissingError: It cannot be read, or is in another encoding.
        """
        content = self.read(member)
        if content.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise MissingError(f"{self.where(member)} is UTF-16, not UTF-8", hint="save it as UTF-8")
        return content.removeprefix(b"\xef\xbb\xbf")

    def with_suffix(self, suffix: str) -> list[str]:
        """Members whose names end so, in capitals or not."""
        return [m for m in self.members if m.lower().endswith(suffix)]


def _refuse(error: OSError) -> None:
    raise _unreadable(Path(error.filename), error) from error


class FolderSource(Source):
    """Files of a folder and its subfolders, or a single file."""

    def __init__(self, path: Path) -> None:
        members: list[str] = []
        junk: list[str] = []
        if path.is_file():
            members = [path.name]
            self._base = path.parent
        else:
            self._base = path
            for root, names in walk_once(path, _refuse):
                inner = os.path.relpath(root, path).replace(os.sep, "/")
                prefix = "" if inner == "." else inner + "/"
                for name in names:
                    (junk if is_junk(name) else members).append(prefix + name)
        super().__init__(path, members, junk)
        self._lock = threading.Lock()
        # The file that parts are read of stays open: they are many and small.
        self._open: tuple[str, IO[bytes]] | None = None

    def where(self, member: str) -> Path:
        """Path of a member."""
        return self._base / member

    def read(self, member: str) -> bytes:
        """Bytes of a member."""
        return read_bytes(self.where(member))

    def chunks(self, member: str, size: int) -> Iterator[bytes]:
        """The file, piece by piece."""
        path = self.where(member)
        try:
            with _open(path) as file:
                while piece := file.read(size):
                    yield piece
        except OSError as error:
            raise _unreadable(path, error) from None

    def read_part(self, member: str, start: int, size: int) -> bytes:
        """Some bytes of the file."""
        try:
            with self._lock:
                if self._open is None or self._open[0] != member:
                    if self._open is not None:
                        self._open[1].close()
                    self._open = (member, _open(self.where(member)))
                    weakref.finalize(self, self._open[1].close)
                file = self._open[1]
                file.seek(start)
                return file.read(size)
        except OSError as error:
            raise _unreadable(self.where(member), error) from None


class ZipSource(Source):
    """Members of a zip archive; nothing is written to disk."""

    packed = True

    def __init__(self, path: Path) -> None:
        import zipfile  # not before an archive is met

        try:
            self._archive = zipfile.ZipFile(path)
        except archive_errors() as error:
            raise MissingError(f"{path} is not a readable zip archive: {error}") from None
        self._lock = threading.Lock()
        self._readers: dict[str, MemberReader] = {}
        self._held: tuple[str, bytes] | None = None
        self._infos: dict[str, zipfile.ZipInfo] = {}
        members: list[str] = []
        junk: list[str] = []
        for info in self._archive.infolist():
            if info.is_dir():
                continue
            # Archives of Windows may hold paths with backslashes.
            name = info.filename.replace("\\", "/").removeprefix("./")
            if not is_inside(name):
                raise MissingError(f"{path}: '{printable(name, 80)}' cannot be the name of a file")
            self._infos[name] = info
            hidden = name.startswith("__MACOSX/") or "/__MACOSX/" in name
            (junk if hidden or is_junk(Path(name).name) else members).append(name)
        super().__init__(path, members, junk)

    def chunks(self, member: str, size: int) -> Iterator[bytes]:
        """The inflated bytes of a member, piece by piece."""
        reader = self._reader(member)
        yield from reader.chunks(size) if reader else super().chunks(member, size)

    def read_part(self, member: str, start: int, size: int) -> bytes:
        """Some inflated bytes of a member."""
        reader = self._reader(member)
        if reader:
            return reader.part(start, size)
        # Packed in a way that only goes from start to end: held, or it would be inflated for each part.
        held = self._held
        if held is None or held[0] != member:
            held = self._held = (member, self.read(member))
        return held[1][start : start + size]

    def _reader(self, member: str) -> MemberReader | None:
        """What reads parts of a member; None where it can only be read as a whole."""
        from bddzoo.datasets.zip_member import MemberReader, can_stream

        with self._lock:
            found = self._readers.get(member)
            if found is None:
                info = self._infos[member]
                if not can_stream(info):
                    return None
                self._refuse_bombs(info)
                found = self._readers[member] = MemberReader(self.path, info, self.where(member))
        return found

    def _refuse_bombs(self, info: zipfile.ZipInfo) -> None:
        packed = max(info.compress_size, 1)
        if info.file_size > 1 << 24 and info.file_size > packed * MAX_PACKING:
            raise self._too_much(info)

    def _too_much(self, info: zipfile.ZipInfo) -> MissingError:
        return MissingError(
            f"{self.where(info.filename)} claims {info.file_size} bytes inside the archive",
            hint="too much for a label file; unpack it yourself if it is meant",
        )

    def read(self, member: str) -> bytes:
        """Inflated bytes of a member."""
        info = self._infos[member]
        if info.file_size > MAX_MEMBER_BYTES.get(Path(member).suffix.lower(), 1 << 28):
            raise self._too_much(info)
        self._refuse_bombs(info)
        try:
            with self._lock:
                return self._archive.read(info)
        except archive_errors() as error:
            raise MissingError(f"cannot read {self.where(member)}: {error}") from None


def open_source(path: Path) -> Source:
    """Open a folder, a file or a zip archive.

    Raises:
        MissingError: It does not exist or is not a zip archive although it is called so.
    """
    if not path.exists():
        raise MissingError(f"no such file or folder: {path}")
    if not path.is_dir() and not path.is_file():
        raise MissingError(f"{path} is neither a file nor a folder", hint="it is read more than once")
    if path.is_file() and path.suffix.lower() == ".zip":
        return ZipSource(path)
    return FolderSource(path)


def _open(path: Path) -> IO[bytes]:
    """Open a file, and nothing that would be waited for without end: a pipe, a terminal."""
    special = MissingError(f"{path} is a pipe or a device, not a file", hint="copy it into one")
    try:
        file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket
            raise special from None
        raise
    mode = os.fstat(file).st_mode
    if not stat.S_ISREG(mode):
        os.close(file)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        raise special
    return os.fdopen(file, "rb", buffering=0)


def read_bytes(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        MissingError: It is absent, not a file, or unreadable.
    """
    try:
        with _open(path) as file:
            return file.read()
    except OSError as error:
        raise _unreadable(path, error) from None


def is_junk(name: str) -> bool:
    """Whether it is a file that lies next to labels without being any."""
    return name.startswith(".") or name in ("Thumbs.db", "desktop.ini")


def _unreadable(path: Path, error: OSError) -> MissingError:
    if isinstance(error, FileNotFoundError):
        return MissingError(f"no such file: {path}")
    return MissingError(f"cannot read {path}: {error.strerror or error}")


# What `predict` writes for a task and `score` reads, besides class maps.
_PARTS = {"ins_seg": "bitmasks", "pan_seg": "bitmasks", "det": "det.json", "tagging": "tagging.json"}


def find_predictions(path: Path, task: str, score_file: Path | None) -> tuple[Path, Path | None]:
    """The predictions themselves in a folder that `predict` or `eval` wrote; anything else as it is.

    Returns:
        Where they are, and the scores of bitmasks: those given, or the ones in the folder that was named.
    """
    inside = path / _PARTS.get(task, "masks")
    found = inside if inside.exists() else path
    if score_file is None and task == "ins_seg" and found.is_dir():
        places = (found / "score.json", path / "score.json")
        score_file = next((place for place in places if place.is_file()), None)
    return found, score_file
