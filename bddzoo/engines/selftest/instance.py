"""Check an instance segmentation network against its goldens, stage by stage."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from torch import Tensor

from bddzoo.datasets.formats.rle import decode_rle
from bddzoo.datasets.formats.scalabel import Detections, Instances
from bddzoo.engines.instance import stage_parts
from bddzoo.engines.selftest import decisions
from bddzoo.engines.selftest.folder import Arrays
from bddzoo.engines.selftest.measures import (
    MASK_IOU_LIMIT,
    MASK_LIMIT_PX,
    USUAL_NOISE,
    Measure,
    Noise,
    Stages,
    limit_of,
)
from bddzoo.engines.selftest.semantic import Case, as_input, compare_input, flatten, normalise, to_numpy

if TYPE_CHECKING:
    import numpy.typing as npt

    from bddzoo.engines.instance import DetectionRunner, Size

Choice = Callable[[], decisions.NmsBoxes]


def check_small(runner: DetectionRunner, case: Case) -> list[Measure]:
    """Pyramid, heads, proposals and, where the golden has them, detections, on the two crops."""
    arrays, stages, pairs = case.arrays, Stages(case.noise), Pairs(case.noise)
    for crop, own in case.crops("fpn0_shape"):
        x = as_input(normalise(case.folder.crop(crop), runner.model.protocol), runner.module)
        features = _compare_dense(runner, x, own, stages, crop)
        size = (int(x.shape[2]), int(x.shape[3]))
        sample = runner.sample(size, size, size, (1.0, 1.0))
        if "proposals" in own:
            _compare_proposals(runner, features, sample, own["proposals"], own["num_proposals"], None, pairs)
        if "rois" in arrays:
            _compare_heads(runner, features, arrays["rois"], own, stages, crop)
        if "stage0_cls" in own:
            _compare_refined(runner, features, sample, own, stages, crop)
        _compare_final(runner, x, (size, size, (1.0, 1.0)), own, pairs, _choice(runner, features, sample))
    return [*stages.measures(), *pairs.measures()]


def check_full(runner: DetectionRunner, case: Case) -> list[Measure]:
    """The whole protocol on a full image, and every stage of it."""
    ready, arrays = case.ready(runner.model), case.arrays
    x = as_input(ready.pixels, runner.module)
    stages, pairs = Stages(case.noise), Pairs(case.noise)
    compare_input(stages, x, arrays)
    with torch.no_grad():
        for index, features in enumerate(flatten(runner.module.backbone(x))):
            stages.compare_sampled(f"backbone{index}", to_numpy(features), arrays)
    features = _compare_dense(runner, x, arrays, stages, "")
    pad = (int(x.shape[2]), int(x.shape[3]))
    sample = runner.sample(pad, ready.image_size, ready.original_size, ready.scale_factor)
    if "proposals_top" in arrays:
        count, scores = arrays["num_proposals"], arrays["proposal_scores_all"]
        _compare_proposals(runner, features, sample, arrays["proposals_top"], count, scores, pairs)
    if "rois" in arrays:
        _compare_heads(runner, features, np.pad(arrays["rois"], ((0, 0), (1, 0))), arrays, stages, "")
    if "stage0_cls" in arrays:
        _compare_refined(runner, features, sample, arrays, stages, "")
    sizes = (ready.image_size, ready.original_size, ready.scale_factor)
    masks = _compare_final(runner, x, sizes, arrays, pairs, _choice(runner, features, sample))
    return [*stages.measures(), *pairs.measures(), *masks]


def trial_inputs(runner: DetectionRunner, size: Size, image_size: Size) -> Iterator[Tensor]:
    """Inputs (1, 3, h, w), padded as `detect` wants it: a frame of the mini set, stretched, and noise."""
    from bddzoo.datasets.mini.frame import render

    height, width = image_size
    image = cv2.resize(render(0, "val", 0).image[:, :, ::-1], (width, height)).astype(np.uint8)
    noise = np.random.default_rng(0).standard_normal((3, height, width)).astype(np.float32)
    for pixels in (normalise(image, runner.model.protocol), noise):
        x = np.zeros((3, *size), np.float32)
        x[:, :height, :width] = pixels
        yield as_input(x, runner.module)


@torch.no_grad()
def compare_with_runner(
    runner: DetectionRunner, x: Tensor, image_size: Size, found: Detections
) -> tuple[int, list[Measure]]:
    """Compare another program's detections with a runner's own, as those of goldens are compared.

    Args:
        runner: The runner.
        x: (1, 3, h, w), the input.
        image_size: Height and width of the image in it, without padding.
        found: What the other program found, in pixels of the input.

    Returns:
        How many detections the runner has, and the measures.
    """
    wanted = runner.detect(x, [image_size], [image_size], [(1.0, 1.0)])[0]
    # Boxes are as uncertain as they are large.
    pairs = Pairs(
        {"boxes": USUAL_NOISE["px"] * max(1.0, image_size[1] / 256), "scores": USUAL_NOISE["score"]}
    )
    arrays = {
        "det_own_boxes": np.concatenate([wanted.boxes, wanted.scores[:, None]], axis=1),
        "det_own_labels": wanted.labels,
        "det_own_scores_all": wanted.scores,
        "det_own_count": np.array(len(wanted)),
    }
    sample = runner.sample((int(x.shape[2]), int(x.shape[3])), image_size, image_size, (1.0, 1.0))
    choice = _choice(runner, runner.module.extract_feat(x), sample)
    partners = compare_detections(found, arrays, "own", pairs, choice)
    if not isinstance(wanted, Instances) or not isinstance(found, Instances):
        return len(wanted), pairs.measures()
    masks = MaskPairs()
    for partner, mask in zip(partners, wanted.masks, strict=True):
        if partner >= 0:
            masks.compare_area(int(found.masks[partner].sum()), int(mask.sum()))
            masks.compare(found.masks[partner], mask)
    return len(wanted), [*pairs.measures(), *masks.measures()]


class Pairs:
    """Boxes paired with golden boxes of the same score and label; tolerant of the order of ties.

    Where something has no partner, the candidates are asked whether arithmetic explains that.
    """

    def __init__(self, noise: Noise | None) -> None:
        self.limits = limit_of("boxes", "px", noise), limit_of("scores", "score", noise)
        self.box = self.score = 0.0
        self.count = self.turned = 0

    def scores(self, mine: npt.NDArray[Any], golden: npt.NDArray[Any]) -> int:
        """Pair two descending lists of scores; returns how many have no partner."""
        at = other = alone = 0
        while at < len(mine) and other < len(golden):
            gap = float(mine[at]) - float(golden[other])
            if abs(gap) <= self.limits[1]:
                self.score = max(self.score, abs(gap))
            else:
                alone += 1
            at += gap >= -self.limits[1]
            other += gap <= self.limits[1]
        return alone + len(mine) - at + len(golden) - other

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
            alike = np.abs(mine[:, 4] - box[4]) <= self.limits[1]
            if my_labels is not None and labels is not None:
                alike &= my_labels == labels[row]
            candidates = np.flatnonzero(alike)
            gaps = np.abs(mine[candidates, :4] - box[:4]).max(axis=1)
            best = int(gaps.argmin()) if len(gaps) else -1
            if best < 0 or not gaps[best] <= self.limits[0]:
                partners.append(-1)
                continue
            partner = int(candidates[best])
            partners.append(partner)
            self.box = max(self.box, float(gaps[best]))
            self.score = max(self.score, abs(float(mine[partner, 4]) - float(box[4])))
        return partners

    def explain(self, alone: int, choice: Choice | None, *listings: decisions.RankedList) -> None:
        """Count what has no partner and can't be explained; `listings` are the golden's and our own."""
        if choice is None:
            self.count += alone
        elif alone:
            wrong = sum(decisions.unexplained(choice(), listing, self.limits) for listing in listings)
            self.count += wrong
            self.turned += not wrong

    def measures(self) -> list[Measure]:
        """Missing boxes, boxes in pixels, scores."""
        return [
            Measure("boxes", self.box, self.limits[0], "px"),
            Measure("scores", self.score, self.limits[1], "score"),
            Measure("unpaired", self.count, 0, "count", f"{self.turned} near-ties" if self.turned else ""),
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
def _compare_dense(runner: DetectionRunner, x: Tensor, arrays: Arrays, stages: Stages, where: str) -> Any:
    """Feature pyramid and the RPN's raw outputs; returns the pyramid."""
    features = runner.module.extract_feat(x)
    dense: list[tuple[str, Any]] = [("fpn", features)]
    if "rpn_cls0_shape" in arrays:
        dense += zip(("rpn_cls", "rpn_bbox"), runner.module.rpn_head(features), strict=True)
    elif "cls0_shape" in arrays:
        dense += zip(("cls", "bbox", "centerness"), runner.module.bbox_head(features), strict=False)
    for name, levels in dense:
        for level, values in enumerate(levels):
            stages.compare_sampled(f"{where} {name}{level}".strip(), to_numpy(values), arrays)
    return features


