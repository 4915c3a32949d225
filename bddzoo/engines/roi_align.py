"""torchvision's RoIAlign on all of the CPU's cores.

Its CPU kernel runs in one thread, and with a thousand proposals on the finest level of a pyramid that is
a sixth of a detector's time. RoIs do not depend on each other, so parts of them run in threads; each
result is bit by bit what one call gives.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

# Below this many RoIs starting threads takes as long as the work.
FEW = 32


def roi_align(
    features: Tensor,
    rois: Tensor,
    size: tuple[int, int],
    scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """Average of sample points in each bin of each RoI (He et al., ICCV 2017).

    Args:
        features: (N, C, H, W).
        rois: (K, 5): picture index, then xyxy in input pixels.
        size: Bins in y and x.
        scale: Feature-map pixels per input pixel.
        sampling_ratio: Samples per bin and axis; 0 for one per feature-map pixel.
        aligned: Shift by half a pixel.

    Returns:
        (K, C, *size).
    """
    features, rois = features.contiguous(), rois.contiguous()
    threads = min(torch.get_num_threads(), len(rois) // FEW)
    if features.device.type != "cpu" or threads < 2 or torch.is_grad_enabled():
        return _one_call(features, rois, size, scale, sampling_ratio, aligned)

    def part(own: Tensor) -> Tensor:
        with torch.no_grad():
            return _one_call(features, own, size, scale, sampling_ratio, aligned)

    with ThreadPoolExecutor(threads) as pool:
        return torch.cat(list(pool.map(part, rois.chunk(threads))))


def _one_call(
    features: Tensor, rois: Tensor, size: tuple[int, int], scale: float, sampling_ratio: int, aligned: bool
) -> Tensor:
    pooled: Tensor = torch.ops.torchvision.roi_align(
        features, rois, scale, size[0], size[1], sampling_ratio, bool(aligned)
    )
    return pooled
