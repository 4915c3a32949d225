"""Statistics of one frame from a pair of frames with RLE labels: classes, instances, panoptic segments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bddzoo.datasets.classes import CLASS_SETS, PAN_SEG, PAN_STUFF
from bddzoo.datasets.formats.frames import (
    INS_ALIASES,
    Frames,
    Label,
    category_kinds,
    label_flag,
    masked_labels,
    one_size,
)
from bddzoo.datasets.formats.rle import MaskRuns, RleError, decode_runs, mask_pixels
from bddzoo.datasets.native import native
from bddzoo.errors import MissingError
from bddzoo.evaluation.jobs import FrameResult, matched
from bddzoo.evaluation.metrics.matching import CROWD, SHARING, Candidates, remarkable
from bddzoo.evaluation.metrics.panseg import FN, FP, IOU, TP
from bddzoo.evaluation.metrics.semseg import (
    ClassRuns,
    class_runs,
    decode_class_runs,
    runs_confusion,
    shape_text,
    spills,
)
from bddzoo.evaluation.options import MASK_HEIGHT, MASK_WIDTH, Options
from bddzoo.evaluation.pairing import FramePair, match_batch
from bddzoo.lazy_numpy import np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class RleWork:
    """Scores pairs of frames with RLE labels.

    Attributes:
        gt: Ground truth.
        pred: Predictions.
        class_names: Names of the classes.
        options: How strictly.
        silent: Categories that may occur without being a class (drivable's background).
        official_input: Both sides are files that the official toolkit can compare.
    """

    gt: Frames
    pred: Frames
    class_names: Sequence[str]
    options: Options
    silent: frozenset[str] = frozenset()
    official_input: bool = True
    _index: dict[str, int] = field(default_factory=dict)
    # Class of every category of instances, and whether it is an ignored one.
    _instance_kinds: dict[str | None, tuple[int, bool]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._index.update({n: i for i, n in enumerate(self.class_names)})
        self._instance_kinds.update(category_kinds(self.class_names))

    def semantic(self, pair: FramePair) -> FrameResult:
        """Confusion matrix (classes, classes + 1) of two frames."""
        remarks: list[tuple[str, str]] = []
        gt, gt_size = self._runs(self.gt, pair.gt, remarks)
        if pair.pred is None:
            pred, pred_size = class_runs(decode_runs([], gt.pixels), np.zeros(0, np.uint8)), gt_size
        else:
            pred, pred_size = self._runs(self.pred, pair.pred, remarks)
        gt_size, pred_size = gt_size or pred_size, pred_size or gt_size
        if gt_size != pred_size and pair.pred is not None:
            raise MissingError(f"{self.pred.where(pair.pred)}: {pred_size}, the ground truth is {gt_size}")
        # A side without labels is as large as the other one.
        pixels = max(pred.pixels if pred_size else 0, gt.pixels if gt_size else 0)
        if pixels:
            gt, pred = (ClassRuns(r.starts, r.values, pixels) for r in (gt, pred))
        counts = runs_confusion(gt, pred, len(self.class_names))
        if self.silent and pair.pred is not None:
            lengths = np.diff(pred.starts, append=pred.pixels)
            if spills(counts, int(lengths[pred.values < len(self.class_names)].sum()), pred.pixels):
                remarks.append(("spill", self.pred.where(pair.pred)))
        return FrameResult(counts, remarks)

    def _runs(self, frames: Frames, at: int, remarks: list[tuple[str, str]]) -> tuple[ClassRuns, str]:
        """Class map of a frame, and its size as text ("" without labels)."""
        where = frames.where(at)
        labels, classes = [], []
        for label in masked_labels(frames.frame(at), where, remarks):
            if label.category in self._index:
                labels.append(label)
                classes.append(self._index[label.category])
            elif label.category not in self.silent:
                remarks.append(("category", f"{frames.source.path}, {label.category}"))
        pixels, size = self._size(labels, where, remarks)
        try:
            return decode_class_runs(_counts(labels), np.array(classes, np.uint8), pixels), size
        except RleError as error:
            raise _malformed(labels, error, pixels, where) from None

    def _size(self, labels: Sequence[Label], where: str, remarks: list[tuple[str, str]]) -> tuple[int, str]:
        standard = (MASK_HEIGHT, MASK_WIDTH)
        if labels and all(label.rle and label.rle.size == standard for label in labels):
            return MASK_HEIGHT * MASK_WIDTH, "1280x720"
        size = one_size(labels, where)
        if size is None:
            return MASK_HEIGHT * MASK_WIDTH, ""
        if self.official_input:
            remarks += self.options.crashes("size", where, f"masks of {size[1]}x{size[0]}, not 1280x720")
        return mask_pixels(size, where), f"{size[1]}x{size[0]}"

    def instances(self, pair: FramePair) -> FrameResult:
        """`FrameMatches` of two frames, as COCO matches masks."""
        remarks: list[tuple[str, str]] = []
        gt, gt_class, gt_ignored = self._objects(self.gt, pair.gt, remarks)
        pred: list[Label] = []
        pred_class = np.zeros(0, np.int64)
        where = ""
        if pair.pred is not None:
            where = self.pred.where(pair.pred)
            pred, pred_class, _ = self._objects(self.pred, pair.pred, remarks)
            for label in pred:
                if label.score is None or not np.isfinite(label.score):
                    raise MissingError(f"{where}: a label of category {label.category} has no score")
        truth = self.gt.where(pair.gt)
        kinds, true_kinds = pred_class, gt_class
        if self.options.errors:
            # Masks of different classes are compared, too.
            kinds, true_kinds = np.zeros_like(pred_class), np.zeros_like(gt_class)
        areas, iou, overlap = frame_iou(pred, kinds, where, gt, true_kinds, gt_ignored, truth)
        pred_areas, gt_areas = areas[: len(pred)], areas[len(pred) :]
        if overlap:
            remarks.append(("overlap", where))
            pred, pred_class, pred_areas, iou = [], pred_class[:0], pred_areas[:0], iou[:0]
        if (iou < 0).any() and not self.options.official:
            raise MissingError(f"{where}: masks of another size than the ground truth's")
        scores = np.array([label.score for label in pred], np.float64)
        found = Candidates(
            iou, scores, pred_class, pred_areas, gt_class, gt_areas, gt_ignored, gt_crowd=gt_ignored
        )
        return matched(found, len(self.class_names), self.options, remarks, coco=True)

    def batch(self, pairs: Sequence[FramePair]) -> list[FrameResult | None]:
        """Matches of everyday frames, from their JSON in one go; None for the others."""
        found, _ = match_batch(self.gt, self.pred, pairs, self._instance_kinds, len(self.class_names))
        return [
            None if r is None else FrameResult(r, self._warnings(p, remarkable(r)))
            for p, r in zip(pairs, found, strict=True)
        ]

    def _warnings(self, pair: FramePair, said: int) -> list[tuple[str, str]]:
        remarks = []
        if said & CROWD:
            remarks.append(("crowd", self.gt.where(pair.gt)))
        if said & SHARING and pair.pred is not None:
            remarks.append(("overlap", self.pred.where(pair.pred)))
        return remarks

    def _objects(
        self, frames: Frames, at: int, remarks: list[tuple[str, str]]
    ) -> tuple[list[Label], NDArray[np.int64], NDArray[np.bool_]]:
        """Labels with masks, their class indices, and whether they are crowd or ignored."""
        where = frames.where(at)
        labels, classes, ignored = [], [], []
        crowd_only = False
        frame = frames.frame(at)
        for label in frame.labels or []:
            kind = self._instance_kinds.get(label.category)
            if kind is None:
                raise MissingError(
                    f"{where}: unknown category {label.category!r}",
                    hint="known are " + ", ".join(map(str, self._instance_kinds)),
                )
            if label.rle is None:
                continue
            index, neutral = kind
            crowd = False
            if label.attributes:
                crowd = label_flag(label, "crowd")
                neutral |= label_flag(label, "ignored")
                crowd_only |= crowd and not neutral
            labels.append(label)
            classes.append(index)
            ignored.append(crowd or neutral)
        if len(labels) < len(frame.labels or ()):
            masked_labels(frame, where, remarks)
        if crowd_only and frames is self.gt:
            remarks.append(("crowd", where))
        return labels, np.array(classes, np.int64), np.array(ignored, np.bool_)


def frame_iou(
    pred: Sequence[Label],
    pred_class: NDArray[np.int64],
    pred_where: str,
    gt: Sequence[Label],
    gt_class: NDArray[np.int64],
    crowd: NDArray[np.bool_],
    gt_where: str,
) -> tuple[NDArray[np.float64], NDArray[np.float64], bool]:
    """Areas of predictions and objects, their IoU, and whether predictions share pixels."""
    sizes = {label.rle.size for labels in (pred, gt) for label in labels if label.rle}
    loops = native()
    if loops is not None and len(sizes) == 1:
        pixels = mask_pixels(sizes.pop(), pred_where or gt_where)
        found = loops.mask_iou(
            [*_counts(pred), *_counts(gt)], len(pred), pixels, np.concatenate((pred_class, gt_class)), crowd
        )
        if not isinstance(found, int):
            return found
    gt_areas, _ = _areas(gt, gt_where)
    pred_areas, overlap = _areas(pred, pred_where)
    iou = np.zeros((len(pred), len(gt))) if overlap else mask_iou(pred, pred_class, gt, gt_class, crowd)
    return np.concatenate((pred_areas, gt_areas)), iou, overlap


def mask_iou(
    pred: Sequence[Label],
    pred_class: NDArray[np.int64],
    gt: Sequence[Label],
    gt_class: NDArray[np.int64],
    crowd: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """(pred, gt) IoU of masks of the same class by pycocotools; over the prediction for crowds."""
    from pycocotools import mask as coco

    out = np.zeros((len(pred), len(gt)))

    def objects(labels: Sequence[Label], which: NDArray[np.int64]) -> list[dict[str, object]]:
        return [_plain(labels[i]) for i in which.tolist()]

    for c in np.unique(pred_class).tolist():
        rows, columns = np.flatnonzero(pred_class == c), np.flatnonzero(gt_class == c)
        if columns.size:
            pairs = coco.iou(objects(pred, rows), objects(gt, columns), crowd[columns].astype(int).tolist())
            out[np.ix_(rows, columns)] = pairs
    return out


def decode_labels(labels: Sequence[Label], pixels: int, where: str) -> MaskRuns:
    """Runs of the masks of labels, all of them of one size.

    Raises:
        MissingError: One does not describe that many pixels.
    """
    try:
        return decode_runs(_counts(labels), pixels)
    except RleError as error:
        raise _malformed(labels, error, pixels, where) from None


def _counts(labels: Sequence[Label]) -> list[bytes]:
    return [label.rle.counts.encode() for label in labels if label.rle]


def _malformed(labels: Sequence[Label], error: RleError, pixels: int, where: str) -> MissingError:
    label = labels[int(error.args[0])]
    return MissingError(f"{where}: the RLE of category {label.category} does not describe {pixels} pixels")


def _areas(labels: Sequence[Label], where: str) -> tuple[NDArray[np.float64], bool]:
    """Pixels of each mask, and whether any two share one."""
    sizes = {label.rle.size for label in labels if label.rle}
    if len(sizes) == 1:
        runs = decode_labels(labels, mask_pixels(sizes.pop(), where), where)
        return runs.areas().astype(np.float64), runs.overlapping()
    parts = [
        decode_labels([label], mask_pixels(label.rle.size, where), where) for label in labels if label.rle
    ]
    return np.array([p.areas()[0] for p in parts], np.float64), False


def prediction_problem(task: str, frames: Frames, at: int) -> str | None:
    """What a server would hold against the predictions of a frame, or None.

    Raises:
        MissingError: Labels that cannot be read at all.
    """
    where = frames.where(at)
    frame = frames.frame(at)
    labels = masked_labels(frame, where, [])
    if len(labels) < len(frame.labels or []):
        return "a label without a mask"
    known = {*CLASS_SETS[task].names, *(INS_ALIASES if task == "ins_seg" else ())}
    for label in labels:
        if label.category not in known:
            return f"unknown category {label.category!r}"
        if label.rle and label.rle.size != (MASK_HEIGHT, MASK_WIDTH):
            return f"a mask of {label.rle.size[1]}x{label.rle.size[0]}, not {MASK_WIDTH}x{MASK_HEIGHT}"
        if task == "ins_seg" and (label.score is None or not np.isfinite(label.score)):
            return f"a label of category {label.category} has no score"
    if decode_labels(labels, MASK_HEIGHT * MASK_WIDTH, where).overlapping():
        return "masks share pixels" + (", so all of them would be dropped" if task == "ins_seg" else "")
    return None


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
    """

    gt: Frames
    pred: Frames
    options: Options
    _index: dict[str, int] = field(default_factory=lambda: {n: i for i, n in enumerate(PAN_SEG.names)})

    def panoptic(self, pair: FramePair) -> FrameResult:
        """Statistics (4, classes) of two frames: summed IoU, TP, FP, FN."""
        remarks: list[tuple[str, str]] = []
        out = np.zeros((4, len(PAN_SEG)))
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
            raise MissingError(
                f"{where}: {shape_text(pred.size)}, the ground truth is {shape_text(truth.size)}"
            )
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
        size = one_size(known, where)
        overlapping = size is not None and decode_labels(known, mask_pixels(size, where), where).overlapping()
        counted = [k for k in known if not (label_flag(k, "crowd") or label_flag(k, "ignored"))]
        rles: list[dict[str, Any]] = []
        classes: list[int] = []
        for index in sorted({self._index[k.category or ""] for k in counted}):
            mine = [k for k in counted if self._index[k.category or ""] == index]
            found = [_plain(k) for k in mine]
            if index < PAN_STUFF:
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