@torch.no_grad()
def _compare_proposals(
    runner: DetectionRunner,
    features: Any,
    sample: Any,
    golden: npt.NDArray[Any],
    count: npt.NDArray[Any],
    scores: npt.NDArray[Any] | None,
    pairs: Pairs,
) -> None:
    """Compare the first proposals of an image, how many there are, and all scores that are known."""
    found = runner.module.rpn_head.predict(features, [sample], rescale=False)[0]
    mine = to_numpy(torch.cat([found.bboxes, found.scores[:, None]], dim=1))
    alone = pairs.boxes(mine, golden).count(-1) + abs(len(mine) - int(count))
    if scores is not None:
        alone += pairs.scores(mine[:, 4], scores)
    pairs.explain(
        alone,
        partial(decisions.proposals, runner, features, sample),
        decisions.RankedList(golden, None, int(count), scores),
        decisions.RankedList(mine, None, len(mine), mine[:, 4]),
    )


@torch.no_grad()
def _compare_heads(
    runner: DetectionRunner,
    features: Any,
    regions: npt.NDArray[Any],
    arrays: Arrays,
    stages: Stages,
    where: str,
) -> None:
    """Box and mask heads of every stage on the same RoIs, (K, 5) with the image's number first."""
    head = runner.module.roi_head
    rois = torch.from_numpy(regions).to(features[0].device, features[0].dtype)

    def part(name: str, stage: int) -> Any:
        return stage_parts(head, name)[stage]

    for stage in range(len(stage_parts(head, "bbox_head"))):
        extractor = part("bbox_roi_extractor", stage)
        pooled = extractor(features[: extractor.num_inputs], rois)
        scores, deltas = part("bbox_head", stage)(pooled)
        outputs = [("cls", scores), ("bbox", deltas)]
        if head.with_mask:
            masks_from = part("mask_roi_extractor", stage)
            masks = part("mask_head", stage)(masks_from(features[: masks_from.num_inputs], rois))
            outputs.append(("mask", masks[:, :, ::4, ::4]))
        for name, values in outputs:
            for key in (f"roi_{name}_{stage}", *([f"roi_{name}"] if stage == 0 else [])):
                if key in arrays:
                    stages.compare(f"{where} {key}".strip(), to_numpy(values), arrays[key])
        if stage == 0 and "roi_feat" in arrays:
            stages.compare("roi_feat", to_numpy(pooled[:, ::16, ::3, ::3]), arrays["roi_feat"])
            levels = to_numpy(extractor.map_roi_levels(rois, extractor.num_inputs)).astype(np.int64)
            stages.compare("roi_levels", levels, arrays["roi_levels"])


