"""Frames of Scalabel JSON files, read when they are needed."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import accumulate
from typing import Annotated, Any, Generic, NoReturn, Protocol, TypeVar

import msgspec

from bddzoo.datasets.formats import json_index
from bddzoo.datasets.formats.json_index import OutlineError, frame_regions, index_list
from bddzoo.datasets.native import native
from bddzoo.datasets.sources import Source
from bddzoo.errors import MissingError
from bddzoo.reading import json_errors
from bddzoo.text import printable

T = TypeVar("T")
CHUNK_BYTES = 1 << 19
# Frames that are looked at to learn which task the labels of a file are of.
LOOKED_AT = 50
# So much between two frames is read, too, rather than skipped.
GAP_BYTES = 256
# Names that mean one of the eight instance classes, and names that mean an ignored one of them.
INS_ALIASES = {
    "bike": "bicycle",
    "caravan": "car",
    "motor": "motorcycle",
    "person": "pedestrian",
    "van": "car",
}
INS_IGNORED = {"other person": "pedestrian", "other vehicle": "car", "trailer": "truck"}
# A place in an image, in pixels: no image is so large, and its square is still a number.
Pixel = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]
_FALSE_WORDS = {"", "0", "off", "f", "false", "n", "no"}


def category_kinds(names: Sequence[str]) -> dict[str | None, tuple[int, bool]]:
    """Every category that stands for one of the classes: its class, and whether it is an ignored one."""
    index = {name: at for at, name in enumerate(names)}
    kinds: dict[str | None, tuple[int, bool]] = {name: (at, False) for name, at in index.items()}
    for others, ignored in ((INS_ALIASES, False), (INS_IGNORED, True)):
        kinds |= {other: (index[name], ignored) for other, name in others.items() if name in index}
    return kinds


class LabelledFrame(msgspec.Struct, Generic[T], gc=False):
    """A frame whose labels are read as one type."""

    labels: list[T] | None = None


class Rle(msgspec.Struct, gc=False):
    """A mask in COCO's compressed form."""

    counts: str
    size: tuple[int, int]


class Label(msgspec.Struct, gc=False):
    """What scoring needs of a label."""

    category: str | None = None
    rle: Rle | None = None
    score: float | None = None
    index: int | None = None
    attributes: dict[str, Any] | None = None
    poly2d: list[Any] | None = None
    box2d: Any = None
    id: Any = None


class FrameSize(msgspec.Struct, gc=False):
    """Size of an image in pixels."""

    width: int
    height: int


class Frame(msgspec.Struct, gc=False):
    """What scoring needs of a frame."""

    name: str | int
    labels: list[Label] | None = None
    size: FrameSize | None = None


class ScoreEntry(msgspec.Struct, gc=False):
    """Score of one instance of a bitmask."""

    index: int
    score: float


class _Head(msgspec.Struct, gc=False):
    name: str | int
    videoName: str | None = None
    frameIndex: Any = None
    # No part of a frame: its labels are in another form, and it would be taken for one without labels.
    frames: msgspec.Raw = msgspec.Raw(b"null")
    objects: msgspec.Raw = msgspec.Raw(b"null")


class Frames(Protocol):
    """Frames with labels, whatever files they are from.

    Attributes:
        kind: `rle`, `coco` or `masks`.
        source: The files.
        names: Name of each frame.
        videos: Video name of each frame, or None.
    """

    kind: str
    source: Source
    names: list[str]
    videos: list[str | None]

    def __len__(self) -> int: ...

    @property
    def numbers(self) -> Mapping[int, str]:
        """Names of the categories that have numbers: those of COCO."""
        ...

    def where(self, index: int) -> str:
        """File and name of a frame, for messages."""
        ...

    def frame(self, index: int) -> Frame:
        """Labels of one frame."""
        ...

    def contents(self, indices: Sequence[int | None]) -> tuple[bytes, array[int]]:
        """JSON of frames, and where each begins and ends in it; nothing for None. See `Side`."""
        ...


def joined(pieces: Iterable[bytes]) -> tuple[bytes, array[int]]:
    """Bytes one after the other, and where each piece begins and ends in them."""
    parts = list(pieces)
    bounds = array("q")
    for end, part in zip(accumulate(map(len, parts)), parts, strict=True):
        bounds.extend((end - len(part), end))
    return b"".join(parts), bounds


def read_places(source: Source, places: Sequence[tuple[str, int, int] | None]) -> tuple[bytes, array[int]]:
    """Pieces of files; those that lie close together are read at once.

    Returns:
        The bytes, and where each piece begins and ends in them.

    Raises:
        MissingError: A file cannot be read, or is shorter than it was.
    """
    runs: list[list[Any]] = []
    bounds = array("q")
    behind = 0
    for place in places:
        if place is None:
            bounds.extend((0, 0))
            continue
        member, start, end = place
        if runs and runs[-1][0] == member and 0 <= start - runs[-1][2] <= GAP_BYTES:
            behind += end - runs[-1][2]
            runs[-1][2] = end
        else:
            behind += end - start
            runs.append([member, start, end])
        bounds.extend((behind - (end - start), behind))
    pieces = [source.read_part(member, start, end - start) for member, start, end in runs]
    if sum(map(len, pieces)) != behind:
        raise MissingError(f"{source.where(runs[0][0])} changed while it was read")
    return b"".join(pieces), bounds


