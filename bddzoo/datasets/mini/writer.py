"""Write the mini set in the official layout, as a whole or not at all.

    images/10k/{train,val}/*.jpg                 1280x720
    labels/sem_seg/masks/{train,val}/*.png       class ids 0..18, 255
    labels/drivable/masks/{train,val}/*.png      0 direct, 1 alternative, 2 background
    labels/ins_seg/bitmasks/{train,val}/*.png    RGBA
    labels/pan_seg/bitmasks/{train,val}/*.png    RGBA
    labels/det_20/det_{train,val}.json           weather, scene, time of day and boxes of each frame
    mini.json                                    how it was made

The labels are the same to the bit on every machine; the bytes of the JPEG files may differ between
versions of OpenCV and of the JPEG library.

With `dataset`, tiny images in the layout of another data set: shapes of some classes on a ground. Nothing in
them looks like the real images; sizes, values and file names do. Every image has a rim of void where the data
set knows void, and classes change from image to image, so that some are rare and some absent.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bddzoo.datasets.classes import IGNORED
from bddzoo.datasets.openseg import data_set
from bddzoo.errors import MissingError, UsageError
from bddzoo.reading import json_errors, read_limited

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from bddzoo.datasets.mini.frame import MiniFrame
    from bddzoo.datasets.openseg import DataSet

# (width, height); sides that no stride divides among them, and an upright one.
SIZES = ((200, 150), (160, 212), (256, 128), (181, 150))
CITYSCAPES_SIZE = (512, 256)
_CLASSES_AN_IMAGE = (4, 8)
_RIM = 3


def scene_files(dataset: str, splits: dict[str, int], seed: int) -> Iterable[str]:
    """Paths of all the files of a set, relative to its root."""
    for split, count in splits.items():
        for index in range(count):
            name = scene_name(dataset, seed, split, index)
            yield f"{split}/image/{name}{_suffix(dataset)}"
            yield f"{split}/label/{name}.png"


def scene_name(dataset: str, seed: int, split: str, index: int) -> str:
    """Stem of an image and its label."""
    if dataset == "cityscapes":
        return f"mini{seed}{split}_{index:06d}_000019"
    return f"{dataset}_{seed:08x}_{split}_{index:06d}"


def write_scenes(draft: Path, dataset: DataSet, splits: dict[str, int], seed: int, progress: Any) -> None:
    """Draw all images of a set.

    Args:
        draft: Folder to write into.
        dataset: Whose values the labels have.
        splits: Number of images of each split.
        seed: Seed.
        progress: Called with (images done, images in all), or None.
    """
    done, total = 0, sum(splits.values())
    for split, count in splits.items():
        for index in range(count):
            image, classes = draw_scene(dataset, seed, split, index)
            name = scene_name(dataset.id, seed, split, index)
            for folder, suffix, pixels in (
                ("image", _suffix(dataset.id), image[:, :, ::-1]),
                ("label", ".png", _label(dataset, classes)),
            ):
                _write_image(draft / split / folder / f"{name}{suffix}", pixels)
            done += 1
            if progress:
                progress(done, total)


def draw_scene(
    dataset: DataSet, seed: int, split: str, index: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """An image (H, W, 3) uint8 RGB and its classes (H, W) uint8, 255 for void."""
    import cv2
    import numpy as np

    from bddzoo.datasets.mini.draw import Draw

    draw = Draw(seed, split == "val", index, sum(dataset.id.encode()))
    width, height = CITYSCAPES_SIZE if dataset.id == "cityscapes" else SIZES[index % len(SIZES)]
    count = draw.integer(*_CLASSES_AN_IMAGE)
    present = [draw.integer(0, len(dataset.ids) - 1) for _ in range(count)]
    classes = np.full((height, width), present[0], np.uint8)
    for label in present[1:]:
        centre = (draw.integer(0, width), draw.integer(0, height))
        half = (draw.integer(width // 12, width // 4), draw.integer(height // 12, height // 3))
        if draw.chance(0.5):
            cv2.ellipse(classes, centre, half, 0, 0, 360, int(label), -1)
        else:
            corners = [(centre[0] - half[0], centre[1] - half[1]), (centre[0] + half[0], centre[1] + half[1])]
            cv2.rectangle(classes, corners[0], corners[1], int(label), -1)
    palette = np.array([*dataset.classes.palette, (0, 0, 0)], np.int16)
    shown = palette[np.minimum(classes, len(palette) - 1)]
    grain = draw.noise(height, width).astype(np.int16) // 8 - 16
    image = np.clip(shown + grain[:, :, None], 0, 255).astype(np.uint8)
    if dataset.void:
        classes[:_RIM] = classes[:, :_RIM] = IGNORED
    return image, classes


def _label(dataset: DataSet, classes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    import numpy as np

    pixels = dataset.to_files(classes)
    return np.where(classes == IGNORED, np.uint8(min(dataset.void, default=IGNORED)), pixels).astype(np.uint8)


def _suffix(dataset: str) -> str:
    return ".png" if dataset == "cityscapes" else ".jpg"


GENERATOR = "bddzoo mini"
VERSION = 1
MARKER = "mini.json"
DEFAULT_VAL = 24
_JPEG_QUALITY = 92

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class MiniReport:
    """What `make_mini` did.

    Attributes:
        root: The data set.
        train, val: Number of frames of each split.
        seed: Seed.
        made: False where the same set was there already.
        dataset: Data set whose layout it has; None for BDD100K's.
    """

    root: Path
    train: int
    val: int
    seed: int
    made: bool
    dataset: str | None = None


def frame_name(seed: int, split: str, index: int) -> str:
    """Name of a frame without its suffix, shaped like those of BDD100K; unique over splits and seeds."""
    return f"{seed:08x}-{'ab'[split == 'val']}{index:07x}"


def make_mini(
    root: Path,
    seed: int = 0,
    train: int = 0,
    val: int = DEFAULT_VAL,
    progress: Progress | None = None,
    dataset: str | None = None,
) -> MiniReport:
    """Make the mini set.

    It is built next to the target and renamed when complete, so that an interruption leaves nothing
    half made. A folder that already holds the same set is left as it is; another mini set is replaced.

    Args:
        root: Folder to make; absent, empty, or a mini set.
        seed: Seed, 0..2**32 - 1. A frame depends on seed, split and its own number alone.
        train: Frames of split `train`.
        val: Frames of split `val`.
        progress: Called with (frames done, frames in all).
        dataset: Data set whose layout and labels it has, one of `bddzoo.datasets.openseg.DATA_SETS`; None for
            street scenes in BDD100K's layout.

    Raises:
        UsageError: No such data set; the folder holds something else, or the numbers make no sense.
        MissingError: The folder cannot be written.
    """
    if not 0 <= seed < 2**32:
        raise UsageError(f"seed {seed} is out of range", hint="give a number from 0 to 4294967295")
    if train < 0 or val < 0 or train + val == 0:
        raise UsageError(
            f"a set of {train} train and {val} val frames cannot be made", hint="give --val or --train"
        )
    root = Path(root)
    meta: dict[str, Any] = {
        "generator": GENERATOR,
        "version": VERSION,
        "seed": seed,
        "train": train,
        "val": val,
    }
    if dataset is not None:
        meta["dataset"] = data_set(dataset).id
    if _holds(root, meta):
        return MiniReport(root, train, val, seed, False, dataset)
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{root.name}.", suffix=".part", dir=root.parent))
        try:
            _build(draft, meta, progress)
            draft.chmod(0o755)
            _put(draft, root)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        where = error.filename or root
        raise MissingError(
            f"cannot write {where}: {error.strerror or error}", hint="choose a folder that you may write to"
        ) from error
    return MiniReport(root, train, val, seed, True, dataset)


def read_marker(root: Path) -> dict[str, Any] | None:
    """How a mini set was made, or None where the folder holds none."""
    try:
        meta = json.loads(read_limited(root / MARKER))
    except json_errors(OSError):
        return None
    return meta if isinstance(meta, dict) and meta.get("generator") == GENERATOR else None


def _holds(root: Path, meta: dict[str, Any]) -> bool:
    """Whether the folder holds exactly this set; refuses folders that are not ours to replace."""
    if not root.exists():
        if root.is_symlink():
            raise UsageError(f"{root} is a link to nothing", hint="remove it or choose another folder")
        return False
    if not root.is_dir():
        raise UsageError(f"{root} is a file", hint="choose a folder")
    there = read_marker(root)
    if there is None:
        if any(root.iterdir()):
            raise UsageError(
                f"{root} is not empty and holds no mini set", hint="choose a new folder; nothing was changed"
            )
        return False
    return there == meta and all((root / path).is_file() for path in _files(meta))


def _splits(meta: dict[str, Any]) -> dict[str, int]:
    return {split: meta[split] for split in ("train", "val")}


def _files(meta: dict[str, Any]) -> Iterable[str]:
    if "dataset" in meta:
        yield from scene_files(meta["dataset"], _splits(meta), meta["seed"])
        return
    for split in ("train", "val"):
        for index in range(meta[split]):
            yield from _frame_files(split, frame_name(meta["seed"], split, index))
        if meta[split]:
            yield f"labels/det_20/det_{split}.json"


def _frame_files(split: str, name: str) -> tuple[str, ...]:
    """Image, class maps (sem_seg, drivable) and bitmasks (ins_seg, pan_seg) of a frame."""
    return (
        f"images/10k/{split}/{name}.jpg",
        f"labels/sem_seg/masks/{split}/{name}.png",
        f"labels/drivable/masks/{split}/{name}.png",
        f"labels/ins_seg/bitmasks/{split}/{name}.png",
        f"labels/pan_seg/bitmasks/{split}/{name}.png",
    )


def _put(draft: Path, root: Path) -> None:
    if not root.exists():
        draft.rename(root)
        return
    # The old set steps aside first, so that its name never stands for a mixture of both.
    aside = Path(tempfile.mkdtemp(prefix=f".{root.name}.", suffix=".old", dir=root.parent))
    try:
        root.rename(aside / root.name)
        draft.rename(root)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _build(draft: Path, meta: dict[str, Any], progress: Progress | None) -> None:
    if "dataset" in meta:
        write_scenes(draft, data_set(meta["dataset"]), _splits(meta), meta["seed"], progress)
    else:
        _build_streets(draft, meta, progress)
    (draft / MARKER).write_text(json.dumps(meta, indent=2) + "\n", "utf-8")


def _build_streets(draft: Path, meta: dict[str, Any], progress: Progress | None) -> None:
    from bddzoo.datasets.mini.frame import render

    done, total = 0, meta["train"] + meta["val"]
    for split in ("train", "val"):
        rows = []
        for index in range(meta[split]):
            frame = render(meta["seed"], split, index)
            name = frame_name(meta["seed"], split, index)
            _write_frame(draft, split, name, frame)
            rows.append(_row(name, frame))
            done += 1
            if progress:
                progress(done, total)
        if rows:
            path = draft / "labels" / "det_20" / f"det_{split}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")


def _write_frame(draft: Path, split: str, name: str, frame: MiniFrame) -> None:
    import cv2

    jpeg = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    png = [cv2.IMWRITE_PNG_COMPRESSION, 6]
    bitmasks = (cv2.cvtColor(bitmask, cv2.COLOR_RGBA2BGRA) for bitmask in (frame.bitmask, frame.panoptic))
    planes = (cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR), frame.sem, frame.drivable, *bitmasks)
    for path, pixels in zip(_frame_files(split, name), planes, strict=True):
        _write_image(draft / path, pixels, jpeg if path.endswith(".jpg") else png)


def _write_image(path: Path, pixels: npt.NDArray[Any], options: Sequence[int] = ()) -> None:
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    ok, content = cv2.imencode(path.suffix, pixels, options)
    if not ok:
        raise OSError(f"OpenCV cannot encode {path.suffix} files")
    path.write_bytes(content.tobytes())


def _row(name: str, frame: MiniFrame) -> dict[str, Any]:
    labels = [
        {
            "id": str(number),
            "attributes": {"occluded": box.occluded, "truncated": box.truncated, "crowd": box.crowd},
            "category": box.category,
            "box2d": dict(zip(("x1", "y1", "x2", "y2"), box.corners, strict=True)),
        }
        for number, box in enumerate(frame.boxes, 1)
    ]
    return {"name": f"{name}.jpg", "attributes": frame.attributes, "timestamp": 10000, "labels": labels}
