"""Prediction sets on disk, written as the predictions come, and the note in one that was interrupted.

    sem_seg:  masks/*.png      sem_seg.json
    drivable: masks/*.png      drivable.json
    ins_seg:  bitmasks/*.png   score.json   det.json   ins_seg.json (RLE; on request)
    pan_seg:  bitmasks/*.png   pan_seg.json
    det:      det.json
    tagging:  tagging.json

File formats are the zoo's own; see `bddzoo.datasets.formats`. Class maps of openseg.pytorch's data sets are
written in the values of their label files, without the JSON, which is BDD100K's.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from bddzoo.datasets.classes import DET, DRIVABLE, INS_SEG
from bddzoo.datasets.formats.mask import paint_bitmask, paint_ids, write_mask, write_rgba
from bddzoo.datasets.formats.scalabel import (
    Detections,
    DetJsonWriter,
    Instances,
    PanopticJsonWriter,
    PanopticMap,
    RleJsonWriter,
    ScoreJsonWriter,
    Tag,
    TagJsonWriter,
)
from bddzoo.datasets.openseg import DataSet
from bddzoo.errors import UsageError
from bddzoo.files import cannot_write, write_bytes
from bddzoo.reading import json_errors, read_limited

Image = npt.NDArray[np.uint8]

# Of each task the folder of PNGs, if it has one, and what writes each JSON file.
FOLDERS = {"sem_seg": "masks", "drivable": "masks", "ins_seg": "bitmasks", "pan_seg": "bitmasks"}
FILES: dict[str, dict[str, Callable[[Path], Any]]] = {
    "sem_seg": {"sem_seg.json": RleJsonWriter},
    "drivable": {"drivable.json": partial(RleJsonWriter, classes=DRIVABLE)},
    "ins_seg": {
        "score.json": ScoreJsonWriter,
        "det.json": DetJsonWriter,
        "ins_seg.json": partial(RleJsonWriter, classes=INS_SEG),
    },
    "pan_seg": {"pan_seg.json": PanopticJsonWriter},
    "det": {"det.json": partial(DetJsonWriter, classes=DET)},
    "tagging": {"tagging.json": TagJsonWriter},
}
# Written where a run asks for it.
_RLE = "ins_seg.json"
OVERLAYS = "overlays"
NOTE = "unfinished.json"


class PredictionSet:
    """Writes the predictions of a run into a folder.

    Use as a context manager. Everything is first written next to its final place; leaving the block
    without an error renames it, so that a prediction set is whole or not there.

    Args:
        folder: Where to; made where it is missing.
        task: A key of `FILES`.
        rle: For instances also write `ins_seg.json`, their visible pixels as RLE.
        overlays: Also take images for `overlays/`.
        overwrite: Replace an earlier prediction set of the same task.
        resume: Keep what an earlier prediction set of the same task holds, made alike, and add to it.
        labels: Data set whose label values class maps are written in; None for BDD100K's class ids.

    Raises:
        UsageError: The folder holds predictions already.
        MissingError: The folder cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        task: str,
        *,
        rle: bool = False,
        overlays: bool = False,
        overwrite: bool = False,
        resume: bool = False,
        labels: DataSet | None = None,
    ) -> None:
        self.folder = folder
        self.task = task
        self._rle = rle
        self._overlays = overlays
        self._labels = labels
        self._files = FILES[task] if labels is None else {}
        self._folders = [*((FOLDERS[task],) if task in FOLDERS else ()), *((OVERLAYS,) if overlays else ())]
        self._parts = [*self._folders, *self._files]
        self._writers: dict[str, Any] = {}
        self._stack = ExitStack()
        self._draft = folder
        self._resume = resume
        if not overwrite and not resume:
            there = [name for name in self._parts if (folder / name).exists()]
            if there:
                raise UsageError(
                    f"{folder} holds predictions already: {', '.join(there)}",
                    hint="choose another folder, or replace them with --force",
                )

    def __enter__(self) -> PredictionSet:
        self._made = not self.folder.exists()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._draft = Path(tempfile.mkdtemp(prefix=".", suffix=".part", dir=self.folder))
            for name in self._folders:
                (self._draft / name).mkdir()
        except OSError as error:
            raise cannot_write(self.folder, error) from error
        for name, writer in self._files.items():
            if self._rle or name != _RLE:
                self._writers[name] = self._stack.enter_context(writer(self._draft / name))
        if self._resume:
            self._take(self.folder, _copy)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._stack.__exit__(kind, error, trace)
            if kind is None:
                self._publish()
        finally:
            shutil.rmtree(self._draft, ignore_errors=True)
            if kind is not None and self._made:
                with suppress(OSError):  # it holds what was done
                    self.folder.rmdir()

    def add(self, name: str, result: Any) -> None:
        """Write the prediction of one image, whatever kind it is."""
        add = next(add for kind, add in self._ADD.items() if isinstance(result, kind))
        add(self, name, result)

    def add_class_map(self, name: str, class_map: Image) -> None:
        """Write the class map of one image.

        Args:
            name: File name of the image.
            class_map: (H, W) uint8 class ids.
        """
        path = self._draft / "masks" / f"{Path(name).stem}.png"
        if self._labels is not None:
            write_mask(path, self._labels.to_files(class_map))
            return
        write_mask(path, class_map)
        for writer in self._writers.values():
            writer.add_mask(name, class_map)

    def add_instances(self, name: str, found: Detections, bitmask: Image | None = None) -> None:
        """Write the objects of one image, numbered in the order given.

        Args:
            name: File name of the image.
            found: See `Detections.by_class`.
            bitmask: Their `paint_bitmask`, where it is at hand.
        """
        if isinstance(found, Instances):
            painted = paint_bitmask(found) if bitmask is None else bitmask
            write_rgba(self._draft / "bitmasks" / f"{Path(name).stem}.png", painted)
        for file, writer in self._writers.items():
            if file == _RLE and isinstance(found, Instances):
                writer.add_instances(name, found, paint_ids(found))
            else:
                writer.add_instances(name, found)

    def add_panoptic(self, name: str, found: PanopticMap) -> None:
        """Write the panoptic map of one image."""
        write_rgba(self._draft / "bitmasks" / f"{Path(name).stem}.png", found.bitmask())
        for writer in self._writers.values():
            writer.add_panoptic(name, found)

    def add_tag(self, name: str, tag: Tag) -> None:
        """Write the predicted attribute of one image."""
        for writer in self._writers.values():
            writer.add_tag(name, tag)

    _ADD: ClassVar[dict[type, Callable[[PredictionSet, str, Any], None]]] = {
        np.ndarray: add_class_map,
        Detections: add_instances,
        PanopticMap: add_panoptic,
        Tag: add_tag,
    }

    def add_overlay(self, name: str, drawn: Image) -> None:
        """Write a drawn image, (H, W, 3) uint8 BGR, as JPEG."""
        import cv2

        path = self._draft / OVERLAYS / f"{Path(name).stem}.jpg"
        done, encoded = cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, 92])
        assert done
        write_bytes(path, encoded.tobytes())

    def part(self, name: str) -> PredictionSet:
        """A set for some of the images, made alike, for another process; see `absorb`."""
        return PredictionSet(
            self._draft / name, self.task, rle=self._rle, overlays=self._overlays, labels=self._labels
        )

    def absorb(self, name: str) -> None:
        """Take over what a part holds that another process has written."""
        self._take(self._draft / name, Path.rename)

    def _take(self, folder: Path, move: Callable[[Path, Path], object]) -> None:
        try:
            for name in self._folders:
                if (folder / name).is_dir():
                    for file in (folder / name).iterdir():
                        move(file, self._draft / name / file.name)
        except OSError as error:
            raise cannot_write(self.folder, error) from error
        for name, writer in self._writers.items():
            writer.extend(folder / name)

    def _publish(self) -> None:
        """Rename everything to its place; what was there steps aside first."""
        try:
            for name in self._parts:
                source, target = self._draft / name, self.folder / name
                if target.exists():
                    target.rename(self._draft / f"old-{name}")
                if source.exists():
                    source.rename(target)
        except OSError as error:
            raise cannot_write(self.folder, error) from error


