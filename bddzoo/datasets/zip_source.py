"""Labels in a zip archive, read without unpacking it."""

from __future__ import annotations

import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

from bddzoo.datasets.sources import Source, is_junk
from bddzoo.datasets.zip_member import MemberReader, can_stream
from bddzoo.errors import MissingError
from bddzoo.files import is_inside
from bddzoo.reading import archive_errors
from bddzoo.text import printable

# A member of an archive that claims more than this is refused before it is inflated as a whole.
MAX_MEMBER_BYTES = {".png": 1 << 26, ".json": 1 << 30}
# RLE JSON packs about tenfold; a thousandfold is a bomb.
MAX_PACKING = 400


class ZipSource(Source):
    """Members of a zip archive; nothing is written to disk."""

    packed = True

    def __init__(self, path: Path) -> None:
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
