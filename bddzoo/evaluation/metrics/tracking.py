"""CLEAR MOT, IDF1 and HOTA of tracked objects, boxes or masks alike.

CLEAR MOT and IDF1 are the official toolkit's (`scalabel.eval.mot`, on py-motmetrics): an object keeps the
track that it had as long as they overlap by half, the rest is assigned at least distance; predictions that
nothing took and that lie by more than half on a region to be ignored, of whatever class, are left out. HOTA,
which the toolkit does not have, is Luiten et al.'s (IJCV 2021) on the same objects and predictions, as
TrackEval computes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from bddzoo.errors import MissingError, install_hint
from bddzoo.evaluation.metrics.scores import AVERAGE, PerFrame, Scores

Floats = NDArray[np.float64]

# Groups of classes, as the toolkit's settings have them.
GROUPS = {
    "human": ("pedestrian", "rider"),
    "vehicle": ("car", "truck", "bus", "train"),
    "bike": ("motorcycle", "bicycle"),
}
ALPHAS = np.arange(0.05, 0.99, 0.05)
# Numbers that are kept of a class in a video; behind them, of each of `ALPHAS`, matches and association.
FIELDS = (
    *("objects", "predictions", "matches", "switches", "distance"),
    *("tracked", "partly", "lost", "fragments", "id_matches"),
)
WIDTH = len(FIELDS) + 2 * ALPHAS.size
MEANS = ("MOTA", "MOTP", "IDF1", "HOTA", "DetA", "AssA")
_FARTHEST = 0.5
_EPSILON = np.finfo(np.float64).eps


class TrackFrame(msgspec.Struct, frozen=True, gc=False):
    """Objects and predictions of one frame.

    Attributes:
        iou: (objects, predictions) float64, whatever their classes.
        gt_class: (objects,) int64.
        gt_ids: Id of each object; ids of different classes are different objects.
        pred_class: (predictions,) int64.
        pred_ids: Id of each prediction.
        excused: (predictions,) bool, whether one lies mostly on a region to be ignored.
    """

    iou: Floats
    gt_class: NDArray[np.int64]
    gt_ids: Sequence[int | str]
    pred_class: NDArray[np.int64]
    pred_ids: Sequence[int | str]
    excused: NDArray[np.bool_]


class TrackAccumulator(PerFrame[Floats]):
    """Tracking scores as the official toolkit computes them, and HOTA.

    Keeps `WIDTH` numbers for each video and class.
    """

    def __init__(self, class_names: Sequence[str], task: str = "box_track") -> None:
        super().__init__(class_names)
        self.task = task

    def update(self, frames: Iterable[TrackFrame], name: str) -> None:
        """Follow one video.

        Args:
            frames: Its frames, in order.
            name: Name of the video, unique in the set.
        """
        self.add(name, video_counts(frames, len(self.class_names)))

    def per_frame(self, chosen: NDArray[np.bool_] | None = None) -> Floats:
        """Statistics (videos, classes, WIDTH), see `in_order`."""
        return np.array(self.in_order(chosen), np.float64).reshape(-1, len(self.class_names), WIDTH)

    def compute(self, chosen: NDArray[np.bool_] | None = None) -> Scores:
        """Scores over all videos so far, or over the chosen ones."""
        counts = self.per_frame(chosen)
        return track_scores(counts.sum(axis=0), self.class_names, len(counts), self.task)


def video_counts(frames: Iterable[TrackFrame], classes: int) -> Floats:
    """Statistics (classes, WIDTH) of one video."""
    video = _Video(classes)
    for frame in frames:
        video.follow(frame)
    video.finish()
    return video.counts


class _Tracks:
    """Objects or predictions of a video, numbered in the order in which they appear."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[int, int | str], int] = {}
        self.frames: list[int] = []

    def number(self, classes: NDArray[np.int64], ids: Sequence[int | str]) -> list[int]:
        out = []
        for key in zip(classes.tolist(), ids, strict=True):
            at = self._numbers.setdefault(key, len(self.frames))
            if at == len(self.frames):
                self.frames.append(0)
            self.frames[at] += 1
            out.append(at)
        return out

    def classes(self) -> NDArray[np.int64]:
        return np.array([c for c, _ in self._numbers], np.int64)