class JsonFrames:
    """Frames of one or several JSON files, in order.

    Attributes:
        names: Name of each frame.
        videos: Video name of each frame, or None.
        positions: Number of each frame in its video as the file has it, unread, or None.
        bare: Whether every file was a bare list of frames.
    """

    kind = "rle"
    numbers: Mapping[int, str] = {}  # of COCO

    def __init__(self, source: Source, members: list[str]) -> None:
        self.source = source
        self.names: list[str] = []
        self.videos: list[str | None] = []
        self.positions: list[Any] = []
        self.bare = True
        # Member, start and end of each frame: the frames themselves are read when they are needed.
        self._places: list[tuple[str, int, int]] = []
        # Paths as text: they are named for each frame.
        self._files = {member: str(source.where(member)) for member in members}
        for member in members:
            self._add(member)

    def _index(self, member: str) -> bool:
        """Find the frames of an everyday file in one go."""
        loops = native()
        if loops is None:
            return False
        places: list[tuple[str, int, int]] = []
        heads: list[tuple[str, str | None, int | None]] = []

        def read(held: bytes, state: array[int], offset: int) -> None:
            items = iter(loops.frames(held, state))
            for start, end, *words in zip(*[items] * 8, strict=True):
                places.append((member, offset + start, offset + end))
                name, video, number = (
                    None if at < 0 else held[at : at + size].decode()
                    for at, size in zip(words[::2], words[1::2], strict=True)
                )
                heads.append((name or "", video, None if number is None else int(number)))
            if len(places) > json_index.MAX_FRAMES:
                raise OutlineError

        try:
            around = index_list(self.source.chunks(member, CHUNK_BYTES), "frames", b"-1.5e300", read)
            outline = around and msgspec.json.decode(around)
        except json_errors(OutlineError):
            return False
        bare = isinstance(outline, list)
        frames = outline.get("frames") if isinstance(outline, dict) else outline
        if frames != [-1.5e300]:
            return False
        self.bare &= bare
        self._places += places
        for name, video, number in heads:
            self.names.append(name)
            self.videos.append(video)
            self.positions.append(number)
        return True

    def _add(self, member: str) -> None:
        if self._index(member):
            return
        where = self.source.where(member)
        heads: dict[int, _Head] = {}

        def seen(start: int, content: bytes) -> None:
            with suppress(*json_errors()):
                heads[start] = _HEAD.decode(content)

        try:
            regions, bare = frame_regions(self.source.chunks(member, CHUNK_BYTES), seen)
        except OutlineError as error:
            raise MissingError(
                f"{where} is not a list of frames: {error}",
                hint="save it as UTF-8"
                if "UTF-16" in str(error)
                else 'expected [frame, ...] or {"frames": [...]}; a file that was cut short ends like this',
            ) from None
        self.bare &= bare
        for number, (start, end) in enumerate(regions, 1):
            found = heads.get(start)
            if found is None:
                _refuse_head(self.source.read_part(member, start, end - start), f"{where}", number)
            held = [key for key in ("frames", "objects") if bytes(getattr(found, key)) != b"null"]
            if held:
                name = printable(str(found.name), 80)
                raise MissingError(
                    f"{where}, frame {number} ({name}) holds {held[0]} in place of labels",
                    hint="files of 2018 and lists of videos do; give a list of frames with labels",
                )
            self._places.append((member, start, end))
            self.names.append(str(found.name))
            self.videos.append(found.videoName)
            self.positions.append(found.frameIndex)

    def contents(self, indices: Sequence[int | None]) -> tuple[bytes, array[int]]:
        """JSON of frames, and where each begins and ends in it; nothing for None."""
        return read_places(self.source, [None if i is None else self._places[i] for i in indices])

    def __len__(self) -> int:
        return len(self.names)

    def where(self, index: int) -> str:
        """File and name of a frame, for messages."""
        return f"{self._files[self._places[index][0]]}, frame {self.names[index]}"

    def frame(self, index: int) -> Frame:
        """Decode one frame.

        Raises:
            MissingError: A key is of another type than the format says; file and frame are named.
        """
        frame: Frame = self.decode(index, _FRAME)
        return frame

    def scores(self, index: int) -> dict[int, float]:
        """Scores of one frame of a score file by instance id, in the order of the file.

        Raises:
            MissingError: An id has two entries or is no id, or a score is not a number.
        """
        return checked_scores(
            ((entry.index, entry.score) for entry in self.labels(index, ScoreEntry)), self.where(index)
        )

    def labels(self, index: int, kind: type[T]) -> list[T]:
        """Labels of one frame as another type of label.

        Raises:
            MissingError: They are not of that type; file and frame are named.
        """
        if kind not in _DECODERS:
            _DECODERS[kind] = msgspec.json.Decoder(LabelledFrame[kind])  # type: ignore[valid-type]
        return self.decode(index, _DECODERS[kind]).labels or []

    def decode(self, index: int, decoder: msgspec.json.Decoder[Any]) -> Any:
        """Decode one frame as another type.

        Raises:
            MissingError: It is not of that type; file and frame are named.
        """
        try:
            return decoder.decode(self.contents([index])[0])
        except json_errors() as error:
            raise MissingError(f"{self.where(index)}: {error}") from None


