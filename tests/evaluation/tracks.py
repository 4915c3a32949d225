"""Videos with tracked objects, made up: boxes and masks that move, meet, vanish and come back."""

from pathlib import Path

import cv2
import numpy as np

from bddzoo.datasets.classes import INS_SEG
from tests.evaluation.cases import write_sides
from tests.evaluation.scenes import rle

DATA = Path(__file__).parents[1] / "data" / "tracking"
OTHERS = ("bike", "caravan", "person", "van", "other person", "other vehicle", "trailer")
SIZE = (720, 1280)


def _label(rng, number, category, corners, score=False):
    label = {
        "id": str(number),
        "category": category,
        "box2d": dict(zip(("x1", "y1", "x2", "y2"), corners, strict=True)),
    }
    if score:
        label["score"] = float(rng.random())
    return label


def _corners(rng, low, side, noise, grid):
    values = np.concatenate((low, low + side))
    if noise:
        values = values + rng.normal(0, noise, 4)
    values = np.round(values / grid) * grid
    return [float(v) for v in (values[0], values[1], max(values[2], values[0]), max(values[3], values[1]))]


def video(rng, name, *, frames=None, objects=None, classes=INS_SEG.names[:4], regions=True):
    """Frames of ground truth and of predictions.

    On a coarse grid, distances tie; ids of predictions change, and some of them are wrong.
    """
    frames = int(rng.integers(1, 8)) if frames is None else frames
    objects = int(rng.integers(0, 7)) if objects is None else objects
    grid = float(rng.choice([1e-6, 1, 8, 32]))
    noise = float(rng.choice([0, 2, 6, 15]))
    tracks = []
    for k in range(objects):
        category = str(rng.choice(OTHERS)) if regions and rng.random() < 0.15 else str(rng.choice(classes))
        flags = {key: True for key in ("crowd", "ignored") if regions and rng.random() < 0.08}
        spread = float(rng.choice([60, 600]))
        low = rng.uniform(0, spread, 2)
        side = np.exp(rng.uniform(2, 4.5, 2)) * (3 if flags else 1)
        tracks.append([k, category, flags, low, side, rng.normal(0, 8, 2), int(rng.integers(1, 90))])
    gt, pred = [], []
    for at in range(frames):
        truth, found = [], []
        for track in tracks:
            number, category, flags, low, side, speed, mine = track
            track[3] = low = low + speed
            if rng.random() < 0.2:
                continue
            label = _label(rng, number, category, _corners(rng, low, side, 0, grid))
            if flags:
                label["attributes"] = flags
            truth.append(label)
            if rng.random() < 0.15:
                track[6] = mine = int(rng.integers(1, 90))
            if rng.random() < 0.8:
                kind = category if rng.random() < 0.9 else str(rng.choice(classes))
                found.append(_label(rng, mine, kind, _corners(rng, low, side, noise, grid), score=True))
        for _ in range(int(rng.integers(0, 3))):
            low = rng.uniform(0, 300, 2)
            corners = _corners(rng, low, np.exp(rng.uniform(2, 4.5, 2)), 0, grid)
            kind = str(rng.choice(classes))
            found.append(_label(rng, int(rng.integers(100, 120)), kind, corners, score=True))
        seen, kept = set(), []
        for label in found:
            if label["id"] not in seen:
                seen.add(label["id"])
                kept.append(label)
        head = {"name": f"{name}-{at:07d}.jpg", "videoName": name, "frameIndex": at}
        gt.append({**head, "labels": truth or None})
        pred.append({**head, "labels": kept})
    return gt, pred


def world(rng, **settings):
    """Frames of several videos on both sides, those of the predictions in any order."""
    gt, pred = [], []
    for k in range(int(rng.integers(1, 4))):
        truth, found = video(rng, f"v{k}", **settings)
        gt += truth
        pred += found
    rng.shuffle(pred)
    return gt, pred


def masked(frames, size=SIZE, *, apart):
    """The same frames with masks of the boxes in place of them; `apart`: a pixel belongs to one label."""
    out = []
    for frame in frames:
        taken = np.zeros(size, bool)
        labels = []
        for label in frame["labels"] or []:
            mask = np.zeros(size, bool)
            x1, y1, x2, y2 = (int(max(v, 0)) for v in label["box2d"].values())
            mask[y1 : y2 + 1, x1 : x2 + 1] = True
            if apart:
                mask &= ~taken
                taken |= mask
            if not mask.any():
                continue
            labels.append({**{k: v for k, v in label.items() if k != "box2d"}, "rle": rle(mask)})
        out.append({**frame, "labels": labels})
    return out


def write(root: Path, gt, pred) -> tuple[Path, Path]:
    return write_sides(root, gt, {"frames": pred})


def of_bitmasks(root: Path):
    """Frames of JSON with the masks of bitmasks in a folder for each video."""
    out = []
    for video in sorted(root.iterdir()):
        for at, path in enumerate(sorted(video.glob("*.png"))):
            pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(int)
            ids = pixels[..., 0] << 8 | pixels[..., 3]
            labels = []
            for ident in np.unique(ids[ids > 0]).tolist():
                mask = ids == ident
                label = {"id": str(ident), "category": INS_SEG.names[pixels[mask][0, 2] - 1]}
                flags = pixels[mask][0, 1]
                label["attributes"] = {"ignored": bool(flags & 1), "crowd": bool(flags & 2)}
                label["rle"] = rle(mask)
                labels.append(label)
            out.append(
                {"name": f"{path.stem}.jpg", "videoName": video.name, "frameIndex": at, "labels": labels}
            )
    return out
