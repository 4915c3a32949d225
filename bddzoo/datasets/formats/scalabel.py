"""What networks find in an image, and prediction files in Scalabel JSON, written frame by frame.

The files are laid out as the zoo's own `test.py` writes them: two spaces of indentation, every
optional key present as null, label ids counted over the whole file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

from bddzoo.datasets.attributes import SCORE
from bddzoo.datasets.classes import INS_SEG, PAN_SEG, PAN_STUFF, SEM_SEG, ClassSet
from bddzoo.datasets.formats.rle import encode_values
from bddzoo.files import atomic_open
from bddzoo.lazy_numpy import np

if TYPE_CHECKING:
    import numpy.typing as npt
    from typing_extensions import Self


@dataclass
class Detections:
    """Detected objects of one image.

    Attributes:
        boxes: (N, 4) float32, corners `x1, y1, x2, y2` in pixels of the original image.
        scores: (N,) float32, 0..1.
        labels: (N,) int64, class ids from 0.
    """

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, index: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> Self:
        """The objects at those positions, in that order."""
        return type(self)(*(getattr(self, field.name)[index] for field in fields(self)))

    def by_class(self) -> Self:
        """The objects class by class, each class in its present order.

        This is the order in which the zoo's own prediction files list and number them.
        """
        return self.take(np.argsort(self.labels, kind="stable"))


@dataclass
class Instances(Detections):
    """Detected objects with their masks.

    Attributes:
        masks: (N, H, W) bool, at the size of the original image.
    """

    masks: npt.NDArray[np.bool_]

    def __post_init__(self) -> None:
        count = len(self.scores)
        if (
            self.boxes.shape != (count, 4)
            or self.labels.shape != (count,)
            or self.masks.ndim != 3
            or len(self.masks) != count
        ):
            shapes = [tuple(a.shape) for a in (self.boxes, self.scores, self.labels, self.masks)]
            raise ValueError(
                f"instances whose parts do not fit together: boxes, scores, labels, masks {shapes}"
            )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the image, in pixels."""
        _, height, width = self.masks.shape
        return int(height), int(width)


THINGS = len(PAN_SEG) - PAN_STUFF
# The number of a thing times this is added to its class.
OFFSET = 1000


@dataclass(frozen=True)
class PanopticMap:
    """What a panoptic network sees in an image.

    Networks of the zoo have things first, in the order of their ids (31 to 40), then stuff (1 to 30). The
    toolkit's converter at its head writes another order, with which upstream's formatter would name every
    class wrongly; the zoo's own list of classes is this one.

    Attributes:
        values: (H, W) int32: class of the network + 1000 times the number of the thing, from 1; 40 for
            nothing.
    """

    values: npt.NDArray[np.int32]

    @cached_property
    def segments(self) -> npt.NDArray[np.int64]:
        """The values of segments in the map, ascending."""
        found = np.bincount(self.values.ravel()).nonzero()[0]
        return found[found % OFFSET < len(PAN_SEG)]

    @property
    def classes(self) -> npt.NDArray[np.int64]:
        """Class of each segment, positions in `PAN_SEG`."""
        network = self.segments % OFFSET
        return np.where(network < THINGS, network + PAN_STUFF, network - THINGS)

    @property
    def things(self) -> npt.NDArray[np.bool_]:
        """Which segments are things."""
        return self.segments % OFFSET < THINGS

    @cached_property
    def ids(self) -> npt.NDArray[np.uint16]:
        """(H, W): which segment a pixel is of, its position in `segments` + 1; 0 for none."""
        numbers = np.zeros(int(self.values.max(initial=0)) + 1, np.uint16)
        numbers[self.segments] = np.arange(1, len(self.segments) + 1)
        return numbers[self.values]

    def class_map(self) -> npt.NDArray[np.uint8]:
        """(H, W): position in `PAN_SEG`; 255 for nothing."""
        return np.append(np.uint8(255), self.classes.astype(np.uint8))[self.ids]

    def bitmask(self) -> npt.NDArray[np.uint8]:
        """(H, W, 4) RGBA: R = class + 1, G = 0, B<<8 | A = number of the segment in the image, from 1."""
        out = np.zeros((*self.values.shape, 4), np.uint8)
        out[..., 0] = np.append(0, self.classes + 1).astype(np.uint8)[self.ids]
        out[..., 2], out[..., 3] = self.ids >> 8, self.ids & 0xFF
        return out


