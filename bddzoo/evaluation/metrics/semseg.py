"""Streaming scores of semantic segmentation and drivable area.

The pixels of a pair of class maps are counted, given as pixels or as runs down the columns (RLE).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Literal

import msgspec

from bddzoo.datasets.formats.rle import MaskRuns, RleError, decode_runs
from bddzoo.datasets.native import buffer, native
from bddzoo.errors import MissingError
from bddzoo.evaluation.metrics.scores import PerFrame, Scores
from bddzoo.lazy_numpy import np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Self


IGNORE = 255
# With more runs than this share of the pixels, counting pixels beats counting runs.
DENSE_SHARE = 0.2


def confusion(
    gt: NDArray[np.uint8], pred: NDArray[np.uint8] | None, classes: int, known: Collection[int] | None = None
) -> tuple[NDArray[np.int64], int]:
    """Confusion matrix of one frame, as the official toolkit counts it.

    Ground truth at or above `classes` (255 among it) is not counted. A prediction at or above
    `classes` lands in the last column: a miss. Label maps are piecewise constant, so the two maps
    are cut into runs on which both are constant and the runs are counted, not the pixels.

    Args:
        gt: Class map, any shape, uint8.
        pred: Class map with as many pixels, or None for a missing prediction (all missed).
        classes: Number of classes.
        known: Values that ground truth may hold, see `bddzoo.datasets.classes.label_values`; None for those
            that do not make the toolkit fail: classes, `classes` itself and 255.

    Returns:
        Matrix (classes, classes + 1) int64 (rows ground truth, columns prediction), and the number
        of ground-truth pixels whose value is not known.
    """
    size = classes + 1
    g = gt.reshape(-1)
    p = pred.reshape(-1) if pred is not None else np.full_like(g, IGNORE)
    if g.size == 0:
        return np.zeros((classes, size), np.int64), 0
    flags = _flags(frozenset(known if known is not None else (*range(classes + 1), IGNORE)))
    loops = native()
    if loops is not None and g.size == p.size:
        return loops.count_pairs(g, p, classes, flags)
    # Some bytes more, so that they can be looked at eight at a time.
    spaces = [buffer((g.size + 7,), f"confusion {k}") for k in "gp"]
    change, other = (space[: g.size - 1].view(np.bool_) for space in spaces)
    np.not_equal(g[1:], g[:-1], out=change)
    np.not_equal(p[1:], p[:-1], out=other)
    change |= other
    spaces[0][g.size - 1 :] = 0
    starts = _nonzero_positions(spaces[0][: (g.size + 7) // 8 * 8])
    if starts.size > DENSE_SHARE * g.size:
        weights = None
    else:
        ends = np.concatenate((starts, [g.size - 1]))
        weights = np.diff(ends, prepend=-1)
        g, p = g[ends], p[ends]
    clip = np.minimum(np.arange(256), classes)
    keys = (clip * size)[g] + clip[p]
    counts = np.bincount(keys, weights, minlength=size * size)
    odd = ~flags[g]
    unknown = int(odd.sum() if weights is None else weights[odd].sum()) if odd.any() else 0
    # Weighted counts come as float64, exact up to 2**53 pixels.
    return counts.astype(np.int64).reshape(size, size)[:classes], unknown


@cache
def _flags(known: frozenset[int]) -> NDArray[np.bool_]:
    return np.isin(np.arange(256), list(known))


def _nonzero_positions(flags: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Positions of the bytes that are not 0, few in many: several times as fast as `flatnonzero`."""
    words = np.flatnonzero(flags.view(np.uint64) != 0)
    inside = np.flatnonzero(flags.reshape(-1, 8)[words])
    places: NDArray[np.int64] = words[inside >> 3] * 8 + (inside & 7)
    return places