def _copy(source: Path, target: Path) -> None:
    """A second name for a file that is never changed, or a copy where file systems have no such thing."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


@dataclass(frozen=True)
class Unfinished:
    """The note that lies in the folder of a prediction set that is not whole.

    Attributes:
        made_with: What the predictions depend on: model, weights, precision, options.
        done: Images whose predictions are in the set, name to file.
        total: Images that were asked for.
    """

    made_with: Mapping[str, Any]
    done: Mapping[str, str]
    total: int

    def write(self, folder: Path) -> None:
        """Leave the note in a folder.

        Raises:
            MissingError: It cannot be written.
        """
        content = {"made_with": self.made_with, "total": self.total, "done": self.done}
        write_bytes(folder / NOTE, (json.dumps(content, indent=1) + "\n").encode())

    def rest(self, folder: Path, made_with: Mapping[str, Any], images: Mapping[str, Path]) -> dict[str, Path]:
        """The images that are still to be done.

        Args:
            folder: Folder of the prediction set, for messages.
            made_with: What the further predictions would depend on.
            images: Name to file of all images.

        Raises:
            UsageError: They would not belong into one set: another model, other weights, or another
                image of the same name.
        """
        again = "choose another folder, or begin again with --force"
        for key in {**self.made_with, **made_with}:
            before, now = self.made_with.get(key), made_with.get(key)
            if before != now:
                text = f"its {key} was {str(before)[:64]}, not {str(now)[:64]}"
                raise UsageError(f"{folder} cannot be resumed: {text}", hint=again)
        for name, path in images.items():
            if name in self.done and self.done[name] != str(path.resolve()):
                raise UsageError(
                    f"{folder} cannot be resumed: its {name} is {self.done[name]}, not {path}", hint=again
                )
        return {name: path for name, path in images.items() if name not in self.done}


def read_unfinished(folder: Path) -> Unfinished | None:
    """The note in a folder, or None.

    Raises:
        UsageError: There is one that cannot be read.
    """
    path = folder / NOTE
    if not path.is_file():
        return None
    try:
        content = json.loads(read_limited(path))
        made_with, done, total = content["made_with"], content["done"], content["total"]
        good = isinstance(made_with, dict) and isinstance(done, dict) and isinstance(total, int)
    except json_errors(OSError, KeyError, TypeError):
        good = False
    if not good:
        raise UsageError(f"{path} is not the note of an interrupted run", hint="begin again with --force")
    return Unfinished(made_with, done, total)


def remove_note(folder: Path) -> None:
    """The set is whole now.

    Raises:
        MissingError: The note cannot be removed.
    """
    try:
        (folder / NOTE).unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(folder / NOTE, error) from error
