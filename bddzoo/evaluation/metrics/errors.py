"""Kinds of errors of detections, and whether their scores mean what they say.

What each kind costs in AP50, and which classes are taken for which: the kinds are those of TIDE (Bolya et
al., A General Toolbox for Identifying Object Detection Errors, ECCV 2020), found with the matching that gives
the scores. The share that is right among those of one score: expected calibration error (Naeini et al., AAAI
2015) over bins of equal width; a detection is right where it is matched at IoU 0.5. The official toolkit has
no such numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bddzoo.errors import UsageError
from bddzoo.evaluation.metrics.average_precision import ClassDetections, precision_recall
from bddzoo.evaluation.metrics.detection import MatchAccumulator
from bddzoo.evaluation.metrics.matching import MAX_DETECTIONS, Candidates, all_detections

FOREGROUND, BACKGROUND = 0.5, 0.1
RIGHT, IGNORED, CLASS, PLACE, BOTH, DUPLICATE, NOTHING = range(7)
KINDS = {
    "Cls": "on an object of another class",
    "Loc": "on an object of its class, at too low an IoU",
    "Both": "on an object of another class, at too low an IoU",
    "Dupe": "on an object that a better detection has",
    "Bkg": "on no object",
    "Miss": "objects that no detection is near",
}
EXTREMES = {"FP": "all false detections removed", "FN": "all objects that were not found removed"}
_OF_DETECTIONS = {"Cls": CLASS, "Loc": PLACE, "Both": BOTH, "Dupe": DUPLICATE, "Bkg": NOTHING}


@dataclass(frozen=True, slots=True)
class FrameErrors:
    """Detections and objects of one frame, and what became of them at IoU 0.5.

    Attributes:
        classes: (N,) int64 class of each detection, best score first.
        scores: (N,) float64.
        kinds: (N,) int64, `RIGHT`, `IGNORED` or the kind of error.
        targets: (N,) int64, object that a `CLASS` or `PLACE` error is on; -1 for the others.
        taken: (N,) int64, object of any class that the detection takes where classes do not matter; -1 where
            there is none, -2 where it is on an ignored one.
        gt_class: (M,) int64 class of each object.
        gt_counts: (M,) bool, whether it counts.
        gt_found: (M,) bool, whether a detection of its class has it.
    """

    classes: NDArray[np.int64]
    scores: NDArray[np.float64]
    kinds: NDArray[np.int64]
    targets: NDArray[np.int64]
    taken: NDArray[np.int64]
    gt_class: NDArray[np.int64]
    gt_counts: NDArray[np.bool_]
    gt_found: NDArray[np.bool_]


def frame_errors(found: Candidates, *, coco: bool) -> FrameErrors:
    """Look at every detection of a frame that counts.

    Args:
        found: Detections and objects; `iou` of all pairs, whatever their classes.
        coco: The rule of matching, see `match_frame`.
    """
    ranked = np.argsort(-found.scores, kind="stable")
    if coco:
        ranks = np.zeros(ranked.size, np.int64)
        for c in np.unique(found.pred_class):
            mine = found.pred_class[ranked] == c
            ranks[mine] = np.arange(mine.sum())
        ranked = ranked[ranks < MAX_DETECTIONS[-1]]
    classes, iou, counts = found.pred_class[ranked], found.iou[ranked], ~found.gt_ignored
    same = classes[:, None] == found.gt_class[None, :]
    partners = _assign(np.where(same, iou, 0), counts, found.gt_crowd, coco=coco)
    kinds, targets = np.full(ranked.size, NOTHING), np.full(ranked.size, -1)
    if counts.any():
        counted = np.where(counts, iou, 0)
        alike, other = np.where(same, counted, 0), np.where(same, 0, counted)
        high, cross = alike.max(axis=1), other.max(axis=1)
        near = np.maximum(high, cross)
        # The first that applies, as TIDE's own program looks for them.
        conditions = [
            (high >= BACKGROUND) & (high < FOREGROUND),
            cross >= FOREGROUND,
            high >= FOREGROUND,
            near < BACKGROUND,
        ]
        kinds = np.select(conditions, [PLACE, CLASS, DUPLICATE, NOTHING], BOTH)
        on = np.where(kinds == PLACE, alike.argmax(axis=1), other.argmax(axis=1))
        targets = np.where((kinds == PLACE) | (kinds == CLASS), on, -1)
    has = partners >= 0
    kinds[has] = np.where(counts[partners[has]], RIGHT, IGNORED)
    targets[has] = -1
    gt_found = np.zeros(counts.size, np.bool_)
    gt_found[partners[kinds == RIGHT]] = True
    taken = _assign(iou, counts, found.gt_crowd, coco=coco)
    taken[(taken >= 0) & ~np.append(counts, True)[taken]] = -2
    return FrameErrors(classes, found.scores[ranked], kinds, targets, taken, found.gt_class, counts, gt_found)


def _assign(
    iou: NDArray[np.float64], counts: NDArray[np.bool_], crowd: NDArray[np.bool_], *, coco: bool
) -> NDArray[np.int64]:
    """The object that each detection takes at `FOREGROUND`, best detection first; -1 for none."""
    out = np.full(len(iou), -1)
    free = np.ones(counts.size, np.bool_)
    for d in np.flatnonzero((iou >= FOREGROUND).any(axis=1)).tolist():
        open_to = np.flatnonzero((iou[d] >= FOREGROUND) & free)
        if coco and counts[open_to].any():
            open_to = open_to[counts[open_to]]
        if not open_to.size:
            continue
        values = iou[d, open_to]
        g = open_to[values.size - 1 - values[::-1].argmax()] if coco else open_to[values.argmax()]
        out[d] = g
        free[g] = crowd[g]
    return out


@dataclass
class ErrorAccumulator:
    """Errors of many frames.

    Attributes:
        class_names: Names of the classes 0, 1, ...
    """

    class_names: Sequence[str]
    _frames: dict[str, FrameErrors] = field(default_factory=dict)

    def add(self, name: str, errors: FrameErrors) -> None:
        """Add the errors of one frame."""
        self._frames[name] = errors

    def compute(self, least_score: float = 0.0) -> dict[str, Any]:
        """What the errors are and what they cost, and the confusion of classes.

        Args:
            least_score: Detections below it are left out of the confusion.

        Returns:
            `AP50` before any mending, in percent; `errors` and `extremes`: for each kind how much AP50 would
            gain if all of them were mended (`gain`), their number (`count`), and both for each class
            (`per_class`); `confusion`: (classes + 1) rows of ground truth and columns of detections, the last
            ones for no object and no detection.
        """
        frames = [self._frames[name] for name in sorted(self._frames)]
        all_ = _All.of(frames, len(self.class_names))
        base = all_.ap50()
        errors = {
            kind: self._entry(base, all_.mended(kind), all_.numbers(kind)) | {"meaning": meaning}
            for kind, meaning in KINDS.items()
        }
        extremes = {
            kind: self._entry(base, all_.extreme(kind), None) | {"meaning": meaning}
            for kind, meaning in EXTREMES.items()
        }
        return {
            "AP50": _mean(base),
            "errors": errors,
            "extremes": extremes,
            "confusion": {
                "classes": list(self.class_names),
                "least_score": least_score,
                "matrix": confusion(frames, len(self.class_names), least_score).tolist(),
            },
        }

    def _entry(
        self, base: NDArray[np.float64], after: NDArray[np.float64], numbers: NDArray[np.int64] | None
    ) -> dict[str, Any]:
        gains = after - base
        per_class: dict[str, dict[str, float]] = {
            name: {"gain": float(gain)} for name, gain in zip(self.class_names, gains, strict=True)
        }
        out: dict[str, Any] = {"gain": _mean(after) - _mean(base), "per_class": per_class}
        if numbers is not None:
            out["count"] = int(numbers.sum())
            for name, number in zip(self.class_names, numbers.tolist(), strict=True):
                per_class[name]["count"] = number
        return out


def confusion(frames: Sequence[FrameErrors], classes: int, least_score: float = 0.0) -> NDArray[np.int64]:
    """Which classes are taken for which: (classes + 1, classes + 1) int64, rows ground truth.

    Best score first, a detection takes the free object of highest IoU, 0.5 or more, of whatever class. The
    last row counts detections on no object, the last column objects without a detection; what is ignored
    counts nowhere.
    """
    out = np.zeros((classes + 1, classes + 1), np.int64)
    for f in frames:
        # Best score first: those left out can have taken nothing from the others.
        kept = (f.scores >= least_score) & (f.taken != -2)
        taken, kinds = f.taken[kept], f.classes[kept]
        np.add.at(out, (np.append(f.gt_class, classes)[taken], kinds), 1)
        missed = f.gt_counts.copy()
        missed[taken[taken >= 0]] = False
        np.add.at(out[:, classes], f.gt_class[missed], 1)
    return out


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


@dataclass(frozen=True)
class _All:
    """All detections and objects, best score first; objects are numbered over all frames."""

    classes: NDArray[np.int64]
    scores: NDArray[np.float64]
    kinds: NDArray[np.int64]
    targets: NDArray[np.int64]
    gt_class: NDArray[np.int64]
    gt_counts: NDArray[np.bool_]
    gt_found: NDArray[np.bool_]
    size: int

    @classmethod
    def of(cls, frames: Sequence[FrameErrors], size: int) -> _All:
        """The frames of a set in the order that decides ties of score."""

        def joined(name: str, kind: type[np.generic]) -> NDArray[Any]:
            return np.concatenate([np.zeros(0, kind), *(getattr(f, name) for f in frames)]).astype(kind)

        scores = joined("scores", np.float64)
        order = np.argsort(-scores, kind="stable")
        offsets = np.cumsum([0, *(f.gt_class.size for f in frames)])[: len(frames)]
        shift = np.repeat(offsets, [f.scores.size for f in frames]).astype(np.int64)
        targets = joined("targets", np.int64)
        targets = np.where(targets < 0, -1, targets + shift)
        return cls(
            joined("classes", np.int64)[order],
            scores[order],
            joined("kinds", np.int64)[order],
            targets[order],
            joined("gt_class", np.int64),
            joined("gt_counts", np.bool_),
            joined("gt_found", np.bool_),
            size,
        )

    @property
    def positives(self) -> NDArray[np.int64]:
        """Objects of each class that count."""
        return np.bincount(self.gt_class[self.gt_counts], minlength=self.size)

    def missed(self) -> NDArray[np.bool_]:
        """Objects that count, are not found, and that no error of class or place is on."""
        out = self.gt_counts & ~self.gt_found
        out[self.targets[self.targets >= 0]] = False
        return out

    def numbers(self, kind: str) -> NDArray[np.int64]:
        """How many errors of a kind each class has."""
        if kind == "Miss":
            return np.bincount(self.gt_class[self.missed()], minlength=self.size)
        return np.bincount(self.classes[self.kinds == _OF_DETECTIONS[kind]], minlength=self.size)

    def ap50(
        self,
        kept: NDArray[np.bool_] | None = None,
        right: NDArray[np.bool_] | None = None,
        classes: NDArray[np.int64] | None = None,
        positives: NDArray[np.int64] | None = None,
    ) -> NDArray[np.float64]:
        """AP50 of each class in percent, with some detections left out, put right or of another class.

        NaN where a class has no object that counts.
        """
        counted = self.kinds != IGNORED
        kept = counted if kept is None else kept & counted
        right = self.kinds == RIGHT if right is None else right
        classes = self.classes if classes is None else classes
        positives = self.positives if positives is None else positives
        out = np.full(self.size, np.nan)
        for c in np.flatnonzero(self.positives).tolist():
            mine = kept & (classes == c)
            out[c] = 0.0
            if positives[c]:
                out[c] = 100 * _curve(self.scores[mine], right[mine], int(positives[c])).mean()
        return out

    def mended(self, kind: str) -> NDArray[np.float64]:
        """AP50 of each class where every error of a kind was mended."""
        if kind == "Miss":
            return self.ap50(positives=self.positives - self.numbers("Miss"))
        mine = self.kinds == _OF_DETECTIONS[kind]
        if kind not in ("Cls", "Loc"):
            return self.ap50(kept=~mine)
        # The best detection near an object that was not found becomes right; the others go.
        aimed = np.flatnonzero(self.targets >= 0)
        _, first = np.unique(self.targets[aimed], return_index=True)
        chosen = np.zeros(mine.size, np.bool_)
        chosen[aimed[first]] = True
        chosen &= mine & ~np.append(self.gt_found, True)[self.targets]
        classes = np.where(chosen, np.append(self.gt_class, -1)[self.targets], self.classes)
        return self.ap50(kept=~mine | chosen, right=(self.kinds == RIGHT) | chosen, classes=classes)

    def extreme(self, kind: str) -> NDArray[np.float64]:
        """AP50 of each class without false detections, or without objects that were not found."""
        if kind == "FP":
            return self.ap50(kept=self.kinds == RIGHT)
        return self.ap50(positives=np.bincount(self.gt_class[self.gt_found], minlength=self.size))


def _curve(scores: NDArray[np.float64], right: NDArray[np.bool_], positives: int) -> NDArray[np.float64]:
    """Interpolated precision at the recall points, (101,)."""
    none = np.zeros(scores.size, np.int64)
    bits = right.astype(np.uint16)[None, :]
    found = ClassDetections(scores, none, none, bits, np.zeros_like(bits))
    out: NDArray[np.float64] = precision_recall(found, 0, positives, 1)[0][0]
    return out


BINS = 10


def calibration(accumulator: MatchAccumulator) -> dict[str, Any]:
    """Calibration of the scores of all detections that count.

    Returns:
        `ECE` and `MCE` (mean gap, weighted by number, and largest gap) in percent, `per_class` ECE, and
        `bins`: `low`, `high`, `count`, mean `score` and the share that is `right`, both 0 to 1 and NaN in
        empty bins.

    Raises:
        UsageError: A score is not between 0 and 1.
    """
    classes, scores, hits, ignored = all_detections(accumulator.per_frame())
    right, counted = hits[0] & 1 > 0, ignored[0] & 1 == 0
    if reach := out_of_range(accumulator):
        raise UsageError(f"scores {reach} are not probabilities", hint="calibration needs scores from 0 to 1")
    classes, scores, right = classes[counted], scores[counted], right[counted]
    bins = _bins(scores, right)
    return {
        "ECE": _error(bins),
        "MCE": max((100 * abs(b["right"] - b["score"]) for b in bins if b["count"]), default=float("nan")),
        "detections": int(scores.size),
        "per_class": {
            name: _error(_bins(scores[classes == c], right[classes == c]))
            for c, name in enumerate(accumulator.class_names)
        },
        "bins": bins,
    }


def out_of_range(accumulator: MatchAccumulator) -> str:
    """From where to where the scores go if they are not between 0 and 1, otherwise nothing."""
    _, scores, _, _ = all_detections(accumulator.per_frame())
    if not scores.size or (scores.min() >= 0 and scores.max() <= 1):
        return ""
    return f"from {scores.min():g} to {scores.max():g}"


def _bins(scores: NDArray[np.float64], right: NDArray[np.bool_]) -> list[dict[str, Any]]:
    at = np.minimum((scores * BINS).astype(np.int64), BINS - 1)
    counts = np.bincount(at, minlength=BINS)
    with np.errstate(invalid="ignore"):
        means = np.bincount(at, scores, BINS) / counts
        shares = np.bincount(at, right, BINS) / counts
    return [
        {"low": k / BINS, "high": (k + 1) / BINS, "count": count, "score": mean, "right": share}
        for k, (count, mean, share) in enumerate(
            zip(counts.tolist(), means.tolist(), shares.tolist(), strict=True)
        )
    ]


def _error(bins: Sequence[dict[str, Any]]) -> float:
    total = sum(b["count"] for b in bins)
    gaps = [b["count"] * abs(b["right"] - b["score"]) for b in bins if b["count"]]
    return 100 * sum(gaps) / total if total else float("nan")
