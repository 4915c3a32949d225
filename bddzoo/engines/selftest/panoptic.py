"""Check a panoptic network against its goldens: its detector, its semantic head, and the fusion of both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bddzoo.engines.instance import as_detections
from bddzoo.engines.selftest import instance
from bddzoo.engines.selftest.folder import Arrays
from bddzoo.engines.selftest.measures import MASK_LIMIT_PX, Measure, Noise, Stages
from bddzoo.engines.selftest.semantic import Case, as_input, normalise, to_numpy, wrong_pixels

if TYPE_CHECKING:
    from bddzoo.engines.instance import PanopticRunner

Sizes = tuple[tuple[int, int], tuple[int, int], tuple[float, float]]


def check_small(runner: PanopticRunner, case: Case) -> list[Measure]:
    """Pyramid, heads, proposals, and the panoptic map, on the crops that the golden has."""
    found = instance.check_small(runner, _of_the_detector(case))
    whole = _Whole(runner, case.noise)
    for crop, own in case.crops():
        x = as_input(normalise(case.folder.crop(crop), runner.model.protocol), runner.module)
        size = (int(x.shape[2]), int(x.shape[3]))
        whole.compare(x, (size, size, (1.0, 1.0)), own, slice(4, None, 8), slice(4, None, 8))
    return [*_first_stages(found), *whole.measures()]


def check_full(runner: PanopticRunner, case: Case) -> list[Measure]:
    """The whole protocol on a full image, and every stage of it."""
    found = instance.check_full(runner, _of_the_detector(case))
    ready, arrays = case.ready(runner.model), case.arrays
    sizes = (ready.image_size, ready.original_size, ready.scale_factor)
    whole = _Whole(runner, case.noise)
    whole.compare(as_input(ready.pixels, runner.module), sizes, arrays, arrays["rows"], arrays["cols"])
    return [*_first_stages(found), *whole.measures()]


def _of_the_detector(case: Case) -> Case:
    """Without final detections: those of the golden are what the fusion was given, at several thresholds."""
    return replace(case, arrays={k: v for k, v in case.arrays.items() if "det_" not in k})


def _first_stages(measures: list[Measure]) -> list[Measure]:
    """Without measures of final detections, which `_Whole` has."""
    return [m for m in measures if m.unit == "std" or m.value > m.limit]


class _Whole:
    """Semantic head, detections that enter the fusion, panoptic map."""

    def __init__(self, runner: PanopticRunner, noise: Noise | None) -> None:
        self.runner = runner
        self.stages, self.pairs = Stages(noise), instance.Pairs(noise)
        self.area = self.classes = self.pixels = 0

    @torch.no_grad()
    def compare(self, x: Tensor, sizes: Sizes, arrays: Arrays, rows: Any, columns: Any) -> None:
        """Compare one image; `rows` and `columns` are where the golden has its semantic logits."""
        module = self.runner.module
        image, original, scale = sizes
        batch = ([image], [original], [scale])
        samples = self.runner.samples(x, *batch)
        features = module.extract_feat(x)
        raw = module.semantic_head(features)["seg_preds"]
        self.stages.compare_sampled("sem_raw", to_numpy(raw), arrays)
        logits = module.semantic_head.predict(features, [samples[0].metainfo], True)[0]
        std = float(arrays["sem_stats"][1])
        grid = to_numpy(logits)[:, rows][:, :, columns]
        self.stages.compare("sem_logits", grid, arrays["sem_logits"], std)
        if "sem_class" in arrays:
            tolerance = self.stages.limit("sem_logits") * std
            self.classes += wrong_pixels(logits, arrays["sem_class"], tolerance)
        for case, threshold, area in _cases(arrays):
            with _thresholds(module, threshold, area):
                found = self._detections(features, samples)
                partners = instance.compare_detections(found, arrays, case, self.pairs)
                if f"{case}_mask_area" in arrays:
                    for partner, pixels in zip(partners, arrays[f"{case}_mask_area"].tolist(), strict=True):
                        apart = abs(int(found.masks[partner].sum()) - pixels) if partner >= 0 else 0
                        self.area = max(self.area, apart)
                    mine = self.runner.segment(x, *batch)[0]
                    self.pixels = max(self.pixels, int((mine != arrays[case]).sum()))

    def _detections(self, features: Any, samples: list[Any]) -> Any:
        """What the fusion is given of an image."""
        module = self.runner.module
        proposals = module.rpn_head.predict(features, samples, rescale=False)
        return as_detections(module.roi_head.predict(features, proposals, samples, rescale=True)[0])

    def measures(self) -> list[Measure]:
        """Semantic logits and classes, detections, areas of their masks, pixels of the panoptic map."""
        return [
            *self.stages.measures(),
            Measure("class map", self.classes, 0, "px"),
            *self.pairs.measures(),
            Measure("mask areas", self.area, MASK_LIMIT_PX, "px"),
            Measure("panoptic map", self.pixels, MASK_LIMIT_PX, "px"),
        ]


def _cases(arrays: Arrays) -> Iterator[tuple[str, float, int | None]]:
    """What was made at which threshold of the scores, and limit of the area of stuff (None: its own)."""
    yield "thr0", 0.0, None
    yield "pan_default", float(arrays["pan_default_score_thr"]), None
    yield "pan_low", float(arrays["pan_low_score_thr"]), int(arrays["pan_low_stuff_area_limit"])


@contextmanager
def _thresholds(module: Any, score: float, area: int | None) -> Iterator[None]:
    things, fusion = module.roi_head.test_cfg, module.panoptic_fusion_head.test_cfg
    before = things.score_thr, fusion.stuff_area_limit
    things.score_thr = score
    fusion.stuff_area_limit = before[1] if area is None else area
    try:
        yield
    finally:
        things.score_thr, fusion.stuff_area_limit = before