def pair_counts(gt: NDArray[np.uint8], pred: NDArray[np.uint8]) -> NDArray[np.int64]:
    """How often each pair of values occurs in two maps of the same size: (256, 256) int64."""
    loops = native()
    if loops is not None:
        return loops.count_pairs(gt.reshape(-1), pred.reshape(-1), 256, np.ones(256, np.bool_))[0][:, :256]
    keys = gt.reshape(-1).astype(np.int64) << 8 | pred.reshape(-1)
    return np.bincount(keys, minlength=1 << 16).reshape(256, 256)


def spills(counts: NDArray[np.int64], painted: int, pixels: int) -> bool:
    """Whether most of what is of no counted class is predicted to be of one, which costs nothing in a score.

    Args:
        counts: Confusion matrix (classes, classes + 1) of a frame.
        painted: Pixels that are predicted to be of a class.
        pixels: Pixels of the frame.
    """
    rest = pixels - int(counts.sum())
    return 2 * (painted - int(counts[:, :-1].sum())) > rest > 0


class ClassRuns(msgspec.Struct, frozen=True, gc=False):
    """A class map as runs in column order.

    Attributes:
        starts: (N,) int64, ascending; the first is 0. Runs may be empty.
        values: (N,) uint8 class of each run, 255 where there is none.
        pixels: Pixels in all.
    """

    starts: NDArray[np.int64]
    values: NDArray[np.uint8]
    pixels: int


def decode_class_runs(counts: Sequence[bytes], classes: NDArray[np.uint8], pixels: int) -> ClassRuns:
    """Class map of masks in COCO's compressed run-length encoding; where they overlap, a later one wins.

    Args:
        counts: Compressed counts of masks of one size.
        classes: (masks,) class of each.
        pixels: Height times width.

    Raises:
        RleError: With the position of the first bad mask as its argument.
    """
    loops = native()
    if loops is not None and counts:
        found = loops.class_runs(counts, classes, pixels)
        if not isinstance(found, int):
            return ClassRuns(*found, pixels)
        if found < len(counts):
            raise RleError(found)
    return class_runs(decode_runs(counts, pixels), classes)


def class_runs(runs: MaskRuns, classes: NDArray[np.uint8]) -> ClassRuns:
    """Class map of several masks; where they overlap, a later one wins.

    Args:
        runs: The masks.
        classes: (masks,) class of each.
    """
    # Sorting numbers that hold their places takes half the time of sorting places.
    bits = max(runs.starts.size, 1).bit_length()
    packed = np.sort(runs.starts << bits | np.arange(runs.starts.size))
    order = packed & ((1 << bits) - 1)
    low, high = packed >> bits, runs.ends[order]
    if (high[:-1] > low[1:]).any():
        return _painted(runs, classes)
    corners = np.empty(2 * low.size + 1, np.int64)
    corners[0], corners[1::2], corners[2::2] = 0, low, high
    colours = np.full(corners.size, IGNORE, np.uint8)
    colours[1::2] = classes[runs.masks[order]]
    return ClassRuns(corners, colours, runs.pixels)


def _painted(runs: MaskRuns, classes: NDArray[np.uint8]) -> ClassRuns:
    canvas = np.full(runs.pixels, IGNORE, np.uint8)
    values = classes[runs.masks].tolist()
    # Runs lie mask by mask, so that later masks are painted over earlier ones.
    for start, end, value in zip(runs.starts.tolist(), runs.ends.tolist(), values, strict=True):
        canvas[start:end] = value
    starts = np.concatenate(([0], np.flatnonzero(canvas[1:] != canvas[:-1]) + 1)).astype(np.int64)
    return ClassRuns(starts, canvas[starts], runs.pixels)


def runs_confusion(gt: ClassRuns, pred: ClassRuns, classes: int) -> NDArray[np.int64]:
    """Confusion matrix (classes, classes + 1) of two class maps of the same size."""
    loops = native()
    if loops is not None:
        return loops.merge_runs(gt.starts, gt.values, pred.starts, pred.values, gt.pixels, classes)
    both = np.concatenate((gt.starts, pred.starts))
    # Two sorted halves: a stable sort merges them in linear time.
    order = np.argsort(both, kind="stable")
    at = np.cumsum(order < gt.starts.size)
    g = gt.values[at - 1]
    # Until the first run of the prediction is reached only empty stretches have been passed.
    p = pred.values[np.maximum(np.arange(1, both.size + 1) - at, 1) - 1]
    lengths = np.diff(both[order], append=gt.pixels)
    clip = np.minimum(np.arange(256), classes)
    keys = (clip * (classes + 1))[g] + clip[p]
    counts = np.bincount(keys, lengths, minlength=(classes + 1) ** 2)
    return counts.astype(np.int64).reshape(classes + 1, classes + 1)[:classes]


