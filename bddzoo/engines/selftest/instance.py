"""Check an instance segmentation network against its goldens, stage by stage."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from bddzoo.datasets.formats.rle import decode_rle
from bddzoo.datasets.formats.scalabel import Instances
from bddzoo.engines.selftest.folder import CROPS, Arrays, Golden, GoldenFolder
from bddzoo.engines.selftest.measures import (
    BOX_LIMIT_PX,
    INPUT_LIMIT,
    MASK_IOU_LIMIT,
    MASK_LIMIT_PX,
    SCORE_LIMIT,
    Measure,
    NothingKnown,
    Stages,
)
from bddzoo.engines.selftest.semantic import Prepare, compare_input, flatten, normalise, to_numpy

if TYPE_CHECKING:
    import numpy.typing as npt

    from bddzoo.engines.instance import InsSegRunner


def check_small(
    runner: InsSegRunner, folder: GoldenFolder, golden: Golden, arrays: Arrays, limit: float
) -> list[Measure]:
    """Pyramid, proposals, and the heads on fixed RoIs, on the two crops."""
    stages, pairs = Stages(limit), Pairs()
    for crop in CROPS:
        if f"{crop}_proposals" not in arrays:
            continue
        own = {k.removeprefix(f"{crop}_"): v for k, v in arrays.items() if k.startswith(f"{crop}_")}
        x = normalise(folder.crop(crop), runner.device)
        features = _compare_dense(runner, x, own, stages, crop)
        _compare_proposals(runner, features, x, own["proposals"], int(own["num_proposals"]), pairs)
        rois = torch.from_numpy(arrays["rois"]).to(runner.device)
        _compare_heads(runner, features, rois, own, stages, crop)
    if not stages.compared:
        raise NothingKnown
    return [stages.measure("stages"), *pairs.measures()]


def check_full(
    runner: InsSegRunner, folder: GoldenFolder, golden: Golden, arrays: Arrays, limit: float, prepare: Prepare
) -> list[Measure]:
    """The whole protocol on a full picture, and every stage of it."""
    picture = folder.picture(golden.kind.variant)
    protocol = runner.model.protocol
    assert picture is not None
    assert protocol is not None
    ready = prepare(picture, protocol)
    x = torch.from_numpy(ready.pixels)[None].to(runner.device)
    inputs, stages, pairs = Stages(INPUT_LIMIT), Stages(limit), Pairs()
    compare_input(inputs, x, arrays)
    with torch.no_grad():
        for index, features in enumerate(flatten(runner.module.backbone(x))):
            stages.compare_sampled(f"backbone{index}", to_numpy(features), arrays)
    features = _compare_dense(runner, x, arrays, stages, "")
    count = int(arrays["num_proposals"])
    proposals = _compare_proposals(
        runner, features, x, arrays["proposals_top"], count, pairs, ready.image_size
    )
    pairs.scores(proposals[:, 4], arrays["proposal_scores_all"])
    rois = torch.from_numpy(arrays["rois"]).to(runner.device)
    rois = torch.cat([rois.new_zeros((len(rois), 1)), rois], dim=1)
    _compare_heads(runner, features, rois, arrays, stages, "")
    masks = MaskPairs()
    rles = json.loads(arrays["mask_rle_json"].tobytes()) if "mask_rle_json" in arrays else {}
    for case, threshold in (("default", None), ("thr0", 0.0)):
        found = _detect(runner, x, ready, threshold)
        _compare_detections(found, arrays, case, rles.get(case, []), pairs, masks)
    return [inputs.measure("input"), stages.measure("stages"), *pairs.measures(), *masks.measures()]


class Pairs:
    """Boxes paired with golden boxes of the same score and label; tolerant of the order of ties."""

    def __init__(self) -> None:
        self.box = self.score = 0.0
        self.count = 0

    def scores(self, mine: npt.NDArray[Any], golden: npt.NDArray[Any]) -> None:
        """Compare two descending lists of scores."""
        if len(mine) != len(golden):
            self.count += abs(len(mine) - len(golden))
            return
        if len(mine):
            self._score(float(np.abs(mine.astype(np.float64) - golden).max()))

    def boxes(
        self,
        mine: npt.NDArray[Any],
        golden: npt.NDArray[Any],
        my_labels: npt.NDArray[Any] | None = None,
        labels: npt.NDArray[Any] | None = None,
    ) -> list[int]:
        """Pair each golden `x1 y1 x2 y2 score` with the nearest of equal score and label.

        Returns:
            For each golden its partner's row, -1 for none.
        """
        partners = []
        for row, box in enumerate(golden.astype(np.float64)):
            alike = np.abs(mine[:, 4] - box[4]) <= SCORE_LIMIT
            if my_labels is not None and labels is not None:
                alike &= my_labels == labels[row]
            candidates = np.flatnonzero(alike)
            if not len(candidates):
                self.count += 1
                partners.append(-1)
                continue
            gaps = np.abs(mine[candidates, :4] - box[:4]).max(axis=1)
            best = int(candidates[int(gaps.argmin())])
            partners.append(best)
            self.box = max(self.box, float(gaps.min()))
            self._score(abs(float(mine[best, 4]) - float(box[4])))
        return partners

    def _score(self, gap: float) -> None:
        self.score = gap if not gap <= self.score else self.score

    def measures(self) -> list[Measure]:
        """Missing boxes, boxes in pixels, scores."""
        return [
            Measure("boxes", self.box, BOX_LIMIT_PX, "px"),
            Measure("scores", self.score, SCORE_LIMIT, "score"),
            Measure("unpaired", self.count, 0, "count"),
        ]


class MaskPairs:
    """Areas and overlaps of masks with golden ones."""

    def __init__(self) -> None:
        self.area = 0.0
        self.overlap = 0.0

    def compare_area(self, mine: int, golden: int) -> None:
        """Compare the areas of two masks, in pixels."""
        self.area = max(self.area, abs(mine - golden))

    def compare(self, mine: npt.NDArray[np.bool_], golden: npt.NDArray[np.bool_]) -> None:
        """Compare two masks; small ones may differ by a few pixels instead of by a share."""
        union = int((mine | golden).sum())
        apart = union - int((mine & golden).sum())
        if apart > MASK_LIMIT_PX:
            self.overlap = max(self.overlap, apart / union)

    def measures(self) -> list[Measure]:
        """Areas in pixels, and what is missing to a full overlap."""
        return [
            Measure("mask areas", self.area, MASK_LIMIT_PX, "px"),
            Measure("masks", self.overlap, 1 - MASK_IOU_LIMIT, "1 - IoU"),
        ]


@torch.no_grad()
def _compare_dense(runner: InsSegRunner, x: Tensor, arrays: Arrays, stages: Stages, where: str) -> Any:
    """Feature pyramid and the RPN's raw outputs; returns the pyramid."""
    features = runner.module.extract_feat(x)
    scores, deltas = runner.module.rpn_head(features)
    for name, levels in (("fpn", features), ("rpn_cls", scores), ("rpn_bbox", deltas)):
        for level, values in enumerate(levels):
            stages.compare_sampled(f"{name}{level}", to_numpy(values), arrays)
            if stages.where == f"{name}{level}" and where:
                stages.where = f"{where} {name}{level}"
    return features


