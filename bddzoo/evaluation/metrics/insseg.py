"""Streaming scores of instance segmentation from bitmasks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bddzoo.errors import MissingError
from bddzoo.evaluation.bitmask import CROWD_BIT, IGNORE_BIT, Overlaps, overlaps
from bddzoo.evaluation.metrics.average_precision import ap_scores
from bddzoo.evaluation.metrics.matching import (
    Candidates,
    FrameMatches,
    Packed,
    count_of,
    match_frame,
    unpacked,
)
from bddzoo.evaluation.metrics.per_frame import PerFrame
from bddzoo.evaluation.metrics.scores import Scores
from bddzoo.lazy_numpy import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

ScoreEntry = Mapping[str, Any] | tuple[int, float]


class MatchAccumulator(PerFrame[Packed]):
    """Frames of matched detections; what mask AP and box AP have in common.

    Frames are scored in the order of their names, so that ties of score do not depend on the order
    of `update` and `merge`.

    Args:
        class_names: Names of the classes; class 0 is category 1 of a bitmask.
    """

    prefix = ""
    task = "ins_seg"

    def per_frame(self) -> list[FrameMatches]:
        """Matches of each frame, in the order of `names`."""
        return [unpacked(matches, len(self.class_names)) for matches in self.in_order()]

    def compute(self) -> Scores:
        """Scores over all frames so far, in percent."""
        return ap_scores(self.in_order(), self.class_names, self.task, self.prefix)

    def as_json(self, scores: Scores) -> Scores:
        """What the toolkit makes of these scores where the frames came as JSON.

        Without a single prediction it gives 0 for every class that occurs.
        """
        if any(map(count_of, self.in_order())):
            return scores
        present = [False] * len(self.class_names)
        for matches in self.per_frame():
            present = [a or bool(b) for a, b in zip(present, matches.present.tolist(), strict=True)]
        row = {n: 0.0 if p else float("nan") for n, p in zip(self.class_names, present, strict=True)}
        total = 0.0 if any(present) else float("nan")
        return replace(
            scores, table=dict.fromkeys(scores.table, row), summary=dict.fromkeys(scores.summary, total)
        )


class InsSegAccumulator(MatchAccumulator):
    """Mask AP from bitmasks, as the official toolkit computes it (`bdd100k.eval.ins_seg`).

    Objects with the ignore bit, or of an area out of range, are ignored. A crowd alone is an
    ordinary object that may be matched repeatedly.
    """

    def update(
        self,
        gt_rgba: NDArray[np.uint8],
        pred_rgba: NDArray[np.uint8],
        scores: Iterable[ScoreEntry],
        name: str,
    ) -> list[str]:
        """Match one frame.

        Args:
            gt_rgba: Ground truth bitmask (H, W, 4) uint8.
            pred_rgba: Prediction bitmask (H, W, 4) uint8; ids are the indices of `scores`.
            scores: Entries `{"index": id, "score": s}` or pairs, in file order. An entry without
                pixels is dropped; an instance without an entry too.
            name: Name of the frame, unique in the set.

        Returns:
            Remarks on what was dropped, one line each.

        Raises:
            MissingError: Sizes differ, an instance is of two categories, an index is 0 or occurs
                twice, a score is not a finite number.
            UsageError: The frame was matched before.
        """
        entries = score_entries(scores, name)
        both = overlaps(gt_rgba, pred_rgba, name)
        found, unscored = instances(both, entries)
        self.add(name, match_frame(found, classes=len(self.class_names), coco=False))
        if not unscored:
            return []
        return [
            f"{name}: {unscored} predicted instance{'s' * (unscored > 1)} without a score entry "
            f"{'are' if unscored > 1 else 'is'} not counted"
        ]


def score_entries(scores: Iterable[ScoreEntry], name: str) -> list[tuple[int, float]]:
    """Checked (index, score) pairs in file order."""
    out: list[tuple[int, float]] = []
    seen: set[int] = set()
    for entry in scores:
        try:
            if isinstance(entry, Mapping):
                index, score = int(entry["index"]), float(entry["score"])
            else:
                index, score = int(entry[0]), float(entry[1])
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise MissingError(f"{name}: a score entry needs a numeric index and score: {error!r}") from None
        if index < 1:
            raise MissingError(f"{name}: score index {index} is the background; indices start at 1")
        if index in seen:
            raise MissingError(f"{name}: score index {index} is listed twice")
        if not math.isfinite(score):
            raise MissingError(f"{name}: the score of index {index} is not a finite number")
        seen.add(index)
        out.append((index, score))
    return out


def instances(both: Overlaps, entries: Sequence[tuple[int, float]]) -> tuple[Candidates, int]:
    """The scored instances of one frame and its objects; also how many instances have no score."""
    ids = {int(i): k for k, i in enumerate(both.pred.ids.tolist())}
    scored = [e for e in entries if e[0] in ids]
    rows = np.array([ids[e[0]] for e in scored], np.int64)
    gt = both.gt
    found = Candidates(
        iou=both.iou()[rows],
        scores=np.array([e[1] for e in scored], np.float64),
        pred_class=both.pred.categories[rows] - 1,
        pred_areas=both.pred.areas[rows].astype(np.float64),
        gt_class=gt.categories - 1,
        gt_areas=gt.areas.astype(np.float64),
        gt_ignored=(gt.attributes & IGNORE_BIT) > 0,
        gt_crowd=(gt.attributes & CROWD_BIT) > 0,
    )
    return found, len(ids) - rows.size