@dataclass(frozen=True)
class Tag:
    """The attribute of a frame, predicted.

    Attributes:
        classes: Its classes; their `task` is the attribute.
        probabilities: (C,) float32, their sum is 1.
    """

    classes: ClassSet
    probabilities: npt.NDArray[np.float32]

    @property
    def attribute(self) -> str:
        """Which attribute: `weather` or `scene`."""
        return self.classes.task

    @property
    def name(self) -> str:
        """The class with the highest probability, the first of equals."""
        return self.classes.names[int(self.probabilities.argmax())]

    @property
    def score(self) -> float:
        """Its probability."""
        return float(self.probabilities.max())


_LABEL_KEYS = (
    "id",
    "index",
    "manualShape",
    "manualAttributes",
    "score",
    "attributes",
    "category",
    "box2d",
    "box3d",
    "poly2d",
    "rle",
    "graph",
)
_FRAME_KEYS = (
    "name",
    "url",
    "videoName",
    "intrinsics",
    "extrinsics",
    "attributes",
    "timestamp",
    "frameIndex",
    "size",
    "labels",
)


def label_dict(**values: Any) -> dict[str, Any]:
    """A label with every key of the format, those not given as null."""
    return {key: values.get(key) for key in _LABEL_KEYS}


def frame_dict(
    name: str, labels: list[dict[str, Any]] | None, attributes: dict[str, Any] | None = None
) -> dict[str, Any]:
    """A frame with every key of the format, those not given as null."""
    values: dict[str, Any] = {"name": name, "labels": labels, "attributes": attributes}
    return {key: values.get(key) for key in _FRAME_KEYS}


class FrameWriter:
    """Streams frames into one JSON file that appears only when everything is written.

    Use as a context manager; an error inside the block leaves no file.

    Args:
        path: Target file.
        bare: Write a list of frames; otherwise `{"frames": [...], "groups": null, "config": null}`.
    """

    counts_ids = True
    """Whether label ids are counted over the file."""

    def __init__(self, path: Path, *, bare: bool = False) -> None:
        self.path = path
        self.bare = bare
        self.frames = 0
        self._next_id = 1
        self._stack = ExitStack()
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        self._file = self._stack.enter_context(atomic_open(self.path))
        self._write("[" if self.bare else '{\n  "frames": [')
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        except OSError as failure:
            # The temporary file must see the failure, or it would be renamed.
            self._stack.__exit__(type(failure), failure, failure.__traceback__)
            raise
        finally:
            self._file = None
        self._stack.__exit__(kind, error, trace)

    def _finish(self) -> None:
        if self.bare:
            self._write("\n]" if self.frames else "]")
        else:
            end = "\n  ]" if self.frames else "]"
            self._write(f'{end},\n  "groups": null,\n  "config": null\n}}')

    def add(
        self, name: str, labels: Iterable[dict[str, Any]] | None, attributes: dict[str, Any] | None = None
    ) -> None:
        """Append a frame; labels without an id get the next one of the file."""
        numbered = []
        for label in labels or ():
            if label["id"] is None:
                label["id"] = str(self._next_id)
                self._next_id += 1
            numbered.append(label)
        text = json.dumps(frame_dict(name, None if labels is None else numbered, attributes), indent=2)
        margin = "\n  " if self.bare else "\n    "
        self._write(("," if self.frames else "") + margin + text.replace("\n", margin))
        self.frames += 1

    def extend(self, path: Path) -> None:
        """Append the frames of another file that was written so; label ids are counted on.

        Args:
            path: A file of the same kind. It is read line by line, whatever its size.
        """
        margin = "  " if self.bare else "    "
        start, key = f"{margin}{{\n", f'{margin}      "id": "'
        offset = self._next_id - 1
        with path.open(encoding="utf-8", newline="\n") as lines:
            for line in lines:
                if not line.startswith(margin):
                    continue  # what is around the list of frames
                text = line.rstrip("\n")
                if line == start:
                    self._write("," if self.frames else "")
                    self.frames += 1
                elif self.counts_ids and line.startswith(key):
                    number, _, rest = text[len(key) :].partition('"')
                    self._next_id = offset + int(number) + 1
                    text = f'{key}{offset + int(number)}"{rest}'
                elif text == f"{margin}}},":
                    text = text[:-1]
                self._write("\n" + text)

    def _write(self, text: str) -> None:
        if self._file is None:
            raise ValueError(f"{self.path} is not open for writing; use a with block")
        self._file.write(text.encode("utf-8"))