@torch.no_grad()
def _compare_proposals(
    runner: InsSegRunner,
    features: Any,
    x: Tensor,
    golden: npt.NDArray[Any],
    count: int,
    pairs: Pairs,
    size: tuple[int, int] | None = None,
) -> npt.NDArray[Any]:
    """Proposals of the picture of that size (default: the whole input); returns (N, 5)."""
    shape = tuple(size or x.shape[2:])
    sample = runner._sample(tuple(x.shape[2:]), shape, shape, (1.0, 1.0))
    found = runner.module.rpn_head.predict(features, [sample], rescale=False)[0]
    mine = to_numpy(torch.cat([found.bboxes, found.scores[:, None]], dim=1))
    pairs.count += abs(len(mine) - count)
    pairs.boxes(mine, golden)
    return mine


@torch.no_grad()
def _compare_heads(
    runner: InsSegRunner, features: Any, rois: Tensor, arrays: Arrays, stages: Stages, where: str
) -> None:
    """Box and mask heads of every stage on the same RoIs."""
    head = runner.module.roi_head
    cascade = isinstance(head.bbox_head, torch.nn.ModuleList)

    def part(name: str, stage: int) -> Any:
        found = getattr(head, name)
        return found[stage] if cascade else found

    for stage in range(len(head.bbox_head) if cascade else 1):
        extractor = part("bbox_roi_extractor", stage)
        pooled = extractor(features[: extractor.num_inputs], rois)
        scores, deltas = part("bbox_head", stage)(pooled)
        masks_from = part("mask_roi_extractor", stage)
        masks = part("mask_head", stage)(masks_from(features[: masks_from.num_inputs], rois))
        for name, values in (("cls", scores), ("bbox", deltas), ("mask", masks[:, :, ::4, ::4])):
            for key in (f"roi_{name}_{stage}", *([f"roi_{name}"] if stage == 0 else [])):
                if key in arrays:
                    stages.compare(f"{where} {key}".strip(), to_numpy(values), arrays[key])
        if stage == 0 and "roi_feat" in arrays:
            stages.compare("roi_feat", to_numpy(pooled[:, ::16, ::3, ::3]), arrays["roi_feat"])
            levels = to_numpy(extractor.map_roi_levels(rois, extractor.num_inputs)).astype(np.int64)
            stages.compare("roi_levels", levels, arrays["roi_levels"])


def _detect(runner: InsSegRunner, x: Tensor, ready: Any, threshold: float | None) -> Instances:
    settings = runner.module.roi_head.test_cfg
    kept = settings.score_thr
    try:
        if threshold is not None:
            settings.score_thr = threshold
        return runner.detect(x, [ready.image_size], [ready.original_size], [ready.scale_factor])[0]
    finally:
        settings.score_thr = kept


def _compare_detections(
    found: Instances, arrays: Arrays, case: str, rles: list[Any], pairs: Pairs, masks: MaskPairs
) -> None:
    pairs.count += abs(len(found) - int(arrays[f"det_{case}_count"]))
    pairs.scores(found.scores, arrays[f"det_{case}_scores_all"])
    mine = np.concatenate([found.boxes, found.scores[:, None]], axis=1)
    boxes, labels = arrays[f"det_{case}_boxes"], arrays[f"det_{case}_labels"]
    partners = pairs.boxes(mine, boxes, found.labels, labels)
    for partner, area in zip(partners, arrays[f"det_{case}_mask_area"], strict=True):
        if partner >= 0:
            masks.compare_area(int(found.masks[partner].sum()), int(area))
    for partner, rle in zip(partners, rles, strict=False):
        if partner >= 0:
            masks.compare(found.masks[partner], decode_rle(rle))
