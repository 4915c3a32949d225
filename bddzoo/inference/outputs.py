"""Prediction sets on disk, written as the predictions come.

    sem_seg:  masks/*.png      sem_seg.json
    ins_seg:  bitmasks/*.png   score.json   det.json   ins_seg.json (RLE; on request)

File formats are the zoo's own; see `bddzoo.datasets.formats`. Class maps of openseg.pytorch's data sets are
written in the values of their label files, without the JSON, which is BDD100K's.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from bddzoo.datasets.classes import INS_SEG
from bddzoo.datasets.formats.mask import paint_bitmask, paint_ids, write_mask, write_rgba
from bddzoo.datasets.formats.scalabel import DetJsonWriter, Instances, RleJsonWriter, ScoreJsonWriter
from bddzoo.datasets.openseg.sets import DataSet
from bddzoo.errors import UsageError
from bddzoo.files import cannot_write, write_bytes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Image = npt.NDArray[np.uint8]

FOLDERS = {"sem_seg": "masks", "ins_seg": "bitmasks"}
FILES = {"sem_seg": ("sem_seg.json",), "ins_seg": ("score.json", "det.json", "ins_seg.json")}
OVERLAYS = "overlays"


class PredictionSet:
    """Writes the predictions of a run into a folder.

    Use as a context manager. Everything is first written next to its final place; leaving the block
    without an error renames it, so that a prediction set is whole or not there.

    Args:
        folder: Where to; made where it is missing.
        task: `sem_seg` or `ins_seg`.
        rle: For instances also write `ins_seg.json`, their visible pixels as RLE.
        overlays: Also take pictures for `overlays/`.
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
        self._labels = labels
        files = FILES[task] if labels is None else ()
        self._parts = [FOLDERS[task], *files] + ([OVERLAYS] if overlays else [])
        self._stack = ExitStack()
        self._draft = folder
        self._resume = resume
        if not overwrite and not resume:
            there = [name for name in self._parts if (folder / name).exists()]
            if there:
                raise UsageError(
                    f"{folder} holds predictions already: {', '.join(there)}",
                    hint="choose another folder, or replace them with --overwrite",
                )

    def __enter__(self) -> PredictionSet:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._draft = Path(tempfile.mkdtemp(prefix=".", suffix=".part", dir=self.folder))
            (self._draft / self._parts[0]).mkdir()
            if OVERLAYS in self._parts:
                (self._draft / OVERLAYS).mkdir()
        except OSError as error:
            raise cannot_write(self.folder, error) from error
        if self._labels is None:
            self._open()
        if self._resume:
            self._take(self.folder, _copy)
        return self

    def _open(self) -> None:
        if self.task == "sem_seg":
            self._masks = self._stack.enter_context(RleJsonWriter(self._draft / "sem_seg.json"))
        else:
            self._score = self._stack.enter_context(ScoreJsonWriter(self._draft / "score.json"))
            self._det = self._stack.enter_context(DetJsonWriter(self._draft / "det.json"))
            if self._rle:
                self._rles = self._stack.enter_context(RleJsonWriter(self._draft / "ins_seg.json", INS_SEG))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._stack.__exit__(kind, error, trace)
            if kind is None:
                self._publish()
        finally:
            shutil.rmtree(self._draft, ignore_errors=True)

    def add_class_map(self, name: str, class_map: Image) -> None:
        """Write the class map of one picture.

        Args:
            name: File name of the picture.
            class_map: (H, W) uint8 class ids.
        """
        path = self._draft / "masks" / f"{Path(name).stem}.png"
        if self._labels is not None:
            write_mask(path, self._labels.to_files(class_map))
            return
        write_mask(path, class_map)
        self._masks.add_mask(name, class_map)

    def add_instances(self, name: str, instances: Instances, bitmask: Image | None = None) -> None:
        """Write the instances of one picture, numbered in the order given.

        Args:
            name: File name of the picture.
            instances: See `Instances.by_class`.
            bitmask: Their `paint_bitmask`, where it is at hand.
        """
        painted = paint_bitmask(instances) if bitmask is None else bitmask
        write_rgba(self._draft / "bitmasks" / f"{Path(name).stem}.png", painted)
        self._score.add_instances(name, instances)
        self._det.add_instances(name, instances)
        if self._rle:
            self._rles.add_instances(name, instances, paint_ids(instances))

    def add_overlay(self, name: str, drawn: Image) -> None:
        """Write a drawn picture, (H, W, 3) uint8 BGR, as JPEG."""
        import cv2

        path = self._draft / OVERLAYS / f"{Path(name).stem}.jpg"
        done, encoded = cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, 92])
        assert done
        write_bytes(path, encoded.tobytes())

    @property
    def draft(self) -> Path:
        """Where everything is until it is published; parts of the set may be written below it."""
        return self._draft

    def absorb(self, folder: Path) -> None:
        """Take over a prediction set of further pictures, made alike, from below `draft`."""
        self._take(folder, Path.rename)

    def _take(self, folder: Path, move: Callable[[Path, Path], object]) -> None:
        try:
            for name in self._parts:
                if (folder / name).is_dir():
                    for file in (folder / name).iterdir():
                        move(file, self._draft / name / file.name)
        except OSError as error:
            raise cannot_write(self.folder, error) from error
        if self._labels is not None:
            return
        if self.task == "sem_seg":
            self._masks.extend(folder / "sem_seg.json")
        else:
            self._score.extend(folder / "score.json")
            self._det.extend(folder / "det.json")
            if self._rle:
                self._rles.extend(folder / "ins_seg.json")

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