class RleJsonWriter(FrameWriter):
    """Masks as RLE labels: `sem_seg.json`, or an instance file."""

    def __init__(self, path: Path, classes: ClassSet = SEM_SEG) -> None:
        super().__init__(path)
        self.classes = classes

    def add_mask(self, name: str, class_map: npt.NDArray[np.uint8]) -> None:
        """Append a frame with one label for each class that occurs in a (H, W) uint8 class map."""
        self.add(
            name,
            [
                label_dict(category=self.classes.names[index], rle=rle)
                for index, rle in encode_values(class_map).items()
                if index < len(self.classes)
            ],
        )

    def add_instances(self, name: str, instances: Instances, ids: npt.NDArray[np.uint16]) -> None:
        """Append a frame with the visible pixels of each instance.

        The official toolkit drops all predictions of a frame in which two of them share a pixel,
        so what is written are the painted instances; those fully hidden are left out.

        Args:
            name: Name of the frame.
            instances: The instances.
            ids: Their painted ids, see `bddzoo.datasets.formats.mask.paint_ids`.
        """
        self.add(
            name,
            [
                label_dict(
                    score=float(instances.scores[i - 1]),
                    category=self.classes.names[int(instances.labels[i - 1])],
                    rle=rle,
                )
                for i, rle in encode_values(ids).items()
                if i
            ],
        )


class ScoreJsonWriter(FrameWriter):
    """`score.json`: index and score of every instance, a bare list of frames."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, bare=True)

    def add_instances(self, name: str, instances: Instances) -> None:
        """Append a frame; the index is the instance's position + 1."""
        self.add(
            name,
            [label_dict(index=i, score=float(score)) for i, score in enumerate(instances.scores, start=1)],
        )


class DetJsonWriter(FrameWriter):
    """`det.json`: boxes, with x2 and y2 one pixel smaller than the detector's (inclusive corners)."""

    def __init__(self, path: Path, classes: ClassSet = INS_SEG) -> None:
        super().__init__(path)
        self.classes = classes

    def add_instances(self, name: str, instances: Detections) -> None:
        """Append a frame with one box for each object."""
        labels = []
        for box, score, label in zip(
            instances.boxes.tolist(), instances.scores.tolist(), instances.labels.tolist(), strict=True
        ):
            x1, y1, x2, y2 = box
            labels.append(
                label_dict(
                    score=score,
                    category=self.classes.names[label],
                    box2d={"x1": x1, "y1": y1, "x2": x2 - 1, "y2": y2 - 1},
                )
            )
        self.add(name, labels)


class PanopticJsonWriter(FrameWriter):
    """`pan_seg.json`: each segment as RLE; its id is its value in the map, and there are no scores."""

    counts_ids = False

    def add_panoptic(self, name: str, found: PanopticMap) -> None:
        """Append a frame."""
        rles = encode_values(found.ids)
        self.add(
            name,
            [
                label_dict(id=str(value), category=PAN_SEG.names[index], rle=rles[number])
                for number, (value, index) in enumerate(
                    zip(found.segments.tolist(), found.classes.tolist(), strict=True), start=1
                )
            ],
        )


class TagJsonWriter(FrameWriter):
    """`tagging.json`: frames with the predicted attribute, and its score, which marks it as predicted."""

    def add_tag(self, name: str, tag: Tag) -> None:
        """Append a frame."""
        self.add(name, None, {tag.attribute: tag.name, tag.attribute + SCORE: tag.score})
