"""Videos of two sides: which belong together, and what tracking needs of their frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bddzoo.datasets.classes import INS_SEG
from bddzoo.datasets.formats.boxes import class_of
from bddzoo.datasets.formats.frames import (
    Frames,
    JsonFrames,
    Label,
    category_kinds,
    label_flag,
    masked_labels,
)
from bddzoo.datasets.sources import Source
from bddzoo.errors import MissingError
from bddzoo.evaluation.det_frames import check_reach, read_objects
from bddzoo.evaluation.jobs import FrameResult, FrameWarnings, listing
from bddzoo.evaluation.label_frames import MaskFrames
from bddzoo.evaluation.mask_frames import MaskWork
from bddzoo.evaluation.metrics.tracking import TrackFrame, video_counts
from bddzoo.evaluation.options import TOOLKIT_LIMIT, Options
from bddzoo.evaluation.pairing import MaskPair, stem
from bddzoo.evaluation.rle_frames import frame_iou

CLASSES = INS_SEG.names
_KINDS = category_kinds(CLASSES)
_MOST = 2**31
# Predictions that lie by more than this share on regions to be ignored are excused.
_ON_IGNORED = 0.5


class Slot(NamedTuple):
    """A frame of a video.

    Attributes:
        position: Its number in the video (where one side is masks: its bare name).
        name: Its name.
        at: Where it is in its source.
    """

    position: Any
    name: str
    at: Any


Videos = Mapping[str, Sequence[Slot]]


class VideoPair(NamedTuple):
    """Frames of a video in the ground truth and in the predictions, None where the video is missing."""

    name: str
    gt: Sequence[Slot]
    pred: Sequence[Slot] | None


def videos_of_frames(frames: JsonFrames | MaskFrames, *, by_name: bool = False) -> dict[str, list[Slot]]:
    """Frames of each video by name, in order.

    Args:
        frames: The frames of all videos.
        by_name: Frames belong together by their names, not by `frameIndex`, which bitmasks lack.

    Raises:
        MissingError: A frame does not say its video, or its place there is not a number.
    """
    videos: dict[str, list[Slot]] = {}
    for at, (video, position) in enumerate(zip(frames.videos, frames.positions, strict=True)):
        if video is None:
            raise MissingError(f"{frames.where(at)} has no videoName", hint="tracks are scored by video")
        if position is not None and type(position) is not int:
            raise MissingError(f"{frames.where(at)}: frameIndex {position!r} is not a whole number")
        videos.setdefault(video, []).append(Slot(position, frames.names[at], at))
    for slots in videos.values():
        slots.sort(key=lambda s: s.position or 0)
        if by_name:
            slots[:] = (s if s.position is None else s._replace(position=stem(s.name)) for s in slots)
    return dict(sorted(videos.items()))


def videos_of_masks(source: Source) -> dict[str, list[Slot]]:
    """Frames of each video by the name of its folder, in order."""
    videos: dict[str, list[Slot]] = {}
    for member in source.with_suffix(".png"):
        path = PurePosixPath(member)
        videos.setdefault(path.parent.name, []).append(Slot(stem(path.name), path.name, member))
    return dict(sorted(videos.items()))


def pair_videos(
    gt: Videos, pred: Videos, options: Options, remarks: FrameWarnings, where: tuple[Any, Any]
) -> tuple[list[VideoPair], list[str]]:
    """Pairs in the order of the ground truth's names, and the videos without a prediction.

    Official mode pairs as many videos by their order, whatever their names, as the toolkit does.

    Raises:
        MissingError: There is nothing to pair, or official mode has predictions of other videos.
    """
    truth, found = where
    for videos, path in ((gt, truth), (pred, found)):
        if not videos and not options.official:
            raise MissingError(f"{path} has no videos")
    extra = sorted(pred.keys() - gt.keys())
    if options.official:
        if len(gt) == len(pred):
            both = zip(gt.items(), pred.values(), strict=True)
            return [VideoPair(name, slots, theirs) for (name, slots), theirs in both], []
        if extra:
            raise MissingError(f"{found} has videos without ground truth: {listing(extra)}")
    elif len(extra) == len(pred):
        raise MissingError(
            f"no video in {found} is one of {truth} (there like {next(iter(gt))!r}, here like {extra[0]!r})",
            hint="videos are matched by name; the official toolkit would compare unlike ones",
        )
    for name in extra:
        remarks.add("extra", f"{found}, video {name}")
    pairs = [VideoPair(name, slots, pred.get(name)) for name, slots in gt.items()]
    return pairs, [pair.name for pair in pairs if pair.pred is None]


@dataclass(frozen=True)
class _Side:
    """Objects or predictions of a frame, without those to be ignored."""

    classes: NDArray[np.int64]
    ids: Sequence[int | str]
    ignored: NDArray[np.bool_]


@dataclass(frozen=True)
class TrackWork:
    """Follows pairs of videos; what is common to boxes and masks."""

    gt: Any
    pred: Any
    options: Options

    def video(self, pair: VideoPair) -> FrameResult:
        """Statistics (classes, WIDTH) of a pair of videos."""
        remarks: list[tuple[str, str]] = []
        frames = (self.frame(gt, pred, remarks) for gt, pred in self._frames(pair, remarks))
        return FrameResult(video_counts(frames, len(CLASSES)), remarks)

    def frame(self, gt: Slot, pred: Slot | None, remarks: list[tuple[str, str]]) -> TrackFrame:
        """One pair of frames."""
        raise NotImplementedError

    def _frames(self, pair: VideoPair, remarks: list[tuple[str, str]]) -> Iterator[tuple[Slot, Slot | None]]:
        strict = not self.options.official
        if strict:
            self._whole(pair)
        if pair.pred is None:
            yield from ((slot, None) for slot in pair.gt)
            return
        mine, theirs = ([slot.position for slot in slots] for slots in (pair.gt, pair.pred))
        where = f"{self.pred.where(pair.pred[0].at)}: video {pair.name}"
        masks = bool(mine) and isinstance(mine[0], str)
        lacking = sorted(set(mine) - set(theirs), key=mine.index)
        if lacking:
            raise MissingError(
                f"{where} lacks {len(lacking)} of {len(mine)} frames: {listing(map(str, lacking))}",
                hint="tracking needs every frame; one without objects has no labels"
                + (" (an empty bitmask)" if masks else ""),
            )
        if masks:
            at = {slot.position: slot for slot in pair.pred}
            remarks += [("extra", str(self.pred.where(at[k].at))) for k in sorted(at.keys() - set(mine))]
            yield from ((slot, at[slot.position]) for slot in pair.gt)
            return
        if mine != theirs:
            raise MissingError(
                f"{where} has {len(theirs)} frames, the ground truth {len(mine)}, or other frameIndex",
                hint="frames belong together by frameIndex",
            )
        for gt, pred in zip(pair.gt, pair.pred, strict=True):
            if strict and stem(gt.name) != stem(pred.name):
                raise MissingError(
                    f"{where}: frame {gt.position} is {pred.name}, in the ground truth {gt.name}",
                    hint="the official toolkit would compare unlike frames",
                )
            yield gt, pred

    def _whole(self, pair: VideoPair) -> None:
        """Refuse frames that are there twice or have no place, which the toolkit may pair wrongly."""
        for side, slots in ((self.gt, pair.gt), (self.pred, pair.pred or ())):
            seen = set()
            for slot in slots:
                if slot.position is None:
                    raise MissingError(f"{side.where(slot.at)} has no frameIndex")
                if slot.position in seen:
                    raise MissingError(
                        f"{side.where(slot.at)}: video {pair.name} has frame {slot.position} twice"
                    )
                seen.add(slot.position)

    def _ids(
        self, ids: Sequence[Any], where: str, remarks: list[tuple[str, str]], side: str
    ) -> list[int | str]:
        """Ids as the toolkit reads them: those of predictions have to be 32-bit integers."""
        out: list[int | str] = []
        for given in ids:
            if given is None or isinstance(given, (dict, list)):
                raise MissingError(f"{where}: a label without an id", hint="it is the number of the track")
            text = str(given)
            try:
                number: int | str = int(text) if side == "pred" or text.isdigit() else text
            except ValueError:
                number = text
            if isinstance(number, str) and side == "pred":
                remarks += self.options.crashes("track-id", where, f"track {text!r} is not an integer")
            elif isinstance(number, int) and not -_MOST <= number < _MOST:
                remarks += self.options.crashes("track-id", where, f"track {text} is beyond 32 bits")
            out.append(number)
        return out

    def _put_together(
        self, shared: NDArray[np.float64], gt: _Side, pred: _Side, where: tuple[str, str]
    ) -> TrackFrame:
        """A frame from (predictions, objects) IoU, over the prediction's area for objects to be ignored."""
        for side, place in ((gt, where[0]), (pred, where[1])) if not self.options.official else ():
            keys = list(zip(side.classes[~side.ignored].tolist(), side.ids, strict=True))
            if len(set(keys)) < len(keys):
                twice = next(k for at, k in enumerate(keys) if k in keys[:at])
                raise MissingError(f"{place}: {CLASSES[twice[0]]} {twice[1]} is there twice")
        rows = shared[~pred.ignored]
        excused: NDArray[np.bool_] = np.any(rows[:, gt.ignored] > _ON_IGNORED, axis=1)
        return TrackFrame(
            np.maximum(rows[:, ~gt.ignored].T, 0),
            gt.classes[~gt.ignored],
            gt.ids,
            pred.classes[~pred.ignored],
            pred.ids,
            excused,
        )