@torch.no_grad()
def _compare_refined(
    runner: DetectionRunner, features: Any, sample: Any, arrays: Arrays, stages: Stages, where: str
) -> None:
    """Class scores and boxes of every fourth learnt proposal, as each stage of Sparse R-CNN leaves them."""
    from mmdet.structures.bbox import bbox2roi

    proposals = runner.module.rpn_head.predict(features, [sample])[0]
    boxes, proposal_features = proposals.bboxes, proposals.features[None]
    for stage in range(runner.module.roi_head.num_stages):
        # The head has no public function for one stage.
        found = runner.module.roi_head._bbox_forward(
            stage, features, bbox2roi([boxes]), proposal_features, [sample.metainfo]
        )
        boxes, proposal_features = found["detached_proposals"][0], found["object_feats"]
        for name, values in (("cls", found["cls_score"][0]), ("bbox", boxes)):
            key = f"stage{stage}_{name}"
            stages.compare(f"{where} {key}".strip(), to_numpy(values[::4]), arrays[key])


def _compare_final(
    runner: DetectionRunner,
    x: Tensor,
    sizes: tuple[Any, Any, Any],
    arrays: Arrays,
    pairs: Pairs,
    choice: Choice | None,
) -> list[Measure]:
    """Final detections at the configured threshold, at none, and how many pass one in between; on masks."""
    masks = MaskPairs()
    rles = json.loads(arrays["mask_rle_json"].tobytes()) if "mask_rle_json" in arrays else {}
    with _computed_once(runner.module):
        for case, threshold in (("default", None), ("thr0", 0.0)):
            if f"det_{case}_count" in arrays:
                with _score_threshold(runner, threshold):
                    found = runner.detect(x, *([size] for size in sizes))[0]
                    partners = compare_detections(found, arrays, case, pairs, choice)
                    if isinstance(found, Instances):
                        _compare_masks(found, partners, arrays, case, rles.get(case, []), masks)
        if "det_mid_count" in arrays:
            with _score_threshold(runner, float(arrays["det_mid_score_thr"])):
                found = runner.detect(x, *([size] for size in sizes))[0]
                pairs.count += abs(len(found) - int(arrays["det_mid_count"]))
    return masks.measures() if any("mask" in name for name in arrays) else []


