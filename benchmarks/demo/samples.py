"""Training samples of the demo networks: frames of the mini set, kept in memory, augmented on the fly."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from bddzoo.datasets.classes import DET
from bddzoo.datasets.formats.mask import read_bitmask, read_mask
from bddzoo.datasets.layouts import BddLayout
from bddzoo.inference.batches import rescaled_size
from bddzoo.registry.model import Protocol


@dataclass
class Sample:
    """A frame at the protocol's scale: BGR image, and labels that move with it (nearest neighbour).

    Attributes:
        image: (h, w, 3).
        classes: (h, w) class map; of detectors that of semantic segmentation.
        bitmask: (h, w, 4) for instance segmentation.
        boxes: (N, 6) for detection: corners, the second ones outside; class; 1 where it is to be left alone.
    """

    image: np.ndarray
    classes: np.ndarray
    bitmask: np.ndarray | None = None
    boxes: np.ndarray | None = None


def load_samples(root: Path, task: str, protocol: Protocol) -> list[Sample]:
    """All frames of split `train`, resized as the test protocol resizes them."""
    layout, samples = BddLayout(root), []
    bitmasks = {f.stem: f.label for f in layout.listing("ins_seg", "train").frames}
    boxes = read_boxes(root) if task == "det" else {}
    for frame in layout.listing("drivable" if task == "drivable" else "sem_seg", "train").frames:
        image = cv2.imread(str(frame.image), cv2.IMREAD_COLOR)
        size = rescaled_size(image.shape[1], image.shape[0], protocol.scale)
        near = {"dsize": size, "interpolation": cv2.INTER_NEAREST}
        bitmask = None
        if task == "ins_seg":
            bitmask = cv2.resize(read_bitmask(bitmasks[frame.stem]), **near)
        moved = None
        if task == "det":
            factors = np.array([size[0] / image.shape[1], size[1] / image.shape[0]] * 2 + [1, 1])
            moved = boxes[frame.stem] * factors
        image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
        samples.append(Sample(image, cv2.resize(read_mask(frame.label), **near), bitmask, moved))
    return samples


def read_boxes(root: Path) -> dict[str, np.ndarray]:
    """Boxes of each frame of split `train`, by stem, as in `Sample`."""
    found = {}
    for frame in json.loads((root / "labels/det_20/det_train.json").read_text()):
        rows = [
            (
                *(label["box2d"][key] for key in ("x1", "y1")),
                *(label["box2d"][key] + 1 for key in ("x2", "y2")),
                DET.names.index(label["category"]),
                label["attributes"]["crowd"],
            )
            for label in frame["labels"]
        ]
        found[Path(frame["name"]).stem] = np.array(rows, np.float64).reshape(-1, 6)
    return found


def augment(
    sample: Sample, rng: np.random.Generator, scales: tuple[float, float], crop: tuple[int, int]
) -> Sample:
    """Rescale, crop or pad to `crop` (height, width), mirror, change brightness, contrast and colour."""
    height, width = sample.classes.shape
    factor = float(np.exp(rng.uniform(np.log(scales[0]), np.log(scales[1]))))
    size = (round(width * factor), round(height * factor))
    # The corner of the window in the resized frame; negative where the frame is smaller.
    corner = [_between(rng, crop[i] - size[1 - i]) for i in (0, 1)]
    mirror = rng.random() < 0.5
    planes: list[np.ndarray | None] = []
    for plane, way, fill in ((sample.image, 1, 114), (sample.classes, 0, 255), (sample.bitmask, 0, 0)):
        if plane is None:
            planes.append(None)
            continue
        moved = cv2.resize(plane, size, interpolation=way)
        out = np.full((*crop, *plane.shape[2:]), fill, np.uint8)
        y, x = corner
        part = moved[max(y, 0) : max(y, 0) + crop[0], max(x, 0) : max(x, 0) + crop[1]]
        out[max(-y, 0) : max(-y, 0) + part.shape[0], max(-x, 0) : max(-x, 0) + part.shape[1]] = part
        planes.append(np.ascontiguousarray(out[:, ::-1]) if mirror else out)
    boxes = sample.boxes
    if boxes is not None:
        y, x = corner
        boxes = boxes * np.array([size[0] / width, size[1] / height] * 2 + [1, 1]) - np.array(
            [x, y, x, y, 0, 0]
        )
        boxes[:, :4] = boxes[:, :4].clip(0, [crop[1], crop[0]] * 2)
        if mirror:
            boxes[:, [0, 2]] = crop[1] - boxes[:, [2, 0]]
        boxes = boxes[((boxes[:, 2:4] - boxes[:, :2]) > 2).all(axis=1)]
    image = planes[0].astype(np.float32)
    image = (image - 128.0) * rng.uniform(0.75, 1.3) + 128.0 + rng.uniform(-24, 24)
    image = image * rng.uniform(0.92, 1.08, size=3).astype(np.float32)
    return Sample(np.clip(image, 0, 255), planes[1], planes[2], boxes)


def _between(rng: np.random.Generator, room: int) -> int:
    return -int(rng.integers(0, room + 1)) if room >= 0 else int(rng.integers(0, -room + 1))


def to_tensor(image: np.ndarray, protocol: Protocol) -> torch.Tensor:
    """(3, h, w) float32, RGB, normalised and padded as the protocol says."""
    mean, std = (np.array(v, np.float32) for v in (protocol.mean, protocol.std))
    pixels = ((image[..., ::-1] - mean) / std).transpose(2, 0, 1)
    pad = [-n % protocol.pad_divisor for n in pixels.shape[1:]]
    return torch.from_numpy(np.pad(pixels, ((0, 0), (0, pad[0]), (0, pad[1]))).astype(np.float32))


def rare_first(samples: list[Sample], power: float = 0.5) -> np.ndarray:
    """Probability of each sample: frames with classes that few frames hold are drawn more often."""
    present = np.array([np.bincount(s.classes.ravel(), minlength=256)[:19] > 60 for s in samples], np.float64)
    rarity = (1.0 / np.maximum(present.mean(axis=0), 1e-3)) ** power
    weight = (present * rarity).max(axis=1)
    return weight / weight.sum()


def class_weights(samples: list[Sample], count: int) -> list[float]:
    """Weights of the classes in the loss: frequency to the power -0.25, mean 1, at most 3."""
    counts = sum(np.bincount(s.classes.ravel(), minlength=256)[:count].astype(np.float64) for s in samples)
    weights = (counts / counts.sum()) ** -0.25
    return [float(w) for w in np.minimum(weights / weights.mean(), 3.0)]


def batches(
    samples: list[Sample],
    chances: np.ndarray,
    size: int,
    count: int,
    seed: int,
    make: Callable[[list[Sample]], Any],
    scales: tuple[float, float],
    crop: tuple[int, int],
) -> Iterator[Any]:
    """`count` batches, made one ahead by a thread; the order depends on the seed alone."""
    ready: queue.Queue[Any] = queue.Queue(maxsize=3)

    def work() -> None:
        rng = np.random.default_rng(seed)
        for _ in range(count):
            picked = rng.choice(len(samples), size=size, p=chances)
            ready.put(make([augment(samples[i], rng, scales, crop) for i in picked]))

    threading.Thread(target=work, daemon=True).start()
    for _ in range(count):
        yield ready.get()


def sem_batch(protocol: Protocol) -> Callable[[list[Sample]], Any]:
    """Input tensor and data samples for mmsegmentation."""
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    def make(items: list[Sample]) -> Any:
        labels = []
        for item in items:
            # The network's output has a quarter of the input's size; half the size is enough for a loss.
            label = SegDataSample(metainfo={"img_shape": item.classes.shape, "ori_shape": item.classes.shape})
            label.gt_sem_seg = PixelData(data=torch.from_numpy(item.classes[::2, ::2].astype(np.int64))[None])
            labels.append(label)
        return torch.stack([to_tensor(i.image, protocol) for i in items]), labels

    return make


def ins_batch(protocol: Protocol, least_pixels: int = 24) -> Callable[[list[Sample]], Any]:
    """Input tensor and data samples for mmdet; ignored and crowd instances are regions to leave alone."""
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData

    def make(items: list[Sample]) -> Any:
        x = torch.stack([to_tensor(i.image, protocol) for i in items])
        pad = tuple(x.shape[2:])
        labels = []
        for item in items:
            if item.boxes is not None:
                labels.append(_boxes_sample(item, pad))
                continue
            ids = item.bitmask[..., 2].astype(np.int32) << 8 | item.bitmask[..., 3]
            kept, left = ([], [], []), []
            for number in np.unique(ids)[1:]:
                mask = ids == number
                rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
                box = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
                category, flags = item.bitmask[rows[0], np.flatnonzero(mask[rows[0]])[0]][:2]
                if flags & 3 or mask.sum() < least_pixels:
                    left.append(box)
                    continue
                padded = np.zeros(pad, np.uint8)
                padded[: mask.shape[0], : mask.shape[1]] = mask
                for values, value in zip(kept, (box, int(category) - 1, padded), strict=True):
                    values.append(value)
            sample = _data_sample(item, pad)
            sample.gt_instances = InstanceData(
                bboxes=torch.tensor(kept[0], dtype=torch.float32).reshape(-1, 4),
                labels=torch.tensor(kept[1], dtype=torch.long),
                masks=BitmapMasks(np.array(kept[2], np.uint8).reshape(-1, *pad), *pad),
            )
            sample.ignored_instances = InstanceData(
                bboxes=torch.tensor(left, dtype=torch.float32).reshape(-1, 4)
            )
            labels.append(sample)
        return x, labels

    return make


def _data_sample(item: Sample, pad: tuple[int, ...]) -> Any:
    from mmdet.structures import DetDataSample

    shape = item.classes.shape
    sizes = {"img_shape": shape, "ori_shape": shape, "pad_shape": pad, "batch_input_shape": pad}
    return DetDataSample(metainfo={**sizes, "scale_factor": (1.0, 1.0)})


def _boxes_sample(item: Sample, pad: tuple[int, ...]) -> Any:
    from mmengine.structures import InstanceData

    assert item.boxes is not None
    left = item.boxes[:, 5] > 0
    corners = torch.from_numpy(item.boxes[:, :4].astype(np.float32))
    sample = _data_sample(item, pad)
    classes = torch.from_numpy(item.boxes[~left, 4].astype(np.int64))
    sample.gt_instances = InstanceData(bboxes=corners[~left], labels=classes)
    sample.ignored_instances = InstanceData(bboxes=corners[left])
    return sample
