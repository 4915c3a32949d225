"""Small random label maps and bitmasks, and the seeds that they are drawn from."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from pycocotools import mask as coco

seeds = st.integers(0, 2**32 - 1)


def rle(mask: np.ndarray) -> dict:
    """A mask as pycocotools encodes it, for a file of frames."""
    encoded = coco.encode(np.asfortranarray(mask, np.uint8))
    return {"counts": encoded["counts"].decode(), "size": list(mask.shape)}


def class_map(rng: np.random.Generator, shape=(24, 40), classes=19, odd=(255,)) -> np.ndarray:
    """A map of random blocks; some blocks hold values that are not a class."""
    out = np.full(shape, rng.integers(classes), np.uint8)
    for _ in range(int(rng.integers(1, 12))):
        y, x = rng.integers(shape[0]), rng.integers(shape[1])
        h, w = rng.integers(1, shape[0] + 1), rng.integers(1, shape[1] + 1)
        value = rng.choice(odd) if rng.random() < 0.2 else rng.integers(classes)
        out[y : y + h, x : x + w] = value
    return out


def disturbed(rng: np.random.Generator, truth: np.ndarray, classes=19, odd=(19, 200, 255)) -> np.ndarray:
    """A prediction for a class map: right in most places."""
    noise = class_map(rng, truth.shape, classes, odd)
    keep = class_map(rng, truth.shape, 2, (0,)) == 0
    return np.where(keep & (truth < classes), truth, noise).astype(np.uint8)


def objects(rng: np.random.Generator, count: int, shape=(72, 120), flags=(0,), ids=None, classes=8):
    """Random objects: (id, category, flags, y0, y1, x0, x1)."""
    ids = ids if ids is not None else rng.permutation(np.arange(1, 700))[:count]
    out = []
    for i in range(count):
        y, x = rng.integers(shape[0] - 2), rng.integers(shape[1] - 2)
        h, w = rng.integers(2, shape[0]), rng.integers(2, shape[1])
        if rng.random() < 0.6:
            h, w = 2 + h // 4, 2 + w // 4
        category = int(rng.integers(1, classes + 1))
        out.append((int(ids[i]), category, int(rng.choice(flags)), int(y), int(y + h), int(x), int(x + w)))
    return out


def paint(items, shape=(72, 120)) -> np.ndarray:
    """Bitmask of objects, later ones over earlier ones."""
    out = np.zeros((*shape, 4), np.uint8)
    for ident, category, flag, y0, y1, x0, x1 in items:
        out[y0:y1, x0:x1] = (category, flag, ident >> 8, ident & 255)
    return out


def moved(rng: np.random.Generator, items, shape=(72, 120), classes=8):
    """Detections near the objects: shifted, dropped, doubled, of another class."""
    out = []
    free = list(rng.permutation(np.arange(1, 900))[: 3 * len(items) + 6])
    for _, category, _, y0, y1, x0, x1 in items:
        for _ in range(int(rng.choice([0, 1, 1, 1, 2]))):
            dy, dx = rng.integers(-2, 3), rng.integers(-3, 4)
            if rng.random() < 0.3:
                dy = dx = 0
            label = category if rng.random() < 0.85 else int(rng.integers(1, classes + 1))
            top, left = max(0, y0 + dy), max(0, x0 + dx)
            bottom, right = max(top + 1, y1 + dy), max(left + 1, x1 + dx)
            out.append((int(free.pop()), label, 0, int(top), int(bottom), int(left), int(right)))
    for extra in objects(rng, int(rng.integers(0, 4)), shape, classes=classes):
        out.append((int(free.pop()), *extra[1:]))
    rng.shuffle(out)
    return [tuple(int(v) for v in item) for item in out]


def ins_frame(rng: np.random.Generator, shape=(72, 120), flags=(0, 0, 0, 1, 2, 3, 4, 8)):
    """Ground truth bitmask, prediction bitmask, and score entries with ties and leftovers."""
    truth = objects(rng, int(rng.integers(0, 9)), shape, flags)
    found = moved(rng, truth, shape)
    scores = [{"index": d[0], "score": float(rng.integers(1, 9)) / 8} for d in found]
    if rng.random() < 0.3:
        scores.append({"index": 999, "score": 0.5})
    gt, pred = paint(truth, shape), paint(found, shape)
    # The toolkit cannot take a frame without background; neither kind should be the test here.
    gt[0, 0] = pred[0, 0] = 0
    return gt, pred, scores