@contextmanager
def _computed_once(module: Any) -> Iterator[None]:
    """Let what no threshold changes be computed once: the pyramid, and the box heads on given RoIs.

    For one input only: of what a function is given, the stage and the RoIs count.
    """
    second_stage = getattr(module, "roi_head", None)
    last = (module.bbox_head, "forward") if second_stage is None else (second_stage, "_bbox_forward")
    places = [(module, "extract_feat"), last]
    for owner, name in places:
        setattr(owner, name, _remembering(getattr(owner, name)))
    try:
        yield
    finally:
        for owner, name in places:
            delattr(owner, name)


def _remembering(function: Callable[..., Any]) -> Callable[..., Any]:
    known: dict[Any, Any] = {}

    def call(*arguments: Any, **named: Any) -> Any:
        given = (*arguments, *named.values())
        rois = (to_numpy(a).tobytes() for a in given if isinstance(a, Tensor) and a.ndim == 2)
        key = (*(a for a in given if isinstance(a, int)), *rois)
        if key not in known:
            known[key] = function(*arguments, **named)
        return known[key]

    return call


def _choice(runner: DetectionRunner, features: Any, sample: Any) -> Choice | None:
    """How to find what the second stage chose from; None for networks that choose in another way."""
    if not hasattr(getattr(runner.module, "rpn_head", None), "prior_generator"):
        return None
    return partial(decisions.detections, runner, features, sample)


@contextmanager
def _score_threshold(runner: DetectionRunner, threshold: float | None) -> Iterator[None]:
    module = runner.module
    settings = (module.roi_head if hasattr(module, "roi_head") else module.bbox_head).test_cfg
    if threshold is None:
        yield
        return
    kept, settings.score_thr = settings.score_thr, threshold
    try:
        yield
    finally:
        settings.score_thr = kept


def compare_detections(
    found: Detections, arrays: Arrays, case: str, pairs: Pairs, choice: Choice | None = None
) -> list[int]:
    """Compare final detections; returns for each of the golden's its partner's position, -1 for none."""
    boxes, labels, scores = (arrays[f"det_{case}_{key}"] for key in ("boxes", "labels", "scores_all"))
    mine = np.concatenate([found.boxes, found.scores[:, None]], axis=1)
    partners = pairs.boxes(mine, boxes, found.labels, labels)
    pairs.explain(
        partners.count(-1) + pairs.scores(found.scores, scores),
        choice,
        decisions.RankedList(boxes, labels, int(arrays[f"det_{case}_count"]), scores),
        decisions.RankedList(mine, found.labels, len(mine), found.scores),
    )
    return partners


def _compare_masks(
    found: Instances, partners: list[int], arrays: Arrays, case: str, rles: list[Any], masks: MaskPairs
) -> None:
    for partner, area in zip(partners, arrays[f"det_{case}_mask_area"], strict=True):
        if partner >= 0:
            masks.compare_area(int(found.masks[partner].sum()), int(area))
    for partner, rle in zip(partners, rles, strict=False):
        if partner >= 0:
            masks.compare(found.masks[partner], decode_rle(rle))
