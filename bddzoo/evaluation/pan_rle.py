"""Panoptic statistics of one frame from a pair of frames with RLE labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bddzoo.datasets.formats.frames import Frames, Label, label_flag, masked_labels
from bddzoo.errors import MissingError
from bddzoo.evaluation.frame_warnings import FrameResult
from bddzoo.evaluation.metrics.panseg import FN, FP, IOU, PAN_CLASSES, STUFF_COUNT, TP
from bddzoo.evaluation.options import Options
from bddzoo.evaluation.pairing import FramePair
from bddzoo.evaluation.rle_frames import decode_labels, mask_pixels


@dataclass(frozen=True)
class _Segments:
    """Segments of a frame as the toolkit orders them: by class, stuff of a class being one segment.

    Attributes:
        rles: Masks in pycocotools' form.
        classes: (N,) class of each, from 0.
        masks: Whether there was any label of a class, with a mask.
        overlapping: Whether two labels share a pixel.
        size: (H, W), or None without masks.
    """

    rles: list[dict[str, Any]]
    classes: NDArray[np.int64]
    masks: bool
    overlapping: bool
    size: tuple[int, int] | None


@dataclass(frozen=True)
class PanRleWork:
    """Scores pairs of frames as `scalabel.eval.pan_seg` does.

    Other than from bitmasks, crowd and ignored segments are left out on both sides, and so are labels of
    unknown categories.

    Attributes:
        gt: Ground truth.
        pred: Predictions.
        options: How strictly.
    """

    gt: Frames
    pred: Frames
    options: Options
    _index: dict[str, int] = field(default_factory=lambda: {n: i for i, n in enumerate(PAN_CLASSES)})

    def panoptic(self, pair: FramePair) -> FrameResult:
        """Statistics (4, classes) of two frames: summed IoU, TP, FP, FN."""
        remarks: list[tuple[str, str]] = []
        out = np.zeros((4, len(PAN_CLASSES)))
        truth = self._segments(self.gt, pair.gt, remarks)
        pred = None if pair.pred is None else self._segments(self.pred, pair.pred, remarks)
        if pred is not None and pair.pred is not None:
            where = self.pred.where(pair.pred)
            if pred.overlapping:
                remarks.append(("overlap", where))
                pred = None
            elif pred.masks and not pred.rles:
                remarks += self.options.crashes("blank", where, "no segment that counts")
        if pred is None or not pred.masks:
            np.add.at(out[FN], truth.classes, 1)
            return FrameResult(out, remarks)
        if truth.size and pred.size and pred.size != truth.size and not self.options.official:
            raise MissingError(f"{where}: {_text(pred.size)}, the ground truth is {_text(truth.size)}")
        if not truth.rles:
            remarks += self.options.crashes("bare", self.gt.where(pair.gt), "no segment that counts")
        _match(out, truth, pred)
        return FrameResult(out, remarks)

    def _segments(self, frames: Frames, at: int, remarks: list[tuple[str, str]]) -> _Segments:
        where = frames.where(at)
        labels = masked_labels(frames.frame(at), where, remarks)
        known = [label for label in labels if label.category in self._index]
        for label in labels:
            if label.category not in self._index:
                remarks.append(("category", f"{frames.source.path}, {label.category}"))
        sizes = {label.rle.size for label in known if label.rle}
        if len(sizes) > 1:
            raise MissingError(f"{where}: masks of different sizes: {sorted(sizes)}")
        size = next(iter(sizes), None)
        overlapping = size is not None and decode_labels(known, mask_pixels(size, where), where).overlapping()
        counted = [k for k in known if not (label_flag(k, "crowd") or label_flag(k, "ignored"))]
        rles: list[dict[str, Any]] = []
        classes: list[int] = []
        for index in sorted({self._index[k.category or ""] for k in counted}):
            mine = [k for k in counted if self._index[k.category or ""] == index]
            found = [_plain(k) for k in mine]
            if index < STUFF_COUNT:
                found = [self._joined(found, where, remarks)]
            rles += found
            classes += [index] * len(found)
        return _Segments(rles, np.array(classes, np.int64), bool(known), overlapping, size)

    def _joined(
        self, rles: Sequence[dict[str, Any]], where: str, remarks: list[tuple[str, str]]
    ) -> dict[str, Any]:
        """One mask of all masks of a stuff class."""
        from pycocotools import mask as coco

        if len(rles) == 1:
            return rles[0]
        merged: dict[str, Any] = coco.merge(list(rles))
        if coco.area(merged) != sum(coco.area(r) for r in rles):
            remarks.append(("stuff", where))
            if self.options.official:
                # The toolkit adds the masks up and encodes the sums; the encoder takes each change of
                # value for the start or the end of a run.
                total = sum(coco.decode(r) for r in rles)
                merged = coco.encode(np.asfortranarray(total, np.uint8))
        return merged


def _match(out: NDArray[np.float64], truth: _Segments, pred: _Segments) -> None:
    """Each true segment takes the prediction of its class with the highest IoU, if that is above one half.

    A prediction that nothing took is a false positive if at least half of it lies on segments that count.
    """
    from pycocotools import mask as coco

    count = len(truth.rles)
    if not count or not pred.rles:
        np.add.at(out[FN], truth.classes, 1)
        return
    iou = coco.iou(pred.rles, truth.rles, [0] * count).T * (truth.classes[:, None] == pred.classes[None, :])
    inside = coco.iou(pred.rles, truth.rles, [1] * count).sum(axis=1)
    best, highest = iou.argmax(axis=1), iou.max(axis=1)
    found = highest > 0.5
    np.add.at(out[TP], truth.classes[found], 1)
    np.add.at(out[IOU], truth.classes[found], highest[found])
    np.add.at(out[FN], truth.classes[~found], 1)
    false = ~(1 - inside > 0.5)
    false[best[found]] = False
    np.add.at(out[FP], pred.classes[false], 1)


def _plain(label: Label) -> dict[str, Any]:
    assert label.rle
    return {"size": list(label.rle.size), "counts": label.rle.counts.encode()}


def _text(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"