Rule = Literal["bdd100k", "openseg", "tagging"]


class SemSegAccumulator(PerFrame["NDArray[np.int64]"]):
    """Confusion counts of class maps, frame by frame.

    Follows the official toolkit (`bdd100k.eval.seg`): ground truth that is not a class is left out,
    a prediction that is not a class is a miss, and means are over the classes in the ground truth.
    Counts are int64, so large sets do not wrap. Keeps three numbers for each frame and class (found,
    in ground truth, predicted), which is what slices and intervals need.

    Args:
        class_names: Names of the classes 0, 1, ...
        task: `sem_seg`, `drivable` or `tagging`, whose frames count as one pixel each.
        rule: Whose definition of the means `compute` follows, see `semseg_scores`.
    """

    def __init__(self, class_names: Sequence[str], task: str = "sem_seg", rule: Rule = "bdd100k") -> None:
        super().__init__(class_names)
        self.task = task
        self.rule: Rule = rule
        size = len(self.class_names)
        self.matrix: NDArray[np.int64] = np.zeros((size, size + 1), np.int64)

    def update(
        self,
        gt: NDArray[np.uint8],
        pred: NDArray[np.uint8] | None,
        name: str,
        known: Collection[int] | None = None,
    ) -> int:
        """Count one frame.

        Args:
            gt: Ground truth (H, W) uint8; 255 is ignored.
            pred: Prediction (H, W) uint8, or None when there is none (every pixel is missed).
            name: Name of the frame, unique in the set.
            known: Values that ground truth may hold, see `confusion`.

        Returns:
            Number of ground-truth pixels whose value is not known.

        Raises:
            MissingError: The shapes differ.
            UsageError: The frame was counted before.
        """
        if pred is not None and pred.shape != gt.shape:
            raise MissingError(
                f"{name}: the prediction is {shape_text(pred.shape)}, "
                f"the ground truth {shape_text(gt.shape)}",
                hint="predictions are scored at the size of the ground truth",
            )
        counts, unknown = confusion(gt, pred, len(self.class_names), known)
        self.add(name, counts)
        return unknown

    def add(self, name: str, counts: NDArray[np.int64]) -> None:
        """Add the confusion matrix (classes, classes + 1) of one frame."""
        super().add(name, np.stack((np.diagonal(counts), counts.sum(1), counts[:, :-1].sum(0))))
        self.matrix += counts

    def restore(self, names: Sequence[str], counts: NDArray[np.int64], matrix: NDArray[np.int64]) -> None:
        """Start from stored statistics: `names`, `per_frame()` and `matrix` of another accumulator."""
        self.matrix = matrix.astype(np.int64)
        self._frames = dict(zip(names, counts, strict=True))

    def merge(self, other: Self) -> None:
        """Add the frames of another accumulator (another worker's)."""
        super().merge(other)
        self.matrix += other.matrix

    def per_frame(self, chosen: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """Counts (frames, 3, classes): found, in ground truth, predicted; see `in_order`."""
        return np.array(self.in_order(chosen), np.int64).reshape(-1, 3, len(self.class_names))

    def compute(self, chosen: NDArray[np.bool_] | None = None) -> Scores:
        """Scores over all frames so far, or over the chosen ones (see `in_order`), in percent."""
        counts = self.per_frame(chosen)
        return semseg_scores(counts.sum(axis=0), self.class_names, len(counts), self.task, self.rule)


def semseg_scores(
    counts: NDArray[np.int64],
    class_names: Sequence[str],
    frames: int,
    task: str = "sem_seg",
    rule: Rule = "bdd100k",
) -> Scores:
    """Scores from counts (3, classes): found, in ground truth, predicted.

    Args:
        counts: See above.
        class_names: Names of the classes.
        frames: Number of frames.
        task: `sem_seg` or `drivable`.
        rule: `bdd100k`: means over the classes in the ground truth, 0 for a class without pixels.
            `openseg`: means over the classes in ground truth or predictions, as that zoo's trainer has
            them (RunningScore of openseg.pytorch at aefc755), and PixelACC.
            `tagging`: the share that is right, and Scalabel's precision, recall and F1 (means over the
            classes in ground truth or predictions).
    """
    if rule == "tagging":
        return _tagging_scores(counts, class_names, frames, task)
    if rule == "openseg":
        return _openseg_scores(counts, class_names, frames, task)
    found, actual, predicted = counts.astype(np.float64)
    iou = ratio(found, actual + predicted - found)
    precision = ratio(found, predicted)
    recall = ratio(found, actual)
    present = actual > 0
    total = actual.sum()
    nothing = not present.any()

    def mean(values: NDArray[np.float64]) -> float:
        return float("nan") if nothing else float(values[present].mean() * 100)

    return Scores(
        task=task,
        table=_table(class_names, {"IoU": 100 * iou, "Precision": 100 * precision, "Recall": 100 * recall}),
        summary={
            "mIoU": mean(iou),
            "fIoU": float("nan") if nothing else float((iou * (actual / total)).sum() * 100),
            "pAcc": float("nan") if nothing else float(found.sum() / total * 100),
            "mPrecision": mean(precision),
            "mRecall": mean(recall),
        },
        frames=frames,
        absent=tuple(n for n, p in zip(class_names, present, strict=True) if not p),
    )


def _openseg_scores(counts: NDArray[np.int64], class_names: Sequence[str], frames: int, task: str) -> Scores:
    found, actual, predicted = counts.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        iou, recall = found / (actual + predicted - found), found / actual
        pixels = float(found.sum() / actual.sum() * 100) if actual.any() else float("nan")

    def mean(values: NDArray[np.float64]) -> float:
        known = values[~np.isnan(values)]
        return float(known.mean() * 100) if known.size else float("nan")

    return Scores(
        task=task,
        table=_table(class_names, {"IoU": 100 * iou, "Recall": 100 * recall}),
        summary={"mIoU": mean(iou), "PixelACC": pixels, "mRecall": mean(recall)},
        frames=frames,
        absent=tuple(n for n, v in zip(class_names, iou, strict=True) if np.isnan(v)),
    )


def _tagging_scores(counts: NDArray[np.int64], class_names: Sequence[str], frames: int, task: str) -> Scores:
    found, actual, predicted = counts.astype(np.float64)
    seen = actual + predicted > 0
    rows = {
        "Precision": ratio(found, predicted),
        "Recall": ratio(found, actual),
        "F1": ratio(2 * found, actual + predicted),
    }
    rows = {metric: np.where(seen, 100 * values, np.nan) for metric, values in rows.items()}
    return Scores(
        task=task,
        table=_table(class_names, rows),
        summary={
            "accuracy": float(100 * found.sum() / actual.sum()) if actual.any() else float("nan"),
            **{f"m{m}": float(row[seen].mean()) if seen.any() else float("nan") for m, row in rows.items()},
        },
        frames=frames,
        absent=tuple(name for name, there in zip(class_names, seen, strict=True) if not there),
    )


def _table(
    class_names: Sequence[str], rows: Mapping[str, NDArray[np.float64]]
) -> dict[str, dict[str, float]]:
    return {metric: dict(zip(class_names, row.tolist(), strict=True)) for metric, row in rows.items()}


def ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """`part / whole`, 0 where `whole` is 0 (as the toolkit does)."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def shape_text(shape: tuple[int, ...]) -> str:
    """Width x height of an image array's shape, for messages."""
    return "x".join(str(n) for n in (shape[1::-1] if len(shape) > 1 else shape))
