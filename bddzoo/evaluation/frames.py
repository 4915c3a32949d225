"""Frames of Scalabel JSON files, kept as undecoded bytes until they are needed."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from bddzoo.errors import MissingError
from bddzoo.evaluation.sources import Source


class Rle(msgspec.Struct, gc=False):
    """A mask in COCO's compressed form."""

    counts: str
    size: tuple[int, int]


class Label(msgspec.Struct, gc=False):
    """What scoring needs of a label."""

    category: str | None = None
    rle: Rle | None = None
    score: float | None = None
    attributes: dict[str, Any] | None = None
    poly2d: list[Any] | None = None


class Frame(msgspec.Struct, gc=False):
    """What scoring needs of a frame."""

    name: str | int
    labels: list[Label] | None = None


class ScoreEntry(msgspec.Struct, gc=False):
    """Score of one instance of a bitmask."""

    index: int
    score: float


class ScoreFrame(msgspec.Struct, gc=False):
    """Scores of the instances of one bitmask."""

    name: str | int
    labels: list[ScoreEntry] | None = None


class _Head(msgspec.Struct, gc=False):
    name: str | int
    videoName: str | None = None


class _Dataset(msgspec.Struct):
    frames: list[msgspec.Raw]


class JsonFrames:
    """Frames of one or several JSON files, in order.

    Attributes:
        names: Name of each frame.
        videos: Video name of each frame, or None.
        bare: Whether every file was a bare list of frames.
    """

    def __init__(self, source: Source, members: list[str]) -> None:
        self._raw: list[tuple[Path, msgspec.Raw]] = []
        self._stack = ExitStack()
        self.source = source
        self.names: list[str] = []
        self.videos: list[str | None] = []
        self.bare = True
        head = msgspec.json.Decoder(_Head)
        for member in members:
            where = source.where(member)
            for raw in self._frames(source, member, where):
                try:
                    found = head.decode(raw)
                except msgspec.DecodeError as error:
                    raise MissingError(f"{where}, frame {len(self.names) + 1}: {error}") from None
                self._raw.append((where, raw))
                self.names.append(str(found.name))
                self.videos.append(found.videoName)

    def _frames(self, source: Source, member: str, where: Path) -> list[msgspec.Raw]:
        content = self._stack.enter_context(source.buffer(member))
        start = _first_byte(content)
        try:
            if start == b"{":
                self.bare = False
                return msgspec.json.decode(content, type=_Dataset).frames
            return msgspec.json.decode(content, type=list[msgspec.Raw])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise MissingError(
                f"{where} is no list of frames: {error}",
                hint='expected [frame, ...] or {"frames": [...]}; a file that was cut short ends like this',
            ) from None

    def __len__(self) -> int:
        return len(self.names)

    def where(self, index: int) -> str:
        """File and name of a frame, for messages."""
        return f"{self._raw[index][0]}, frame {self.names[index]}"

    def frame(self, index: int) -> Frame:
        """Decode one frame.

        Raises:
            MissingError: A key is of another type than the format says; file and frame are named.
        """
        frame: Frame = self._decode(index, _FRAME)
        return frame

    def scores(self, index: int) -> list[ScoreEntry]:
        """Decode the score entries of one frame."""
        return self._decode(index, _SCORES).labels or []

    def _decode(self, index: int, decoder: msgspec.json.Decoder[Any]) -> Any:
        try:
            return decoder.decode(self._raw[index][1])
        except msgspec.DecodeError as error:
            raise MissingError(f"{self.where(index)}: {error}") from None

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self)))


_FRAME = msgspec.json.Decoder(Frame)
_SCORES = msgspec.json.Decoder(ScoreFrame)


def _first_byte(content: bytes | mmap.mmap) -> bytes:
    for start in range(0, min(len(content), 1 << 16), 256):
        text = content[start : start + 256].lstrip()
        if text:
            return text[:1]
    return b""