_NO_SIDE = _Side(np.zeros(0, np.int64), (), np.zeros(0, np.bool_))


@dataclass(frozen=True)
class BoxTracks(TrackWork):
    """Follows boxes of JSON frames."""

    _reach: dict[str, list[float]] = field(default_factory=lambda: {"gt": [], "pred": []})

    def frame(self, gt: Slot, pred: Slot | None, remarks: list[tuple[str, str]]) -> TrackFrame:
        """One pair of frames."""
        boxes, truth, place = self._side(self.gt, gt, "gt", remarks)
        found, mine, other = self._side(self.pred, pred, "pred", remarks)
        return self._put_together(_box_iou(found, boxes, truth.ignored), truth, mine, (place, other))

    def _side(
        self, frames: Frames, slot: Slot | None, side: str, remarks: list[tuple[str, str]]
    ) -> tuple[NDArray[np.float64], _Side, str]:
        if slot is None:
            return np.zeros((0, 4)), _NO_SIDE, ""
        where = frames.where(slot.at)
        found = read_objects(frames, slot.at, _KINDS, self.options, "seg_track", remarks)
        if found.reach is not None:
            self._reach[side].append(found.reach)
        counted = [
            name for name, ignored in zip(found.ids, found.ignored.tolist(), strict=True) if not ignored
        ]
        ids = self._ids(counted, where, remarks, side)
        return found.xywh, _Side(found.classes, ids, found.ignored), where

    def check(self) -> None:
        """What the boxes of all frames tell; call it at the end.

        Raises:
            MissingError: One side is in pixels, the other in shares of the image.
        """
        if not self.options.official:
            check_reach(self._reach, self.gt, self.pred)