class _Video:
    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.counts: Floats = np.zeros((classes, WIDTH))
        self.objects, self.tracks = _Tracks(), _Tracks()
        # The track that an object had last, frames in which it was found, and whether it is lost since.
        self._last: dict[int, int] = {}
        self._found: dict[int, int] = {}
        self._lost: set[int] = set()
        # An object that a frame has more than once, which only official mode allows, counts once for IDF1.
        self._repeated = np.zeros(classes)
        self._close: list[tuple[int, int]] = []
        self._frames: list[tuple[NDArray[np.int64], NDArray[np.int64], Floats]] = []

    def _field(self, name: str) -> Floats:
        return self.counts[:, FIELDS.index(name)]

    def follow(self, frame: TrackFrame) -> None:
        gt_class, pred_class, pred_ids = frame.gt_class, frame.pred_class, frame.pred_ids
        same = gt_class[:, None] == pred_class[None, :]
        distance = 1 - frame.iou
        near = same & (distance <= _FARTHEST)
        similarity = np.where(same, frame.iou, 0.0)
        if frame.excused.any():
            kept = ~frame.excused
            kept[[j for _, j in _assign(near, distance, gt_class, pred_class)]] = True
            distance, near, similarity = distance[:, kept], near[:, kept], similarity[:, kept]
            pred_class = pred_class[kept]
            pred_ids = [pred_ids[j] for j in np.flatnonzero(kept).tolist()]
        mine = self.objects.number(gt_class, frame.gt_ids)
        theirs = self.tracks.number(pred_class, pred_ids)
        self._field("objects")[:] += np.bincount(gt_class, minlength=self.classes)
        self._field("predictions")[:] += np.bincount(pred_class, minlength=self.classes)
        if len(set(mine)) < len(mine):
            again = [c for k, c in enumerate(gt_class.tolist()) if mine[k] in mine[:k]]
            self._repeated += np.bincount(again, minlength=self.classes)
        if similarity.size and similarity.any():
            self._frames.append((np.array(mine), np.array(theirs), similarity))
        rows, columns = np.nonzero(near)
        self._close += [(mine[i], theirs[j]) for i, j in zip(rows.tolist(), columns.tolist(), strict=True)]
        self._clear(near, distance, gt_class, pred_class, mine, theirs)

    def _clear(
        self,
        near: NDArray[np.bool_],
        distance: Floats,
        gt_class: NDArray[np.int64],
        pred_class: NDArray[np.int64],
        mine: list[int],
        theirs: list[int],
    ) -> None:
        free = near.copy()
        pairs: list[tuple[int, int]] = []
        kept_up = set()
        for i, number in enumerate(mine):
            track = self._last.get(number)
            if track is None:
                continue
            j = next((j for j, t in enumerate(theirs) if t == track and j not in kept_up), None)
            if j is not None and near[i, j]:
                pairs.append((i, j))
                kept_up.add(j)
                free[i, :] = free[:, j] = False
        more = _assign(free, distance, gt_class, pred_class)
        kinds = gt_class.tolist()
        for i, j in more:
            before = self._last.get(mine[i])
            if before is not None and before != theirs[j]:
                self._field("switches")[kinds[i]] += 1
            self._last[mine[i]] = theirs[j]
        pairs += more
        for i, j in pairs:
            number = mine[i]
            self._field("matches")[kinds[i]] += 1
            self._field("distance")[kinds[i]] += distance[i, j]
            self._found[number] = self._found.get(number, 0) + 1
            if number in self._lost:
                self._lost.remove(number)
                self._field("fragments")[kinds[i]] += 1
        there = {i for i, _ in pairs}
        self._lost.update(n for i, n in enumerate(mine) if i not in there and n in self._found)

    def finish(self) -> None:
        """What takes the whole video: how much of each object was found, IDF1, HOTA."""
        kinds, track_kinds = self.objects.classes(), self.tracks.classes()
        for number, frames in enumerate(self.objects.frames):
            share = self._found.get(number, 0) / frames
            name = "tracked" if share >= 0.8 else "partly" if share >= 0.2 else "lost"
            self._field(name)[kinds[number]] += 1
        together = np.zeros((kinds.size, track_kinds.size))
        if self._close:
            np.add.at(together, tuple(np.array(self._close).T), 1)
        self._field("id_matches")[:] += self._repeated
        for i, j in _assign(together > 0, -together, kinds, track_kinds, most=False):
            self._field("id_matches")[kinds[i]] += together[i, j]
        if self._frames:
            self._hota(kinds, track_kinds)

    def _hota(self, kinds: NDArray[np.int64], track_kinds: NDArray[np.int64]) -> None:
        shared = np.zeros((kinds.size, track_kinds.size))
        lengths = np.array(self.objects.frames)[:, None] + np.array(self.tracks.frames)[None, :]
        for mine, theirs, similarity in self._frames:
            union = similarity.sum(axis=0) + similarity.sum(axis=1, keepdims=True) - similarity
            shared[mine[:, None], theirs] += np.divide(
                similarity, union, out=np.zeros_like(union), where=union > _EPSILON
            )
        alignment = shared / (lengths - shared)
        found: list[tuple[int, int]] = []
        similar: list[float] = []
        for mine, theirs, similarity in self._frames:
            score = alignment[mine[:, None], theirs] * similarity
            for i, j in _assign(score > 0, -score, kinds[mine], track_kinds[theirs], most=False):
                found.append((int(mine[i]), int(theirs[j])))
                similar.append(float(similarity[i, j]))
        pairs, which = np.unique(np.array(found), axis=0, return_inverse=True)
        levels = np.searchsorted(ALPHAS - _EPSILON, similar, side="right")
        width = ALPHAS.size + 1
        reached = np.bincount(which.reshape(-1) * width + levels, minlength=len(pairs) * width)
        # How often each pair is matched at each of the alphas.
        matches = reached.reshape(-1, width)[:, ::-1].cumsum(axis=1)[:, -2::-1]
        either = np.maximum(lengths[tuple(pairs.T)][:, None] - matches, 1)
        both = np.concatenate((matches, matches * matches / either), axis=1)
        np.add.at(self.counts[:, len(FIELDS) :], kinds[pairs[:, 0]], both)


