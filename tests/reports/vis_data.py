"""Small images with labels in every format."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np

from bddzoo.datasets.formats.convert import convert
from bddzoo.datasets.formats.mask import write_mask, write_rgba

HEIGHT, WIDTH = 64, 96
NAMES = ("a b+c", "d#1%20", "ü", "e")


def class_map(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    out = np.full((HEIGHT, WIDTH), 10, np.uint8)
    out[HEIGHT // 2 :] = 0
    for value in (2, 8, 13, 255):
        x, y = int(rng.integers(WIDTH - 20)), int(rng.integers(HEIGHT - 20))
        out[y : y + 20, x : x + 20] = value
    return out


def bitmask(seed: int, *, flags: bool = False) -> np.ndarray:
    rng = np.random.default_rng(seed)
    out = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    for ident in (1, 2, 300):
        x, y = int(rng.integers(WIDTH - 24)), int(rng.integers(HEIGHT - 16))
        flag = int(rng.integers(4)) if flags else 0
        out[y : y + 16, x : x + 24] = (int(rng.integers(1, 9)), flag, ident >> 8, ident & 255)
    return out


def photo(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (8, 12, 3), dtype=np.uint8)
    return cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


def make(root: Path) -> Path:
    """images/, masks/, bitmasks/, pan/ and the same as RLE, COCO, colours and archives."""
    (root / "images").mkdir(parents=True)
    for seed, name in enumerate(NAMES):
        cv2.imencode(".png", photo(seed))[1].tofile(str(root / "images" / f"{name}.png"))
        write_mask(root / "masks" / f"{name}.png", class_map(seed))
        write_rgba(root / "bitmasks" / f"{name}.png", bitmask(seed))
        panoptic = bitmask(seed)
        panoptic[..., 0] = np.where(panoptic[..., 3] > 1, 35, 7) * (panoptic[..., 0] > 0)
        write_rgba(root / "pan" / f"{name}.png", panoptic)
    convert("sem_seg", root / "masks", root / "masks.json", "rle")
    convert("sem_seg", root / "masks", root / "colours", "color")
    convert("ins_seg", root / "bitmasks", root / "bitmasks.json", "rle")
    convert("ins_seg", root / "bitmasks", root / "coco.json", "coco")
    for kind in ("images", "masks", "bitmasks"):
        shutil.make_archive(str(root / kind), "zip", root, kind)
    return root


def read(path) -> np.ndarray:
    return cv2.imdecode(np.fromfile(str(path), np.uint8), cv2.IMREAD_COLOR)


def warnings(done) -> list[str]:
    return [line for line in done.stderr.splitlines() if line.startswith("warning:")]


def images_in(folder) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.suffix in (".jpg", ".png"))
