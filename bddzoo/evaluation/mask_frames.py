"""Statistics of one frame from a pair of PNG files."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bddzoo.datasets.classes import CLASS_SETS, label_values, values_of_no_class
from bddzoo.datasets.formats.frames import JsonFrames
from bddzoo.datasets.formats.labels import FLAGS, NEUTRAL
from bddzoo.datasets.formats.mask import check_label, decode_bitmask, decode_loose, decode_mask
from bddzoo.datasets.formats.png import GREY, PALETTE
from bddzoo.datasets.openseg import scheme_hint
from bddzoo.datasets.sources import Source
from bddzoo.evaluation.bitmask import Overlaps, overlaps
from bddzoo.evaluation.jobs import FrameResult, matched
from bddzoo.evaluation.metrics.detection import instances
from bddzoo.evaluation.metrics.panseg import match_panoptic, pan_counts
from bddzoo.evaluation.metrics.semseg import confusion, spills
from bddzoo.evaluation.options import TOOLKIT_LIMIT, Options
from bddzoo.evaluation.pairing import MaskPair, other_size


@dataclass(frozen=True)
class MaskWork:
    """Scores pairs of PNG files of one task.

    Attributes:
        gt: Ground truth.
        pred: Predictions.
        classes: Number of classes.
        options: How strictly.
        task: The task.
        scores: ins_seg: score entries, and the position of each PNG's frame in them.
        score_index: See `scores`.
    """

    gt: Source
    pred: Source
    classes: int
    options: Options
    task: str
    scores: JsonFrames | None = None
    score_index: dict[str, int] = field(default_factory=dict)

    def semantic(self, pair: MaskPair) -> FrameResult:
        """Confusion matrix (classes, classes + 1) of two class maps."""
        remarks: list[tuple[str, str]] = []
        gt = self._class_map(self.gt, pair.gt, "gt", remarks)
        pred = None if pair.pred is None else self._class_map(self.pred, pair.pred, "pred", remarks)
        gt_path = self.gt.where(pair.gt)
        if pred is not None and pair.pred is not None:
            alike = pred.size == gt.size if self.options.official else pred.shape == gt.shape
            if not alike:
                raise other_size(self.pred, pair, gt.shape, pred.shape)
        # The toolkit itself takes the value after the last class for ignored.
        known = None if self.options.official else label_values(self.task)
        counts, unknown = confusion(gt, pred, self.classes, known)
        if unknown:
            why = f"{unknown} pixels are of no class{_values(self.task, gt)}"
            remarks += self.options.crashes("value", str(gt_path), why)
        if pred is not None and not self.options.official and values_of_no_class(self.task, pred):
            where = f"{self.pred.where(pair.pred or '')}{_values(self.task, pred)}"
            remarks.append(("value-predicted", where))
        uncounted = self.classes < len(CLASS_SETS[self.task])
        if uncounted and pred is not None and spills(counts, int((pred < self.classes).sum()), pred.size):
            remarks.append(("spill", str(self.pred.where(pair.pred or ""))))
        return FrameResult(counts, remarks)

    def _class_map(
        self, source: Source, member: str, slot: str, remarks: list[tuple[str, str]]
    ) -> NDArray[np.uint8]:
        path = source.where(member)
        content = source.read(member)
        if self.options.official:
            header = check_label(content, path)
            if not (header.colour == GREY and header.depth == 8):
                return decode_loose(content, path)
        pixels, header = decode_mask(content, path, slot)
        if header.colour == PALETTE:
            remarks.append(("palette", str(path)))
        return pixels

    def instances(self, pair: MaskPair) -> FrameResult:
        """`FrameMatches` of two bitmasks and their scores."""
        assert pair.pred is not None
        assert self.scores is not None
        remarks: list[tuple[str, str]] = []
        both, path = self.overlaps(pair, remarks)
        at = self.score_index[pair.pred.rsplit("/", 1)[-1]]
        scores = self.scores.scores(at)
        truth = str(self.gt.where(pair.gt))
        if both.gt.ids.size > TOOLKIT_LIMIT:
            remarks += self.options.crashes("many", truth, f"{both.gt.ids.size} instances, more than 100")
        scored = np.isin(both.pred.ids, list(scores))
        for where, covered in ((truth, both.gt.areas.sum()), (path, both.pred.areas[scored].sum())):
            if covered == both.shape[0] * both.shape[1]:
                remarks += self.options.crashes("full", where, "no pixel of background is left")
        if (both.gt.attributes & NEUTRAL == FLAGS["crowd"]).any():
            remarks.append(("crowd", truth))
        found, unscored = instances(both, scores)
        if unscored:
            remarks.append(("unscored", path))
        return matched(found, self.classes, self.options, remarks, coco=False)

    def panoptic(self, pair: MaskPair) -> FrameResult:
        """Statistics (4, classes) of two panoptic bitmasks."""
        truth = self.gt.where(pair.gt)
        if pair.pred is None:
            alone = decode_bitmask(self.gt.read(pair.gt), truth, "gt")
            return FrameResult(pan_counts(alone, None, self.classes, str(truth)))
        remarks: list[tuple[str, str]] = []
        both, path = self.overlaps(pair, remarks, pred_attributes=True)
        if both.pred.ids.size > TOOLKIT_LIMIT:
            remarks += self.options.crashes("many", path, f"{both.pred.ids.size} segments, more than 100")
        if not both.pred.ids.size and both.gt.ids.size:
            remarks += self.options.crashes("blank", path, "no segment at all")
        return FrameResult(match_panoptic(both, self.classes), remarks)

    def overlaps(
        self, pair: MaskPair, remarks: list[tuple[str, str]], *, pred_attributes: bool = False
    ) -> tuple[Overlaps, str]:
        """Instances of two bitmasks with their common pixels, and the path of the prediction."""
        assert pair.pred is not None
        path = self.pred.where(pair.pred)
        gt = decode_bitmask(self.gt.read(pair.gt), self.gt.where(pair.gt), "gt")
        pred = decode_bitmask(self.pred.read(pair.pred), path, "pred")
        if gt.shape != pred.shape:
            raise other_size(self.pred, pair, gt.shape, pred.shape)
        both = overlaps(
            gt, pred, str(path), pred_attributes=pred_attributes, truth=str(self.gt.where(pair.gt))
        )
        if not self.options.official:
            odd = np.unique(both.pred.categories)
            if not both.pred.categories.all() or values_of_no_class(self.task, odd.astype(np.uint8)):
                remarks.append(("class-predicted", str(path)))
        strange = [] if self.options.official else values_of_no_class(self.task, both.values)
        if strange:
            values = ", ".join(map(str, strange[:6]))
            truth = str(self.gt.where(pair.gt))
            remarks += self.options.crashes("value", truth, f"no class has the values {values}")
        return both, str(path)


def _values(task: str, pixels: NDArray[np.uint8]) -> str:
    """The values that are not a class, in brackets, and whose they may be."""
    odd = values_of_no_class(task, pixels)
    if not odd:
        return ""
    hint = scheme_hint(np.unique(pixels))
    return f" ({', '.join(map(str, odd[:5]))}{' ...' if len(odd) > 5 else ''}{f'; {hint}' if hint else ''})"
