"""Boxes scored: a pair of frames with boxes, and the boxes that zoos publish next to their bitmasks."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from bddzoo.datasets.classes import DET, INS_SEG
from bddzoo.datasets.formats.boxes import CLASS_OF, Kinds, boxes_of, check_boxes, class_of, open_boxes
from bddzoo.datasets.formats.frames import Frames, JsonFrames
from bddzoo.datasets.formats.labels import NEUTRAL
from bddzoo.datasets.formats.mask import decode_bitmask
from bddzoo.datasets.formats.scalabel import Detections
from bddzoo.datasets.sources import Source, open_source
from bddzoo.errors import MissingError
from bddzoo.evaluation.jobs import FrameResult, listing, matched
from bddzoo.evaluation.metrics.detection import BoxAccumulator, box_candidates
from bddzoo.evaluation.metrics.matching import (
    DETECTIONS,
    MAX_DETECTIONS,
    OBJECTS,
    Candidates,
    FrameMatches,
    remarkable,
)
from bddzoo.evaluation.metrics.scores import Scores
from bddzoo.evaluation.options import Options
from bddzoo.evaluation.pairing import FramePair, match_batch
from bddzoo.lazy_numpy import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Corners in the first frames are compared, of pairs of at least this IoU; so many pairs tell of half a pixel.
_FRAMES, _IOU, _PAIRS = 100, 0.75, 20


@dataclass(frozen=True, slots=True)
class BoxObjects:
    """Boxes of one frame with their classes.

    Attributes:
        xywh: (N, 4) left, top, width and height.
        classes: (N,) class indices.
        ignored: (N,) whether a box is of a crowd or to be ignored.
        scores: Score of each, None for labels.
        ids: Id of each in the file, unread.
        reach: The largest number among `xywh`; None without boxes.
    """

    xywh: NDArray[np.float64]
    classes: NDArray[np.int64]
    ignored: NDArray[np.bool_]
    scores: Sequence[float | None]
    ids: Sequence[Any] = ()
    reach: float | None = None


def read_objects(
    frames: Frames,
    at: int,
    kinds: Kinds,
    options: Options,
    mask_task: str = INS_SEG.task,
    remarks: list[tuple[str, str]] | None = None,
) -> BoxObjects:
    """Boxes of one frame of JSON.

    Args:
        frames: Where they are.
        at: Position of the frame.
        kinds: What the categories of the task are.
        options: How strictly.
        mask_task: The task of masks of the same objects, for messages.
        remarks: A label with nothing at all is noted here.

    Raises:
        MissingError: A category that the task does not have; unless official, masks in the place of boxes,
            and boxes whose corners are in the wrong order.
    """
    found = boxes_of(frames, at)
    try:
        known = [kinds[category] for category in found.categories]
    except KeyError:
        known = [class_of(category, frames.where(at), kinds) for category in found.categories]
    if not options.official:
        check_boxes(found, frames.where(at), kinds, f"masks are scored by -t {mask_task}")
    for category, _ in found.boxless:
        class_of(category, frames.where(at), kinds)
    if found.boxless and remarks is not None:
        remarks.append(("shapeless", frames.where(at)))
    if known and not options.official and found.xywh[:, 2:].min() < 0:
        raise MissingError(
            f"{frames.where(at)}: a box whose second corner is left of or above its first",
            hint="corners are x1, y1 (left, top) and x2, y2 (right, bottom), in pixels",
        )
    ignored = [neutral or flags & NEUTRAL > 0 for (_, neutral), flags in zip(known, found.flags, strict=True)]
    return BoxObjects(
        found.xywh,
        np.array([index for index, _ in known], np.int64),
        np.array(ignored, np.bool_),
        found.scores,
        found.ids,
        float(found.xywh.max()) if known else None,
    )


def check_reach(reach: Mapping[str, list[float]], gt: Frames, pred: Frames, what: str = "box") -> None:
    """Compare the largest numbers in the boxes (or joints) of each frame, by side (`gt`, `pred`).

    Raises:
        MissingError: One side is in pixels, the other in shares of the image.
    """
    furthest = {side: max(values) for side, values in reach.items() if values}
    for side, frames in (("gt", gt), ("pred", pred)) if len(furthest) == 2 else ():
        # A box of the whole image in shares of it is 1 + 1 wide.
        if furthest[side] <= 2 < max(furthest.values()):
            raise MissingError(
                f"{frames.source.path}: not one {what} reaches beyond the first pixel",
                hint="coordinates are in pixels, not in shares of the image",
            )


@dataclass(frozen=True)
class DetWork:
    """Scores pairs of frames with boxes."""

    gt: Frames
    pred: Frames
    options: Options
    # Corners of detections minus those of their objects; the largest number in the boxes of each frame.
    _shifts: array[float] = field(default_factory=lambda: array("d"))
    _reach: dict[str, list[float]] = field(default_factory=lambda: {"gt": [], "pred": []})

    def boxes(self, pair: FramePair) -> FrameResult:
        """`FrameMatches` of two frames, as COCO matches boxes."""
        remarks: list[tuple[str, str]] = []
        gt = self._objects(self.gt, pair.gt, "gt", remarks)
        pred = BoxObjects(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0, np.bool_), ())
        if pair.pred is not None:
            pred = self._objects(self.pred, pair.pred, "pred", remarks)
            where = self.pred.where(pair.pred)
            if None in pred.scores:
                raise MissingError(f"{where}: a box without a score")
            if len(pred.scores) > MAX_DETECTIONS[-1] < np.bincount(pred.classes).max():
                remarks.append(("cut", where))
        scores = np.array(pred.scores, np.float64)
        found = box_candidates(pred.xywh, scores, pred.classes, gt.xywh, gt.classes, gt.ignored)
        if not self.options.official and pair.gt < _FRAMES:
            self._shifts.extend(_shifts(found, pred.xywh, gt.xywh).ravel().tolist())
        return matched(found, len(DET), self.options, remarks, coco=True)

    def batch(self, pairs: Sequence[FramePair]) -> list[FrameResult | None]:
        """Matches of everyday frames, from their JSON in one go; None for the others."""
        leading = 0 if self.options.official else sum(pair.gt < _FRAMES for pair in pairs)
        found, shifts = match_batch(
            self.gt, self.pred, pairs, CLASS_OF, len(DET), boxes=True, near=_IOU, leading=leading
        )
        self._shifts.extend(shifts)
        for side, bit in (("gt", OBJECTS), ("pred", DETECTIONS)):
            if any(packed and remarkable(packed) & bit for packed in found):
                self._reach[side].append(float("inf"))
        return [None if packed is None else FrameResult(packed) for packed in found]

    def _objects(self, frames: Frames, at: int, side: str, remarks: list[tuple[str, str]]) -> BoxObjects:
        found = read_objects(frames, at, CLASS_OF, self.options, remarks=remarks)
        if found.reach is not None and not self.options.official:
            self._reach[side].append(found.reach)
        return found

    def about_corners(self) -> list[tuple[str, str]]:
        """What the corners of all frames tell of the way in which they were written.

        Raises:
            MissingError: One side is in pixels, the other in shares of the image.
        """
        check_reach(self._reach, self.gt, self.pred)
        corners = [sorted(self._shifts[k::4]) for k in range(4)]
        count = len(corners[0])
        # To the last pixel inside or to the edge behind it: half a pixel off says which.
        close = count and all(abs(corners[k][count // 2] - k // 2) < 0.25 for k in range(4))
        if close and (count >= _PAIRS or all(column[0] == column[-1] for column in corners)):
            return [("exclusive", str(self.pred.source.path))]
        return []


def match_detections(found: Detections, frames: Frames, at: int) -> tuple[FrameMatches, str]:
    """Match a network's boxes with the labels of a frame.

    Args:
        found: The boxes, corners exclusive.
        frames: The labels.
        at: Index of the frame.

    Returns:
        The matches, and a digest of the labels.
    """
    options = Options()
    gt = read_objects(frames, at, CLASS_OF, options)
    xywh = found.boxes.astype(np.float64)
    xywh[:, 2:] -= xywh[:, :2]
    scores = found.scores.astype(np.float64)
    pairs = box_candidates(xywh, scores, found.labels, gt.xywh, gt.classes, gt.ignored)
    result = matched(pairs, len(DET), options, [], coco=True)
    return result.stats, _digest(gt)


def digest_box_labels(labels: Sequence[tuple[str, Path]]) -> str:
    """`digest_labels` of frames whose boxes are in one label file, as `match_detections` has them.

    Args:
        labels: Pairs of frame name and label file, the same for all.
    """
    from bddzoo.datasets.identity import digest_labels

    if not labels:
        return digest_labels({})
    frames = open_boxes(labels[0][1])
    places = {PurePosixPath(name).stem: at for at, name in enumerate(frames.names)}
    return digest_labels(
        {
            name: _digest(read_objects(frames, places[PurePosixPath(name).stem], CLASS_OF, Options()))
            for name, _ in labels
        }
    )


def _digest(gt: BoxObjects) -> str:
    import hashlib

    state = (gt.xywh.tobytes(), gt.classes.tobytes(), gt.ignored.tobytes())
    return hashlib.sha256(b"".join(state)).hexdigest()


def _shifts(found: Candidates, pred: NDArray[np.float64], gt: NDArray[np.float64]) -> NDArray[np.float64]:
    """x1, y1, x2, y2 of detections minus those of the objects that they are on, (N, 4)."""
    if not found.iou.size:
        return np.zeros((0, 4))
    iou = np.where(found.pred_class[:, None] == found.gt_class[None, :], found.iou, 0)
    best = iou.argmax(axis=1)
    rows = np.flatnonzero((iou[np.arange(len(iou)), best] >= _IOU) & ~found.gt_crowd[best])
    mine, theirs = pred[rows], gt[best[rows]]
    near = mine[:, :2] - theirs[:, :2]
    return np.concatenate((near, near + mine[:, 2:] - theirs[:, 2:]), axis=1)


def score_detections(gt: Path, source: Source, member: str) -> Scores:
    """Box AP of a zoo's `det.json` against the boxes of ground-truth bitmasks.

    Args:
        gt: Ground-truth bitmasks of the split.
        source: Where the file is; see `find_detections`.
        member: Its name there.

    Raises:
        MissingError: A file cannot be read, a frame lacks on either side, or a detection is none.
    """
    frames = JsonFrames(source, [member])
    where = source.where(member)
    index = {PurePosixPath(name).stem: i for i, name in enumerate(frames.names)}
    if len(index) < len(frames):
        raise MissingError(f"{where} lists a frame more than once")
    truth = open_source(gt)
    stems = {PurePosixPath(m).stem: m for m in truth.with_suffix(".png")}
    without, unknown = stems.keys() - index.keys(), index.keys() - stems.keys()
    if without:
        raise MissingError(f"{where} lacks {len(without)} of {len(stems)} frames: {listing(sorted(without))}")
    if unknown:
        raise MissingError(f"{where} has {len(unknown)} unknown frames: {listing(sorted(unknown))}")
    boxes = BoxAccumulator(INS_SEG.names)
    for stem, png in stems.items():
        found, at = boxes_of(frames, index[stem]), frames.where(index[stem])
        if strange := {str(name) for name in found.categories} - set(INS_SEG.names):
            raise MissingError(f"{at}: no such class: {listing(sorted(strange), 3)}")
        if found.boxless or None in found.scores:
            raise MissingError(f"{at}: a detection without a box or a score")
        # Detectors and their scores are float32, and so are the boxes that bddzoo itself scores.
        corners = np.concatenate((found.xywh[:, :2], found.xywh[:, :2] + found.xywh[:, 2:]), axis=1)
        boxes.update(
            decode_bitmask(truth.read(png), truth.where(png), "gt"),
            corners.astype(np.float32),
            np.array(found.scores, np.float64),
            np.array([INS_SEG.names.index(str(name)) for name in found.categories], np.int64),
            at,
        )
    return boxes.compute()