def _assign(
    edges: NDArray[np.bool_],
    costs: Floats,
    gt_class: NDArray[np.int64],
    pred_class: NDArray[np.int64],
    *,
    most: bool = True,
) -> list[tuple[int, int]]:
    """Pairs of one object and one prediction each, at least cost, within classes.

    Args:
        edges: (objects, predictions) pairs that may be taken; both of them are of one class.
        costs: Of all pairs.
        gt_class: (objects,).
        pred_class: (predictions,).
        most: As many pairs as possible come before the cost; otherwise the costs of edges are negative.
    """
    rows, columns = (found.tolist() for found in np.nonzero(edges))
    if len(set(rows)) == len(rows) and len(set(columns)) == len(columns):
        return list(zip(rows, columns, strict=True))
    pairs = []
    # Whole classes, also what has no edge, in the toolkit's order and with its costs: ties are decided alike.
    for kind in np.unique(gt_class[rows]).tolist():
        mine, theirs = np.flatnonzero(gt_class == kind), np.flatnonzero(pred_class == kind)
        allowed, cost = edges[np.ix_(mine, theirs)], costs[np.ix_(mine, theirs)]
        far = 2 * min(cost.shape) * (np.abs(cost[allowed]).max() + 1) + 1 if most else 0.0
        for i, j in zip(*_solver()(np.where(allowed, cost, far)), strict=True):
            if allowed[i, j]:
                pairs.append((int(mine[i]), int(theirs[j])))
    return pairs


def _solver() -> Callable[[Floats], tuple[NDArray[np.int64], NDArray[np.int64]]]:
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError:
        raise MissingError("scoring tracks needs SciPy", hint=install_hint("score")) from None
    solver: Callable[[Floats], tuple[NDArray[np.int64], NDArray[np.int64]]] = linear_sum_assignment
    return solver


def track_values(counts: Floats) -> dict[str, Floats]:
    """Metrics (...,) from statistics (..., WIDTH); percent, and numbers of events."""
    field = {name: counts[..., at] for at, name in enumerate(FIELDS)}
    objects, predictions, matches = field["objects"], field["predictions"], field["matches"]
    hits, joined = np.split(counts[..., len(FIELDS) :], 2, axis=-1)
    misses, false = objects - matches, predictions - matches
    with np.errstate(divide="ignore", invalid="ignore"):
        mota = 1 - (misses + false + field["switches"]) / objects
        motp = 1 - field["distance"] / matches
        idf1 = 2 * field["id_matches"] / (objects + predictions)
    detection = hits / np.maximum(1, (objects + predictions)[..., None] - hits)
    association = joined / np.maximum(1, hits)
    return {
        "MOTA": 100 * mota,
        "MOTP": 100 * motp,
        "IDF1": 100 * idf1,
        "FP": false,
        "FN": misses,
        "IDSw": field["switches"],
        "MT": field["tracked"],
        "PT": field["partly"],
        "ML": field["lost"],
        "FM": field["fragments"],
        "HOTA": 100 * np.sqrt(detection * association).mean(axis=-1),
        "DetA": 100 * detection.mean(axis=-1),
        "AssA": 100 * association.mean(axis=-1),
    }


def class_means(values: dict[str, Floats]) -> dict[str, Floats]:
    """Means over all classes (..., classes) of what is a share; a class that has no value counts as 0."""
    return {m: np.where(np.isfinite(values[m]), values[m], 0).mean(axis=-1) for m in MEANS}


def track_scores(counts: Floats, class_names: Sequence[str], videos: int, task: str) -> Scores:
    """Scores from summed statistics (classes, WIDTH)."""
    values, whole = track_values(counts), track_values(counts.sum(axis=0))
    means = class_means(values)
    groups: dict[str, dict[str, float]] = {metric: {} for metric in values}
    for group, members in GROUPS.items():
        part = counts[[at for at, name in enumerate(class_names) if name in members]].sum(axis=0)
        for metric, value in track_values(part).items():
            groups[metric][group] = _number(metric, value)
    for metric, row in values.items():
        groups[metric][AVERAGE] = _number(metric, means[metric] if metric in means else row.sum())
    table = {
        metric: {name: _number(metric, value) for name, value in zip(class_names, row, strict=True)}
        for metric, row in values.items()
    }
    summary = {f"m{m}": float(means[m]) for m in ("MOTA", "MOTP", "IDF1", "HOTA")}
    summary |= {metric: _number(metric, value) for metric, value in whole.items()}
    absent = tuple(n for n, c in zip(class_names, counts[:, 0].tolist(), strict=True) if not c)
    return Scores(task, table, summary, videos, absent, groups, unit="video")


def _number(metric: str, value: np.float64 | Floats) -> float:
    return float(value) if metric in MEANS else int(value)
