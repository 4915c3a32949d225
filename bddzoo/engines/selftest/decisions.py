"""What non-maximum suppression decides, and which of its decisions other arithmetic may turn.

A box is kept or dropped by comparing overlaps with a threshold and scores with each other. Last bits of
float32 move both, so that a decision with no margin may fall either way, and what follows from it as well:
the box that was suppressed by it, another rank for all behind it, one box more at the end of the list. Here
every candidate gets its fate with that in mind: kept, dropped, or in doubt.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from bddzoo.engines.selftest.semantic import to_numpy

if TYPE_CHECKING:
    import numpy.typing as npt

    from bddzoo.engines.instance import DetectionRunner

    Floats = npt.NDArray[np.floating[Any]]
    Flags = npt.NDArray[np.bool_]

# How far arithmetic moves the side of a box, in pixels, and a score.
PX = 2e-3
SCORE = 5e-6
DROPPED, DOUBTFUL, KEPT = 0, 1, 2
# More candidates than the network takes from a level, because those at the cut may be others.
_BEYOND_CUT = 50


class NmsBoxes(NamedTuple):
    """Boxes that suppression chooses from, best first.

    Attributes:
        boxes: (N, 5) x1, y1, x2, y2 in pixels, and the score.
        labels: (N,) groups within which boxes suppress each other.
        fates: (N,) `KEPT`, `DOUBTFUL` or `DROPPED`.
    """

    boxes: Floats
    labels: npt.NDArray[np.int64]
    fates: npt.NDArray[np.int8]


def suppress(
    boxes: Floats, labels: npt.NDArray[np.int64], threshold: float, most: int, doubtful: Flags
) -> NmsBoxes:
    """The fates of candidates.

    Args:
        boxes: (N, 5) x1, y1, x2, y2 in pixels, and the score.
        labels: (N,) groups within which boxes suppress each other.
        threshold: Overlap (IoU) above which the lower one is dropped.
        most: How many are taken at last, best first.
        doubtful: (N,) Candidates of which it is in doubt that they are any.
    """
    order = np.argsort(-boxes[:, 4], kind="stable")
    boxes, labels, doubtful = boxes[order].astype(np.float64), labels[order], doubtful[order]
    fates = np.where(doubtful, DOUBTFUL, KEPT).astype(np.int8)
    for label in np.unique(labels):
        group = np.flatnonzero(labels == label)
        own, fate = boxes[group], fates[group]
        for at in range(len(own)):
            # Others of about its score may be ahead of it or not, and are taken for both.
            near = int(np.searchsorted(-own[:, 4], -own[at, 4] + SCORE, side="right"))
            others = np.delete(np.arange(near), at)
            others = others[fate[others] != DROPPED]
            over, slack = _overlaps(own[at], own[others])
            ahead = own[others, 4] > own[at, 4] + SCORE
            if np.any((over > threshold + slack) & ahead & (fate[others] == KEPT)):
                fate[at] = DROPPED
            elif np.any(over > threshold - slack):
                fate[at] = DOUBTFUL
        fates[group] = fate
    _cut(boxes[:, 4], fates, most)
    return NmsBoxes(boxes, labels, fates)


def _cut(scores: Floats, fates: npt.NDArray[np.int8], most: int) -> None:
    """Drop those behind the last rank that is taken; in doubt where the rank is."""
    ahead_for_sure = np.searchsorted(-scores[fates == KEPT], -scores - SCORE, side="left")
    ahead_perhaps = np.searchsorted(-scores[fates != DROPPED], -scores + SCORE, side="right") - 1
    fates[(ahead_perhaps >= most) & (fates == KEPT)] = DOUBTFUL
    fates[ahead_for_sure >= most] = DROPPED


def _overlaps(box: Floats, others: Floats) -> tuple[Floats, Floats]:
    """IoU with each of the others, and how far that moves when sides move by `PX`."""
    corner = np.minimum(box[2:4], others[:, 2:4]) - np.maximum(box[:2], others[:, :2])
    inside = corner.clip(0).prod(axis=1)
    sides, own = others[:, 2:4] - others[:, :2], box[2:4] - box[:2]
    union = sides.prod(axis=1) + own.prod() - inside
    slack = 2 * PX / np.minimum(sides, own).clip(PX)
    return inside / union.clip(1e-12), slack.sum(axis=1)


class RankedList(NamedTuple):
    """A list of results, or the first ones of it.

    Attributes:
        boxes: (K, 5) x1, y1, x2, y2 in pixels, and the score, best first.
        labels: (K,) their labels, or None where they have none.
        length: Length of the whole list.
        scores: (length,) the scores of the whole list, or None where they are not known.
    """

    boxes: Floats
    labels: npt.NDArray[np.int64] | None
    length: int
    scores: Floats | None


def unexplained(found: NmsBoxes, listing: RankedList, limits: tuple[float, float]) -> int:
    """How much of a list of results no fate of the candidates explains.

    Args:
        found: The candidates.
        listing: The list.
        limits: How far a box, in pixels, and a score may be from the candidate's.

    Returns:
        Boxes and scores of the list that can't be there, those that must be there and aren't, and by how many
        its length is out of what is possible.
    """
    possible, sure, listed = found.fates != DROPPED, found.fates == KEPT, listing.boxes
    near = np.abs(listed[:, None, :4] - found.boxes[None, :, :4]).max(axis=2) <= limits[0]
    near &= np.abs(listed[:, None, 4] - found.boxes[None, :, 4]) <= limits[1]
    if listing.labels is not None:
        near &= listing.labels[:, None] == found.labels[None]
    thin = np.minimum(*(listed[:, 2:4] - listed[:, :2]).T) <= PX
    wrong = int((~(near & possible).any(axis=1) & ~thin).sum())
    # Of a list that shows its first ones only, what comes behind them is known by score at most.
    last = float(listed[-1, 4]) + limits[1] if 0 < len(listed) < listing.length else -np.inf
    wrong += int((sure & (found.boxes[:, 4] > last) & ~near.any(axis=0)).sum())
    if listing.scores is not None:
        alike = np.abs(listing.scores[:, None] - found.boxes[None, :, 4]) <= limits[1]
        wrong += int((~(alike & possible).any(axis=1)).sum()) + int((sure & ~alike.any(axis=0)).sum())
    return wrong + max(int(sure.sum()) - listing.length, listing.length - int(possible.sum()), 0)


def proposals(runner: DetectionRunner, features: Any, sample: Any) -> NmsBoxes:
    """The candidates for proposals of one image, from its pyramid."""
    head = runner.module.rpn_head
    settings = head.test_cfg
    taken = settings.nms_pre
    with _recorded("mmdet.models.dense_heads.rpn_head", "batched_nms") as calls, torch.no_grad():
        try:
            settings.nms_pre = taken + _BEYOND_CUT
            head.predict(features, [sample], rescale=False)
        finally:
            settings.nms_pre = taken
        every = [to_numpy(level.sigmoid()).ravel() for level in head(features)[0]]
    corners, scores, levels, nms = calls[0]
    boxes = to_numpy(torch.cat([corners, scores[:, None]], dim=1))
    level = to_numpy(levels).astype(np.int64)
    there, doubtful = np.ones(len(boxes), bool), (boxes[:, 2:4] - boxes[:, :2]).min(axis=1) <= PX
    for at, found in enumerate(every):
        if len(found) > taken:
            last, first_beyond = -np.partition(-found, (taken - 1, taken))[[taken - 1, taken]]
            score, own = boxes[:, 4], level == at
            there[own & (score < last - SCORE)] = False
            doubtful[own & (score <= first_beyond + SCORE)] = True
    return suppress(boxes[there], level[there], nms["iou_threshold"], settings.max_per_img, doubtful[there])


def detections(runner: DetectionRunner, features: Any, sample: Any) -> NmsBoxes:
    """The candidates for detections of one image, from all proposals that are possible."""
    from mmengine.structures import InstanceData

    found = proposals(runner, features, sample)
    possible = found.fates != DROPPED
    rows = torch.from_numpy(found.boxes[possible]).to(features[0].device, features[0].dtype)
    regions = InstanceData(bboxes=rows[:, :4], scores=rows[:, 4], labels=torch.zeros(len(rows)).long())
    with _recorded("mmdet.models.roi_heads.bbox_heads.bbox_head", "multiclass_nms") as calls, torch.no_grad():
        runner.module.roi_head.predict(features, [regions.to(rows.device)], [sample], rescale=True)
    corners, scores, least, nms, most = calls[0][:5]
    score = to_numpy(scores)[:, :-1]
    box = to_numpy(corners).reshape(len(score), -1, 4)
    box = np.broadcast_to(box, (*score.shape, 4))
    label = np.broadcast_to(np.arange(score.shape[1]), score.shape)
    there = score > least - SCORE
    doubtful = (found.fates[possible] == DOUBTFUL)[:, None] | (score <= least + SCORE)
    boxes = np.concatenate([box[there], score[there][:, None]], axis=1)
    return suppress(boxes, label[there].astype(np.int64), nms["iou_threshold"], most, doubtful[there])


@contextmanager
def _recorded(module: str, name: str) -> Iterator[list[tuple[Any, ...]]]:
    """Keep the arguments of a function of mmdet's while it is called from that module."""
    from importlib import import_module

    home, calls = import_module(module), list[tuple[Any, ...]]()
    function = getattr(home, name)

    def recording(*args: Any, **kwargs: Any) -> Any:
        calls.append((*args, *kwargs.values()))
        return function(*args, **kwargs)

    setattr(home, name, recording)
    try:
        yield calls
    finally:
        setattr(home, name, function)