def _box_iou(
    pred: NDArray[np.float64], gt: NDArray[np.float64], ignored: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """As `box_iou`, but sides are differences of corners as in py-motmetrics: equal to the last digit."""
    mine, theirs = (np.stack((b[:, :2], b[:, :2] + b[:, 2:])) for b in (pred, gt))
    side = np.minimum(mine[1, :, None], theirs[1]) - np.maximum(mine[0, :, None], theirs[0])
    common = np.maximum(side, 0).prod(axis=-1)
    areas = [np.maximum(high - low, 0).prod(axis=-1) for low, high in (mine, theirs)]
    union = areas[0][:, None] + areas[1] - common
    whole = np.where(ignored, (pred[:, 2] * pred[:, 3])[:, None], union)
    out: NDArray[np.float64] = np.divide(common, whole, out=np.zeros_like(common), where=common > 0)
    return out


@dataclass(frozen=True)
class RleTracks(TrackWork):
    """Follows masks of JSON frames."""

    def frame(self, gt: Slot, pred: Slot | None, remarks: list[tuple[str, str]]) -> TrackFrame:
        """One pair of frames."""
        masks, truth, place = self._side(self.gt, gt, "gt", remarks)
        found, mine, other = self._side(self.pred, pred, "pred", remarks)
        one_class = [np.zeros(len(labels), np.int64) for labels in (found, masks)]
        _, shared, overlap = frame_iou(found, one_class[0], other, masks, one_class[1], truth.ignored, place)
        if overlap:
            remarks.append(("overlap", other))
            mine, shared = _NO_SIDE, shared[:0]
        if (shared < 0).any() and not self.options.official:
            raise MissingError(f"{other}: masks of another size than the ground truth's")
        return self._put_together(shared, truth, mine, (place, other))

    def _side(
        self, frames: Frames, slot: Slot | None, side: str, remarks: list[tuple[str, str]]
    ) -> tuple[list[Label], _Side, str]:
        if slot is None:
            return [], _NO_SIDE, ""
        where = frames.where(slot.at)
        frame = frames.frame(slot.at)
        for label in frame.labels or []:
            class_of(label.category, where, _KINDS)
        labels = masked_labels(frame, where, remarks)
        kinds = [class_of(label.category, where, _KINDS) for label in labels]
        ignored = [
            neutral or label_flag(label, "crowd") or label_flag(label, "ignored")
            for label, (_, neutral) in zip(labels, kinds, strict=True)
        ]
        counted = [label.id for label, out in zip(labels, ignored, strict=True) if not out]
        ids = self._ids(counted, where, remarks, side)
        classes = np.array([index for index, _ in kinds], np.int64)
        return labels, _Side(classes, ids, np.array(ignored, np.bool_)), where


@dataclass(frozen=True)
class MaskTracks(TrackWork):
    """Follows bitmasks."""

    def frame(self, gt: Slot, pred: Slot | None, remarks: list[tuple[str, str]]) -> TrackFrame:
        """One pair of frames."""
        assert pred is not None
        work = MaskWork(self.gt, self.pred, len(CLASSES), self.options, INS_SEG.task)
        both, path = work.overlaps(MaskPair(gt.name, gt.at, pred.at), remarks, pred_attributes=True)
        if both.pred.ids.size > TOOLKIT_LIMIT:
            remarks += self.options.crashes("many", path, f"{both.pred.ids.size} instances, more than 100")
        sides = []
        for found in (both.gt, both.pred):
            # Objects of no class are compared with nothing.
            classes, ignored = found.categories - 1, found.neutral
            known = ignored | ((classes >= 0) & (classes < len(CLASSES)))
            sides.append((_Side(classes[known], found.ids[known & ~ignored].tolist(), ignored[known]), known))
        (truth, known), (mine, known_too) = sides
        shared = both.iou()
        regions = both.gt.neutral
        shared[:, regions] = both.pixels[:, regions] / both.pred.areas[:, None]
        return self._put_together(
            shared[np.ix_(known_too, known)], truth, mine, (str(self.gt.where(gt.at)), path)
        )