def _refuse_head(content: bytes, where: str, number: int) -> NoReturn:
    """Say why what stands in place of a frame is none.

    Raises:
        MissingError: Always.
    """
    if b'"objects"' in content:
        raise MissingError(
            f"{where} holds the labels of one image as published in 2018",
            hint="give today's masks, bitmasks, rles or det_20",
        )
    try:
        _HEAD.decode(content)
    except json_errors() as error:
        raise MissingError(f"{where}, frame {number}: {error}") from None
    raise MissingError(f"{where} changed while it was read")


encode_frame: Callable[[Frame], bytes] = msgspec.json.Encoder().encode
_FRAME = msgspec.json.Decoder(Frame)
_DECODERS: dict[type, msgspec.json.Decoder[Any]] = {}
_HEAD = msgspec.json.Decoder(_Head)


def checked_scores(entries: Iterable[tuple[int, float]], where: str) -> dict[int, float]:
    """Scores by instance id, in their order.

    Raises:
        MissingError: An id is 0 or occurs twice, or a score is not a finite number.
    """
    found: dict[int, float] = {}
    for index, score in entries:
        if index < 1:
            raise MissingError(f"{where}: score index {index} is the background; indices start at 1")
        if index in found:
            raise MissingError(f"{where}: score index {index} is listed twice")
        if not math.isfinite(score):
            raise MissingError(f"{where}: the score of index {index} is not a finite number")
        found[index] = score
    return found


def masked_labels(frame: Frame, where: str, remarks: list[tuple[str, str]]) -> list[Label]:
    """Labels of a frame that have a mask.

    Args:
        frame: The frame.
        where: Its file and name, for messages.
        remarks: A label with nothing at all is noted here: the toolkit passes over it, and so does a score.

    Raises:
        MissingError: One is a polygon or a box, which would be scored as if it were not there.
    """
    for label in frame.labels or []:
        if label.rle is None and (label.poly2d or label.box2d):
            refuse_without_mask(label, where)
    masked = [label for label in frame.labels or [] if label.rle is not None]
    if len(masked) < len(frame.labels or []):
        remarks.append(("shapeless", where))
    return masked


def one_size(labels: Sequence[Label], where: str) -> tuple[int, int] | None:
    """Height and width of the masks of labels; None where there are no masks.

    Raises:
        MissingError: They are not of one size.
    """
    sizes = {label.rle.size for label in labels if label.rle}
    if len(sizes) > 1:
        raise MissingError(f"{where}: masks of different sizes: {sorted(sizes)}")
    return next(iter(sizes), None)


def refuse_without_mask(label: Label, where: str) -> NoReturn:
    """Refuse a label that shows its object in another way than by a mask, or not at all.

    Raises:
        MissingError: Always.
    """
    if label.poly2d:
        raise MissingError(
            f"{where}: a polygon instead of an RLE mask",
            hint="the data set's rles folder has the same labels as masks; 'bddzoo convert-labels --to rle' "
            "draws polygons",
        )
    what = "a box instead of an RLE mask" if label.box2d else "a label without a mask"
    raise MissingError(
        f"{where}: {what} (category {label.category})",
        hint="boxes are not a segmentation: give the file of the masks, or score boxes with -t det"
        if label.box2d
        else None,
    )


def label_flag(label: Label, name: str) -> bool:
    """Whether a label has an attribute; words like "false" count as they read."""
    return label.attributes is not None and is_true(label.attributes.get(name, False))


def is_true(value: Any) -> bool:
    """Whether an attribute says yes; words like "false" count as they read."""
    return value.lower() not in _FALSE_WORDS if isinstance(value, str) else bool(value)


def coco_kind(source: Source, member: str) -> str:
    """What a JSON file looks like by its first 64 KiB: `coco`, `results`, or nothing of COCO's."""
    head = next(iter(source.chunks(member, 1 << 16)), b"").removeprefix(b"\xef\xbb\xbf").lstrip()
    if head.startswith(b"["):
        first = head[: head.find(b"}") + 1] if b"}" in head else head
        return "results" if b'"image_id"' in first else ""
    known = any(key in head for key in (b'"images"', b'"annotations"', b'"categories"'))
    return "coco" if head.startswith(b"{") and known and b'"frames"' not in head else ""
