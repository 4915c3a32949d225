"""Tiny scenes for data sets of labelled pictures: shapes of some classes on a ground, drawn from a seed.

Nothing in them looks like the real pictures; sizes, values and file names do. Every picture has a rim of
void where the data set knows void, and classes change from picture to picture, so that a set has some
classes that are rare and some that are absent.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from bddzoo.datasets.openseg.sets import DataSet

# (width, height); sides that no stride divides among them, and an upright one.
SIZES = ((200, 150), (160, 212), (256, 128), (181, 150))
CITYSCAPES_SIZE = (512, 256)
_CLASSES_A_PICTURE = (4, 8)
_RIM = 3


def scene_files(dataset: str, splits: dict[str, int], seed: int) -> Iterable[str]:
    """Paths of all the files of a set, relative to its root."""
    for split, count in splits.items():
        for index in range(count):
            name = scene_name(dataset, seed, split, index)
            yield f"{split}/image/{name}{_suffix(dataset)}"
            yield f"{split}/label/{name}.png"


def scene_name(dataset: str, seed: int, split: str, index: int) -> str:
    """Stem of a picture and its label."""
    if dataset == "cityscapes":
        return f"mini{seed}{split}_{index:06d}_000019"
    return f"{dataset}_{seed:08x}_{split}_{index:06d}"


def write_scenes(draft: Path, dataset: DataSet, splits: dict[str, int], seed: int, progress: Any) -> None:
    """Draw all pictures of a set.

    Args:
        draft: Folder to write into.
        dataset: Whose values the labels have.
        splits: Number of pictures of each split.
        seed: Seed.
        progress: Called with (pictures done, pictures in all), or None.
    """
    import cv2

    done, total = 0, sum(splits.values())
    for split, count in splits.items():
        for index in range(count):
            image, classes = draw_scene(dataset, seed, split, index)
            name = scene_name(dataset.id, seed, split, index)
            for folder, suffix, pixels in (
                ("image", _suffix(dataset.id), image[:, :, ::-1]),
                ("label", ".png", _label(dataset, classes)),
            ):
                path = draft / split / folder / f"{name}{suffix}"
                path.parent.mkdir(parents=True, exist_ok=True)
                ok, content = cv2.imencode(suffix, pixels)
                if not ok:
                    raise OSError(f"OpenCV cannot encode {suffix} files")
                path.write_bytes(content.tobytes())
            done += 1
            if progress:
                progress(done, total)


def draw_scene(
    dataset: DataSet, seed: int, split: str, index: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """A picture (H, W, 3) uint8 RGB and its classes (H, W) uint8, 255 for void."""
    import cv2
    import numpy as np

    from bddzoo.datasets.classes import IGNORED
    from bddzoo.datasets.mini.draw import Draw

    draw = Draw(seed, split == "val", index, sum(dataset.id.encode()))
    width, height = CITYSCAPES_SIZE if dataset.id == "cityscapes" else SIZES[index % len(SIZES)]
    count = draw.integer(*_CLASSES_A_PICTURE)
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

    from bddzoo.datasets.classes import IGNORED

    pixels = dataset.to_files(classes)
    return np.where(classes == IGNORED, np.uint8(min(dataset.void, default=IGNORED)), pixels).astype(np.uint8)


def _suffix(dataset: str) -> str:
    return ".png" if dataset == "cityscapes" else ".jpg"
